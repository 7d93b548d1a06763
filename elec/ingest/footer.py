"""Parquet's footer, read and written as it is: Thrift's compact protocol, without knowing what its fields mean.

Arrow writes a footer only for rows that it has encoded itself. To copy row groups from file to file without decoding them, the
offsets in their footer have to move. (Apache Thrift, compact protocol; parquet-format, `parquet.thrift`.)
"""

from collections.abc import Sequence
from typing import Any

_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)
_INTEGERS = frozenset({_I16, _I32, _I64})
_BOOLEANS = frozenset({_TRUE, _FALSE})

#: A struct: field number -> (type, value), in the order of the numbers.
Struct = dict[int, tuple[int, Any]]


def read_struct(content: bytes) -> Struct:
    """Reads a struct that takes up all of `content`.

    Raises:
        ValueError: If it is none.
    """
    try:
        found, end = _read_fields(content, 0)
    except IndexError:
        raise ValueError("the footer ends in the middle") from None
    if end != len(content):
        raise ValueError("there is more than a footer")
    return found


def write_struct(struct: Struct) -> bytes:
    """The bytes of a struct."""
    content = bytearray()
    _write(content, _STRUCT, struct)
    return bytes(content)


def integer(value: int) -> tuple[int, int]:
    """A field that holds an i64."""
    return _I64, value


def structs(values: Sequence[Struct | bytes]) -> tuple[int, tuple[int, Sequence[Struct | bytes]]]:
    """A field that holds a list of structs; those that are written already may come as their bytes."""
    return _LIST, (_STRUCT, values)


def _read_fields(content: bytes, at: int) -> tuple[Struct, int]:
    """A struct, and where it ends. A footer of many row groups is mostly such fields, so integers are read here."""
    found: Struct = {}
    number = 0
    while head := content[at]:
        kind, step = head & 15, head >> 4
        at += 1
        if step:
            number += step
        else:
            number, at = _read_integer(content, at)
        value: Any = None
        if kind in _INTEGERS:
            byte = content[at]
            if byte < 128:
                value, at = (byte >> 1) ^ -(byte & 1), at + 1
            else:
                value, at = _read_integer(content, at)
        elif kind not in _BOOLEANS:
            value, at = _read(content, at, kind)
        found[number] = kind, value
    return found, at + 1


def _read(content: bytes, at: int, kind: int) -> tuple[Any, int]:
    """A value, and where it ends."""
    if kind == _STRUCT:
        return _read_fields(content, at)
    if kind in _INTEGERS:
        return _read_integer(content, at)
    if kind in {_LIST, _SET}:
        inner, size = content[at] & 15, content[at] >> 4
        at += 1
        if size == 15:
            size, at = _read_varint(content, at)
        values = []
        for _ in range(size):
            value, at = _read(content, at, inner)
            values.append(value)
        return (inner, values), at
    if kind in {*_BOOLEANS, _BYTE}:
        return content[at], at + 1
    if kind not in {_BINARY, _DOUBLE}:
        raise ValueError(f"type {kind} is not in Parquet's footers")
    size, at = _read_varint(content, at) if kind == _BINARY else (8, at)
    if at + size > len(content):
        raise IndexError
    return content[at : at + size], at + size


def _read_integer(content: bytes, at: int) -> tuple[int, int]:
    number, at = _read_varint(content, at)
    return (number >> 1) ^ -(number & 1), at


def _read_varint(content: bytes, at: int) -> tuple[int, int]:
    found = shift = 0
    while (byte := content[at]) >= 128:
        found |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
    return found | byte << shift, at + 1


def _write(content: bytearray, kind: int, value: Any) -> None:
    if kind in _INTEGERS:
        _write_varint(content, (value << 1) ^ (value >> 63))
    elif kind == _BINARY:
        _write_varint(content, len(value))
        content += value
    elif kind == _STRUCT and isinstance(value, bytes):
        content += value
    elif kind == _STRUCT:
        before = 0
        for number, (inner, held) in value.items():
            if 0 < number - before < 16:
                content.append((number - before) << 4 | inner)
            else:
                content.append(inner)
                _write(content, _I16, number)
            if inner not in _BOOLEANS:
                _write(content, inner, held)
            before = number
        content.append(0)
    elif kind in {_LIST, _SET}:
        inner, held = value
        content.append(min(len(held), 15) << 4 | inner)
        if len(held) >= 15:
            _write_varint(content, len(held))
        for one in held:
            _write(content, inner, one)
    elif kind in {*_BOOLEANS, _BYTE}:
        content.append(value)
    else:
        content += value


def _write_varint(content: bytearray, value: int) -> None:
    while value >= 128:
        content.append(value & 127 | 128)
        value >>= 7
    content.append(value)
