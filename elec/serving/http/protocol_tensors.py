"""The tensors of an inference request: named, typed, with a shape, their data in the JSON or behind it."""

from collections.abc import Mapping
from itertools import chain
from types import NoneType
from typing import Any

import numpy as np
import pyarrow as pa

from elec.serving.http.protocol_binary import Tail, read_column, read_numbers
from elec.serving.http.protocol_errors import RequestError
from elec.spec.fields import FieldSpec, Kind

INTEGERS = frozenset({"INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64"})
FLOATS = frozenset({"FP16", "FP32", "FP64"})
TEXT = frozenset({"BYTES"})

#: The datatypes that a field may come in; the first is the one that the metadata names.
ACCEPTED: Mapping[Kind, tuple[str, frozenset[str]]] = {
    Kind.CATEGORICAL: ("BYTES", TEXT | INTEGERS),
    Kind.NUMERIC: ("FP64", FLOATS | INTEGERS),
    Kind.MULTIVALUED: ("BYTES", TEXT),
}


def read_field(tensor: Mapping[str, Any], field: FieldSpec, most_rows: int, tail: Tail) -> list[Any] | pa.Array:
    """A field's values; the list of the request itself where Arrow would take it as it stands.

    Args:
        tensor: With `name`, `datatype`, `shape`, and `data` or `binary_data_size`.
        field: The field.
        most_rows: It may have.
        tail: The bytes behind the JSON.

    Raises:
        RequestError: If the datatype is not the field's, or the data are not of the datatype or the shape.
    """
    name, data, datatype = field.name, tensor.get("data"), tensor.get("datatype")
    shape: Any = tensor.get("shape")
    accepted = ACCEPTED[field.kind][1]
    if not isinstance(datatype, str) or datatype not in accepted:
        raise RequestError(f"input '{name}' has the datatype {datatype!r}; for a {field.kind} field send {_listed(accepted)}")
    size = _binary_size(tensor)
    if size is not None:
        data = read_column(name, datatype, tail.take(name, size))
    elif not isinstance(data, list):
        raise RequestError(f"input '{name}' has no list 'data'; send one value a row")
    if shape != [len(data)] or type(shape[0]) is not int:
        _check_shape(name, shape, len(data))
    _check_rows(len(data), most_rows)
    if size is not None:
        return data
    if _is_plain(data, datatype, field.kind):
        return data
    try:
        column = pa.array(data)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        column = None
    if column is not None and _is(column.type, datatype, field.kind):
        return column
    if datatype not in TEXT:
        column = _rewritten(data, datatype)
        if column is not None:
            return column
    raise RequestError(f"input '{name}' has data that are not {datatype}, or too large a number; send {datatype} or null")


def read_floats(tensor: Mapping[str, Any], sizes: tuple[int, ...], most_rows: int, tail: Tail) -> np.ndarray:
    """A tensor of numbers without nulls, float32 [N, *sizes]; its data is flat or nested.

    Args:
        tensor: With `name`, `datatype`, `shape`, and `data` or `binary_data_size`.
        sizes: Of the dimensions behind the first.
        most_rows: It may have.
        tail: The bytes behind the JSON.

    Raises:
        RequestError: If it has another shape, or something that is not a finite number.
    """
    name, datatype = tensor["name"], tensor.get("datatype")
    shape: Any = tensor.get("shape")
    if not isinstance(datatype, str) or datatype not in FLOATS:
        raise RequestError(f"input '{name}' has the datatype {datatype!r}; send {_listed(FLOATS)}")
    if not _is_shape(shape, 1 + len(sizes)) or tuple(shape[1:]) != sizes:
        raise RequestError(f"input '{name}' has the shape {shape!r}; send [rows, {', '.join(map(str, sizes))}]")
    rows: int = shape[0]
    _check_rows(rows, most_rows)
    of_bytes = _binary_size(tensor)
    data = tensor.get("data") if of_bytes is None else read_numbers(name, datatype, tail.take(name, of_bytes))
    if not isinstance(data, list | np.ndarray):
        raise RequestError(f"input '{name}' has no list 'data'; send numbers, flat or nested")
    wrong_count = f"input '{name}' has not {rows * int(np.prod(sizes)):,} numbers; send zeros where nothing is known"
    try:
        values = np.asarray(data)
        if values.size and (values.dtype.kind not in "fiu" or not np.isfinite(values).all()):
            raise RequestError(f"input '{name}' has something that is no finite number; send zeros where nothing is known")
        return values.astype(np.float32).reshape(rows, *sizes)
    except (ValueError, OverflowError):
        raise RequestError(wrong_count, 422) from None


