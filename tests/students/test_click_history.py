"""Histories: equal to a plain loop over any timeline, and never a look ahead."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elec.students import history
from elec.students.history import SEEN, ClickLog, Clicks, mean_vectors, moments

START = datetime(2025, 1, 1, tzinfo=UTC)
USERS = pa.array(["a", "b", "c"])
# (user, time, label, item, split): few values each, so that ties are everywhere, and splits may overlap in time.
ROW = st.tuples(
    st.integers(0, 2), st.integers(0, 6), st.integers(0, 1), st.integers(0, 9), st.sampled_from(["train", "valid", "test"])
)


def times(hours: list[int]) -> pa.Array:
    return pa.array([START + timedelta(hours=hour) for hour in hours], pa.timestamp("us", tz="UTC"))


def log_of(rows: list[tuple[int, int, int, int, str]]) -> ClickLog:
    """The rows of each split in batches of three."""
    log = ClickLog(USERS)
    for split in SEEN:
        mine = [row for row in rows if row[4] == split]
        for start in range(0, len(mine), 3):
            user, hour, label, item, _ = (list(column) for column in zip(*mine[start : start + 3], strict=True))
            log.add(split, USERS.take(pa.array(user)), times(hour), pa.array(label, pa.int8()), np.array(item, np.int32))
    return log


def windows_of(log: ClickLog, split: str, user: list[int], hour: list[int], last: int) -> list[list[int]]:
    clicks = log.seen_by(split)
    begin, end = clicks.windows(np.array(user), moments(times(hour)), last)
    return [clicks.item_C[start:stop].tolist() for start, stop in zip(begin, end, strict=True)]


@settings(deadline=None, max_examples=200)
@given(st.lists(ROW, max_size=40), st.integers(1, 5))
def test_a_history_is_what_a_plain_loop_finds(rows: list[tuple[int, int, int, int, str]], last: int) -> None:
    log = log_of(rows)
    for split, seen in SEEN.items():
        mine = [row for row in rows if row[4] == split]
        found = windows_of(log, split, [row[0] for row in mine], [row[1] for row in mine], last)
        for row, items in zip(mine, found, strict=True):
            # In order of time; clicks of one moment in the order of the splits, then of reading.
            before = [
                (other[1], SEEN["test"].index(other[4]), place, other[3])
                for place, other in enumerate(rows)
                if other[4] in seen and other[0] == row[0] and other[2] == 1 and other[1] < row[1]
            ]
            assert items == [click[3] for click in sorted(before)][-last:]


@settings(deadline=None, max_examples=100)
@given(st.lists(ROW, min_size=1, max_size=30), st.data())
def test_nothing_at_or_after_the_event_changes_a_history(
    rows: list[tuple[int, int, int, int, str]], data: st.DataObject
) -> None:
    at = data.draw(st.sampled_from(rows))
    flipped = [(user, hour, 1 - label if hour >= at[1] else label, item, split) for user, hour, label, item, split in rows]
    before, after = (windows_of(log_of(found), at[4], [at[0]], [at[1]], 50) for found in (rows, flipped))
    assert before == after


def test_the_row_itself_and_its_moment_stay_out() -> None:
    rows = [(0, 1, 1, 5, "train"), (0, 2, 1, 6, "train"), (0, 2, 1, 7, "train"), (0, 3, 1, 8, "train")]
    assert windows_of(log_of(rows), "train", [0, 0, 0, 0], [1, 2, 2, 3], 50) == [[], [5], [5], [5, 6, 7]]


def test_valid_and_test_are_frozen_at_their_start() -> None:
    rows = [(0, 1, 1, 1, "train"), (0, 2, 1, 2, "valid"), (0, 3, 1, 3, "valid"), (0, 4, 1, 4, "test"), (0, 5, 1, 5, "test")]
    log = log_of(rows)
    assert windows_of(log, "valid", [0, 0], [2, 3], 50) == [[1], [1]]
    assert windows_of(log, "test", [0, 0], [4, 5], 50) == [[1, 2, 3], [1, 2, 3]]
    assert windows_of(log, "test", [0], [5], 2) == [[2, 3]]


def test_a_user_without_clicks_has_no_history() -> None:
    rows = [(1, 1, 0, 1, "train"), (0, 1, 1, 2, "train"), (2, 1, 1, 3, "train")]
    assert windows_of(log_of(rows), "test", [1, 0, 2], [9, 9, 9], 50) == [[], [2], [3]]
    assert windows_of(ClickLog(USERS), "train", [1], [9], 50) == [[]]


def test_latest_is_as_of_after_the_last_click() -> None:
    rows = [(0, 1, 1, 1, "train"), (0, 7, 1, 2, "test"), (1, 3, 0, 3, "train"), (2, 5, 1, 4, "valid")]
    clicks = log_of(rows).of(list(SEEN))
    begin, end, last = clicks.latest(np.arange(3), 1)
    assert [clicks.item_C[start:stop].tolist() for start, stop in zip(begin, end, strict=True)] == [[2], [], [4]]
    assert last[[0, 2]].tolist() == moments(times([7, 5])).tolist()


@pytest.mark.parametrize("at_once", [1, 7, 100_000])
def test_means_are_those_of_the_windows_in_chunks_of_any_size(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(history, "_CLICKS_AT_ONCE", at_once)
    draw = np.random.default_rng(0)
    clicks = Clicks.of(draw.integers(20, size=500), draw.integers(50, size=500), draw.integers(30, size=500))
    vectors = draw.normal(size=(30, 4)).astype(np.float32)
    begin, end = clicks.windows(draw.integers(25, size=300), draw.integers(60, size=300), 6)
    found = mean_vectors(clicks, vectors, begin, end)
    assert found.dtype == np.float32
    for row in range(300):
        window = vectors[clicks.item_C[begin[row] : end[row]]].astype(np.float64)
        expected = window.mean(axis=0) if len(window) else np.zeros(4)
        np.testing.assert_allclose(found[row], expected, atol=1e-6)
    assert ((end == begin) == ~found.any(axis=1)).all()


def test_many_users_and_times_do_not_overflow() -> None:
    user = np.array([2**31 - 1, 0, 2**31 - 1])
    time = np.array([2**52, -(2**52), 2**52 + 1])
    clicks = Clicks.of(user, time, np.array([1, 2, 3]))
    begin, end = clicks.windows(user, time + 1, 10)
    assert [clicks.item_C[start:stop].tolist() for start, stop in zip(begin, end, strict=True)] == [[1], [2], [1, 3]]
