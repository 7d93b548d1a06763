"""Ingest from end to end: side tables, the log, the split, the report; the folder is complete or not there."""

# ruff: noqa: S608 - names and paths are quoted by elec.ingest.sql, everything else is a number of ours

import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from elec import storage
from elec.engine import Engine, LocalEngine
from elec.errors import InputError
from elec.ingest import fields
from elec.ingest.checked import Checker
from elec.ingest.clicks import ClickRows, attribute
from elec.ingest.duplicates import Duplicates
from elec.ingest.log import LogRows
from elec.ingest.parts import Choice, write_parts
from elec.ingest.quarantine import Account, Quarantine
from elec.ingest.report import SPLITS, ClicksReport, IngestReport, TableReport
from elec.ingest.segment import Segment
from elec.ingest.segments import Segments, forget
from elec.ingest.sources import SourceFile, find_files, room_on_disk
from elec.ingest.splits import boundaries, check_splits
from elec.ingest.spread import make_segments
from elec.ingest.sql import Sql, name, text
from elec.ingest.tables import derived_table, first_seen, side_table
from elec.ingest.times import Times
from elec.ingest.visible import count, offer
from elec.ingest.window import ALL, Window
from elec.spec import DatasetSpec, Entity

_DAY = 86_400_000_000


def ingest(
    spec: DatasetSpec,
    folder: Path,
    *,
    as_of: datetime,
    now: datetime | None = None,
    kept: str | None = None,
    quarantine: str | None = None,
    engine: Engine | None = None,
) -> IngestReport:
    """Ingests a data set: reads, checks, labels, splits and writes it, in two passes and bounded memory.

    Args:
        spec: What the data set is.
        folder: Where it goes, see `Ingested`; nothing may be there yet, or an empty folder.
        as_of: Later rows are invisible, and counted; without a zone it is UTC.
        now: Later rows are mistakes, and quarantined; the clock when left out.
        kept: Where what was read of each file is kept, a folder or an `s3://` URI: a later run reads only files that are new
            or have changed. None for nowhere.
        quarantine: Where a copy of the refused rows goes, a file or an `s3://` URI; it is there even where they end the run.
        engine: Whose workers read and check the files; this process when left out.

    Returns:
        The account of every row; it is in the folder too.

    Raises:
        InputError: If something the user gave is wrong.
        BlockedError: If more rows are refused than `max_bad_share` lets through.
        RunFailedError: If the disk is full, or the memory.
    """
    folder = Path(folder)
    window = window_of(spec, as_of, now if now is not None else datetime.now(UTC))
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: is there already; remove it, or give another folder")
    engine = engine or LocalEngine()
    with room_on_disk(folder), engine.exchange() as exchange, storage.whole_folder(folder) as target:
        work = target / "work"
        work.mkdir()
        database = Sql(work)
        refused = Quarantine(target / "quarantine.parquet")
        try:
            # What workers make is always kept somewhere, for that is how it gets here.
            place = exchange.at("segments") if kept is None and engine.pieces > 1 else kept
            report = _Ingest(database, spec, target, work, window, place, refused, engine).run()
        finally:
            database.close()
            refused.close()
            if quarantine is not None and refused.rows:
                with storage.whole_file(quarantine) as copy:
                    shutil.copyfile(target / "quarantine.parquet", copy)
        shutil.rmtree(work)
        content = orjson.dumps(report.model_dump(mode="json"), option=orjson.OPT_INDENT_2)
        (target / "report.json").write_bytes(content)
    if kept is not None:
        forget(kept)
    return report


def window_of(spec: DatasetSpec, as_of: datetime, now: datetime) -> Window:
    """What a run at `as_of` sees of a data set."""
    moment = fields.microseconds(as_of)
    clicks = spec.label.clicks
    return Window(
        as_of=moment,
        now=fields.microseconds(now),
        since=ALL if spec.window.days is None else moment - spec.window.days * _DAY,
        closed=moment - clicks.within_us if clicks is not None and clicks.open == "drop" else moment,
    )


