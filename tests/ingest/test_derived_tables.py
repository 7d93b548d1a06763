"""Tables of users and items that the log makes: what a loop over the rows says, and in little memory."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elec.errors import RunFailedError
from elec.ingest import ingest, making
from elec.ingest.sql import Sql, text
from elec.ingest.tables import derived_table
from elec.spec import DatasetSpec, Entity
from tests.ingest.made import AS_OF, NOW, made_rows, made_spec, write_csv

_FIELDS = [
    {"name": "age", "of": "user", "kind": "numeric"},
    {"name": "tags", "of": "user", "kind": "multivalued"},
    {"name": "city", "of": "user"},
]


def _spec() -> DatasetSpec:
    return made_spec("log.csv", fields=_FIELDS)


def _derived(folder: Path, rows: pa.Table) -> int:
    pq.write_table(rows, folder / "rows.parquet")
    database = Sql(folder)
    database.run(f"CREATE VIEW rows AS SELECT * FROM read_parquet({text(str(folder / 'rows.parquet'))})")
    try:
        return derived_table(database, _spec(), Entity.USER, folder / "users.parquet")
    finally:
        database.close()


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from("aäz"),
            st.integers(0, 6),
            st.sampled_from([None, 0.0, -0.0, 1.5]),
            st.sampled_from([None, [], ["x"], ["x", "y"], ["x", None]]),
            st.sampled_from([None, "", "B"]),
        ),
        min_size=1,
        max_size=40,
    ),
    batch=st.integers(1, 5),
)
def test_they_are_what_a_loop_finds(rows: list[tuple[Any, ...]], batch: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    users, times, ages, tags, cities = zip(*rows, strict=True)
    table = pa.table(
        {
            "row_id": pa.array(range(len(rows)), pa.int64()),
            "event_timestamp": pa.array(times, pa.int64()),
            "user": pa.array(users),
            "age": pa.array(ages, pa.float64()),
            "tags": pa.array(tags, pa.list_(pa.string())),
            "city": pa.array(cities, pa.string()),
        }
    )
    latest = {(user, time): values for user, time, *values in rows}
    expected: list[tuple[Any, ...]] = []
    for (user, time), values in sorted(latest.items(), key=lambda item: (item[0][0].encode(), item[0][1])):
        if not expected or expected[-1][0] != user or list(expected[-1][2:]) != values:
            expected.append((user, time, *values))
    folder = tmp_path_factory.mktemp("derived")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("elec.ingest.tables._BATCH_ROWS", batch)
        keys = _derived(folder, table)
    found = pq.read_table(folder / "users.parquet").to_pylist()
    moments = [(row["user"], int(row["event_timestamp"].timestamp() * 1e6 + 0.5)) for row in found]
    assert moments == [row[:2] for row in expected]
    assert [(row["age"], row["tags"], row["city"]) for row in found] == [row[2:] for row in expected]
    assert keys == len(set(users))


def test_a_log_that_changes_at_every_row_takes_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = 1_000_000
    draw = np.random.default_rng(3)
    user = np.minimum(draw.pareto(1.1, rows) * 2_000, 100_000).astype(np.int64)
    words = pa.array([f"a city of which the name is long {number}" for number in range(1_000)])
    table = pa.table(
        {
            "row_id": np.arange(rows),
            "event_timestamp": np.arange(rows),
            "user": pa.array(user).cast(pa.string()),
            "age": draw.random(rows),
            "tags": pa.array([["x"]]).take(pa.array(np.zeros(rows, np.int64))),
            "city": words.take(pa.array(draw.integers(0, 1_000, rows))),
        }
    )
    # Windows over these rows would need far more.
    monkeypatch.setattr("elec.ingest.sql._MEMORY", "100MB")
    assert _derived(tmp_path, table) == len(np.unique(user))
    assert pq.read_metadata(tmp_path / "users.parquet").num_rows == rows


def test_memory_that_does_not_suffice_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elec.ingest.sql._MEMORY", "2MB")
    log = write_csv(tmp_path / "log.csv", made_rows(20_000, age=lambda position, row: str(position)))
    with pytest.raises(RunFailedError, match=r"out: the memory does not suffice; nothing was left there, give the machine"):
        ingest(made_spec(log), tmp_path / "out", as_of=AS_OF, now=NOW)
    assert [found.name for found in tmp_path.iterdir()] == ["log.csv"]


@settings(max_examples=40, deadline=None)
@given(
    batches=st.lists(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 99)), max_size=12), min_size=1, max_size=8),
    waiting=st.integers(1, 20),
)
def test_keys_that_come_up_again_are_written_once(
    batches: list[list[tuple[str, int]]], waiting: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("firsts")
    schema = pa.schema([("user", pa.string()), ("event_timestamp", pa.int64())])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(making, "_WAITING", waiting)
        firsts = making.Firsts(folder / "users.parquet", schema)
        for batch in batches:
            firsts.add(pa.Table.from_pylist([{"user": user, "event_timestamp": time} for user, time in batch], schema))
        firsts.close()
    found = pq.read_table(folder / "users.parquet")
    rows = [row for batch in batches for row in batch]
    earliest = {user: min(time for other, time in rows if other == user) for user, _ in rows}
    grouped = found.group_by("user").aggregate([("event_timestamp", "min")]).to_pylist()
    assert {row["user"]: row["event_timestamp_min"] for row in grouped} == earliest
    # With room for all of them, none is there twice.
    assert len(found) == len(earliest) or len(earliest) > waiting
