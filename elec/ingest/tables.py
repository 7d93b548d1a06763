"""What is known of users and items, over time: from a file of their own, or from the log's columns."""

# ruff: noqa: S608 - names and paths are quoted by elec.ingest.sql, everything else is a number of ours

from collections.abc import Iterator
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
from elec.ingest.sql import Sql, hashed, name, numbered, text, texts
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
    with RowWriter(path, final) as writer:
        for rows in _latest(database, f"SELECT * FROM read_parquet({text(str(waiting_path))})", key):
            writer.write(rows.cast(_stored(final)))
    written = writer.rows
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

    Nothing is held but whole numbers by key and one sort, which both go to disk where memory ends: text in aggregates and
    windows would not.

    Args:
        database: Has the kept rows as `rows`.
        spec: What the data set is; users and items have fields.
        entity: Users or items.
        path: Where the table goes.

    Returns:
        Keys.
    """
    key = name(spec.key_of(entity))
    fields_of = [field.name for field in spec.fields_of(entity)]
    columns = [name(field) for field in fields_of]
    chosen = "".join(f", r.{column}" for column in columns)
    # Hashes of 64 bits: a key is taken for one without a change where all of its values collide, with probability 2^-64.
    hashes = [hashed(name(field.name), table_schema(spec, entity).field(field.name).type) for field in spec.fields_of(entity)]
    same = " AND ".join(f"min({value}) = max({value})" for value in hashes)
    # Most keys never change: their first rows are enough.
    database.run(
        f"""CREATE OR REPLACE TEMP TABLE keys AS
            SELECT {key}, min(event_timestamp) AS first, {same} AS same FROM rows GROUP BY {key}"""
    )
    # One join and one sort: DuckDB plans the memory of a union of joins badly, and runs out of it.
    sql = f"""SELECT r.{key}, r.event_timestamp, r.row_id{chosen} FROM rows r JOIN keys k ON r.{key} = k.{key}
        WHERE NOT k.same OR r.event_timestamp = k.first"""
    schema = table_schema(spec, entity)
    before: pa.Table | None = None
    with RowWriter(path, schema) as writer:
        for rows in _latest(database, sql, spec.key_of(entity)):
            changed = _changed(database, rows, before, [spec.key_of(entity), *fields_of])
            before = rows.slice(len(rows) - 1)
            writer.write(rows.filter(changed).cast(_stored(schema)))
    (keys,) = database.one("SELECT count(*) FROM keys")
    database.run("DROP TABLE keys")
    return int(keys)


def _latest(database: Sql, sql: str, key: str) -> Iterator[pa.Table]:
    """The rows of a query by key and time, never none at once; of one key's rows at one time, the last read."""
    before: pa.Table | None = None
    ordered = f"SELECT * FROM ({sql}) ORDER BY {name(key)}, event_timestamp, row_id DESC"
    for batch in database.stream(ordered, _BATCH_ROWS):
        rows = pa.Table.from_batches([batch])
        first = rows.filter(_changed(database, rows, before, [key, "event_timestamp"])).drop_columns("row_id")
        before = rows.slice(len(rows) - 1)
        if len(first):
            yield first


def _changed(database: Sql, rows: pa.Table, before: pa.Table | None, columns: list[str]) -> pa.Array:
    """Which rows differ from the row before them in some column; the first of all does.

    Args:
        database: Compares, for it knows lists too.
        rows: At least one.
        before: The row before them, if there is one.
        columns: Which count.
    """
    now = numbered(rows.select(columns))
    last = now.slice(0, 1) if before is None else numbered(before.select(columns))
    shifted = pa.concat_tables([last, now.slice(0, len(now) - 1)]).combine_chunks()
    pairs = pa.table(
        [*now.columns, *shifted.columns], [*now.column_names, *(f"before{position}" for position in range(len(columns)))]
    )
    differs = " OR ".join(f"c{position} IS DISTINCT FROM before{position}" for position in range(len(columns)))
    changed = database.query(f"SELECT {differs} AS changed FROM pairs", pairs=pairs)["changed"].to_numpy().copy()
    changed[0] |= before is None
    return pa.array(changed)


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
