"""What elec writes into the online stores is what `FeatureStore.materialize` writes, byte for byte; SQLite and a real Redis."""

import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ingested_folder import DATASET, MOMENT, moment, write_ingested

from elec.features.definitions import VIEWS, definitions, project_name
from elec.features.frame import write_frame
from elec.features.materialize import write_online
from elec.features.online import OnlineFeatures
from elec.features.online_writers import BATCH_ROWS
from elec.features.repository import FeatureRepository
from elec.features.store_config import OnlineStoreError, feature_store_settings, open_store
from elec.progress import Progress
from elec.spec.run import FeastSpec

KEYS = BATCH_ROWS + 500


def timelines(folder: Path, keys: int) -> Path:
    """Users and items with two rows each, some of them late, some null, more than one batch of them."""
    draw = np.random.default_rng(7)
    micros = int(moment(0).timestamp()) * 1_000_000
    for entity, view in VIEWS.items():
        rows = 2 * keys
        columns: dict[str, Any] = {
            DATASET.key_of(entity): pa.array([f"{entity}-{number}" for number in np.arange(rows) % keys]),
            "event_timestamp": pa.array(micros + draw.integers(0, 50 * 3_600_000_000, rows)).cast(MOMENT),
        }
        for field in DATASET.fields_of(entity):
            null = draw.random(rows) < 0.1
            if field.kind == "numeric":
                columns[field.name] = pa.array(draw.normal(size=rows), mask=null)
            elif field.kind == "multivalued":
                some = [["a"] * int(count) for count in draw.integers(0, 3, rows)]
                columns[field.name] = pa.array([None if no else parts for no, parts in zip(null, some, strict=True)])
            else:
                columns[field.name] = pa.array([f"t{number}" for number in draw.integers(0, 99, rows)], mask=null)
        pq.write_table(pa.table(columns), folder / f"{view}.parquet")
    return folder


def contents(settings: FeastSpec, root: Path) -> Any:
    """All that an online store holds."""
    if settings.redis is not None:
        import redis

        address, database = settings.redis.split(",db=")
        with redis.Redis.from_url(f"redis://{address}/{database}") as client:
            return {key: client.hgetall(key) for key in client.scan_iter(count=5000)}
    connection = sqlite3.connect(root / "feast" / "online_store.db")
    try:
        return {
            view: connection.execute(f"SELECT * FROM small_shop_{view} ORDER BY entity_key, feature_name").fetchall()
            for view in VIEWS.values()
        }
    finally:
        connection.close()


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_the_stores_hold_what_feast_writes(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    rows = timelines(tmp_path, KEYS)
    found = []
    for number, way in enumerate(("elec", "feast")):
        settings = FeastSpec()
        if kind == "redis":
            settings = FeastSpec(online_store="redis", redis=f"{request.getfixturevalue('redis_address')},db={number + 1}")
        root = tmp_path / way
        repository = FeatureRepository(DATASET, root / "feast", settings)
        scratch = root / "scratch"
        scratch.mkdir(parents=True)
        views = repository.publish_rows(repository.versions(), rows, scratch)
        store = open_store(feature_store_settings(project_name(DATASET.name), root / "feast", settings))
        store.apply(definitions(DATASET, repository.versions(), repository.data_folder))
        # First up to a moment, then what is new since.
        for start, end in ((moment(-1000), moment(20)), (moment(20), moment(35))):
            for view in views:
                if way == "elec":
                    write_online(store, view, start, end)
                else:
                    store.materialize(start, end, feature_views=[view.name])
        found.append(contents(settings, root))
        for view in VIEWS.values():
            applied = store.get_feature_view(view)
            assert applied.materialization_intervals == [(moment(-1000), moment(20)), (moment(20), moment(35))]
            assert applied.state.name == "AVAILABLE_ONLINE"
    assert found[0] == found[1]
    assert len(found[0]) > 1


def test_progress_counts_keys_and_says_the_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[tuple[int | None, int, str]] = []
    advance = Progress.advance

    def heard(self: Progress, amount: int, note: str = "") -> None:
        advance(self, amount, note)
        said.append((self.total, self.done, self.note))

    monkeypatch.setattr(Progress, "advance", heard)
    repository = FeatureRepository(DATASET, tmp_path / "feast", FeastSpec())
    with repository.published(write_ingested(tmp_path / "ingested"), moment(25)):
        pass
    # u3 is not known yet.
    assert [found[:2] for found in said] == [(2, 2), (3, 3)]
    assert all(view in note and note.endswith(" keys/s") for view, (_, _, note) in zip(("users", "items"), said, strict=True))


def test_a_redis_that_refuses_is_said_and_the_next_run_completes(tmp_path: Path, redis_address: str) -> None:
    import redis

    settings = FeastSpec(online_store="redis", redis=f"{redis_address},db=9")
    ingested = timelines(tmp_path, 3)
    repository = FeatureRepository(DATASET, tmp_path / "feast", settings)
    with redis.Redis.from_url(f"redis://{redis_address}/9") as client:
        client.config_set("maxmemory", "1")
        try:
            with pytest.raises(OnlineStoreError, match="Redis at"), repository.published(ingested, moment(60)):
                pass
        finally:
            client.config_set("maxmemory", "0")
        assert client.dbsize() == 0
        with repository.published(ingested, moment(60)) as published:
            assert published.online == {"users": "all", "items": "all"}
        assert client.dbsize() == 6


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_ten_thousand_keys_answer_online_as_the_last_row_of_the_frame(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Parity over time: at each of two moments the online store has what the training frame had last, and nothing newer."""
    settings = FeastSpec()
    if kind == "redis":
        settings = FeastSpec(online_store="redis", redis=f"{request.getfixturevalue('redis_address')},db=7")
    sampled = 10_000
    ingested = timelines(tmp_path, sampled)
    repository = FeatureRepository(DATASET, tmp_path / "feast", settings)
    for as_of in (moment(20), moment(35.5)):
        # The last row of each key is of the moment itself.
        log = pa.table(
            {
                "row_id": pa.array(range(sampled)),
                "label": pa.array([0] * sampled, pa.int8()),
                "event_timestamp": pa.array([as_of] * sampled, MOMENT),
                "user_id": pa.array([f"user-{number}" for number in range(sampled)]),
                "item_id": pa.array([f"item-{number}" for number in range(sampled)]),
                "device": pa.nulls(sampled, pa.string()),
            }
        )
        pq.write_table(log, tmp_path / "log.parquet")
        with repository.published(ingested, as_of) as published, Progress("join", unit="rows") as progress:
            write_frame(
                published.store,
                published.service,
                DATASET,
                tmp_path / "log.parquet",
                tmp_path / "frame.parquet",
                progress,
            )
        frame = pq.read_table(tmp_path / "frame.parquet")
        online = OnlineFeatures.of_dataset(DATASET, tmp_path / "feast", settings)
        items = online.items(frame["item_id"].to_pylist())
        for name in items.column_names:
            assert items[name].to_pylist() == frame[name].to_pylist(), name
        assert 0 < items["price"].null_count < sampled
        for row in frame.select(["user_id", "age", "city"]).to_pylist():
            assert online.user(row["user_id"]) == row
