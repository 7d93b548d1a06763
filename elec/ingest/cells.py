"""Turns columns of any type into the raw types of ingested rows; a cell that does not fit is marked, not fatal.

Text columns from text formats and typed columns from Parquet end up the same: `196`, 196 and 196.0 are the key `196`.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from elec.errors import InputError
from elec.ingest.sql import Sql
from elec.ingest.writing import ENCODED

Mask = npt.NDArray[np.bool_]

#: What counts as no number in a column of numbers, besides the empty cell.
NO_NUMBER = ("nan", "null", "none", "na", "n/a", "\\n")

_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_INTEGER = r"^[+-]?[0-9]{1,18}$"
_ISO = (
    r"^(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})(?:[Tt ](?P<time>[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?))?"
    r" ?(?:[Zz]|UTC|(?P<sign>[+-])(?P<hours>[0-9]{2}):?(?P<minutes>[0-9]{2})?)?$"
)
_EXACT = float(1 << 53)
_MICROSECONDS = {"s": 1_000_000.0, "ms": 1_000.0, "us": 1.0, "ns": 0.001}

#: Later than any event: what a time becomes that is too large to be one.
NEVER = np.iinfo(np.int64).max
#: 1700-01-01 in microseconds: pandas, which Feast uses, has no times before 1678.
_EARLIEST = -8_520_336_000_000_000
_LATEST = 9_214_646_400_000_000


def to_text(column: pa.Array, where: str) -> tuple[pa.Array, Mask]:
    """Any scalar column as text.

    Args:
        column: The cells.
        where: File and column, for messages.

    Returns:
        The text, null where there is none, and which cells are whole numbers that a float no longer holds exactly.

    Raises:
        InputError: If the column holds lists, structures or bytes that are no text.
    """
    column = _decoded(column)
    kind = column.type
    inexact = np.zeros(len(column), dtype=bool)
    if pa.types.is_nested(kind):
        raise InputError(f"{where}: holds {kind}, not single values; make it `kind: multivalued`, or flatten it")
    if pa.types.is_floating(kind):
        numbers = column.cast(pa.float64())
        values = numbers.fill_null(np.nan).to_numpy(zero_copy_only=False)
        whole = np.isfinite(values) & (values == np.floor(values))
        inexact = whole & (np.abs(values) >= _EXACT)
        integers = np.where(whole & ~inexact, values, 0.0).astype(np.int64)
        text = pc.if_else(pa.array(whole & ~inexact), pa.array(integers).cast(pa.string()), numbers.cast(pa.string()))
        return pc.if_else(pa.array(np.isnan(values)), pa.scalar(None, pa.string()), text), inexact
    try:
        text = column.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise InputError(f"{where}: holds {kind}, which cannot be read as text; convert the column") from None
    empty = pc.equal(text, "")
    # A copy of a column of text is what costs here, so it is made only where it differs.
    return (pc.if_else(empty, pa.scalar(None, pa.string()), text) if pc.any(empty).as_py() else text), inexact


def to_encoded(column: pa.Array, where: str) -> tuple[pa.Array, Mask]:
    """As `to_text`, but a dictionary where a value can be looked at instead of each of its rows."""
    column = _one_chunk(column)
    if pa.types.is_integer(column.type):
        found = column.dictionary_encode()
        column = pa.DictionaryArray.from_arrays(found.indices, found.dictionary.cast(pa.string()))
    if column.type == ENCODED:
        values = column.dictionary
        if values.null_count == 0 and not pc.any(pc.equal(values, "")).as_py():
            return column, np.zeros(len(column), dtype=bool)
    return to_text(column, where)


def to_numbers(column: pa.Array, where: str) -> tuple[pa.Array, Mask]:
    """A column as float64.

    Returns:
        The numbers, null where there is none, and which cells are no (finite) numbers.

    Raises:
        InputError: If the column's type has nothing of a number.
    """
    column = _decoded(column)
    kind = column.type
    if pa.types.is_null(kind):
        return pa.nulls(len(column), pa.float64()), np.zeros(len(column), dtype=bool)
    if _is_text(kind):
        text = pc.utf8_trim_whitespace(column.cast(pa.string()))
        missing = pc.is_in(pc.utf8_lower(text), pa.array(["", *NO_NUMBER]))
        fits = pc.match_substring_regex(text, _NUMBER)
        numbers = pc.if_else(fits, text, pa.scalar(None, pa.string())).cast(pa.float64())
        bad = pc.and_not(pc.invert(fits), missing)
    elif pa.types.is_float64(kind) and _all_finite(column):
        return column, np.zeros(len(column), dtype=bool)
    elif pa.types.is_integer(kind):
        return column.cast(pa.float64(), safe=False), np.zeros(len(column), dtype=bool)
    elif pa.types.is_boolean(kind):
        numbers = column.cast(pa.uint8()).cast(pa.float64())
        bad = None
    elif pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        numbers = column.cast(pa.float64(), safe=False)
        numbers = pc.if_else(pc.is_nan(numbers), pa.scalar(None, pa.float64()), numbers)
        bad = None
    else:
        raise InputError(f"{where}: holds {kind}, not numbers; give another column, or another `kind`")
    infinite = pc.is_inf(numbers).fill_null(False)
    wrong = infinite if bad is None else pc.or_(bad.fill_null(False), infinite)
    mask = wrong.to_numpy(zero_copy_only=False)
    return pc.if_else(wrong, pa.scalar(None, pa.float64()), numbers), mask


def to_lists(column: pa.Array, separator: str, where: str) -> tuple[pa.Array, Mask]:
    """A column as lists of text; text is cut at the separator, empty values are left out, an empty list is null."""
    column = _decoded(column)
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type) or pa.types.is_fixed_size_list(column.type):
        lists = column
    else:
        text, _ = to_text(column, where)
        lists = pc.split_pattern(text, separator)
    rows = len(lists)
    values, inexact = to_text(pc.list_flatten(lists), where)
    values = pc.utf8_trim_whitespace(values)
    parents = pc.list_parent_indices(lists).to_numpy(zero_copy_only=False)
    filled = pc.not_equal(values, "").fill_null(False).to_numpy(zero_copy_only=False)
    counts = np.bincount(parents[filled], minlength=rows)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    bad = np.bincount(parents[inexact], minlength=rows) > 0
    return pa.ListArray.from_arrays(pa.array(offsets), values.filter(pa.array(filled)), mask=pa.array(counts == 0)), bad


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
    column = _decoded(column)
    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        exact = column.cast(pa.timestamp("us", getattr(kind, "tz", None)), safe=False).cast(pa.int64())
        return _finished(exact, column.is_null(), pa.array(np.zeros(len(column), dtype=bool)))
    if _is_text(kind) and unit == "iso":
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


def to_labels(column: pa.Array, where: str) -> tuple[npt.NDArray[np.int8], Mask, Mask]:
    """A column of 0 and 1, or false and true.

    Returns:
        Labels, which cells are missing, and which hold something else.
    """
    column = _decoded(column)
    if pa.types.is_integer(column.type) and column.null_count == 0:
        whole = column.to_numpy(zero_copy_only=False)
        none = np.zeros(len(whole), dtype=bool)
        return (whole == 1).astype(np.int8), none, (whole != 0) & (whole != 1)
    if _is_text(column.type):
        text = pc.utf8_lower(pc.utf8_trim_whitespace(column.cast(pa.string())))
        column = pc.if_else(pc.equal(text, "true"), "1", pc.if_else(pc.equal(text, "false"), "0", text))
    numbers, bad = to_numbers(column, where)
    values = numbers.fill_null(-1.0).to_numpy(zero_copy_only=False)
    missing = numbers.is_null().to_numpy(zero_copy_only=False) & ~bad
    return (values == 1.0).astype(np.int8), missing, ~missing & (values != 0.0) & (values != 1.0)


def _one_chunk(column: Any) -> Any:
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    return column


def _decoded(column: Any) -> Any:
    column = _one_chunk(column)
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return column


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _all_finite(column: pa.Array) -> bool:
    return column.null_count == 0 and bool(np.isfinite(column.to_numpy(zero_copy_only=False)).all())


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
    if _is_text(kind):
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
