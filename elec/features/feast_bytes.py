"""Keys, values and moments as Feast writes them into its online stores: a whole column at a time, without Feast.

The opposite of `elec.features.feast_values`, byte for byte what Feast's protobuf messages give: `feast.types.Value` for values,
`google.protobuf.Timestamp` for moments, version 3 of Feast's own form for an entity's keys. Only the types that the views of
elec have are known here.
"""

import struct
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from elec.features.feast_values import VALUE_TYPES

_BINARY = pa.large_binary()
_MOMENT = pa.timestamp("us", tz="UTC")
_STRING_TYPE = VALUE_TYPES[pa.string()]
_EMPTY = pa.scalar(b"", _BINARY)
# Wire types of protobuf.
_VARINT, _FIXED64, _BYTES = 0, 1, 2


def entity_keys(columns: Mapping[str, pa.Array]) -> pa.Array:
    """The keys of N entities.

    Args:
        columns: By join key N texts, none of them null.
    """
    names = sorted(columns)
    head = struct.pack("<I", len(names))
    for name in names:
        head += struct.pack("<II", _STRING_TYPE, len(name.encode())) + name.encode()
    parts: list[pa.Array | pa.Scalar] = [pa.scalar(head, _BINARY)]
    for name in names:
        value = pc.cast(columns[name], _BINARY)
        sizes = _fixed(pc.binary_length(value).to_numpy().astype("<u4"))
        parts += [pa.scalar(struct.pack("<I", _STRING_TYPE), _BINARY), sizes, value]
    return joined(*parts)


def values(column: pa.Array) -> pa.Array:
    """N values as messages `Value`; null is a message without any field.

    Args:
        column: Of one of the types of `feast_values.VALUE_TYPES`.

    Raises:
        TypeError: If it is of another.
    """
    # Not by hash: that of a list's type depends on what its parts are called.
    encode = next((encode for kind, encode in _ENCODERS if kind == column.type), None)
    if encode is None:
        raise TypeError(f"no view of elec has features of type {column.type}")
    return encode(column)


def moments(column: pa.Array) -> pa.Array:
    """N moments as messages `Timestamp`."""
    micros_N = pc.cast(pc.cast(column, _MOMENT), pa.int64()).to_numpy()
    seconds_N = micros_N // 1_000_000
    nanos_N = (micros_N - seconds_N * 1_000_000) * 1000
    return joined(*(_varint_field(number, part) for number, part in ((1, seconds_N), (2, nanos_N))))


def joined(*parts: pa.Array | pa.Scalar) -> pa.Array:
    """N byte strings, each the parts of its row one after the other; a scalar is the same in all rows."""
    return pc.binary_join_element_wise(*parts, _EMPTY)


def numbers_as_text(number_N: npt.NDArray[Any]) -> pa.Array:
    """N integers in decimal."""
    return pc.cast(pc.cast(pa.array(number_N), pa.large_string()), _BINARY)


def _strings(column: pa.Array) -> pa.Array:
    return _message(VALUE_TYPES[pa.string()], pc.cast(pc.fill_null(column, ""), _BINARY), column)


def _doubles(column: pa.Array) -> pa.Array:
    # Feast takes what is not a number for null.
    column = pc.if_else(pc.is_nan(column), pa.scalar(None, pa.float64()), column)
    tag = pa.scalar(bytes([VALUE_TYPES[pa.float64()] << 3 | _FIXED64]), _BINARY)
    written = joined(tag, _fixed(pc.fill_null(column, 0.0).to_numpy(zero_copy_only=False).astype("<f8")))
    return pc.if_else(pc.is_valid(column), written, _EMPTY)


