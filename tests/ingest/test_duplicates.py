"""Duplicates within a file and across files: what a loop over all rows says, whatever the files' times are."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elec.ingest.duplicates import Duplicates
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
