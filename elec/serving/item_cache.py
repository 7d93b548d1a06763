"""What is kept of items between requests: bounded in number and in time.

The matrices have their full size from the start; memory is taken, a page at a time, only as rows are first written.
"""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from elec.errors import InputError

#: One matrix for each thing that is kept of an item, with the items in the same order.
Parts: TypeAlias = tuple[npt.NDArray[Any], ...]

# Rows that the clock's hand looks at in one step, at least.
_STEP = 256


class ItemCache:
    """Keeps rows by key.

    When it is full, the row goes that was not asked for since the clock's hand last passed it (second chance: a row that was is
    passed over once). Threads may share it.

    Args:
        widths: For each matrix its columns and the type of its numbers.
        capacity: Most items; with 0 nothing is kept.
        seconds: How long a row is fresh.
        clock: Seconds that never go back.

    Raises:
        InputError: If the machine has not the memory for so many items.
    """

    def __init__(
        self,
        widths: Sequence[tuple[int, npt.DTypeLike]],
        *,
        capacity: int,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._widths = tuple(widths)
        self._capacity = capacity
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._row_of: dict[str, int] = {}
        self._keys: list[str] = []
        self._hand = 0
        try:
            self._matrices = self.rows(capacity)
            self._until_C = np.zeros(capacity)
            self._asked_C = np.zeros(capacity, np.bool_)
            self._pinned_C = np.zeros(capacity, np.bool_)
            self._uses_C = np.zeros(capacity, np.uint32)
        except MemoryError:
            raise InputError(
                f"items is {capacity:,}, and there is no memory to keep so many at {self._row_bytes():,} bytes each; lower it"
            ) from None

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def nbytes(self) -> int:
        """Bytes of what is kept."""
        return len(self) * self._row_bytes()

    def find(self, keys: Sequence[str], *, stale: bool = False) -> tuple[npt.NDArray[np.bool_], Parts]:
        """What is kept of N items.

        Args:
            keys: Of the items.
            stale: Take rows that are no longer fresh too.

        Returns:
            Which of the N there are, bool [N], and of those K the matrices' rows, in order; copies.
        """
        with self._lock:
            if not self._keys:
                return np.zeros(len(keys), np.bool_), self.rows(0)
            row_of = self._row_of.get
            row_N = np.array([row_of(key, -1) for key in keys], np.int64)
            there_N = row_N >= 0
            if not stale:
                there_N &= self._until_C[row_N] > self._clock()
            row_K = row_N[there_N]
            self._asked_C[row_K] = True
            self._uses_C[row_K] += 1
            return there_N, tuple(matrix[row_K] for matrix in self._matrices)

    def put(self, keys: Sequence[str], parts: Parts) -> None:
        """Keeps M items, as long as there is room for them among the most that are kept.

        Args:
            keys: Distinct keys.
            parts: For each matrix M rows.
        """
        with self._lock:
            keys = keys[: self._capacity]
            rows = self._rows_for(keys)
            for matrix, part in zip(self._matrices, parts, strict=True):
                matrix[rows] = part[: len(keys)]
            self._until_C[rows] = self._clock() + self._seconds
            self._asked_C[rows] = False
            # What was asked for long ago counts less and less.
            self._uses_C[rows] //= 2

    def hottest(self, most: int) -> list[str]:
        """The keys that were asked for most, the first first."""
        with self._lock:
            uses = self._uses_C[: len(self._keys)].copy()
        if not most:
            return []
        # The order of millions would take long.
        rows = np.arange(len(uses)) if len(uses) <= most else np.argpartition(uses, -most)[-most:]
        rows = rows[np.argsort(uses[rows], kind="stable")[::-1]]
        with self._lock:
            return [self._keys[row] for row in rows.tolist()]

    def rows(self, count: int) -> Parts:
        """Empty rows of the matrices' widths and types."""
        return tuple(np.empty((count, width), kind) for width, kind in self._widths)

    def _row_bytes(self) -> int:
        return sum(width * np.dtype(kind).itemsize for width, kind in self._widths)

    def _rows_for(self, keys: Sequence[str]) -> npt.NDArray[np.int64]:
        """A row for each key: its own, or one that is free, or that of an item which goes."""
        rows = np.array([self._row_of.get(key, -1) for key in keys], np.int64)
        new = np.flatnonzero(rows < 0)
        first = len(self._keys)
        free = min(len(new), self._capacity - first)
        rows[new[:free]] = np.arange(first, first + free)
        self._keys += [""] * free
        if free < len(new):
            rows[new[free:]] = self._let_go(len(new) - free, rows[rows >= 0])
            for row in rows[new[free:]].tolist():
                del self._row_of[self._keys[row]]
        self._uses_C[rows[new]] = 0
        for place, row in zip(new.tolist(), rows[new].tolist(), strict=True):
            self._keys[row] = keys[place]
            self._row_of[keys[place]] = row
        return rows

    def _let_go(self, count: int, pinned: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The next rows that the hand takes; never those of the request itself, which are pinned."""
        now = self._clock()
        self._pinned_C[pinned] = True
        taken: list[npt.NDArray[np.int64]] = []
        while count:
            window = (self._hand + np.arange(min(max(2 * count, _STEP), self._capacity))) % self._capacity
            ready = (~self._asked_C[window] | (self._until_C[window] <= now)) & ~self._pinned_C[window]
            places = np.flatnonzero(ready)[:count]
            passed = int(places[-1]) + 1 if len(places) == count else len(window)
            self._asked_C[window[:passed]] = False
            self._hand = (self._hand + passed) % self._capacity
            taken.append(window[places])
            self._pinned_C[taken[-1]] = True
            count -= len(places)
        rows = np.concatenate(taken)
        self._pinned_C[pinned] = self._pinned_C[rows] = False
        return rows
