"""The log's rows, checked and labelled: what is kept waits in one Parquet file for the split."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from elec.ingest import fields
from elec.ingest.batches import Needed, RawBatch
from elec.ingest.cells import Mask, to_labels, to_text
from elec.ingest.quarantine import Account, Checks, Quarantine, Reason
from elec.ingest.reading import read
from elec.ingest.sources import SourceFile
from elec.ingest.splits import SYNONYMS, by_column, by_hash, hash_rows
from elec.ingest.sql import Sql
from elec.ingest.writing import RowWriter
from elec.spec import DatasetSpec, Entity, FieldSpec, Rule

#: Columns of the waiting rows that are not the user's; a field's name cannot have a hyphen.
IDENTITY = "row-identity"
SPLIT = "row-split"


@dataclass(frozen=True)
class Window:
    """What is visible, microseconds since 1970: events up to `as_of`; and what cannot be: events after `now`."""

    as_of: int
    now: int


def log_fields(spec: DatasetSpec) -> list[FieldSpec]:
    """The fields that are columns of the log: the context's, and those of users and items without a file of their own."""
    own = [field for entity in (Entity.USER, Entity.ITEM) if spec.table_of(entity) is None for field in spec.fields_of(entity)]
    return [*own, *spec.fields_of(Entity.CONTEXT)]


def waiting_schema(spec: DatasetSpec) -> pa.Schema:
    """The columns of the rows that wait for the split; times as microseconds."""
    return pa.schema(
        [
            ("row_id", pa.int64()),
            ("label", pa.int8()),
            ("event_timestamp", pa.int64()),
            (spec.user, pa.string()),
            (spec.item, pa.string()),
            *((field.name, fields.ARROW_TYPES[field.kind]) for field in log_fields(spec)),
            (IDENTITY, pa.uint64()),
            (SPLIT, pa.int8()),
        ]
    )


def read_log(
    database: Sql, spec: DatasetSpec, files: list[SourceFile], window: Window, quarantine: Quarantine, path: Path
) -> Account:
    """Reads the log, refuses what is wrong, labels the rest and writes it in reading order.

    Args:
        database: For the readers and hashes.
        spec: What the log is.
        files: Its files.
        window: What is visible.
        quarantine: Takes the refused rows.
        path: Where the kept rows go.

    Raises:
        InputError: If a file cannot be read as the spec says.
    """
    account = Account()
    schema = waiting_schema(spec)
    with RowWriter(path, schema) as writer:
        for batch in read(database, files, spec.source, _needed(spec), "ingest"):
            checks = Checks(len(batch.table))
            rows, later, dropped = _checked(database, spec, batch, window, checks)
            keep = ~(checks.refused | later | dropped)
            quarantine.add(batch, checks, account)
            account.after_as_of += int(later.sum())
            account.dropped += int((dropped & ~later & ~checks.refused).sum())
            account.kept += int(keep.sum())
            chosen = np.flatnonzero(keep)
            rows["row_id"] = pa.array(account.read + batch.index)
            kept = pa.table(rows).take(pa.array(chosen))
            identity = hash_rows(batch.identity.take(pa.array(chosen)), database)
            kept = kept.append_column(IDENTITY, pa.array(identity))
            if SPLIT not in kept.column_names:
                kept = kept.append_column(SPLIT, pa.array(_split(database, spec, kept)))
            writer.write(kept)
            account.read += batch.rows
    return account


def _needed(spec: DatasetSpec) -> list[Needed]:
    needed = [
        Needed(spec.user, "user", required=True),
        Needed(spec.item, "item", required=True),
        Needed(spec.timestamp.column, "timestamp.column", required=spec.timestamp.missing is None),
    ]
    if spec.label.column is not None:
        needed.append(Needed(spec.label.column, "label.column", required=True))
    if spec.label.rule is not None:
        needed.append(Needed(Rule.parse(spec.label.rule).column, "label.rule", required=True))
    if spec.label.drop is not None:
        needed.append(Needed(Rule.parse(spec.label.drop).column, "label.drop"))
    if spec.split.column is not None:
        needed.append(Needed(spec.split.column, "split.column", required=True))
    return fields.distinct([*needed, *fields.needed_fields(log_fields(spec))])


def _checked(
    database: Sql, spec: DatasetSpec, batch: RawBatch, window: Window, checks: Checks
) -> tuple[dict[str, pa.Array], Mask, Mask]:
    """The columns of a batch in their raw types, and which rows are later than `as_of` and which are dropped by rule."""
    stamp = spec.timestamp
    times = fields.times(batch, stamp.column, stamp.unit, stamp.missing, window.now, checks, database)
    later = ~checks.refused & (times > window.as_of)
    rows: dict[str, pa.Array] = {"event_timestamp": pa.array(times)}
    for key in (spec.user, spec.item):
        rows[key] = fields.keys(batch, key, checks)
    rows["label"] = pa.array(_labels(spec, batch, checks))
    dropped = np.zeros(len(times), dtype=bool)
    if spec.label.drop is not None:
        dropped, _ = fields.holds(batch, Rule.parse(spec.label.drop), "label.drop", checks)
    if spec.split.column is not None:
        rows[SPLIT] = _split_cells(spec.split.column, batch, checks)
    for field in log_fields(spec):
        rows[field.name] = fields.field(batch, field, checks)
    # What is not visible yet is not judged either: the same `as_of` gives the same result when more of the log has arrived.
    checks.pardon(later)
    return rows, later, dropped


def _labels(spec: DatasetSpec, batch: RawBatch, checks: Checks) -> np.ndarray:
    if spec.label.rule is not None:
        rule = Rule.parse(spec.label.rule)
        clicked, missing = fields.holds(batch, rule, "label.rule", checks)
        column, labels = rule.column, clicked.astype(np.int8)
    else:
        column = spec.label.column or ""
        labels, missing, bad = to_labels(batch.table[column], fields.where(batch, column))
        checks.refuse(bad, Reason(f"{column}: not 0 or 1", f"say what a click is with `label: {{rule: {column} > ...}}`"))
    checks.refuse(missing, Reason(f"{column}: no value", f"check the column '{column}'"))
    return labels


def _split_cells(column: str, batch: RawBatch, checks: Checks) -> pa.Array:
    cells, _ = to_text(batch.table[column], fields.where(batch, column))
    position = by_column(cells)
    checks.refuse(position < 0, Reason(f"{column}: not one of {', '.join(SYNONYMS)}", "correct the column, or split by time"))
    return pa.array(position)


def _split(database: Sql, spec: DatasetSpec, kept: pa.Table) -> np.ndarray:
    if spec.split.by == "time":
        # Known once all rows are.
        return np.zeros(len(kept), dtype=np.int8)
    content = kept.select([spec.user, spec.item, "event_timestamp", "label"])
    return by_hash(content, spec.split, database)
