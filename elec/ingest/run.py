"""Ingest from end to end: side tables, the log, the split, the report; the folder is complete or not there."""

# ruff: noqa: S608 - names and paths are quoted by elec.ingest.sql, everything else is a number of ours

import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from elec import storage
from elec.errors import InputError
from elec.ingest import fields
from elec.ingest.log import IDENTITY, SPLIT, Window, read_log
from elec.ingest.quarantine import Account, Quarantine
from elec.ingest.report import SPLITS, IngestReport, TableReport
from elec.ingest.sources import find_files, room_on_disk
from elec.ingest.splits import Boundaries, boundaries, check_splits
from elec.ingest.sql import Sql, name, text
from elec.ingest.tables import derived_table, side_table
from elec.ingest.writing import RowWriter
from elec.progress import Progress
from elec.spec import DatasetSpec, Entity

_BATCH_ROWS = 65_536


def ingest(spec: DatasetSpec, folder: Path, *, as_of: datetime, now: datetime | None = None) -> IngestReport:
    """Ingests a data set: reads, checks, labels, splits and writes it, in two passes and bounded memory.

    Args:
        spec: What the data set is.
        folder: Where it goes, see `Ingested`; nothing may be there yet, or an empty folder.
        as_of: Later rows are invisible, and counted; without a zone it is UTC.
        now: Later rows are mistakes, and quarantined; the clock when left out.

    Returns:
        The account of every row; it is in the folder too.

    Raises:
        InputError: If something the user gave is wrong.
        BlockedError: If more rows are refused than `max_bad_share` lets through.
        RunFailedError: If the disk is full.
    """
    folder = Path(folder)
    window = Window(
        as_of=fields.microseconds(as_of),
        now=fields.microseconds(now if now is not None else datetime.now(UTC)),
    )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: is there already; remove it, or give another folder")
    with room_on_disk(folder), storage.whole_folder(folder) as target:
        work = target / "work"
        work.mkdir()
        database = Sql(work)
        try:
            report = _ingest(database, spec, target, work, window)
        finally:
            database.close()
        shutil.rmtree(work)
        content = orjson.dumps(report.model_dump(mode="json"), option=orjson.OPT_INDENT_2)
        (target / "report.json").write_bytes(content)
    return report


def _ingest(database: Sql, spec: DatasetSpec, target: Path, work: Path, window: Window) -> IngestReport:
    files = find_files(spec.source)
    quarantine = Quarantine(target / "quarantine.parquet")
    tables: dict[str, TableReport] = {}
    # Side tables first: they are small, so what is wrong with them shows before the log is read.
    for entity in (Entity.USER, Entity.ITEM):
        table = spec.table_of(entity)
        if table is not None:
            path = target / f"{entity}s.parquet"
            tables[f"{entity}s"] = side_table(database, spec, entity, table, window, quarantine, work, path)
    waiting = work / "rows.parquet"
    account = read_log(database, spec, files, window, quarantine, waiting)
    quarantine.close()
    account.judge(spec.source.path, spec.max_bad_share)
    _check_some(spec, account)
    duplicates, dropped = _offer_rows(database, spec, waiting)
    limits = boundaries(database, spec.split, spec.source.path) if spec.split.by == "time" else None
    parts = _write_splits(spec, waiting, dropped, limits, target)
    clicks = {split: parts[split].clicks for split in SPLITS}
    rows = {split: parts[split].rows for split in SPLITS}
    _check_classes(spec, rows, clicks)
    check_splits(spec.source.path, spec.split, rows, clicks)
    for entity in (Entity.USER, Entity.ITEM):
        if spec.table_of(entity) is None:
            derived_table(database, spec, entity, target / f"{entity}s.parquet")
    return IngestReport(
        rows_read=account.read,
        rows_kept=account.kept - len(dropped),
        rows_quarantined=account.refused,
        rows_dropped=account.dropped,
        rows_after_as_of=account.after_as_of,
        duplicates=duplicates,
        duplicates_dropped=len(dropped),
        reasons=dict(account.reasons.most_common()),
        split_rows=rows,
        label_rate={split: clicks[split] / rows[split] for split in SPLITS},
        first_event={split: _moment(parts[split].first) for split in SPLITS},
        last_event={split: _moment(parts[split].last) for split in SPLITS},
        users=_distinct(database, spec.user),
        items=_distinct(database, spec.item),
        files=tuple(file.uri for file in files),
        tables=tables,
    )


