"""What is known of users and items, over time: from a file of their own, or from the log's columns."""

# ruff: noqa: S608 - names and paths are quoted by elec.ingest.sql, everything else is a number of ours

from pathlib import Path

import numpy as np
import pyarrow as pa

from elec.ingest import fields
from elec.ingest.batches import Needed
from elec.ingest.quarantine import Account, Checks, Quarantine, refused_rows
from elec.ingest.reading import read
from elec.ingest.report import ALWAYS, TableReport
from elec.ingest.segment import Segment
from elec.ingest.sources import find_files
from elec.ingest.sql import Sql, name, text, texts
from elec.ingest.visible import is_outside, is_whole
from elec.ingest.window import Window
from elec.ingest.writing import RowWriter
from elec.spec import DatasetSpec, Entity, SideTable

_BATCH_ROWS = 65_536


def table_schema(spec: DatasetSpec, entity: Entity) -> pa.Schema:
    """The columns of `users.parquet` or `items.parquet`."""
    return pa.schema(
        [
            (spec.key_of(entity), pa.string()),
            ("event_timestamp", fields.TIME),
            *((field.name, fields.ARROW_TYPES[field.kind]) for field in spec.fields_of(entity)),
        ]
    )


def side_table(
    database: Sql,
    spec: DatasetSpec,
    entity: Entity,
    table: SideTable,
    window: Window,
    quarantine: Quarantine,
    work: Path,
    path: Path,
) -> TableReport:
    """Reads users or items from a file of their own; of two rows with the same key and time, the later in the file wins.

    Args:
        database: For the readers and the sort.
        spec: What the data set is.
        entity: Users or items.
        table: Where their file is.
        window: What is visible.
        quarantine: Takes the refused rows.
        work: A folder for what has to wait.
        path: Where the table goes.

    Raises:
        InputError: If a file cannot be read as the spec says, or every row is refused.
        BlockedError: If too many rows are refused.
    """
    key = spec.key_of(entity)
    final = table_schema(spec, entity)
    waiting = pa.schema([("row_id", pa.int64()), *((column.name, column.type) for column in _stored(final))])
    account = Account()
    waiting_path = work / f"{entity}.parquet"
    with RowWriter(waiting_path, waiting) as writer:
        for batch in read(database, find_files(table), table, _needed(spec, entity, table), f"ingest {entity}s"):
            checks = Checks(len(batch.table))
            if table.timestamp is None:
                times = np.full(len(batch.table), fields.microseconds(ALWAYS))
            else:
                times = fields.times(batch, table.timestamp, table.unit, None, window.now, checks, database)
            later = ~checks.refused & (times > window.as_of)
            rows = {
                "row_id": pa.array(account.read + batch.index),
                key: fields.keys(batch, table.key or key, checks),
                "event_timestamp": pa.array(times),
                **{field.name: fields.field(batch, field, checks) for field in spec.fields_of(entity)},
            }
            checks.pardon(later)
            quarantine.add(batch.file, *refused_rows(batch, checks), account)
            kept = np.flatnonzero(~(checks.refused | later))
            account.outside.after_as_of += int(later.sum())
            account.kept += len(kept)
            account.read += batch.rows
            writer.write(pa.table(rows).take(pa.array(kept)))
    account.judge(table.path, spec.max_bad_share)
    written = _write_sorted(
        database,
        f"""SELECT * EXCLUDE row_id FROM read_parquet({text(str(waiting_path))})
            QUALIFY row_number() OVER (PARTITION BY {name(key)}, event_timestamp ORDER BY row_id DESC) = 1
            ORDER BY {name(key)}, event_timestamp""",
        final,
        path,
    )
    waiting_path.unlink()
    return TableReport(
        rows_read=account.read,
        rows_kept=written,
        rows_quarantined=account.refused,
        rows_after_as_of=account.outside.after_as_of,
        duplicates=account.kept - written,
    )


