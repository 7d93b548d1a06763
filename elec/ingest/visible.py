"""What a run sees of the segments: rows within its window, every other row counted."""

# ruff: noqa: S608 - names and paths are quoted by elec.ingest.sql, everything else is a number of ours

import pyarrow as pa

from elec.ingest.quarantine import UNKNOWN, Account, Quarantine
from elec.ingest.segment import Segment
from elec.ingest.sql import Sql, texts
from elec.ingest.window import Window


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
            seen = (times == UNKNOWN) | window.visible(times)
            account.outside.add(window.outside(times[~seen]))
            shown = rows.drop_columns("time") if seen.all() else rows.drop_columns("time").filter(pa.array(seen))
            quarantine.add(segment.file.uri, shown, meta.ways_out, account)
        if whole:
            account.kept += meta.kept
            account.dropped += meta.dropped
            continue
        for column in segment.times():
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
