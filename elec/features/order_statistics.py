"""The value at a rank among numbers that need not fit in memory, exactly.

Numbers come in sorted runs, which lie in a file. How many of them are at most `x` is a binary search in each run, so the value
at a rank is found by cutting the float64 numbers themselves into sixteenths: there are 2^64 of them, which takes at most 16
steps. Each step goes over all runs, and holds a few of them.
"""

import mmap
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

_SIGN = np.uint64(1 << 63)
_PARTS = 16
_CUTS = np.arange(1, _PARTS + 1, dtype=np.uint64)
# Pages of a mapped file count as the process's memory once they were looked at, until it lets go of them.
_MAPPED_BYTES = 1 << 23


@dataclass(frozen=True)
class OrderStatistics:
    """Numbers in order.

    Attributes:
        runs: Of each run its distinct numbers, rising, and how many numbers are at most as large.
    """

    runs: Iterable[tuple[Floats, Counts]]

    @property
    def count(self) -> int:
        """How many numbers there are."""
        return sum(int(upto[-1]) for _, upto in self.runs)

    @property
    def lowest(self) -> float | None:
        """The least number; None if there is none."""
        return min((float(values[0]) for values, _ in self.runs), default=None)

    @property
    def highest(self) -> float | None:
        """The greatest number; None if there is none."""
        return max((float(values[-1]) for values, _ in self.runs), default=None)

    def quantiles(self, shares: Sequence[float]) -> Floats:
        """For each share the least number that at least this share of the numbers does not exceed, as DuckDB's `quantile_disc`.

        Args:
            shares: R, from 0 to 1.

        Returns:
            float64 [R]; empty if there are no numbers.
        """
        count = self.count
        if not count or not len(shares):
            return np.empty(0)
        # DuckDB's arithmetic: in floats, and so are its roundings.
        rank_R = np.maximum(count - np.floor(count - count * np.asarray(shares, np.float64)).astype(np.int64), 1) - 1
        low_R = np.full(len(rank_R), _key(np.array([self.lowest]))[0])
        high_R = np.full(len(rank_R), _key(np.array([self.highest]))[0])
        while (low_R < high_R).any():
            span_R = high_R - low_R
            step_R = span_R // np.uint64(_PARTS) + np.uint64(1)
            # The last key of each part.
            cut_RC = low_R[:, None] + np.minimum(step_R[:, None] * _CUTS - np.uint64(1), span_R[:, None])
            upto_RC = self._not_above(_number(cut_RC.reshape(-1))).reshape(cut_RC.shape)
            part_R = np.argmax(upto_RC > rank_R[:, None], axis=1)
            row_R = np.arange(len(part_R))
            low_R = np.where(part_R > 0, cut_RC[row_R, part_R - 1] + np.uint64(1), low_R)
            high_R = cut_RC[row_R, part_R]
        return _number(low_R)

    def least_from(self, number_R: Floats) -> Floats:
        """For each of R numbers the least of these here that is not below it, float64 [R]; infinity where there is none."""
        found_R = np.full(len(number_R), np.inf)
        for values, _ in self.runs:
            place_R = np.searchsorted(values, number_R, side="left")
            there_R = place_R < len(values)
            found_R[there_R] = np.minimum(found_R[there_R], values[place_R[there_R]])
        return found_R

    def _not_above(self, number_R: Floats) -> Counts:
        """For each of R numbers, how many are not above it."""
        total_R = np.zeros(len(number_R), np.int64)
        for values, upto in self.runs:
            place_R = np.searchsorted(values, number_R, side="right")
            total_R += np.where(place_R > 0, upto[place_R - 1], 0)
        return total_R


class SortedRuns:
    """Keeps sorted numbers by name, in one file that is removed at the end of the context."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._file: IO[bytes] | None = None
        self._path = Path()
        # By name, of each run: where it begins, in numbers of eight bytes, and how many it has.
        self._places: dict[str, list[tuple[int, int]]] = {}
        self._end = 0

    def __enter__(self) -> Self:
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="elec-numbers-"))
        self._path = Path(folder, "runs")
        self._file = self._stack.enter_context(self._path.open("wb"))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def add(self, name: str, values: Floats, counts: Counts) -> None:
        """Adds distinct rising numbers, and how often each occurs."""
        places = self._places.setdefault(name, [])
        if not len(values):
            return
        assert self._file is not None
        self._file.write(values.astype(np.float64, copy=False).data)
        self._file.write(np.cumsum(counts, dtype=np.int64).data)
        places.append((self._end, len(values)))
        self._end += 2 * len(values)

    def of(self, name: str) -> OrderStatistics:
        """The numbers of a name, as long as the context lasts; none if nothing was added under it."""
        places = self._places.get(name, [])
        if not places:
            return OrderStatistics(())
        assert self._file is not None
        self._file.flush()
        return OrderStatistics(_Mapped(self._path, places))


@dataclass(frozen=True)
class _Mapped:
    """Runs in a file, each mapped while it is looked at.

    Attributes:
        path: The file.
        places: Of each run: where it begins, in numbers of eight bytes, and how many it has.
    """

    path: Path
    places: Sequence[tuple[int, int]]

    def __iter__(self) -> Iterator[tuple[Floats, Counts]]:
        with self.path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        seen = 0
        for start, size in self.places:
            words = np.frombuffer(mapped, np.int64, 2 * size, 8 * start)
            yield words[:size].view(np.float64), words[size:]
            seen += words.nbytes
            if seen >= _MAPPED_BYTES:
                mapped.madvise(mmap.MADV_DONTNEED)
                seen = 0


def _key(numbers: Floats) -> npt.NDArray[np.uint64]:
    """Integers in the order of the numbers."""
    bits = numbers.view(np.uint64)
    return np.where(bits & _SIGN, ~bits, bits | _SIGN)


def _number(keys: npt.NDArray[np.uint64]) -> Floats:
    """The numbers of `_key`."""
    return np.where(keys & _SIGN, keys & ~_SIGN, ~keys).view(np.float64)
