"""Raw values, as they come from a file, from Feast or from a JSON request, brought to one Arrow type per kind of field.

Training and serving both pass through here, so that `5`, `5.0` and `"5"` are the same user wherever they are read.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from types import NoneType
from typing import Any, TypeAlias

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

#: Of a column as it comes: Python's own values, or Arrow's.
Values: TypeAlias = Sequence[Any] | pa.Array | pa.ChunkedArray
#: Columns of equal length by name.
Columns: TypeAlias = Mapping[str, Values]

# As Parquet's dictionaries are read.
_CODED_TEXT = pa.dictionary(pa.int32(), pa.string())
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


def few_values(field: FieldSpec, values: Values) -> Sequence[Any] | None:
    """Brings a few values to Python's own form of the field's raw type, where Arrow's fixed costs would outweigh the values.

    Args:
        field: The field.
        values: N values.

    Returns:
        N texts, finite or other floats, or lists of texts, null and empty texts among them; None for values that are out of
        the ordinary, which are left to `raw_column`, as all errors are.
    """
    if isinstance(values, pa.Array | pa.ChunkedArray):
        of_arrow = _few_of_arrow(field.kind, values)
        if of_arrow is None:
            return None
        values = of_arrow
    kinds = set(map(type, values))
    if field.kind is Kind.NUMERIC:
        if kinds <= {float, NoneType}:
            return values
        return [None if value is None else float(value) for value in values] if kinds <= {float, int, NoneType} else None
    if kinds <= {str, NoneType}:
        return _few_joined(values, field.separator) if field.kind is Kind.MULTIVALUED else values
    if field.kind is Kind.MULTIVALUED:
        parts = itertools.chain.from_iterable(filter(None, values)) if kinds <= {list, NoneType} else (0,)
        return values if set(map(type, parts)) <= {str, NoneType} else None
    # How Arrow writes a fraction is left to Arrow.
    whole = kinds <= {str, int, float, NoneType} and all(
        type(value) is not float or math.isnan(value) or (value.is_integer() and abs(value) <= _EXACT_INTEGERS)
        for value in values
    )
    return list(map(_text, values)) if whole else None


def columns_of(rows: pa.Table | pa.RecordBatch | Columns) -> Columns:
    """The columns of a table by name."""
    return rows if isinstance(rows, Mapping) else dict(zip(rows.schema.names, rows.columns, strict=True))


def arrow_column(field: FieldSpec, values: Values) -> pa.Array:
    """A column, as it comes, at the field's raw type.

    Raises:
        InputError: If a value cannot be read as the field's kind.
    """
    return raw_column(field, values if isinstance(values, pa.Array | pa.ChunkedArray) else _array(values, field.separator))


def is_coded(lists: Values) -> bool:
    """Whether values are lists of dictionary arrays of text, of which each value needs to be read once only."""
    return isinstance(lists, pa.ListArray) and bool(lists.type.value_type == _CODED_TEXT)


def raw_table(fields: Sequence[FieldSpec], columns: Columns) -> pa.Table:
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
        arrays[field.name] = arrow_column(field, columns[field.name])
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise InputError(f"the columns differ in length ({lengths}); send one value per row in each")
    return pa.table(arrays)


def _few_of_arrow(kind: Kind, values: pa.Array | pa.ChunkedArray) -> Sequence[Any] | None:
    """Arrow's values as Python's own, if they are of a type that needs no more thought."""
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    plain = pa.types.is_string(values.type)
    if kind is Kind.NUMERIC:
        # Null is NaN then, which is missing too.
        plain = pa.types.is_floating(values.type) or pa.types.is_integer(values.type)
    elif kind is Kind.MULTIVALUED:
        return values.to_pylist() if values.type == TYPES[kind] else None
    return values.to_numpy(zero_copy_only=False).tolist() if plain else None


def _few_joined(values: Sequence[str | None], separator: str) -> Sequence[Any] | None:
    """Joined texts as lists; printable ones, in which a space is the only thing to trim."""
    if not all(value is None or value.isprintable() for value in values):
        return None
    return [[part.strip() for part in value.split(separator)] if value else None for value in values]


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
