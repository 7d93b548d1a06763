"""The training frame: point-in-time correct, and every row accounted for."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ingested_folder import DATASET, START, moment, write_entities, write_ingested, write_log

from elec.errors import RunFailedError
from elec.features.frame import frame_schema, write_frame
from elec.features.repository import FeatureRepository
from elec.progress import Progress
from elec.spec import Entity
from elec.spec.run import FeastSpec


class Joined:
    """A Feast project on which many timelines are tried."""

    def __init__(self, folder: Path, repository: FeatureRepository, store: Any) -> None:
        self.folder = folder
        self.repository = repository
        self.store = store

    def frame(
        self, users: list[dict[str, Any]], items: list[dict[str, Any]], log: list[dict[str, Any]], chunk_rows: int = 200_000
    ) -> list[dict[str, Any]]:
        write_entities(self.folder / "users.parquet", Entity.USER, users)
        write_entities(self.folder / "items.parquet", Entity.ITEM, items)
        write_log(self.folder / "log.parquet", log)
        scratch = self.folder / "scratch"
        scratch.mkdir(exist_ok=True)
        self.repository.publish_rows(self.folder, scratch)
        target = self.folder / "frame.parquet"
        with Progress("join", unit="rows") as progress:
            count = write_frame(self.store, DATASET, self.folder / "log.parquet", target, progress, chunk_rows=chunk_rows)
        table = pq.read_table(target)
        assert table.schema == frame_schema(DATASET)
        assert count == table.num_rows
        rows: list[dict[str, Any]] = table.to_pylist()
        return rows


@pytest.fixture(scope="module")
def joined(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Joined]:
    folder = tmp_path_factory.mktemp("joined")
    repository = FeatureRepository(DATASET, folder / "feast", FeastSpec())
    with repository.published(write_ingested(folder / "ingested"), moment(1000)) as published:
        yield Joined(folder, repository, published.store)


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


@given(users=USERS, items=ITEMS, log=LOG, chunk_rows=st.sampled_from([6, 1000]), order=st.randoms(use_true_random=False))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_no_feature_from_after_the_event_reaches_a_row(
    joined: Joined, users: list[Any], items: list[Any], log: list[Any], chunk_rows: int, order: Any
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
    order.shuffle(shuffled)
    frame = joined.frame(user_rows, item_rows, shuffled, chunk_rows)
    assert [row["row_id"] for row in frame] == list(range(len(log_rows)))
    for row, event in zip(frame, log_rows, strict=True):
        at = event["event_timestamp"]
        user = newest(user_rows, "user_id", event["user_id"], at) or {}
        item = newest(item_rows, "item_id", event["item_id"], at) or {}
        assert row == event | {
            "age": user.get("age"),
            "city": user.get("city"),
            "title": item.get("title"),
            "tags": item.get("tags"),
            "price": item.get("price"),
        }


def test_equal_rows_stay_as_many_as_they_are(joined: Joined) -> None:
    users = [{"user_id": "a", "event_timestamp": moment(0), "age": 1.0, "city": "x"}]
    log = [
        {"row_id": number, "label": 0, "event_timestamp": moment(1), "user_id": "a", "item_id": "none", "device": None}
        for number in range(50)
    ]
    frame = joined.frame(users, [], log, chunk_rows=8)
    assert len(frame) == 50
    assert {row["age"] for row in frame} == {1.0}
    assert {row["price"] for row in frame} == {None}


def test_rows_that_the_join_loses_stop_the_run(joined: Joined, monkeypatch: pytest.MonkeyPatch) -> None:
    class Lossy:
        def __init__(self, job: Any) -> None:
            self.job = job

        def to_arrow(self) -> Any:
            return self.job.to_arrow().slice(1)

    whole = joined.store.get_historical_features
    monkeypatch.setattr(joined.store, "get_historical_features", lambda **asked: Lossy(whole(**asked)))
    log = [
        {"row_id": number, "label": 0, "event_timestamp": moment(1), "user_id": "a", "item_id": "b", "device": None}
        for number in range(3)
    ]
    with pytest.raises(RunFailedError, match="2 rows for 3"):
        joined.frame([], [], log)
