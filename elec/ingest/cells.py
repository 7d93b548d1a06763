"""Turns columns of any type into the raw types of ingested rows; a cell that does not fit is marked, not fatal.

Text columns from text formats and typed columns from Parquet end up the same: `196`, 196 and 196.0 are the key `196`.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from elec.errors import InputError
from elec.ingest.columns import by_value, decoded, is_text, one_chunk
from elec.ingest.writing import ENCODED

Mask = npt.NDArray[np.bool_]

#: What counts as no number in a column of numbers, besides the empty cell.
NO_NUMBER = ("nan", "null", "none", "na", "n/a", "\\n")

_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_EXACT = float(1 << 53)


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
    column = decoded(column)
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
    column = one_chunk(column)
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
    found = by_value(column)
    if found is not None:
        numbers, mask = to_numbers(found.values, where)
        return numbers.take(found.positions), mask[found.positions.to_numpy()]
    column = decoded(column)
    kind = column.type
    if pa.types.is_null(kind):
        return pa.nulls(len(column), pa.float64()), np.zeros(len(column), dtype=bool)
    plain = _plain_numbers(column) if is_text(kind) else None
    if plain is not None:
        return plain, np.zeros(len(column), dtype=bool)
    bad = None
    if is_text(kind):
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
    elif pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        numbers = column.cast(pa.float64(), safe=False)
        numbers = pc.if_else(pc.is_nan(numbers), pa.scalar(None, pa.float64()), numbers)
    else:
        raise InputError(f"{where}: holds {kind}, not numbers; give another column, or another `kind`")
    infinite = pc.is_inf(numbers).fill_null(False)
    wrong = infinite if bad is None else pc.or_(bad.fill_null(False), infinite)
    mask = wrong.to_numpy(zero_copy_only=False)
    return pc.if_else(wrong, pa.scalar(None, pa.float64()), numbers), mask


def to_lists(column: pa.Array, separator: str, where: str) -> tuple[pa.Array, Mask]:
    """A column as lists of text; text is cut at the separator, empty values are left out, an empty list is null."""
    found = by_value(column)
    if found is not None:
        lists, bad = to_lists(found.values, separator, where)
        return lists.take(found.positions), bad[found.positions.to_numpy()]
    column = decoded(column)
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


def to_labels(column: pa.Array, where: str) -> tuple[npt.NDArray[np.int8], Mask, Mask]:
    """A column of 0 and 1, or false and true.

    Returns:
        Labels, which cells are missing, and which hold something else.
    """
    found = by_value(column)
    if found is not None:
        labels, missing, bad = to_labels(found.values, where)
        position = found.positions.to_numpy()
        return labels[position], missing[position], bad[position]
    column = decoded(column)
    if pa.types.is_integer(column.type) and column.null_count == 0:
        whole = column.to_numpy(zero_copy_only=False)
        none = np.zeros(len(whole), dtype=bool)
        return (whole == 1).astype(np.int8), none, (whole != 0) & (whole != 1)
    if is_text(column.type):
        text = pc.utf8_lower(pc.utf8_trim_whitespace(column.cast(pa.string())))
        column = pc.if_else(pc.equal(text, "true"), "1", pc.if_else(pc.equal(text, "false"), "0", text))
    numbers, bad = to_numbers(column, where)
    values = numbers.fill_null(-1.0).to_numpy(zero_copy_only=False)
    missing = numbers.is_null().to_numpy(zero_copy_only=False) & ~bad
    return (values == 1.0).astype(np.int8), missing, ~missing & (values != 0.0) & (values != 1.0)


def _plain_numbers(column: pa.Array) -> pa.Array | None:
    """Text as numbers where every cell is nothing but a finite one, as in the usual column.

    Of what `_NUMBER` does not take, Arrow takes `inf` and `nan` alone.
    """
    try:
        numbers = column.cast(pa.float64())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None
    return numbers if np.isfinite(numbers.fill_null(0.0).to_numpy(zero_copy_only=False)).all() else None


def _all_finite(column: pa.Array) -> bool:
    return column.null_count == 0 and bool(np.isfinite(column.to_numpy(zero_copy_only=False)).all())