class _Part:
    """One split while it is written."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.writer = RowWriter(path, schema)
        self.rows = self.clicks = 0
        self.first, self.last = np.iinfo(np.int64).max, np.iinfo(np.int64).min

    def write(self, rows: pa.Table) -> None:
        if len(rows) == 0:
            return
        times = pc.min_max(rows["event_timestamp"]).as_py()
        self.first, self.last = min(self.first, times["min"]), max(self.last, times["max"])
        self.rows += len(rows)
        self.clicks += pc.sum(rows["label"]).as_py()
        position = rows.column_names.index("event_timestamp")
        self.writer.write(rows.set_column(position, "event_timestamp", rows["event_timestamp"].cast(fields.TIME)))


def _offer_rows(database: Sql, spec: DatasetSpec, waiting: Path) -> tuple[int, np.ndarray]:
    """Makes the kept rows known to the database as `rows`; gives the number of duplicates and the row ids of dropped ones."""
    source = f"read_parquet({text(str(waiting))})"
    (duplicates,) = database.one(
        f"""SELECT coalesce(sum(copies - 1), 0)::BIGINT
            FROM (SELECT count(*) AS copies FROM {source} GROUP BY {name(IDENTITY)})"""
    )
    dropped: np.ndarray = np.empty(0, dtype=np.int64)
    condition = ""
    if duplicates and spec.duplicates == "drop":
        database.run(
            f"""CREATE TABLE dropped AS SELECT row_id FROM (SELECT row_id, {name(IDENTITY)} FROM {source})
                QUALIFY row_number() OVER (PARTITION BY {name(IDENTITY)} ORDER BY row_id) > 1"""
        )
        dropped = database.query("SELECT row_id FROM dropped ORDER BY row_id")["row_id"].to_numpy()
        condition = "WHERE row_id NOT IN (SELECT row_id FROM dropped)"
    database.run(f"CREATE VIEW rows AS SELECT * FROM {source} {condition}")
    return int(duplicates), dropped


def _write_splits(
    spec: DatasetSpec,
    waiting: Path,
    dropped: np.ndarray,
    limits: Boundaries | None,
    target: Path,
) -> dict[str, _Part]:
    """The second pass: every kept row goes to its split, in reading order."""
    schema = pa.schema(
        [
            ("row_id", pa.int64()),
            ("label", pa.int8()),
            ("event_timestamp", fields.TIME),
            (spec.user, pa.string()),
            (spec.item, pa.string()),
            *((field.name, fields.ARROW_TYPES[field.kind]) for field in spec.fields_of(Entity.CONTEXT)),
        ]
    )
    parts = {split: _Part(target / f"{split}.parquet", schema) for split in SPLITS}
    source = pq.ParquetFile(waiting)
    with Progress("split", unit="rows", total=source.metadata.num_rows) as progress:
        for batch in source.iter_batches(batch_size=_BATCH_ROWS, columns=[*schema.names, SPLIT]):
            rows = pa.Table.from_batches([batch])
            if len(dropped):
                stays = ~np.isin(rows["row_id"].to_numpy(), dropped, assume_unique=True)
                rows = rows.filter(pa.array(stays))
            position = rows[SPLIT].to_numpy() if limits is None else limits.split_of(rows["event_timestamp"].to_numpy())
            for number, split in enumerate(SPLITS):
                parts[split].write(rows.filter(pa.array(position == number)).drop_columns(SPLIT))
            progress.advance(len(batch))
    for part in parts.values():
        part.writer.close()
    source.close()
    return parts


def _check_some(spec: DatasetSpec, account: Account) -> None:
    """Makes sure that a row is left."""
    path = spec.source.path
    if account.read == 0:
        raise InputError(f"{path}: holds no rows; export the data again, or give another `path`")
    if account.kept == 0:
        lost = {
            "refused": account.refused,
            f"dropped by '{spec.label.drop}'": account.dropped,
            "later than as_of": account.after_as_of,
        }
        why = ", ".join(f"{count:,} {what}" for what, count in lost.items() if count)
        raise InputError(f"{path}: of {account.read:,} rows none is left ({why}); check `label.drop`, `timestamp` and as_of")


def _check_classes(spec: DatasetSpec, rows: dict[str, int], clicks: dict[str, int]) -> None:
    """Makes sure that there is something to learn."""
    total, clicked = sum(rows.values()), sum(clicks.values())
    if clicked in {0, total}:
        what = f"the rule '{spec.label.rule}'" if spec.label.rule else f"the column '{spec.label.column}'"
        raise InputError(
            f"{spec.source.path}: {what} makes {'each' if clicked else 'none'} of the {total:,} rows a click, so there is "
            "nothing to learn; correct `label`"
        )


def _distinct(database: Sql, column: str) -> int:
    (count,) = database.one(f"SELECT count(*) FROM (SELECT DISTINCT {name(column)} FROM rows)")
    return int(count)


def _moment(microseconds: int) -> datetime:
    return datetime.fromtimestamp(microseconds // 1_000_000, UTC).replace(microsecond=microseconds % 1_000_000)