class _Ingest:
    """One ingest while it runs."""

    def __init__(
        self,
        database: Sql,
        spec: DatasetSpec,
        target: Path,
        work: Path,
        window: Window,
        kept: str | None,
        quarantine: Quarantine,
        engine: Engine,
    ) -> None:
        self._engine = engine
        self._database = database
        self._spec = spec
        self._target = target
        self._work = work
        self._window = window
        self._kept = kept
        self._quarantine = quarantine

    def run(self) -> IngestReport:
        spec, window = self._spec, self._window
        files = find_files(spec.source)
        # Side tables first: they are small, so what is wrong with them shows before the log is read.
        tables = self._side_tables()
        segments = self._segments(LogRows(spec), files, "ingest")
        account = count(segments, window, self._quarantine)
        labels, clicks = self._labels(segments)
        account.judge(spec.source.path, spec.max_bad_share)
        _check_some(spec, account)
        duplicates = self._offer_rows(segments)
        by_time = spec.split.by == "time"
        limits = boundaries(Times(segments, window, duplicates), spec.split, spec.source.path) if by_time else None
        choice = Choice(window, duplicates, limits, labels, spec.split.negatives)
        with ThreadPoolExecutor(1) as beside:
            derived = beside.submit(self._derived_tables, segments)
            parts, negatives = write_parts(spec, segments, choice, self._target)
            keys = derived.result()
        rows = {split: parts[split].rows for split in SPLITS}
        clicked = {split: parts[split].clicks for split in SPLITS}
        _check_classes(spec, rows, clicked)
        check_splits(spec.source.path, spec.split, rows, clicked)
        dropped = len(duplicates.ids())
        return IngestReport(
            rows_read=account.read,
            rows_kept=account.kept - dropped - negatives,
            rows_quarantined=account.refused,
            rows_dropped=account.dropped,
            rows_after_as_of=account.outside.after_as_of,
            rows_before_window=account.outside.before_window,
            rows_open=account.outside.open,
            negatives_dropped=negatives,
            duplicates=duplicates.count,
            duplicates_dropped=dropped,
            reasons=dict(account.reasons.most_common()),
            split_rows=rows,
            label_rate={split: clicked[split] / rows[split] for split in SPLITS},
            first_event={split: _moment(parts[split].first) for split in SPLITS},
            last_event={split: _moment(parts[split].last) for split in SPLITS},
            users=keys[Entity.USER],
            items=keys[Entity.ITEM],
            files=tuple(file.uri for file in files),
            tables=tables,
            clicks=clicks,
        )

    def _side_tables(self) -> dict[str, TableReport]:
        tables = {}
        for entity in (Entity.USER, Entity.ITEM):
            table = self._spec.table_of(entity)
            if table is not None:
                path = self._target / f"{entity}s.parquet"
                tables[f"{entity}s"] = side_table(
                    self._database, self._spec, entity, table, self._window, self._quarantine, self._work, path
                )
        return tables

    def _segments(self, checker: Checker, files: list[SourceFile], what: str) -> list[Segment]:
        if self._kept is not None:
            make_segments(self._engine, checker, files, self._window.now, self._kept, what)
        return Segments(self._database, checker, self._work, self._kept).of(files, self._window.now, what)

    def _labels(self, segments: list[Segment]) -> tuple[np.ndarray | None, ClicksReport | None]:
        """The labels that a log of clicks gives, and its account."""
        clicks, window = self._spec.label.clicks, self._window
        if clicks is None:
            return None, None
        made = self._segments(ClickRows(clicks), find_files(clicks), "ingest clicks")
        seen = Window(as_of=window.as_of, now=window.now, since=window.since)
        account = count(made, seen, self._quarantine)
        account.judge(clicks.path, self._spec.max_bad_share)
        # Impressions of just before the look-back have clicks in it.
        wider = Window(as_of=window.as_of, now=window.now, since=max(window.since - clicks.within_us, ALL))
        offer(self._database, "impressions", segments, wider)
        rows = segments[-1].meta.base + segments[-1].meta.read
        return attribute(self._database, clicks, account, made, seen, rows, self._work)

    def _offer_rows(self, segments: list[Segment]) -> Duplicates:
        """Makes the kept rows known to the database as `rows`; gives the duplicates."""
        duplicates = Duplicates(segments, self._window, drop=self._spec.duplicates == "drop", work=self._work)
        ids = duplicates.ids()
        if len(ids):
            path = self._work / "dropped.parquet"
            pq.write_table(pa.table({"row_id": ids}), path)
            self._database.run(f"CREATE VIEW dropped AS SELECT * FROM read_parquet({text(str(path))})")
        offer(self._database, "rows", segments, self._window, but="dropped" if len(ids) else "")
        return duplicates

    def _derived_tables(self, segments: list[Segment]) -> dict[Entity, int]:
        """Makes the tables of users and items that the log makes; gives how many of both the rows have."""
        spec, database = self._spec, self._database
        keys = {}
        for entity in (Entity.USER, Entity.ITEM):
            path, key = self._target / f"{entity}s.parquet", spec.key_of(entity)
            if spec.table_of(entity) is not None:
                (keys[entity],) = database.one(f"SELECT count(*) FROM (SELECT DISTINCT {name(key)} FROM rows)")
            elif spec.fields_of(entity):
                keys[entity] = derived_table(database, spec, entity, path)
            else:
                keys[entity] = first_seen(database, spec, entity, segments, self._window, path)
        return keys


def _check_some(spec: DatasetSpec, account: Account) -> None:
    """Makes sure that a row is left."""
    path = spec.source.path
    if account.read == 0:
        raise InputError(f"{path}: holds no rows; export the data again, or give another `path`")
    if account.kept == 0:
        lost = {
            "refused": account.refused,
            f"dropped by '{spec.label.drop}'": account.dropped,
            "later than as_of": account.outside.after_as_of,
            "older than `window.days`": account.outside.before_window,
            "with a label that is not known yet": account.outside.open,
        }
        why = ", ".join(f"{count:,} {what}" for what, count in lost.items() if count)
        raise InputError(f"{path}: of {account.read:,} rows none is left ({why}); check `label.drop`, `timestamp` and as_of")


def _check_classes(spec: DatasetSpec, rows: dict[str, int], clicks: dict[str, int]) -> None:
    """Makes sure that there is something to learn."""
    total, clicked = sum(rows.values()), sum(clicks.values())
    if clicked in {0, total}:
        what = f"the rule '{spec.label.rule}'" if spec.label.rule else f"the column '{spec.label.column}'"
        what = f"the log of clicks {spec.label.clicks.path}" if spec.label.clicks is not None else what
        raise InputError(
            f"{spec.source.path}: {what} makes {'each' if clicked else 'none'} of the {total:,} rows a click, so there is "
            "nothing to learn; correct `label`"
        )


def _moment(microseconds: int) -> datetime:
    return datetime.fromtimestamp(microseconds // 1_000_000, UTC).replace(microsecond=microseconds % 1_000_000)