def _is_plain(data: list[Any], datatype: str, of: Kind) -> bool:
    """Whether the data are of one type, which is plainly the datatype's."""
    kinds = set(map(type, data))
    if datatype in FLOATS:
        return kinds <= {float, NoneType}
    if datatype in INTEGERS:
        return kinds <= {int, NoneType} and all(value is None or -(2**63) <= value < 2**63 for value in data)
    if of is Kind.MULTIVALUED and kinds <= {list, NoneType}:
        return set(map(type, chain.from_iterable(filter(None, data)))) <= {str, NoneType}
    return kinds <= {str, NoneType}


def _binary_size(tensor: Mapping[str, Any]) -> Any:
    """How many bytes behind the JSON are the tensor's; None for a tensor that is in it."""
    parameters = tensor.get("parameters", {})
    if not isinstance(parameters, dict):
        raise RequestError(f"input '{tensor['name']}' has 'parameters' that are no object; send {{name: value}}")
    return parameters.get("binary_data_size")


def _check_shape(name: str, shape: Any, rows: int) -> None:
    """Refuses what is not a column's shape."""
    said = f"input '{name}' has {rows} values and the shape {shape!r}; send the shape [{rows}]"
    if not _is_shape(shape, 1) and not (_is_shape(shape, 2) and shape[1] == 1):
        raise RequestError(said)
    if shape[0] != rows:
        raise RequestError(said, 422)


def _is_shape(shape: Any, dimensions: int) -> bool:
    return isinstance(shape, list) and len(shape) == dimensions and all(is_whole(size) and size >= 0 for size in shape)


def is_whole(value: Any) -> bool:
    """Whether JSON takes a value for a whole number of 64 bits: 5.0 is one."""
    if isinstance(value, float):
        # -2^63 itself is what a smaller one becomes in a double.
        return value.is_integer() and -(2.0**63) < value < 2.0**63
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


def _rewritten(data: list[Any], datatype: str) -> pa.Array | None:
    """Numbers that Arrow does not take as they stand: 5.0 among whole ones, large whole ones among fractions."""
    if datatype in INTEGERS:
        fits = all(value is None or is_whole(value) for value in data)
        return pa.array([None if value is None else int(value) for value in data], pa.int64()) if fits else None
    fits = all(value is None or (isinstance(value, int | float) and not isinstance(value, bool)) for value in data)
    return pa.array([None if value is None else float(value) for value in data], pa.float64()) if fits else None


def _check_rows(rows: int, most: int) -> None:
    if rows > most:
        raise RequestError(f"the request has {rows:,} rows; send at most {most:,} at once", status=422)


def _is(kind: pa.DataType, datatype: str, of: Kind) -> bool:
    if pa.types.is_null(kind):
        return True
    if datatype in INTEGERS:
        return bool(pa.types.is_integer(kind))
    if datatype in FLOATS:
        return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))
    if not pa.types.is_list(kind):
        return bool(pa.types.is_string(kind))
    # Only a field with several values may have them as a list.
    return of is Kind.MULTIVALUED and bool(pa.types.is_string(kind.value_type) or pa.types.is_null(kind.value_type))


def _listed(datatypes: frozenset[str]) -> str:
    *most, last = sorted(datatypes)
    return f"{', '.join(most)} or {last}" if most else last
