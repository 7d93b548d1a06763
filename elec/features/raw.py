"""Raw values, as they come from a file, from Feast or from a JSON request, brought to one Arrow type per kind of field.

Training and serving both pass through here, so that `5`, `5.0` and `"5"` are the same user wherever they are read.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from elec.errors import InputError
from elec.spec import FieldSpec, Kind

#: The Arrow type of a field's raw values.
TYPES: dict[Kind, pa.DataType] = {
    Kind.CATEGORICAL: pa.string(),
    Kind.NUMERIC: pa.float64(),
    Kind.MULTIVALUED: pa.list_(pa.string()),
    Kind.TEXT: pa.string(),
}

# float64 holds every integer up to here.
_EXACT_INTEGERS = 2.0**53


def raw_column(field: FieldSpec, values: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Brings Arrow values to the field's raw type.

    Args:
        field: The field.
        values: N values of any type that can be read so: integers for ids, text for numbers, joined text for lists.

    Returns:
        N values of `TYPES[field.kind]`; what is empty or not a finite number is null.

    Raises:
        InputError: If a value cannot be read as the field's kind.
    """
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    try:
        if field.kind is Kind.NUMERIC:
            return _numbers(values)
        if field.kind is Kind.MULTIVALUED:
            return _lists(values, field.separator)
        return _null_if_empty(_texts(values))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(
            f"field '{field.name}': {str(error).splitlines()[0]}; the field is {field.kind}, send such values, or null"
        ) from None


def raw_table(fields: Sequence[FieldSpec], columns: Mapping[str, Sequence[Any] | pa.Array | pa.ChunkedArray]) -> pa.Table:
    """Builds a table of raw values from columns of Python values, such as those of a JSON request.

    Args:
        fields: The fields to read; other columns are left out.
        columns: By field name, N values each; values of one column may differ in type.

    Returns:
        A table of N rows with the fields' columns in order.

    Raises:
        InputError: If a column is missing, the columns differ in length, or a value cannot be read as its field's kind.
    """
    arrays: dict[str, pa.Array] = {}
    for field in fields:
        if field.name not in columns:
            raise InputError(f"field '{field.name}': the column is missing; send it, with null where the value is unknown")
        values = columns[field.name]
        arrays[field.name] = raw_column(
            field, values if isinstance(values, pa.Array | pa.ChunkedArray) else _array(values, field.separator)
        )
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise InputError(f"the columns differ in length ({lengths}); send one value per row in each")
    return pa.table(arrays)


def _array(values: Sequence[Any], separator: str) -> pa.Array:
    """Python values as Arrow; a mixture of types becomes text, a mixture of lists and others becomes lists of text."""
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        if not any(isinstance(value, list | tuple) for value in values):
            return pa.array([_text(value) for value in values], pa.string())
        return pa.array([_list(value, separator) for value in values], pa.list_(pa.string()))


def _list(value: Any, separator: str) -> list[str | None] | None:
    """One value of a multi-valued field as a list."""
    if isinstance(value, list | tuple):
        return [_text(part) for part in value]
    text = _text(value)
    return None if text is None else [part.strip() for part in text.split(separator)]


def _text(value: object) -> str | None:
    """One value as Arrow would write it."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, float) and value.is_integer() and abs(value) <= _EXACT_INTEGERS:
        return str(int(value))
    return str(value)


def _texts(values: pa.Array) -> pa.Array:
    if pa.types.is_floating(values.type):
        # An id that passed through a float (a column of integers with nulls, a JSON number) is still the same id.
        integral = pc.and_(
            pc.equal(values, pc.floor(values)), pc.less_equal(pc.abs(values), pa.scalar(_EXACT_INTEGERS, values.type))
        )
        integers = pc.cast(pc.if_else(integral, values, None), pa.int64())
        not_a_number = pc.is_nan(values)
        return pc.coalesce(pc.cast(integers, pa.string()), pc.cast(pc.if_else(not_a_number, None, values), pa.string()))
    if pa.types.is_nested(values.type):
        raise pa.ArrowInvalid(f"a {values.type} cannot be read as one value")
    return pc.cast(values, pa.string())


def _null_if_empty(texts: pa.Array) -> pa.Array:
    return pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts)


def _numbers(values: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_large_string(values.type) or pa.types.is_string(values.type) or pa.types.is_string_view(values.type):
        values = _null_if_empty(pc.utf8_trim_whitespace(pc.cast(values, pa.string())))
    elif pa.types.is_boolean(values.type):
        values = pc.cast(values, pa.int8())
    # Integers beyond 2^53 lose their last digits, as they do in every float column.
    numbers = pc.cast(values, pa.float64(), safe=pa.types.is_string(values.type))
    return pc.if_else(pc.is_finite(numbers), numbers, pa.scalar(None, pa.float64()))


def _lists(values: pa.Array, separator: str) -> pa.Array:
    kind = values.type
    if pa.types.is_null(kind):
        return pa.nulls(len(values), TYPES[Kind.MULTIVALUED])
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        joined = _null_if_empty(_texts(values))
        parts = pc.split_pattern(joined, separator)
        trimmed = pc.utf8_trim_whitespace(parts.flatten())
        return pa.ListArray.from_arrays(_offsets(parts), trimmed, mask=pc.is_null(parts))
    if kind.value_type == pa.string() and pa.types.is_list(kind):
        return values
    parts = values.flatten()
    # A cast of a list of nulls may change its length (pyarrow 26), so only the parts are cast.
    texts = pa.nulls(len(parts), pa.string()) if pa.types.is_null(kind.value_type) else _texts(parts)
    return pa.ListArray.from_arrays(_offsets(values), texts, mask=pc.is_null(values))


def _offsets(lists: pa.Array) -> pa.Array:
    """Offsets into `lists.flatten()`, which leaves out what null lists and slices hide."""
    lengths = pc.fill_null(pc.list_value_length(lists), 0)
    return pa.concat_arrays([pa.array([0], pa.int32()), pc.cast(pc.cumulative_sum(lengths), pa.int32())])
