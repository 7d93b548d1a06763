"""The fields of a record, from raw columns to the raw types of ingested rows."""

from collections.abc import Iterable
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from elec.ingest.batches import Needed, RawBatch
from elec.ingest.cells import Mask, to_encoded, to_lists, to_numbers, to_text
from elec.ingest.quarantine import Checks, Reason
from elec.ingest.sql import Sql
from elec.ingest.time_cells import to_times
from elec.spec import OPERATORS, FieldSpec, Kind, Rule

ARROW_TYPES = {
    Kind.CATEGORICAL: pa.string(),
    Kind.NUMERIC: pa.float64(),
    Kind.MULTIVALUED: pa.list_(pa.string()),
    Kind.TEXT: pa.string(),
}

#: How event times are stored.
TIME = pa.timestamp("us", tz="UTC")


def microseconds(moment: datetime) -> int:
    """A time as microseconds since 1970; without a zone it is UTC."""
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    since = aware - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def needed_fields(fields: Iterable[FieldSpec]) -> list[Needed]:
    """The columns of fields."""
    return [
        Needed(field.name, "fields", separator=field.separator if field.kind is Kind.MULTIVALUED else None) for field in fields
    ]


def distinct(needed: Iterable[Needed]) -> list[Needed]:
    """Each column once, however many keys of the spec name it; that it holds lists, or is required, is kept."""
    found: dict[str, Needed] = {}
    for column in needed:
        before = found.get(column.column, column)
        found[column.column] = Needed(
            column.column, before.key, before.required or column.required, before.separator or column.separator
        )
    return list(found.values())


def where(batch: RawBatch, column: str) -> str:
    """File and column, for messages."""
    return f"{batch.file}, column '{column}'"


def keys(batch: RawBatch, column: str, checks: Checks) -> pa.Array:
    """A key column; a row without one is refused."""
    text, inexact = to_encoded(batch.table[column], where(batch, column))
    checks.refuse(inexact, _inexact(column))
    missing = text.is_null().to_numpy(zero_copy_only=False)
    checks.refuse(missing, Reason(f"{column}: no value", f"check the column '{column}'"))
    return text


def times(
    batch: RawBatch,
    column: str,
    unit: str,
    missing_as: datetime | None,
    now: int,
    checks: Checks,
    database: Sql,
) -> npt.NDArray[np.int64]:
    """Event times in microseconds since 1970; a row without one, or of the future, is refused.

    Args:
        batch: The rows.
        column: The column of times.
        unit: Its unit.
        missing_as: What a missing time counts as, if anything.
        now: Later times are of the future.
        checks: Takes what is wrong.
        database: Parses ISO 8601.
    """
    values, missing, bad = to_times(batch.table[column], unit, where(batch, column), database)
    checks.refuse(bad, Reason(f"{column}: not a time ({_UNITS[unit]})", "set the unit of the timestamp (s, ms, us, ns or iso)"))
    if missing_as is None:
        way_out = f"check the column '{column}', or say in `timestamp.missing` what an unknown time counts as"
        checks.refuse(missing, Reason(f"{column}: no value", way_out))
    else:
        values = np.where(missing, microseconds(missing_as), values)
    future = ~bad & (values > now)
    way_out = f"the column is read as {_UNITS[unit]}; set the unit of the timestamp (s, ms, us, ns or iso) if it is another"
    checks.refuse(future, Reason(f"{column}: in the future", way_out))
    return values


def field(batch: RawBatch, spec: FieldSpec, checks: Checks) -> pa.Array:
    """A field's column in its raw type; a cell that does not fit refuses its row."""
    column, place = batch.table[spec.name], where(batch, spec.name)
    if spec.kind is Kind.NUMERIC:
        values, bad = to_numbers(column, place)
        checks.refuse(bad, _not_a_number(spec.name, "make the field `kind: categorical`, or correct the column"))
    elif spec.kind is Kind.MULTIVALUED:
        values, bad = to_lists(column, spec.separator, place)
        checks.refuse(bad, _inexact(spec.name))
    else:
        values, bad = to_encoded(column, place)
        checks.refuse(bad, _inexact(spec.name))
    return values


def holds(batch: RawBatch, rule: Rule, key: str, checks: Checks) -> tuple[Mask, Mask]:
    """Where a rule is true, and where its column has no value.

    Args:
        batch: The rows.
        rule: One comparison.
        key: The spec's key that holds the rule, for messages.
        checks: Takes the cells that cannot be compared.
    """
    column, place = batch.table[rule.column], where(batch, rule.column)
    if isinstance(rule.value, str):
        values, _ = to_text(column, place)
        bad = np.zeros(len(values), dtype=bool)
    else:
        values, bad = to_numbers(column, place)
        checks.refuse(bad, _not_a_number(rule.column, f"quote the value in `{key}` to compare text, or correct the column"))
    compared = getattr(pc, OPERATORS[rule.operator])(values, rule.value)
    missing = values.is_null().to_numpy(zero_copy_only=False) & ~bad
    return compared.fill_null(False).to_numpy(zero_copy_only=False), missing


_UNITS = {
    "s": "seconds since 1970",
    "ms": "milliseconds since 1970",
    "us": "microseconds since 1970",
    "ns": "nanoseconds since 1970",
    "iso": "ISO 8601",
}


def _not_a_number(column: str, way_out: str) -> Reason:
    return Reason(f"{column}: not a number", way_out)


def _inexact(column: str) -> Reason:
    return Reason(
        f"{column}: a floating-point number beyond 2^53, so not exactly the id it was",
        f"write the column '{column}' as integers or text",
    )
