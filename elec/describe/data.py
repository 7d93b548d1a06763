"""Describes an ingested data set, in a few passes over its Parquet and bounded memory."""

# ruff: noqa: S608 - names and paths are quoted by elec.ingest.sql, everything else is a number of ours

import tempfile
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path

import numpy as np

from elec.describe.crossed import summarise_crossed
from elec.describe.fields import LONGEST, summarise_field
from elec.describe.log import SIDES, Log
from elec.describe.summary import Activity, Counted, DataSummary, Refused, Span, Timeline, Unseen
from elec.ingest.refusals import refusals
from elec.ingest.report import SPLITS, Ingested, IngestReport
from elec.ingest.sql import Sql
from elec.progress import Progress
from elec.spec import DatasetSpec, Entity

#: Spans of time, in seconds: minutes, hours, days, weeks.
_SPANS = [
    *(60 * minutes for minutes in (1, 5, 15, 30)),
    *(3600 * hours for hours in (1, 3, 6, 12)),
    *(86_400 * days for days in (1, 2, 7, 14, 28, 91, 364)),
]
#: The timeline has at most so many, unless the log is longer than centuries.
_MOST_SPANS = 100
#: Weeks begin on Monday; 1970 began on a Thursday.
_MONDAY = 4 * 86_400
_POINTS = 80
_EXAMPLES = 2
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def describe(ingested: Ingested, spec: DatasetSpec, as_of: datetime) -> DataSummary:
    """Describes a data set.

    Args:
        ingested: The data set.
        spec: What it is.
        as_of: The moment it stands at.
    """
    report = ingested.report()
    with tempfile.TemporaryDirectory(prefix="elec-describe-") as spill:
        database = Sql(Path(spill))
        try:
            with Progress("describe", unit="fields", total=len(spec.all_fields) + len(spec.crossed)) as progress:
                log = Log(database, ingested, spec)
                (clicks,) = database.one("SELECT sum(clicks)::BIGINT FROM user_keys")
                total = Counted(rows=report.rows_kept, clicks=clicks)
                fields = []
                for field in chain(
                    (summarise_field(log, one, total) for one in spec.all_fields), summarise_crossed(log, total)
                ):
                    fields.append(field)
                    progress.advance(1, note=field.name)
            return DataSummary(
                dataset=spec.name,
                about=spec.description,
                as_of=as_of,
                report=report,
                timeline=_timeline(database, report),
                users=_activity(database, Entity.USER),
                items=_activity(database, Entity.ITEM),
                unseen={part: {side: _unseen(database, part, side) for side in SIDES} for part in SPLITS[1:]},
                fields=tuple(fields),
                refused=_refused(ingested.quarantine),
            )
        finally:
            database.close()


def _timeline(database: Sql, report: IngestReport) -> Timeline:
    first, last = min(report.first_event.values()), max(report.last_event.values())
    seconds = span_seconds(first, last)
    shift = _MONDAY if seconds % (7 * 86_400) == 0 else 0
    # Floor, not truncation: there are events before 1970.
    place = f"floor((epoch_us(event_timestamp) / 1000000 - {shift}) / {seconds})::BIGINT"
    found = database.query(
        f"""SELECT span, split, count(*) AS rows, sum(label)::BIGINT AS clicks
            FROM (SELECT {place} AS span, split, label FROM log) GROUP BY span, split"""
    ).to_pylist()
    counts = {(row["span"], row["split"]): Counted(rows=row["rows"], clicks=row["clicks"]) for row in found}
    spans = [span for span, _ in counts]
    none = Counted(rows=0, clicks=0)
    return Timeline(
        seconds=seconds,
        spans=tuple(
            Span(
                start=_EPOCH + timedelta(seconds=span * seconds + shift),
                parts=(counts.get((span, 0), none), counts.get((span, 1), none), counts.get((span, 2), none)),
            )
            for span in range(min(spans), max(spans) + 1)
        ),
    )


def span_seconds(first: datetime, last: datetime) -> int:
    """How long the timeline's spans are."""
    lasted = (last - first).total_seconds()
    return next((seconds for seconds in _SPANS if lasted / seconds <= _MOST_SPANS - 1), _SPANS[-1])


def _activity(database: Sql, side: Entity) -> Activity:
    # Of how many keys have so many rows: a short table, however many keys there are.
    found = database.query(f"SELECT rows, count(*) AS keys FROM {side}_keys GROUP BY rows ORDER BY rows DESC")
    rows, keys = found["rows"].to_numpy(), found["keys"].to_numpy()
    last_rank, total = np.cumsum(keys), np.cumsum(rows * keys)

    def rows_of_first(count: np.ndarray) -> np.ndarray:
        at = np.searchsorted(last_rank, count)
        inside: np.ndarray = total[at] - (last_rank[at] - count) * rows[at]
        return inside

    all_keys, all_rows = int(last_rank[-1]), int(total[-1])
    ranks = np.unique(np.round(np.geomspace(1, all_keys, _POINTS)).astype(np.int64))
    # The curve bends where keys are few: its points lie close together there.
    counts = np.unique(np.concatenate([ranks, np.round(np.linspace(1, all_keys, _POINTS)).astype(np.int64)]))
    shares = [(0.0, 0.0), *zip((counts / all_keys).tolist(), (rows_of_first(counts) / all_rows).tolist(), strict=True)]
    first = np.maximum(1, np.round(np.array([0.01, 0.1]) * all_keys)).astype(np.int64)
    top_1, top_10 = (rows_of_first(first) / all_rows).tolist()
    return Activity(
        keys=all_keys,
        once=int(keys[rows == 1].sum()),
        median=int(rows[np.searchsorted(last_rank, all_keys // 2 + 1)]),
        most=int(rows[0]),
        top_1=top_1,
        top_10=top_10,
        ranks=tuple(zip(ranks.tolist(), rows[np.searchsorted(last_rank, ranks)].tolist(), strict=True)),
        shares=tuple(shares),
    )


def _unseen(database: Sql, part: str, side: Entity) -> Unseen:
    rows, keys, new_keys, new_rows = database.one(
        f"""SELECT sum({part})::BIGINT, count(*) FILTER ({part} > 0), count(*) FILTER ({part} > 0 AND train = 0),
                coalesce(sum({part}) FILTER (train = 0), 0)::BIGINT FROM {side}_keys"""
    )
    return Unseen(rows=rows, keys=keys, new_keys=new_keys, new_rows=new_rows)


def _refused(quarantine: Path) -> tuple[Refused, ...]:
    if not quarantine.exists():
        return ()
    return tuple(
        Refused(
            reason=one.reason,
            rows=one.rows,
            examples=tuple((file, line, raw[:LONGEST]) for file, line, raw in one.examples),
        )
        for one in refusals(quarantine, _EXAMPLES)
    )
