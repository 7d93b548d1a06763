"""The training frame: point-in-time correct, every row accounted for, and the same from every join."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ingested_folder import DATASET, MOMENT, START, moment, write_entities, write_ingested, write_log

from elec.errors import RunFailedError
from elec.features.definitions import definitions, project_name
from elec.features.frame import frame_schema, write_frame
from elec.features.repository import FeatureRepository
from elec.features.store_config import feature_store_settings, open_store
from elec.progress import Progress
from elec.spec import Entity
from elec.spec.run import FeastSpec

#: How old a user's row may be, in the second of the stores; an item's may have any age in both.
TTL = timedelta(hours=2)

START_US = int(START.timestamp()) * 1_000_000

#: How a frame is made: with the views in memory, by DuckDB's ASOF JOIN, by Feast.
JOINS: dict[str, dict[str, Any]] = {"held": {}, "asof": {"most_bytes_held": 0}, "feast": {"join": "feast"}}


class Joined:
    """A Feast project on which many timelines are tried, once without a time to live, once with one for users."""

    def __init__(self, folder: Path, repository: FeatureRepository, stores: dict[timedelta, Any]) -> None:
        self.folder = folder
        self.repository = repository
        self.stores = stores

    def publish(self, users: list[dict[str, Any]], items: list[dict[str, Any]], log: list[dict[str, Any]]) -> None:
        write_entities(self.folder / "users.parquet", Entity.USER, users)
        write_entities(self.folder / "items.parquet", Entity.ITEM, items)
        write_log(self.folder / "log.parquet", log)
        scratch = self.folder / "scratch"
        scratch.mkdir(exist_ok=True)
        self.repository.publish_rows(self.repository.versions(), self.folder, scratch)

    def frame(self, join: str, *, ttl: timedelta = timedelta(0), chunk_rows: int = 200_000) -> pa.Table:
        target = self.folder / f"{join}.parquet"
        with Progress("join", unit="rows") as progress:
            count = write_frame(
                self.stores[ttl],
                "small_shop_v1",
                DATASET,
                self.folder / "log.parquet",
                target,
                progress,
                **JOINS[join],
                chunk_rows=chunk_rows,
            )
        table = pq.read_table(target)
        assert table.schema == frame_schema(DATASET)
        assert count == table.num_rows
        return table


@pytest.fixture(scope="module")
def joined(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Joined]:
    folder = tmp_path_factory.mktemp("joined")
    repository = FeatureRepository(DATASET, folder / "feast", FeastSpec())
    settings = feature_store_settings(
        project_name(DATASET.name), folder / "feast", FeastSpec(), registry=str(folder / "with-ttl.db")
    )
    objects = definitions(DATASET, repository.versions(), repository.data_folder)
    for found in objects:
        if found.name == "users":
            found.ttl = TTL
    with repository.published(write_ingested(folder / "ingested"), moment(1000)) as published:
        with_ttl = open_store(settings)
        with_ttl.apply(objects)
        yield Joined(folder, repository, {timedelta(0): published.store, TTL: with_ttl})


# Few moments, a microsecond apart and around them, so that ties and near misses are common.
MOMENTS = st.builds(
    lambda hours, micros: START + timedelta(hours=hours, microseconds=micros), st.integers(0, 5), st.integers(-1, 1)
)
KEYS = st.sampled_from(["a", "b", "c", "11", "1"])
USERS = st.lists(st.tuples(KEYS, MOMENTS, st.booleans()), max_size=14)
ITEMS = st.lists(st.tuples(KEYS, MOMENTS, st.booleans()), max_size=14)
LOG = st.lists(st.tuples(KEYS | st.just("unknown") | st.none(), KEYS | st.just("unknown"), MOMENTS), min_size=1, max_size=25)


def newest(rows: list[dict[str, Any]], key: str, value: str | None, at: datetime) -> dict[str, Any] | None:
    """The reference: of the rows of a key that are not later, the newest, of equal ones the last in the file."""
    found = None
    for row in rows:
        if (
            row[key] == value
            and row["event_timestamp"] <= at
            and (found is None or row["event_timestamp"] >= found["event_timestamp"])
        ):
            found = row
    return found


@given(
    users=USERS,
    items=ITEMS,
    log=LOG,
    ttl=st.sampled_from([timedelta(0), TTL]),
    chunk_rows=st.sampled_from([6, 1000]),
    order=st.none() | st.randoms(use_true_random=False),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_all_joins_give_the_values_of_the_moment_and_none_from_later(
    joined: Joined, users: list[Any], items: list[Any], log: list[Any], ttl: timedelta, chunk_rows: int, order: Any
) -> None:
    # Each value tells which row it is from; some are null, and a null is newer than an older value.
    user_rows = [
        {"user_id": key, "event_timestamp": at, "age": float(number), "city": None if empty else f"{number}"}
        for number, (key, at, empty) in enumerate(users)
    ]
    item_rows = [
        {
            "item_id": key,
            "event_timestamp": at,
            "title": f"{number}",
            "tags": None if empty else [f"{number}", "x"],
            "price": number,
        }
        for number, (key, at, empty) in enumerate(items)
    ]
    log_rows = [
        {"row_id": number, "label": number % 2, "event_timestamp": at, "user_id": user, "item_id": item, "device": f"d{number}"}
        for number, (user, item, at) in enumerate(log)
    ]
    shuffled = list(log_rows)
    if order is not None:
        order.shuffle(shuffled)
    joined.publish(user_rows, item_rows, shuffled)
    fast, asof, feast = (joined.frame(join, ttl=ttl, chunk_rows=chunk_rows) for join in JOINS)
    assert fast.equals(feast)
    assert asof.equals(feast)
    assert fast["row_id"].to_pylist() == list(range(len(log_rows)))
    for row, event in zip(fast.to_pylist(), log_rows, strict=True):
        at = event["event_timestamp"]
        user = newest(user_rows, "user_id", event["user_id"], at) or {}
        if user and ttl and at - user["event_timestamp"] > ttl:
            user = {}
        item = newest(item_rows, "item_id", event["item_id"], at) or {}
        assert row == event | {
            "age": user.get("age"),
            "city": user.get("city"),
            "title": item.get("title"),
            "tags": item.get("tags"),
            "price": item.get("price"),
        }


def test_a_value_at_the_end_of_its_time_to_live_counts_and_one_after_it_does_not(joined: Joined) -> None:
    user = {"user_id": "a", "event_timestamp": moment(0), "age": 1.0, "city": "x"}
    ends = moment(0) + TTL
    log = [
        {"row_id": number, "label": 0, "event_timestamp": at, "user_id": "a", "item_id": "b", "device": None}
        for number, at in enumerate((ends, ends + timedelta(microseconds=1)))
    ]
    joined.publish([user], [], log)
    for join in JOINS:
        assert joined.frame(join, ttl=TTL)["age"].to_pylist() == [1.0, None], join


@pytest.mark.parametrize("shuffled", [True, False])
def test_many_rows_are_the_same_from_all_joins(joined: Joined, shuffled: bool) -> None:
    """More rows than one batch of the fast join, keys that the views do not know, many rows of one key and moment."""
    draw = np.random.default_rng(3)
    users, items = (
        [
            {key: f"{number}", "event_timestamp": moment(float(draw.integers(0, 40))), **values}
            for number in draw.integers(0, 300, 900)
        ]
        for key, values in (("user_id", {"age": 1.0, "city": "x"}), ("item_id", {"title": "t", "tags": ["a"], "price": 2.0}))
    )
    for number, row in enumerate(users):
        row["age"] = float(number)
    for number, row in enumerate(items):
        row["price"] = float(number)
    joined.publish(users, items, [])
    rows = 130_000
    log = pa.table(
        {
            "row_id": draw.permutation(rows) if shuffled else np.arange(rows),
            "label": pa.array(draw.integers(0, 2, rows), pa.int8()),
            "event_timestamp": pa.array(
                [START_US + int(hours) * 3_600_000_000 for hours in draw.integers(0, 40, rows)], MOMENT
            ),
            "user_id": pa.array(draw.integers(0, 320, rows)).cast(pa.string()),
            "item_id": pa.array(draw.integers(0, 320, rows)).cast(pa.string()),
            "device": pa.nulls(rows, pa.string()),
        }
    )
    # More than one row group, with a dictionary each.
    pq.write_table(log, joined.folder / "log.parquet", row_group_size=50_000)
    fast, asof, feast = (joined.frame(join) for join in JOINS)
    assert fast.num_rows == rows
    assert fast.equals(feast)
    assert asof.equals(feast)
    assert 0 < fast["age"].null_count < rows


def test_equal_rows_stay_as_many_as_they_are(joined: Joined) -> None:
    users = [{"user_id": "a", "event_timestamp": moment(0), "age": 1.0, "city": "x"}]
    log = [
        {"row_id": number, "label": 0, "event_timestamp": moment(1), "user_id": "a", "item_id": "none", "device": None}
        for number in range(50)
    ]
    joined.publish(users, [], log)
    for join in JOINS:
        frame = joined.frame(join, chunk_rows=8)
        assert frame.num_rows == 50
        assert set(frame["age"].to_pylist()) == {1.0}
        assert set(frame["price"].to_pylist()) == {None}


def test_nothing_stays_in_memory_of_what_feast_joined(joined: Joined) -> None:
    log = [
        {"row_id": number, "label": 0, "event_timestamp": moment(1), "user_id": "a", "item_id": "b", "device": None}
        for number in range(20)
    ]
    joined.publish([], [], log)
    kept = []
    for _ in range(2):
        joined.frame("feast", chunk_rows=6)
        kept.append(ibis.get_backend().con.execute("SELECT count(*) FROM duckdb_views() WHERE NOT internal").fetchone())
    assert kept[0] == kept[1]


def test_a_row_that_is_there_twice_stops_the_run(joined: Joined) -> None:
    log = [
        {"row_id": 7, "label": 0, "event_timestamp": moment(1), "user_id": "a", "item_id": "b", "device": None}
        for _ in range(2)
    ]
    joined.publish([], [], log)
    for join in JOINS:
        with pytest.raises(RunFailedError, match="row_id is in the training frame twice"):
            joined.frame(join)


def test_rows_that_the_join_loses_stop_the_run(joined: Joined, monkeypatch: pytest.MonkeyPatch) -> None:
    class Lossy:
        def __init__(self, job: Any) -> None:
            self.job = job

        def to_arrow(self) -> Any:
            return self.job.to_arrow().slice(1)

    store = joined.stores[timedelta(0)]
    whole = store.get_historical_features
    monkeypatch.setattr(store, "get_historical_features", lambda **asked: Lossy(whole(**asked)))
    log = [
        {"row_id": number, "label": 0, "event_timestamp": moment(1), "user_id": "a", "item_id": "b", "device": None}
        for number in range(3)
    ]
    joined.publish([], [], log)
    with pytest.raises(RunFailedError, match="2 rows for 3"):
        joined.frame("feast")
