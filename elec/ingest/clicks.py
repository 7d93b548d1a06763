"""Labels that come late: a log of clicks, joined to the impressions by request id within an attribution window."""

# ruff: noqa: S608 - names and paths are quoted by elec.ingest.sql, everything else is a number of ours

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from elec.ingest import fields
from elec.ingest.batches import Needed, RawBatch
from elec.ingest.checked import Found, Moments, found
from elec.ingest.log import REQUEST
from elec.ingest.quarantine import Account, Checks
from elec.ingest.report import ClicksReport
from elec.ingest.segment import Segment
from elec.ingest.sql import Sql, name, texts
from elec.ingest.window import Window
from elec.spec import Clicks, Source, Timestamp

_BATCH_ROWS = 262_144


@dataclass(frozen=True)
class ClickRows:
    """How rows of the log of clicks are checked; a `checked.Checker`.

    Attributes:
        clicks: Where the log of clicks is.
    """

    clicks: Clicks

    @property
    def source(self) -> Source:
        """The log of clicks."""
        return self.clicks

    @property
    def schema(self) -> pa.Schema:
        """A click: when, and of which request."""
        return pa.schema([("row_id", pa.int64()), ("event_timestamp", pa.int64()), (REQUEST, pa.string())])

    @property
    def needed(self) -> list[Needed]:
        """The columns that the spec names."""
        key = "label.clicks.key" if self.clicks.key else "label.clicks.request"
        return [
            Needed(self._request, key, required=True),
            Needed(self.clicks.timestamp, "label.clicks.timestamp", required=True),
        ]

    @property
    def settings(self) -> object:
        """What decides about a click."""
        return ["clicks", self.clicks.model_dump(mode="json", exclude={"path", "within", "open"})]

    @property
    def _request(self) -> str:
        return self.clicks.key or self.clicks.request

    def check(self, database: Sql, now: int, batch: RawBatch) -> Found:
        """Checks a batch of clicks.

        Args:
            database: For times and hashes.
            now: Later times are mistakes, microseconds since 1970.
            batch: The clicks.
        """
        checks = Checks(len(batch.table))
        stamp = Timestamp(column=self.clicks.timestamp, unit=self.clicks.unit)
        moments = Moments(batch, stamp, now, checks, database)
        rows = {
            "row_id": pa.array(batch.index),
            "event_timestamp": pa.array(moments.times),
            REQUEST: fields.keys(batch, self._request, checks),
        }
        return found(batch, moments, checks, np.zeros(len(batch.table), dtype=bool), pa.table(rows), database)


def attribute(
    database: Sql, clicks: Clicks, account: Account, segments: list[Segment], window: Window, rows: int, work: Path
) -> tuple[npt.NDArray[np.int8], ClicksReport]:
    """Gives each impression its label. The join is DuckDB's: what does not fit into memory goes to disk.

    Args:
        database: Has the impressions as `impressions`.
        clicks: The attribution window.
        account: Of the log of clicks.
        segments: Of the log of clicks.
        window: What is visible of it.
        rows: Rows of the log, the labels' length.
        work: A folder for the labels.

    Returns:
        The label of each row of the log by `row_id`, on disk, and the account of the clicks.
    """
    request, paths = name(REQUEST), texts(str(segment.rows) for segment in segments)
    database.run(
        f"""CREATE TEMP TABLE attributed AS
            SELECT c.row_id AS click, c.{request} AS request, r.row_id,
                coalesce(c.event_timestamp - r.event_timestamp BETWEEN 0 AND {clicks.within_us}, false) AS inside
            FROM (SELECT * FROM read_parquet({paths}) WHERE {window.condition("event_timestamp")}) c
            LEFT JOIN (SELECT row_id, event_timestamp, {request} FROM impressions) r ON c.{request} = r.{request}"""
    )
    counted, inside, outside, without = database.one(
        """SELECT count(DISTINCT request) FILTER (inside), count(*) FILTER (inside),
                count(*) FILTER (NOT inside AND known), count(*) FILTER (NOT known)
            FROM (SELECT any_value(request) AS request, bool_or(inside) AS inside, bool_or(row_id IS NOT NULL) AS known
                FROM attributed GROUP BY click)"""
    )
    labels = np.memmap(work / "labels.bin", dtype=np.int8, mode="w+", shape=(max(rows, 1),))
    for batch in database.stream("SELECT row_id FROM attributed WHERE inside", _BATCH_ROWS):
        labels[batch.column("row_id").to_numpy()] = 1
    database.run("DROP TABLE attributed")
    report = ClicksReport(
        rows_read=account.read,
        rows_quarantined=account.refused,
        rows_after_as_of=account.outside.after_as_of,
        rows_before_window=account.outside.before_window,
        counted=counted,
        duplicates=inside - counted,
        outside_attribution=outside,
        without_impression=without,
    )
    return labels, report
