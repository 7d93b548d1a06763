"""Exact duplicates: rows that are equal in every column to an earlier row of their log.

Equal rows happened at one time. So what repeats itself within a file is found when the file is read, and kept with what is
kept of it; rows of two files are compared only at times that both files have.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from elec.ingest.batches import Int64
from elec.ingest.cells import Mask
from elec.ingest.segment import Segment
from elec.ingest.window import Window

_Hashes = npt.NDArray[np.uint64]
#: Which rows count, by their times; None for all of them.
_Choice = Callable[[Int64], Mask] | None

#: Hashes that are sorted at once, 8 bytes each.
_HASHES = 1_000_000
_ROWS = 262_144


class Duplicates:
    """The duplicates among a log's visible rows.

    Args:
        segments: Of the log.
        window: What is visible.
        drop: Whether it matters which rows they are.
        work: A folder for the marks of dropped rows.
    """

    def __init__(self, segments: Sequence[Segment], window: Window, *, drop: bool, work: Path) -> None:
        self.count = 0
        self._marks: Mask | None = None
        self._path = work / "duplicates.bin" if drop else None
        self._rows = segments[-1].meta.base + segments[-1].meta.read
        seen = [segment for segment in segments if _span(segment, window) is not None]
        shared = _Shared([span for segment in segments if (span := _span(segment, window)) is not None])
        for segment in seen:
            for offsets, times in segment.repeated():
                alone = window.visible(times) & ~shared.holds(times)
                self._add(segment.meta.base + offsets[alone])
        both = [(segment, shared.choice(segment, window)) for segment in seen if shared.touches(_span(segment, window))]
        for segment, positions in _repeats(both):
            self._add(segment.numbers_at(positions, "row_id")[0])

    def dropped(self, ids: Int64) -> Mask | None:
        """Which rows are dropped; None for none."""
        return None if self._marks is None else self._marks[ids]

    def has(self, segment: Segment) -> bool:
        """Whether a row of a segment is dropped."""
        base = segment.meta.base
        return self._marks is not None and bool(self._marks[base : base + segment.meta.read].any())

    def ids(self) -> Int64:
        """The dropped rows."""
        return np.empty(0, np.int64) if self._marks is None else np.flatnonzero(self._marks)

    def _add(self, ids: Int64) -> None:
        self.count += len(ids)
        if self._path is not None and len(ids):
            if self._marks is None:
                self._marks = np.memmap(self._path, dtype=np.bool_, mode="w+", shape=(self._rows,))
            self._marks[ids] = True


def write_repeated(segment: Segment, path: Path) -> int:
    """Writes which rows of a segment are equal to an earlier one of it: their numbers in the file, then their times.

    Args:
        segment: The segment.
        path: The file, as `Segment.repeated` reads it; marks are beside it meanwhile, for all rows may be equal.

    Returns:
        How many.
    """
    marks: Mask | None = None
    marked = path.with_suffix(".marks")
    for _, positions in _repeats([(segment, None)]):
        if len(positions):
            if marks is None:
                marks = np.memmap(marked, dtype=np.bool_, mode="w+", shape=(segment.meta.kept,))
            marks[positions] = True
    count = 0 if marks is None else int(np.count_nonzero(marks))
    path.touch()
    if marks is not None:
        begin = 0
        with path.open("r+b") as numbers, path.open("r+b") as moments:
            moments.seek(8 * count)
            for ids, times in segment.numbers("row_id", "event_timestamp"):
                chosen = marks[begin : begin + len(ids)]
                (ids[chosen] - segment.meta.base).tofile(numbers)
                times[chosen].tofile(moments)
                begin += len(ids)
        marked.unlink()
    return count


class _Shared:
    """The times that more than one segment has.

    Args:
        spans: The earliest and the latest time of each segment.
    """

    def __init__(self, spans: list[tuple[int, int]]) -> None:
        begins: list[int] = []
        ends: list[int] = []
        reach: int | None = None
        for first, last in sorted(spans):
            if reach is not None and first <= reach:
                end = min(last, reach)
                if ends and first <= ends[-1]:
                    ends[-1] = max(ends[-1], end)
                else:
                    begins.append(first)
                    ends.append(end)
            reach = last if reach is None else max(reach, last)
        self._begins, self._ends = np.array(begins, np.int64), np.array(ends, np.int64)

    def holds(self, times: Int64) -> Mask:
        """Which times are shared."""
        if len(self._begins) == 0:
            return np.zeros(len(times), dtype=bool)
        position = np.searchsorted(self._begins, times, side="right") - 1
        held: Mask = (position >= 0) & (times <= self._ends[position])
        return held

    def touches(self, span: tuple[int, int] | None) -> bool:
        """Whether some time between two is shared."""
        return span is not None and bool(((self._begins <= span[1]) & (self._ends >= span[0])).any())

    def choice(self, segment: Segment, window: Window) -> _Choice:
        """Which rows of a segment are seen and happened at a shared time."""
        first, last = segment.meta.first, segment.meta.last
        assert first is not None
        assert last is not None
        if window.holds(first, last) and bool(((self._begins <= first) & (self._ends >= last)).any()):
            return None
        return lambda times: window.visible(times) & self.holds(times)


def _span(segment: Segment, window: Window) -> tuple[int, int] | None:
    """A segment's earliest and latest time within the window; None if it has no row there."""
    first, last = segment.meta.first, segment.meta.last
    if first is None or last is None or last <= window.since or first > window.last:
        return None
    return max(first, window.since + 1), min(last, window.last)


