"""What a run sees of the segments: rows within its window, each exact duplicate found, every other row counted."""

# ruff: noqa: S608 - names and paths are quoted by elec.ingest.sql, everything else is a number of ours

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from elec.ingest.quarantine import UNKNOWN, Account, Quarantine
from elec.ingest.segments import Segment
from elec.ingest.sql import Sql, texts
from elec.ingest.window import Window

#: Hashes that are sorted at once, 8 bytes each.
_HASHES = 8_000_000
_ROWS = 1_000_000


def count(segments: list[Segment], window: Window, quarantine: Quarantine) -> Account:
    """Counts the rows of a source, and puts the refused ones that the run sees in the quarantine.

    A wrong row outside of the window is only counted as such: the same `as_of` gives the same result when more has arrived.

    Args:
        segments: Of the source.
        window: What is visible.
        quarantine: Takes the refused rows.
    """
    account = Account()
    for segment in segments:
        meta = segment.meta
        account.read += meta.read
        whole = is_whole(segment, window)
        for rows in segment.refused():
            times = rows["time"].to_numpy()
            seen = (times == UNKNOWN) | ((times > window.since) & (times <= window.last))
            account.outside.add(window.outside(times[~seen]))
            shown = rows.drop_columns("time") if seen.all() else rows.drop_columns("time").filter(pa.array(seen))
            quarantine.add(segment.file.uri, shown, meta.ways_out, account)
        if whole:
            account.kept += meta.kept
            account.dropped += meta.dropped
            continue
        for column in times_of(segment):
            outside = window.outside(column)
            account.outside.add(outside)
            account.kept += len(column) - outside.total
        outside = window.outside(segment.dropped())
        account.outside.add(outside)
        account.dropped += meta.dropped - outside.total
    found = account.kept + account.refused + account.dropped + account.outside.total
    assert account.read == found, f"{account.read} rows read, {found} accounted for"
    return account


def is_whole(segment: Segment, window: Window) -> bool:
    """Whether all of a segment's rows are within the window."""
    first, last = segment.meta.first, segment.meta.last
    return first is None or last is None or window.holds(first, last)


def is_outside(segment: Segment, window: Window) -> bool:
    """Whether none of a segment's rows is within the window."""
    first, last = segment.meta.first, segment.meta.last
    return first is None or last is None or last <= window.since or first > window.last


def times_of(segment: Segment) -> Iterator[npt.NDArray[np.int64]]:
    """The times of a segment's kept rows, a batch at a time."""
    with pq.ParquetFile(segment.rows) as file:
        for batch in file.iter_batches(batch_size=_ROWS, columns=["event_timestamp"]):
            yield batch.column(0).to_numpy()


def offer(database: Sql, view: str, segments: list[Segment], window: Window, *, but: str = "") -> None:
    """Makes the rows within a window known to the database.

    Args:
        database: The database.
        view: The name of the view.
        segments: Of the log.
        window: What is visible.
        but: A table of row ids that are left out.
    """
    seen = [segment for segment in segments if not is_outside(segment, window)] or segments[:1]
    conditions = [] if all(is_whole(segment, window) for segment in seen) else [window.condition("event_timestamp")]
    conditions += [f"row_id NOT IN (SELECT row_id FROM {but})"] if but else []
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    paths = texts(str(segment.rows) for segment in seen)
    database.run(f"CREATE VIEW {view} AS SELECT * FROM read_parquet({paths}) {where}")


class Duplicates:
    """Rows that are equal in every column to an earlier one.

    Their hashes are sorted a part at a time, so that memory does not grow with the rows.

    Args:
        segments: Of the log.
        window: What is visible.
        drop: Whether it matters which rows they are.
        work: A folder for the marks of dropped rows.
    """

    def __init__(self, segments: list[Segment], window: Window, *, drop: bool, work: Path) -> None:
        self.count = 0
        self._marks: npt.NDArray[np.bool_] | None = None
        seen = [segment for segment in segments if not is_outside(segment, window)]
        total = sum(segment.meta.kept for segment in seen)
        bits = max(0, int(np.ceil(np.log2(max(total, 1) / _HASHES))))
        for part in range(1 << bits):
            hashes = np.concatenate([np.empty(0, np.uint64), *(_part(segment, window, part, bits)[0] for segment in seen)])
            hashes.sort()
            equal = hashes[1:] == hashes[:-1]
            self.count += int(equal.sum())
            if drop and equal.any():
                if self._marks is None:
                    rows = segments[-1].meta.base + segments[-1].meta.read
                    self._marks = np.memmap(work / "duplicates.bin", dtype=np.bool_, mode="w+", shape=(rows,))
                self._mark(np.unique(hashes[1:][equal]), seen, window, part, bits)

    def dropped(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_] | None:
        """Which rows are dropped; None for none."""
        return None if self._marks is None else self._marks[ids]

    def ids(self) -> npt.NDArray[np.int64]:
        """The dropped rows."""
        return np.empty(0, np.int64) if self._marks is None else np.flatnonzero(self._marks)

    def _mark(self, repeated: npt.NDArray[np.uint64], seen: list[Segment], window: Window, part: int, bits: int) -> None:
        """Marks all rows with a repeated hash but the first of each."""
        met = np.zeros(len(repeated), dtype=bool)
        for segment in seen:
            hashes, chosen = _part(segment, window, part, bits)
            candidates = np.flatnonzero(np.isin(hashes, repeated))
            if len(candidates) == 0:
                continue
            ids = _ids(segment, chosen[candidates])
            which = np.searchsorted(repeated, hashes[candidates])
            first = np.zeros(len(which), dtype=bool)
            first[np.unique(which, return_index=True)[1]] = True
            assert self._marks is not None
            self._marks[ids[~first | met[which]]] = True
            met[which] = True


def _part(segment: Segment, window: Window, part: int, bits: int) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """The hashes of a segment's visible rows that begin with certain bits, and their positions."""
    found, positions = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
    whole = is_whole(segment, window)
    begin = 0
    # Of a segment that is seen whole the times need not be read.
    pieces: Iterator[npt.NDArray[np.int64] | range] = _pieces(segment) if whole else times_of(segment)
    for times in pieces:
        hashes = segment.identity(begin, len(times))
        chosen = np.ones(len(times), dtype=bool)
        if not isinstance(times, range):
            chosen = (times > window.since) & (times <= window.last)
        if bits:
            chosen &= hashes >> np.uint64(64 - bits) == part
        found.append(hashes[chosen])
        positions.append(np.flatnonzero(chosen) + begin)
        begin += len(times)
    return np.concatenate(found), np.concatenate(positions)


def _pieces(segment: Segment) -> Iterator[range]:
    """A segment's positions, a bounded number at a time."""
    for begin in range(0, segment.meta.kept, _ROWS):
        yield range(begin, min(begin + _ROWS, segment.meta.kept))


def _ids(segment: Segment, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The row ids at ascending positions."""
    found = [np.empty(0, np.int64)]
    begin = 0
    with pq.ParquetFile(segment.rows) as file:
        for batch in file.iter_batches(batch_size=_ROWS, columns=["row_id"]):
            first, last = np.searchsorted(positions, [begin, begin + len(batch)])
            found.append(batch.column(0).to_numpy()[positions[first:last] - begin])
            begin += len(batch)
    return np.concatenate(found)
