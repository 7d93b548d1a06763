"""Parquet's footer, read and written as it is: Thrift's compact protocol, without knowing what its fields mean.

Arrow writes a footer only for rows that it has encoded itself. To copy row groups from file to file without decoding them, the
offsets in their footer have to move. (Apache Thrift, compact protocol; parquet-format, `parquet.thrift`.)
"""

from collections.abc import Sequence
from typing import Any

_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)
_INTEGERS = frozenset({_I16, _I32, _I64})

#: A struct: field number -> (type, value), in the order of the numbers.
Struct = dict[int, tuple[int, Any]]


def read_struct(content: bytes) -> Struct:
    """Reads a struct that takes up all of `content`.

    Raises:
        ValueError: If it is none.
    """
    try:
        reader = _Reader(content)
        found: Struct = reader.value(_STRUCT)
    except IndexError:
        raise ValueError("the footer ends in the middle") from None
    if reader.position != len(content):
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


class _Reader:
    def __init__(self, content: bytes) -> None:
        self._content = content
        self.position = 0

    def value(self, kind: int) -> Any:
        if kind in _INTEGERS:
            number = self._varint()
            return (number >> 1) ^ -(number & 1)
        if kind == _BINARY:
            return self._take(self._varint())
        if kind == _STRUCT:
            return self._struct()
        if kind in {_LIST, _SET}:
            return self._list()
        if kind in {_TRUE, _FALSE, _BYTE}:
            return self._take(1)[0]
        if kind == _DOUBLE:
            return self._take(8)
        raise ValueError(f"type {kind} is not in Parquet's footers")

    def _struct(self) -> Struct:
        found: Struct = {}
        number = 0
        while head := self._take(1)[0]:
            kind = head & 15
            number = number + (head >> 4) if head >> 4 else self.value(_I16)
            found[number] = (kind, None if kind in {_TRUE, _FALSE} else self.value(kind))
        return found

    def _list(self) -> tuple[int, list[Any]]:
        head = self._take(1)[0]
        size = head >> 4
        if size == 15:
            size = self._varint()
        return head & 15, [self.value(head & 15) for _ in range(size)]

    def _varint(self) -> int:
        found = shift = 0
        while True:
            byte = self._content[self.position]
            self.position += 1
            found |= (byte & 127) << shift
            if byte < 128:
                return found
            shift += 7

    def _take(self, size: int) -> bytes:
        begin, self.position = self.position, self.position + size
        if self.position > len(self._content):
            raise IndexError
        return self._content[begin : self.position]


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
            if inner not in {_TRUE, _FALSE}:
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
    elif kind in {_TRUE, _FALSE, _BYTE}:
        content.append(value)
    else:
        content += value


def _write_varint(content: bytearray, value: int) -> None:
    while value >= 128:
        content.append(value & 127 | 128)
        value >>= 7
    content.append(value)
