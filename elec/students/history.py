"""What a user clicked before: point in time, for all rows at once.

A history is what the online store would have known. A train row sees the clicks strictly before its own moment, so neither
itself nor any other event of that moment. A valid row sees train clicks only, a test row train and valid clicks: their
history is frozen at the start of their window, as the store's is between two runs. And no row of any split sees a click at
or after its own moment, however the rows were split.

Clicks lie sorted by user and time in one array, so a history is a window of it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

Integers = np.ndarray[Any, np.dtype[np.int64]]
Floats = np.ndarray[Any, np.dtype[np.float32]]

#: The splits whose clicks a row of a split may see.
SEEN: dict[str, tuple[str, ...]] = {"train": ("train",), "valid": ("train",), "test": ("train", "valid")}

_ROWS_AT_ONCE = 262_144
# Of all windows together, in one product: 16 MB of places and numbers.
_CLICKS_AT_ONCE = 1_048_576


@dataclass(frozen=True)
class Clicks:
    """The clicks of some splits, sorted by user, time and order of reading.

    Attributes:
        order_C: int64, rising: the user's number * (T + 1) + the rank of the click's time among all click times.
        item_C: int32, what was clicked: any number that the caller gave it.
        times_T: int64, the distinct click times, sorted; microseconds since 1970.
    """

    order_C: Integers
    item_C: np.ndarray[Any, np.dtype[np.int32]]
    times_T: Integers

    @classmethod
    def of(cls, user_C: Integers, time_C: Integers, item_C: np.ndarray[Any, Any]) -> "Clicks":
        """Sorts clicks.

        Args:
            user_C: int64 numbers of users, from 0.
            time_C: int64 microseconds since 1970.
            item_C: What was clicked, numbers of int32.
        """
        times_T, rank_C = np.unique(time_C, return_inverse=True)
        # One number to search for; it stays below 2^63 with 2^31 users and 2^31 distinct times.
        order_C = user_C * (len(times_T) + 1) + rank_C
        sorting = np.argsort(order_C, kind="stable")
        return cls(order_C[sorting], np.asarray(item_C, np.int32)[sorting], times_T)

    def windows(self, user_N: Integers, time_N: Integers, history: int) -> tuple[Integers, Integers]:
        """Finds the last clicks of users strictly before moments.

        Args:
            user_N: int64 numbers of users; one without clicks has an empty window.
            time_N: int64 microseconds since 1970.
            history: Clicks at most.

        Returns:
            begin and end, int64 [N] each: the clicks are `item_C[begin:end]`, oldest first.
        """
        width = len(self.times_T) + 1
        # As many distinct click times lie before the moment; a click at the moment itself has that rank, and stays out.
        rank_N = np.searchsorted(self.times_T, time_N, side="left")
        end_N = np.searchsorted(self.order_C, user_N * width + rank_N, side="left")
        first_N = np.searchsorted(self.order_C, user_N * width, side="left")
        return np.maximum(first_N, end_N - history), end_N

    def latest(self, user_N: Integers, history: int) -> tuple[Integers, Integers, Integers]:
        """Finds the last clicks of users, as of after all of them.

        Args:
            user_N: int64 numbers of users.
            history: Clicks at most.

        Returns:
            begin and end as `windows` gives them, and the time of the last click (0 for a user without any), int64 [N] each.
        """
        width = len(self.times_T) + 1
        end_N = np.searchsorted(self.order_C, (user_N + 1) * width, side="left")
        first_N = np.searchsorted(self.order_C, user_N * width, side="left")
        last_N = np.zeros(len(user_N), np.int64)
        some = end_N > first_N
        last_N[some] = self.times_T[self.order_C[end_N[some] - 1] % width]
        return np.maximum(first_N, end_N - history), end_N, last_N


def mean_vectors(clicks: Clicks, vectors_IV: Floats, begin_N: Integers, end_N: Integers) -> Floats:
    """The mean vector of the clicks in each window.

    Args:
        clicks: Their `item_C` are rows of `vectors_IV`.
        vectors_IV: float32, the vectors of what can be clicked.
        begin_N: int64, from `windows` or `latest`.
        end_N: int64.

    Returns:
        float32 [N, V]; zeros for an empty window.
    """
    from scipy.sparse import csr_array

    mean_NV = np.empty((len(begin_N), vectors_IV.shape[1]), np.float32)
    length_N = end_N - begin_N
    offsets = np.concatenate([[0], np.cumsum(length_N)])
    start = 0
    while start < len(begin_N):
        until = np.searchsorted(offsets, offsets[start] + _CLICKS_AT_ONCE, side="right")
        part = slice(start, max(int(until) - 1, start + 1))
        inner = offsets[part.start : part.stop + 1] - offsets[part.start]
        place = np.repeat(begin_N[part] - inner[:-1], length_N[part]) + np.arange(inner[-1])
        # A sparse matrix of ones: up to some 200 clicks a window this is several times as fast as differences of prefix sums.
        ones = np.ones(len(place), np.float32)
        windows = csr_array((ones, clicks.item_C[place], inner), shape=(len(inner) - 1, len(vectors_IV)))
        mean_NV[part] = (windows @ vectors_IV) / np.maximum(length_N[part], 1)[:, None]
        start = part.stop
    return mean_NV


def distinct_users(frames: Sequence[Path], key: str) -> pa.StringArray:
    """The distinct users of frames; a user's number is the position in it.

    Args:
        frames: Parquet files of training frames.
        key: The user's key column.
    """
    found = pa.chunked_array([], pa.string())
    for frame in frames:
        for batch in pq.ParquetFile(frame).iter_batches(_ROWS_AT_ONCE, columns=[key]):
            found = pa.chunked_array([*found.chunks, pc.unique(batch.column(key))], pa.string())
        found = pa.chunked_array([pc.unique(found)], pa.string())
    return found.combine_chunks()


def user_numbers(users: pa.StringArray, keys: pa.Array) -> Integers:
    """The numbers of N users, int64 [N]."""
    return np.asarray(pc.index_in(keys, value_set=users).to_numpy(zero_copy_only=False), np.int64)


def moments(timestamps: pa.Array) -> Integers:
    """Timestamps as int64 microseconds since 1970 [N]."""
    return np.asarray(pc.cast(pc.cast(timestamps, pa.timestamp("us", tz="UTC")), pa.int64()).to_numpy(), np.int64)


class ClickLog:
    """Gathers clicks batch by batch, and gives those that rows of a split may see.

    Args:
        users: From `distinct_users`.
    """

    def __init__(self, users: pa.StringArray) -> None:
        self._users = users
        self._parts: dict[str, list[tuple[Integers, Integers, np.ndarray[Any, Any]]]] = {}

    def add(self, split: str, keys: pa.Array, timestamps: pa.Array, label: pa.Array, item_N: np.ndarray[Any, Any]) -> None:
        """Takes in N rows of a split; only its clicks are kept, and of them those of an item with a number.

        Args:
            split: `train`, `valid` or `test`.
            keys: The users' keys.
            timestamps: Of the events.
            label: 1 is a click.
            item_N: What was shown, numbers of int32; below 0 is nothing.
        """
        clicked = (np.asarray(label) == 1) & (item_N >= 0)
        kept = pa.array(clicked)
        part = (user_numbers(self._users, keys.filter(kept)), moments(timestamps.filter(kept)), item_N[clicked])
        self._parts.setdefault(split, []).append(part)

    def seen_by(self, split: str) -> Clicks:
        """The clicks that the rows of a split may see; each row sees those before its own moment."""
        return self.of(SEEN[split])

    def of(self, splits: Sequence[str]) -> Clicks:
        """All clicks of some splits."""
        parts = [part for split in splits for part in self._parts.get(split, [])]
        if not parts:
            nothing = np.empty(0, np.int64)
            return Clicks.of(nothing, nothing, nothing)
        user, time, item = (np.concatenate(column) for column in zip(*parts, strict=True))
        return Clicks.of(user, time, item)


def read_clicks(
    frames: Mapping[str, Path],
    user: str,
    users: pa.StringArray,
    columns: Sequence[str],
    number: Callable[[str, pa.RecordBatch], np.ndarray[Any, Any]],
) -> ClickLog:
    """Reads the clicks of frames, a bounded number of rows at a time.

    Args:
        frames: Parquet files by split.
        user: The user's key column.
        users: From `distinct_users`.
        columns: What `number` reads.
        number: Gives each row of a batch of a split the number of what was shown, int32 [n]. Batches come in order.
    """
    log = ClickLog(users)
    read = list(dict.fromkeys(["label", "event_timestamp", user, *columns]))
    for split, frame in frames.items():
        for batch in pq.ParquetFile(frame).iter_batches(_ROWS_AT_ONCE, columns=read):
            keys, times, label = (batch.column(name) for name in (user, "event_timestamp", "label"))
            log.add(split, keys, times, label, number(split, batch))
    return log
