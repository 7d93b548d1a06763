"""The event times of a log's visible rows, looked at only where it matters: no sort, and bounded memory."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from elec.ingest.batches import Int64
from elec.ingest.duplicates import Duplicates
from elec.ingest.segment import Segment
from elec.ingest.window import Window

#: Bins of one look at the event times; 5 looks tell microseconds of two centuries apart, the last ones at few rows.
_BINS = 4_096
#: Of a segment whose times are kept, 8 bytes each.
_KEPT_ROWS = 1_000_000


@dataclass(frozen=True)
class _Piece:
    """The visible rows of one segment: how many, their earliest and their latest time."""

    segment: Segment
    rows: int
    low: int
    high: int


class Times:
    """Event times, counted.

    Args:
        segments: Of the log.
        window: What is visible.
        duplicates: Which rows are left out.
    """

    def __init__(self, segments: Sequence[Segment], window: Window, duplicates: Duplicates) -> None:
        self._window = window
        self._duplicates = duplicates
        self._last: tuple[Segment, list[Int64]] | None = None
        self._pieces = [piece for segment in segments if (piece := self._piece(segment)) is not None]
        self.total = sum(piece.rows for piece in self._pieces)
        self.first = min(piece.low for piece in self._pieces)

    def after(self, time: int) -> int | None:
        """The next distinct time."""
        later = [piece.low for piece in self._pieces if piece.low > time]
        for piece in self._pieces:
            if piece.low <= time < piece.high:
                for times in self._seen(piece.segment):
                    found = times[times > time]
                    later += [int(found.min())] if len(found) else []
        return min(later, default=None)

    def before(self, time: int) -> int:
        """How many rows are earlier than a time."""
        whole = sum(piece.rows for piece in self._pieces if piece.high < time)
        return whole + sum(
            int((times < time).sum())
            for piece in self._pieces
            if piece.low < time <= piece.high
            for times in self._seen(piece.segment)
        )

    def at(self, rank: int) -> int:
        """The time of the row of a rank: as many rows are no later, it aside."""
        low, high = self._bounds(rank)
        while low < high:
            width = (high - low) // _BINS + 1
            earlier = 0
            counts = np.zeros(_BINS, np.int64)
            for piece in self._pieces:
                if piece.high < low:
                    earlier += piece.rows
                elif piece.low <= high:
                    for times in self._seen(piece.segment):
                        earlier += int((times < low).sum())
                        inside = times[(times >= low) & (times <= high)]
                        counts += np.bincount((inside - low) // width, minlength=_BINS)
            position = int(np.searchsorted(np.cumsum(counts), rank - earlier, side="right"))
            low, high = low + position * width, min(high, low + (position + 1) * width - 1)
        return low

    def _bounds(self, rank: int) -> tuple[int, int]:
        """Two times between which that of a rank is, as far as the segments' own earliest and latest times tell."""
        found = []
        for times in ([piece.low for piece in self._pieces], [piece.high for piece in self._pieces]):
            order = np.argsort(times, kind="stable")
            upto = np.cumsum(np.array([piece.rows for piece in self._pieces])[order])
            found.append(times[int(order[np.searchsorted(upto, rank, side="right")])])
        return found[0], found[1]

    def _seen(self, segment: Segment) -> Iterable[Int64]:
        """The times of a segment's visible rows; one look follows the other at the same segment, so the last one's are kept."""
        if segment.meta.kept > _KEPT_ROWS:
            return self._read(segment)
        if self._last is None or self._last[0] is not segment:
            self._last = segment, list(self._read(segment))
        return self._last[1]

    def _read(self, segment: Segment) -> Iterator[Int64]:
        if not self._duplicates.has(segment):
            for times in segment.times():
                yield times[self._window.visible(times)]
            return
        for times, ids in segment.numbers("event_timestamp", "row_id"):
            dropped = self._duplicates.dropped(ids)
            yield times[self._window.visible(times) & ~dropped] if dropped is not None else times

    def _piece(self, segment: Segment) -> _Piece | None:
        low, high = segment.meta.low, segment.meta.high
        if low is None or high is None or high <= self._window.since or low > self._window.last:
            return None
        if self._window.holds(low, high) and not self._duplicates.has(segment):
            return _Piece(segment, segment.meta.kept, low, high)
        rows, lows, highs = 0, [], []
        for times in self._seen(segment):
            if len(times):
                rows += len(times)
                lows.append(int(times.min()))
                highs.append(int(times.max()))
        return _Piece(segment, rows, min(lows), max(highs)) if rows else None
