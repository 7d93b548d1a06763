"""Feast's offline store on Ray: what Feast's DuckDB store gives, from the workers of the Ray that runs."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import aggregated
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ingested_folder import DATASET, MOMENT, moment, write_entities, write_ingested, write_log

from elec.engine import Engine, started
from elec.errors import InputError
from elec.features import ray_store
from elec.features.definitions import definitions, project_name
from elec.features.library import feast
from elec.features.repository import FeatureRepository
from elec.features.spread import spread_frame
from elec.features.store_config import feature_store_settings, open_store
from elec.progress import Progress
from elec.spec import DatasetSpec, Entity
from elec.spec.run import DataEngineSpec, FeastSpec

ray = pytest.importorskip("ray")

SETTINGS = DataEngineSpec(engine="ray", workers=2)
FEATURES = ["users:age", "users:city", "items:title", "items:tags", "items:price"]


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """Two workers; nobody may start more of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        with started(SETTINGS) as found:
            patch.setattr(ray, "init", _refused)
            yield found


def _refused(*_: Any, **__: Any) -> None:
    raise AssertionError("a second Ray is started")


@pytest.fixture
def pieces(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Small pieces; gets how many rows each of the last join had."""
    found: list[int] = []
    real = ray_store.map_file

    def noted(*arguments: Any) -> list[Any]:
        found[:] = real(*arguments)
        return list(found)

    monkeypatch.setattr(ray_store, "_FEWEST_ROWS", 2)
    monkeypatch.setattr(ray_store, "map_file", noted)
    return found


class Stores:
    """A registry, read by the DuckDB store and by the one on Ray; rows of users live two hours in it."""

    def __init__(self, folder: Path) -> None:
        self.repository = FeatureRepository(DATASET, folder / "feast", FeastSpec(), SETTINGS)
        self.folder = folder
        with self.repository.published(write_ingested(folder / "ingested"), moment(100)):
            objects = definitions(DATASET, self.repository.versions(), self.repository.data_folder)
        for found in objects:
            if found.name == "users":
                found.ttl = timedelta(hours=2)
        settings = {"registry": str(folder / "with-ttl.db")}
        self.duckdb, self.ray = (
            open_store(feature_store_settings(project_name(DATASET.name), folder / "feast", FeastSpec(), data=data, **settings))
            for data in (DataEngineSpec(), SETTINGS)
        )
        self.duckdb.apply(objects)

    def publish(self, users: list[dict[str, Any]], items: list[dict[str, Any]]) -> None:
        write_entities(self.folder / "users.parquet", Entity.USER, users)
        write_entities(self.folder / "items.parquet", Entity.ITEM, items)
        scratch = self.folder / "scratch"
        scratch.mkdir(exist_ok=True)
        self.repository.publish_rows(self.repository.versions(), self.folder, scratch)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Stores:
    return Stores(tmp_path_factory.mktemp("stores"))


def joined(store: Any, log: pd.DataFrame, **asked: Any) -> pa.Table:
    return store.get_historical_features(entity_df=log.copy(), features=FEATURES, **asked).to_arrow().sort_by("row")


MOMENTS = st.builds(lambda hours, micros: moment(hours) + timedelta(microseconds=micros), st.integers(0, 4), st.integers(-1, 1))
KEYS = st.sampled_from(["a", "b", "11", "1"])
ROWS = st.lists(st.tuples(KEYS, MOMENTS, st.booleans()), max_size=10, unique_by=lambda row: row[:2])
LOG = st.lists(st.tuples(KEYS | st.just("new") | st.none(), KEYS | st.none(), MOMENTS), min_size=1, max_size=20)


@given(users=ROWS, items=ROWS, log=LOG)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_it_gives_what_the_duckdb_store_gives(
    engine: Engine, stores: Stores, pieces: list[int], users: list[Any], items: list[Any], log: list[Any]
) -> None:
    stores.publish(
        [
            {"user_id": key, "event_timestamp": at, "age": float(number), "city": None if empty else f"{number}"}
            for number, (key, at, empty) in enumerate(users)
        ],
        [
            {"item_id": key, "event_timestamp": at, "title": "t", "tags": [None, [], ["x", f"{number}"]][number % 3]}
            | {"price": None if empty else float(number)}
            for number, (key, at, empty) in enumerate(items)
        ],
    )
    frame = pd.DataFrame(log, columns=["user_id", "item_id", "event_timestamp"]).assign(row=np.arange(len(log)))
    frame["event_timestamp"] = pd.to_datetime(frame["event_timestamp"], utc=True).astype("datetime64[us, UTC]")
    given_rows = frame.copy()
    found = joined(stores.ray, frame)
    assert found.equals(joined(stores.duckdb, frame).select(found.column_names))
    assert found.num_rows == len(log)
    assert sum(pieces) == len(log)
    assert frame.equals(given_rows)


def test_settings_on_disk_name_it(engine: Engine, stores: Stores, tmp_path: Path) -> None:
    """As a notebook has it."""
    file = stores.folder / "feast" / "feature_store.yaml"
    store = feast().FeatureStore(fs_yaml_file=file)
    log = pd.DataFrame({"user_id": ["u1", "u1"], "item_id": ["i1", "i2"], "row": [0, 1], "event_timestamp": [moment(30)] * 2})
    stores.repository.publish_rows(stores.repository.versions(), write_ingested(tmp_path / "rows"), tmp_path)
    job = store.get_historical_features(
        entity_df=log, features=store.get_feature_service("small_shop_v1"), full_feature_names=True
    )
    assert set(job.metadata.keys) >= {"user_id", "item_id"}
    assert job.to_df().sort_values("row")["items__price"].to_list() == [5.0, 99.5]
    saved = feast().infra.offline_stores.file_source.SavedDatasetFileStorage(str(tmp_path / "saved.parquet"))
    job.persist(saved)
    assert pq.read_table(tmp_path / "saved.parquet")["users__city"].to_pylist() == ["Köln", "Köln"]


def test_what_it_does_not_do_is_said(engine: Engine, stores: Stores) -> None:
    for rows in ({}, {"entity_df": "SELECT 1"}, {"start_date": moment(0), "end_date": moment(1)}):
        with pytest.raises(InputError, match="give entity_df as a DataFrame"):
            stores.ray.get_historical_features(features=FEATURES, **rows)


def write_shop(folder: Path, count: int) -> None:
    """Items with lists, empty ones and none, users; a log in no order, with unknown and missing keys."""
    draw = np.random.default_rng(5)
    users, items = (
        [{key: f"{number}", "event_timestamp": moment(float(draw.integers(0, 40)))} for number in draw.integers(0, 200, 700)]
        for key in ("user_id", "item_id")
    )
    tags: list[Any] = [None, [], ["a"], ["a", "b", "é"]]
    for number, (user, item) in enumerate(zip(users, items, strict=True)):
        user |= {"age": float(number), "city": None if number % 5 == 0 else f"c{number}"}
        item |= {"title": f"{number}", "tags": tags[number % 4], "price": None if number % 7 == 0 else number / 3}
    write_entities(folder / "users.parquet", Entity.USER, users)
    write_entities(folder / "items.parquet", Entity.ITEM, items)
    rows = [
        {
            "row_id": int(number),
            "label": int(number) % 2,
            "event_timestamp": moment(float(draw.integers(0, 40))),
            "user_id": None if number % 11 == 0 else f"{draw.integers(0, 220)}",
            "item_id": f"{draw.integers(0, 220)}",
            "device": None,
        }
        for number in draw.permutation(count)
    ]
    write_log(folder / "train.parquet", rows)


def write_aggregated(folder: Path, count: int) -> None:
    """Aggregates of a user, an item, a category, and of several of them together."""
    draw = np.random.default_rng(6)
    log = [
        {
            "event_timestamp": moment(float(draw.integers(0, 80)) / 4),
            "label": int(draw.integers(0, 2)),
            "user_id": None if number % 13 == 0 else f"{draw.integers(0, 40)}",
            "item_id": f"{draw.integers(0, 40)}",
            "device": ["tv", "phone", None][number % 3],
        }
        for number in range(3 * count)
    ]
    users, items = (
        [
            {key: f"{number}", "event_timestamp": moment(at), field: f"{draw.integers(0, 5)}"}
            for number in range(35)
            for at in (0, 9)
        ]
        for key, field in (("user_id", "city"), ("item_id", "category"))
    )
    aggregated.write(folder, log, users, items, aggregated.DATASET)


@pytest.mark.slow
@pytest.mark.parametrize(("dataset", "write"), [(DATASET, write_shop), (aggregated.DATASET, write_aggregated)])
def test_a_whole_frame_is_that_of_every_other_join(
    engine: Engine, tmp_path: Path, pieces: list[int], dataset: DatasetSpec, write: Callable[[Path, int], None]
) -> None:
    count = 4_000
    folder = tmp_path / "rows"
    folder.mkdir()
    write(folder, count)
    frames = {}
    for name, data, join in (("fast", None, "fast"), ("duckdb", None, "feast"), ("ray", SETTINGS, "feast")):
        repository = FeatureRepository(dataset, tmp_path / "feast", FeastSpec(), data)
        with repository.published(folder, moment(100)) as published, Progress("join", unit="rows") as progress:
            target = tmp_path / f"{name}.parquet"
            spread_frame(engine, published, dataset, folder / "train.parquet", target, progress, join=join)
            frames[name] = pq.read_table(target)
    assert frames["fast"]["event_timestamp"].type == MOMENT
    assert frames["duckdb"].equals(frames["fast"])
    assert frames["ray"].equals(frames["fast"])
    assert len(pieces) == engine.pieces == 4
    assert sum(pieces) == count