def _string_lists(column: pa.Array) -> pa.Array:
    # Feast writes a null among the parts as an empty text.
    texts = pc.cast(pc.fill_null(column.flatten(), ""), _BINARY)
    parts = joined(pa.scalar(bytes([1 << 3 | _BYTES]), _BINARY), _varints(_sizes(texts)), texts)
    offsets_P = np.frombuffer(parts.buffers()[1], np.int64, len(parts) + 1, parts.offset * 8)
    bounds_N = np.zeros(len(column) + 1, np.int64)
    np.cumsum(pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False), out=bounds_N[1:])
    body = pa.Array.from_buffers(_BINARY, len(column), [None, pa.py_buffer(offsets_P[bounds_N]), parts.buffers()[2]])
    return _message(VALUE_TYPES[pa.list_(pa.string())], body, column)


def _float_lists(column: pa.Array) -> pa.Array:
    numbers = pc.fill_null(column.flatten(), 0.0).to_numpy(zero_copy_only=False).astype("<f4")
    offsets_N = np.zeros(len(column) + 1, np.int64)
    np.cumsum(pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False), out=offsets_N[1:])
    packed = pa.Array.from_buffers(_BINARY, len(column), [None, pa.py_buffer(offsets_N * 4), pa.py_buffer(numbers)])
    filled = joined(pa.scalar(bytes([1 << 3 | _BYTES]), _BINARY), _varints(_sizes(packed)), packed)
    return _message(VALUE_TYPES[pa.list_(pa.float32())], pc.if_else(pc.equal(packed, _EMPTY), _EMPTY, filled), column)


_ENCODERS: tuple[tuple[pa.DataType, Callable[[pa.Array], pa.Array]], ...] = (
    (pa.string(), _strings),
    (pa.float64(), _doubles),
    (pa.list_(pa.string()), _string_lists),
    (pa.list_(pa.float32()), _float_lists),
)


def _message(number: int, body: pa.Array, column: pa.Array) -> pa.Array:
    """A field with a size before its bytes; nothing where the column is null."""
    tag = pa.scalar(_varint(number << 3 | _BYTES), _BINARY)
    return pc.if_else(pc.is_valid(column), joined(tag, _varints(_sizes(body)), body), _EMPTY)


def _varint_field(number: int, value_N: npt.NDArray[np.int64]) -> pa.Array:
    """A field of whole numbers; zero is not written."""
    written = joined(pa.scalar(bytes([number << 3 | _VARINT]), _BINARY), _varints(value_N))
    return pc.if_else(pa.array(value_N != 0), written, _EMPTY)


def _sizes(column: pa.Array) -> npt.NDArray[np.int64]:
    found: npt.NDArray[np.int64] = pc.binary_length(column).to_numpy().astype(np.int64)
    return found


def _fixed(number_N: npt.NDArray[Any]) -> pa.Array:
    """The bytes of N numbers as they lie in memory."""
    offsets = np.arange(len(number_N) + 1, dtype=np.int64) * number_N.itemsize
    content = pa.py_buffer(np.ascontiguousarray(number_N))
    return pa.Array.from_buffers(_BINARY, len(number_N), [None, pa.py_buffer(offsets), content])


def _varint(number: int) -> bytes:
    return bytes(_varints(np.array([number]))[0].as_py())


def _varints(number_N: npt.NDArray[np.int64]) -> pa.Array:
    """N numbers in protobuf's variable length; one below zero takes ten bytes."""
    left_N = number_N.astype(np.int64).view(np.uint64)
    byte_NK = np.zeros((len(left_N), 10), np.uint8)
    size_N = np.ones(len(left_N), np.int64)
    for place in range(10):
        more_N = left_N >= 128
        byte_NK[:, place] = (left_N & np.uint64(127)).astype(np.uint8) | (more_N.astype(np.uint8) << 7)
        left_N = left_N >> np.uint64(7)
        size_N += more_N
        if not more_N.any():
            break
    offsets = np.zeros(len(left_N) + 1, np.int64)
    np.cumsum(size_N, out=offsets[1:])
    content = byte_NK[np.arange(10) < size_N[:, None]]
    return pa.Array.from_buffers(_BINARY, len(left_N), [None, pa.py_buffer(offsets), pa.py_buffer(content)])
