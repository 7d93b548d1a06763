"""Aggregates by pieces of the log and ranges of keys: whatever their sizes, the rows are the same."""

from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from aggregated import LATE, write
from hypothesis import given, settings
from hypothesis import strategies as st
from ingested_folder import START, moment

from elec.engine import LocalEngine
from elec.features.aggregates import impressions
from elec.features.aggregates.impressions import Key, Run
from elec.features.aggregates.ranges import KeyRange, key_ranges
from elec.features.aggregates.rows import Sizes, aggregate_rows
from elec.features.aggregates.sums import _asked
from elec.features.engine import duckdb_connection

TEXT = st.text("ab\0é'\U0001f600", max_size=3)
KEYS = st.integers(1, 3).flatmap(
    lambda width: st.lists(st.lists(st.tuples(*[TEXT] * width), max_size=12).map(sorted), min_size=1, max_size=4)
)


def written(folder: Path, name: str, keys: list[Key], size: int) -> Run:
    """A run of these keys, so many a batch."""
    parts = [keys[start : start + size] for start in range(0, len(keys), size)]
    batches = [
        pa.record_batch([list(column) for column in zip(*part, strict=True)], [f"key_{place}" for place in range(len(part[0]))])
        for part in parts
    ]
    if batches:
        with pa.OSFile(str(folder / name), "wb") as sink, pa.ipc.new_file(sink, batches[0].schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
    return Run(str(folder / name), tuple(part[0] for part in parts), tuple(map(len, parts)), "")


def within(keys: KeyRange, found: list[Key]) -> list[Key]:
    """Those of the keys that DuckDB takes to be in a range."""
    names = [f"key_{place}" for place in range(len(found[0]))] if found else []
    if not found:
        return []
    asked, parameters = _asked(names, keys)
    table = pa.table([list(column) for column in zip(*found, strict=True)], names)
    with duckdb_connection() as connection:
        connection.register("found", table)
        return [tuple(row) for row in connection.execute(f"SELECT * FROM found WHERE {asked}", parameters).fetchall()]


@given(keys=KEYS, size=st.integers(1, 4), most=st.integers(1, 12))
@settings(max_examples=40, deadline=None)
def test_each_key_is_in_one_range(
    tmp_path_factory: pytest.TempPathFactory, keys: list[list[Key]], size: int, most: int
) -> None:
    folder = tmp_path_factory.mktemp("runs")
    runs = [written(folder, f"{number}.arrow", some, size) for number, some in enumerate(keys)]
    ranges = key_ranges(runs, most)
    assert ranges[0].least is None
    assert ranges[-1].end is None
    assert all(before.end == after.least is not None for before, after in pairwise(ranges))
    found = []
    for part in ranges:
        read = [tuple(row.values()) for batch in part.read() for row in batch.to_pylist()]
        mine = within(part, read)
        found.append(sorted(mine))
        # What begins in the range, and of every run the batch before; a key that is there more often stays whole.
        assert len(read) <= max(most, size) + size * len(runs) or len(set(mine)) < len(mine)
    everything = sorted(key for some in keys for key in some)
    assert [key for some in found for key in some] == everything
    assert all(not (set(one) & set(other)) for one, other in pairwise(found))


class Cutting(LocalEngine):
    """In this process, but as if there were workers."""

    pieces = 4


def test_sizes_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(5)
    minutes = np.sort(draw.integers(0, 40 * 60, 9_000))
    log = [
        {
            "event_timestamp": START + timedelta(minutes=int(minute)),
            "label": int(draw.random() < 0.2),
            "user_id": None if draw.random() < 0.01 else f"u{int(300 * draw.random() ** 2)}",
            "item_id": f"i{draw.integers(0, 50)}",
            "device": ["tv", None, "é 'quoted'"][draw.integers(0, 3)],
        }
        for minute in minutes
    ]
    users = [{"user_id": f"u{n}", "event_timestamp": moment(n % 30), "city": f"c{n % 7}"} for n in range(250)]
    items = [{"item_id": f"i{n % 50}", "event_timestamp": moment(n / 7), "category": f"k{n % 11}"} for n in range(200)]
    write(tmp_path, log, users, items, LATE)
    for split in ("train", "valid", "test"):
        pq.write_table(pq.read_table(tmp_path / f"{split}.parquet"), tmp_path / f"{split}.parquet", row_group_size=400)
    monkeypatch.setattr(impressions, "BATCH_ROWS", 2_048)
    ways = {
        "whole": (LocalEngine(), Sizes()),
        "parts": (LocalEngine(), Sizes(piece_rows=900, range_rows=3_000)),
        "cut": (Cutting(), Sizes(range_rows=2_000)),
    }
    found = {}
    for name, (engine, sizes) in ways.items():
        (tmp_path / name).mkdir()
        views = aggregate_rows(LATE, tmp_path, tmp_path / name, moment(35), engine, sizes)
        found[name] = {view: pq.read_table(file) for view, file in views.items()}
        assert sorted(path.name for path in (tmp_path / name / "aggregates").iterdir()) == sorted(
            f"{view}.parquet" for view in views
        )
    assert len(found["whole"]) == len(LATE.aggregates)
    assert sum(len(rows) for rows in found["whole"].values()) > 10_000
    assert found["parts"] == found["whole"]
    assert found["cut"] == found["whole"]