def _repeats(chosen: Sequence[tuple[Segment, _Choice]]) -> Iterator[tuple[Segment, Int64]]:
    """The positions of rows that are equal to an earlier chosen one.

    Their hashes are sorted a part at a time, so that memory does not grow with the rows.
    """
    total = sum(segment.meta.kept for segment, _ in chosen)
    bits = max(0, int(np.ceil(np.log2(max(total, 1) / _HASHES))))
    for part in range(1 << bits):
        hashes = _twice(hashes for one in chosen for hashes, _ in _part(one, part, bits))
        repeated = hashes[1:][hashes[1:] == hashes[:-1]]
        del hashes
        met = np.zeros(len(repeated), dtype=bool)
        for one in chosen if len(repeated) else ():
            for found, positions in _part(one, part, bits):
                which = np.minimum(np.searchsorted(repeated, found), len(repeated) - 1)
                candidates = np.flatnonzero(repeated[which] == found)
                which = which[candidates]
                first = np.zeros(len(which), dtype=bool)
                first[np.unique(which, return_index=True)[1]] = True
                yield one[0], positions(candidates[~first | met[which]])
                met[which] = True


def _twice(pieces: Iterator[_Hashes]) -> _Hashes:
    """Hashes, sorted: each once, or twice if it is there more often. Equal ones, however many, take no memory."""
    waiting, count = [np.empty(0, np.uint64)], 0
    for hashes in pieces:
        waiting.append(hashes)
        count += len(hashes)
        if count > 2 * _HASHES:
            waiting = [_at_most_twice(waiting)]
            count = len(waiting[0])
    return _at_most_twice(waiting)


def _at_most_twice(pieces: list[_Hashes]) -> _Hashes:
    hashes = np.concatenate(pieces)
    hashes.sort()
    stays = np.ones(len(hashes), dtype=bool)
    stays[2:] = hashes[2:] != hashes[:-2]
    return hashes if stays.all() else hashes[stays]


def _part(one: tuple[Segment, _Choice], part: int, bits: int) -> Iterator[tuple[_Hashes, Callable[[Int64], Int64]]]:
    """The hashes of a segment's chosen rows that begin with certain bits, a bounded number at a time.

    Yields:
        Hashes, and what turns positions among them into positions among the segment's rows.
    """
    segment, choice = one
    begin = 0
    # Where all rows are chosen their times need not be read.
    for times in segment.times() if choice is not None else _lengths(segment):
        count = times if isinstance(times, int) else len(times)
        hashes = segment.identity(begin, count)
        if choice is None and bits == 0:
            yield hashes, partial(np.add, begin)
        else:
            mask = np.ones(count, dtype=bool) if choice is None or isinstance(times, int) else choice(times)
            if bits:
                mask &= hashes >> np.uint64(64 - bits) == part
            yield hashes[mask], partial(_chosen, mask, begin)
        begin += count


def _chosen(mask: Mask, begin: int, positions: Int64) -> Int64:
    return np.flatnonzero(mask)[positions] + begin


def _lengths(segment: Segment) -> Iterator[int]:
    for begin in range(0, segment.meta.kept, _ROWS):
        yield min(_ROWS, segment.meta.kept - begin)