def first_seen(database: Sql, spec: DatasetSpec, entity: Entity, segments: list[Segment], window: Window, path: Path) -> int:
    """Makes the table of users or items of which only the key is known: one row per key.

    Args:
        database: For the sort.
        spec: What the data set is.
        entity: Users or items.
        segments: Of the log.
        window: What is visible.
        path: Where the table goes.

    Returns:
        Rows written.
    """
    key = name(spec.key_of(entity))
    seen = [segment for segment in segments if segment.meta.kept and not is_outside(segment, window)]
    # Duplicates are no earlier than the row that they repeat, so it does not matter whether they are dropped.
    whole = [segment.firsts(entity) for segment in seen if is_whole(segment, window)]
    cut = [segment.rows for segment in seen if not is_whole(segment, window)]
    found = [(whole, "true"), (cut, window.condition("event_timestamp"))]
    sources = " UNION ALL ".join(
        f"SELECT {key}, event_timestamp FROM read_parquet({texts(map(str, paths))}) WHERE {condition}"
        for paths, condition in found
        if paths
    )
    sql = f"SELECT {key}, min(event_timestamp) AS event_timestamp FROM ({sources}) GROUP BY {key} ORDER BY {key}"
    return _write_sorted(database, sql, table_schema(spec, entity), path)


def derived_table(database: Sql, spec: DatasetSpec, entity: Entity, path: Path) -> int:
    """Makes the table of users or items from the log: one row per key, and one more whenever a value changes.

    Args:
        database: Has the kept rows as `rows`.
        spec: What the data set is; users and items have fields.
        entity: Users or items.
        path: Where the table goes.

    Returns:
        Rows written.
    """
    key = name(spec.key_of(entity))
    columns = [name(field.name) for field in spec.fields_of(entity)]
    chosen = "".join(f", {column}" for column in columns)
    over = f"OVER (PARTITION BY {key} ORDER BY event_timestamp)"
    changed = " OR ".join(
        [f"lag(event_timestamp) {over} IS NULL", *(f"{column} IS DISTINCT FROM lag({column}) {over}" for column in columns)]
    )
    same = " AND ".join(
        f"min({column}) IS NOT DISTINCT FROM max({column}) AND count({column}) IN (0, count(*))" for column in columns
    )
    # Most keys never change: they need no sort. Of one key's rows at one time the last read counts, as in a side table.
    database.run(
        f"""CREATE OR REPLACE TEMP TABLE keys AS
            SELECT {key}, min(event_timestamp) AS event_timestamp, {same} AS same,
                {", ".join(f"min({column}) AS {column}" for column in columns)} FROM rows GROUP BY {key}"""
    )
    sql = f"""
        WITH latest AS (
            SELECT {key}, event_timestamp{chosen} FROM rows WHERE {key} IN (SELECT {key} FROM keys WHERE NOT same)
            QUALIFY row_number() OVER (PARTITION BY {key}, event_timestamp ORDER BY row_id DESC) = 1
        ), changing AS (SELECT * FROM latest QUALIFY {changed})
        SELECT * FROM (
            SELECT {key}, event_timestamp{chosen} FROM keys WHERE same
            UNION ALL SELECT {key}, event_timestamp{chosen} FROM changing
        ) ORDER BY {key}, event_timestamp
    """
    return _write_sorted(database, sql, table_schema(spec, entity), path)


def _needed(spec: DatasetSpec, entity: Entity, table: SideTable) -> list[Needed]:
    where = f"tables.{entity}s"
    key = table.key or spec.key_of(entity)
    needed = [Needed(key, f"{where}.key" if table.key else str(entity), required=True)]
    if table.timestamp is not None:
        needed.append(Needed(table.timestamp, f"{where}.timestamp", required=True))
    return fields.distinct([*needed, *fields.needed_fields(spec.fields_of(entity))])


def _stored(schema: pa.Schema) -> pa.Schema:
    """The schema with times as microseconds: DuckDB would want a time-zone extension for the others."""
    position = schema.get_field_index("event_timestamp")
    return schema.set(position, pa.field("event_timestamp", pa.int64()))


def _write_sorted(database: Sql, sql: str, schema: pa.Schema, path: Path) -> int:
    with RowWriter(path, schema) as writer:
        for batch in database.stream(sql, _BATCH_ROWS):
            writer.write(pa.Table.from_batches([batch]).cast(_stored(schema)))
        return writer.rows
