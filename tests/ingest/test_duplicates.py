"""Duplicates within a file and across files: what a loop over all rows says, whatever the files' times are."""

import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elec.ingest.duplicates import Duplicates
from elec.ingest.splits import identities
from elec.ingest.sql import Sql
from elec.ingest.times import Times
from elec.ingest.window import Window
from tests.ingest.made_segments import made_segments


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 2)), min_size=1, max_size=120),
    ordered=st.booleans(),
    cuts=st.lists(st.integers(0, 120), max_size=4),
    since=st.integers(-1, 25),
    last=st.integers(0, 40),
    parts=st.booleans(),
)
def test_they_are_what_a_loop_finds(
    rows: list[tuple[int, int]],
    ordered: bool,
    cuts: list[int],
    since: int,
    last: int,
    parts: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    rows = sorted(rows) if ordered else rows
    times = [time for time, _ in rows]
    folder = tmp_path_factory.mktemp("duplicates")
    window = Window(as_of=last, now=100, since=since)
    expected, met = [], set()
    for number, row in enumerate(rows):
        if since < row[0] <= last:
            expected += [number] if row in met else []
            met.add(row)
    with pytest.MonkeyPatch.context() as patch:
        if parts:
            patch.setattr("elec.ingest.duplicates._HASHES", 7)
            patch.setattr("elec.ingest.duplicates._ROWS", 5)
            patch.setattr("elec.ingest.segment._PIECE", 3)
        segments = made_segments(folder, times, [3 * time + word for time, word in rows], cuts)
        kept = Duplicates(segments, window, drop=False, work=folder)
        dropped = Duplicates(segments, window, drop=True, work=folder)
        assert (kept.count, kept.dropped(np.arange(len(rows)))) == (len(expected), None)
        assert dropped.count == len(expected)
        assert dropped.ids().tolist() == expected
        left = sorted(times[number] for number in range(len(rows)) if since < times[number] <= last and number not in expected)
        if not left:
            return
        found = Times(segments, window, dropped)
        assert (found.total, found.first) == (len(left), left[0])
        for position, time in enumerate(left):
            assert found.at(position) == time
            assert found.before(time) == left.index(time)
            assert found.after(time) == min((other for other in left if other > time), default=None)


def test_equal_rows_take_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = 2_000_000
    for place in ("duplicates._HASHES", "duplicates._ROWS", "segment._PIECE"):
        monkeypatch.setattr(f"elec.ingest.{place}", 50_000)
    segments = made_segments(tmp_path, [5] * rows, [7] * (rows - 1) + [8], [rows // 2])
    assert [segment.meta.repeated for segment in segments] == [rows // 2 - 1, rows // 2 - 2]
    tracemalloc.start()
    duplicates = Duplicates(segments, Window(as_of=10, now=100), drop=False, work=tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert duplicates.count == rows - 2
    assert peak < 8 * rows / 2, "of 16 MB of hashes, much less than a half at once"


def test_lists_that_differ_are_no_duplicates(tmp_path: Path) -> None:
    lists = [None, [], [None], [None, None], ["NULL"], [""], ["", ""], ["a, b"], ["a", "b"], ["b", "a"], ["a", None], ["a"]]
    pairs = [None, {"x": None}, {"x": "NULL"}, {"x": "a"}]
    database = Sql(tmp_path)
    for column in (pa.array(lists), pa.array(pairs)):
        hashes = identities(pa.table({"value": pa.concat_arrays([column, column])}), database)
        assert len(set(hashes.tolist())) == len(column)
        assert (hashes[: len(column)] == hashes[len(column) :]).all()
    database.close()
