"""Turns columns of any type into times; a cell that is none is marked, not fatal."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from elec.errors import InputError
from elec.ingest.cells import Mask, to_numbers
from elec.ingest.columns import by_value, decoded, is_text
from elec.ingest.sql import Sql

_INTEGER = r"^[+-]?[0-9]{1,18}$"
_ISO = (
    r"^(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})(?:[Tt ](?P<time>[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?))?"
    r" ?(?:[Zz]|UTC|(?P<sign>[+-])(?P<hours>[0-9]{2}):?(?P<minutes>[0-9]{2})?)?$"
)
_MICROSECONDS = {"s": 1_000_000.0, "ms": 1_000.0, "us": 1.0, "ns": 0.001}

#: Later than any event: what a time becomes that is too large to be one.
NEVER = np.iinfo(np.int64).max
#: 1700-01-01 in microseconds: pandas, which Feast uses, has no times before 1678.
_EARLIEST = -8_520_336_000_000_000
_LATEST = 9_214_646_400_000_000


def to_times(column: pa.Array, unit: str, where: str, database: Sql) -> tuple[npt.NDArray[np.int64], Mask, Mask]:
    """A column of times as microseconds since 1970 UTC.

    Args:
        column: Numbers, text, dates or timestamps; the last two have a unit of their own.
        unit: `s`, `ms`, `us`, `ns` or `iso`.
        where: File and column, for messages.
        database: Parses ISO 8601.

    Returns:
        Microseconds (`NEVER` where the time is beyond all reason), which cells are missing, and which are no times.

    Raises:
        InputError: If numbers stand where the spec says ISO 8601.
    """
    found = by_value(column)
    if found is not None:
        times, missing, bad = to_times(found.values, unit, where, database)
        position = found.positions.to_numpy()
        return times[position], missing[position], bad[position]
    column = decoded(column)
    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        exact = column.cast(pa.timestamp("us", getattr(kind, "tz", None)), safe=False).cast(pa.int64())
        return _finished(exact, column.is_null(), pa.array(np.zeros(len(column), dtype=bool)))
    if is_text(kind) and unit == "iso":
        text = pc.utf8_trim_whitespace(column.cast(pa.string()))
        missing = pc.equal(text, "").fill_null(True)
        exact = _iso(text, database)
        return _finished(exact, missing, pc.and_not(exact.is_null(), missing))
    if unit == "iso":
        raise InputError(f"{where}: holds numbers ({kind}), not ISO 8601 text; set the unit: s, ms, us or ns")
    plain = _plain_integers(column, unit)
    if plain is not None:
        none = np.zeros(len(column), dtype=bool)
        return plain, none, none.copy()
    numbers, bad = to_numbers(column, where)
    missing = pc.and_not(numbers.is_null(), pa.array(bad))
    return _finished(_scaled(_integers(column), numbers, unit), missing, pa.array(bad))


def _plain_integers(column: pa.Array, unit: str) -> npt.NDArray[np.int64] | None:
    """Whole numbers as microseconds where each one is a time of our centuries: the usual column, in one pass."""
    kind = column.type
    if not pa.types.is_integer(kind) or kind == pa.uint64() or column.null_count or len(column) == 0:
        return None
    whole: npt.NDArray[np.int64] = column.to_numpy(zero_copy_only=False).astype(np.int64, copy=False)
    per_unit = 1000 if unit == "ns" else 1
    factor = 1 if unit == "ns" else int(_MICROSECONDS[unit])
    low, high = int(whole.min()) * factor // per_unit, int(whole.max()) * factor // per_unit
    if low < _EARLIEST or high > _LATEST:
        return None
    return whole // 1000 if unit == "ns" else whole * np.int64(factor)


def _integers(column: pa.Array) -> pa.Array:
    """Whole numbers as int64, exactly; null for all others (nanoseconds do not fit into a float)."""
    kind = column.type
    if pa.types.is_integer(kind) and kind != pa.uint64():
        return column.cast(pa.int64())
    if is_text(kind):
        text = pc.utf8_trim_whitespace(column.cast(pa.string()))
        # 19 digits are nanoseconds of our days; they fit as long as they are below int64's largest.
        long = pc.and_(pc.match_substring_regex(text, "^[0-9]{19}$"), pc.less_equal(text, str(NEVER)))
        fits = pc.or_(pc.match_substring_regex(text, _INTEGER), long)
        return pc.if_else(fits, text, pa.scalar(None, pa.string())).cast(pa.int64())
    return pa.nulls(len(column), pa.int64())


def _scaled(integers: pa.Array, numbers: pa.Array, unit: str) -> pa.Array:
    factor = _MICROSECONDS[unit]
    rough = np.clip(numbers.fill_null(0.0).to_numpy(zero_copy_only=False) * factor, float(-(1 << 62)), float(1 << 62))
    fits = integers.is_valid().to_numpy(zero_copy_only=False) & (np.abs(rough) < float(1 << 62))
    whole = np.where(fits, integers.fill_null(0).to_numpy(zero_copy_only=False), 0)
    exact = whole // 1000 if unit == "ns" else whole * np.int64(factor)
    return pa.array(np.where(fits, exact, np.round(rough).astype(np.int64)))


def _iso(text: pa.Array, database: Sql) -> pa.Array:
    """ISO 8601 as microseconds, null where it is something else. DuckDB's own cast would ignore the offset from UTC."""
    parts = pc.extract_regex(text, _ISO)
    if isinstance(parts, pa.ChunkedArray):
        parts = parts.combine_chunks()
    date, time, sign, hours, minutes = (pc.struct_field(parts, name) for name in ("date", "time", "sign", "hours", "minutes"))
    moment = pc.binary_join_element_wise(date, pc.if_else(pc.equal(time, ""), "00:00", time), " ")
    found = database.query(
        "SELECT epoch_us(try_cast(moment AS TIMESTAMP)) AS us FROM moments", moments=pa.table({"moment": moment})
    )
    offset = pc.add(pc.multiply(_small(hours), 60), _small(minutes))
    offset = pc.if_else(pc.equal(sign, "-"), pc.negate(offset), offset).fill_null(0)
    return pc.subtract(found["us"].combine_chunks().cast(pa.int64()), pc.multiply(offset, 60_000_000))


def _small(digits: pa.Array) -> pa.Array:
    return pc.if_else(pc.equal(digits, ""), "0", digits).cast(pa.int64())


def _finished(exact: pa.Array, missing: pa.Array, bad: pa.Array) -> tuple[npt.NDArray[np.int64], Mask, Mask]:
    values = exact.fill_null(0).to_numpy(zero_copy_only=False)
    none = missing.fill_null(True).to_numpy(zero_copy_only=False)
    wrong = (bad.fill_null(False).to_numpy(zero_copy_only=False) | (values < _EARLIEST)) & ~none
    return np.where(values > _LATEST, NEVER, values).astype(np.int64), none, wrong
