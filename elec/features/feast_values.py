"""Keys and values as Feast's online stores hold them: a whole column at a time, without Feast.

An entity's key is written by `feast.infra.key_encoding_utils.serialize_entity_key` in version 3; a value is a protobuf message
`feast.types.Value`, of which one field is set, or none for null (docs/specs/online_store_format.md of Feast). Each of the four
types that the views of elec have is decoded by itself; a value of any other type is refused.
"""

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

#: Numbers of Feast's types (`feast.types.ValueType`), and the Arrow type that each is decoded to.
VALUE_TYPES: dict[pa.DataType, int] = {
    pa.string(): 2,
    pa.float64(): 5,
    pa.list_(pa.string()): 12,
    pa.list_(pa.float32()): 16,
}

# The tag of a field: its number, and the wire type.
_STRING = bytes([2 << 3 | 2])
_DOUBLE = bytes([5 << 3 | 1])
_STRING_LIST = bytes([12 << 3 | 2])
_FLOAT_LIST = bytes([(16 << 3 | 2) & 127 | 128, (16 << 3 | 2) >> 7])
# Before a key's size: that it is a text.
_KEY_TYPE = struct.pack("<I", 2)
# Of the one field of a list message.
_PART = 1 << 3 | 2

_Positions = npt.NDArray[np.int64]
_Bytes = npt.NDArray[np.uint8]


class ValueFormatError(ValueError):
    """A stored value is none of the type that the view says."""


def entity_keys(columns: Mapping[str, Sequence[str]]) -> list[bytes]:
    """Keys of N entities as they stand in the online store.

    Args:
        columns: By join key, of type STRING, N texts.
    """
    names = sorted(columns)
    start = struct.pack("<I", len(names)) + b"".join(
        struct.pack("<II", 2, len(name)) + name for name in (name.encode() for name in names)
    )
    parts = [[_KEY_TYPE + len(key).to_bytes(4, "little") + key for key in map(str.encode, columns[name])] for name in names]
    return [start + key for key in (parts[0] if len(parts) == 1 else map(b"".join, zip(*parts, strict=True)))]


def decode(values: Sequence[bytes | None], kind: pa.DataType) -> pa.Array:
    """Stored values as a column.

    Args:
        values: N messages `Value`; None, or one without any field, is null.
        kind: One of `VALUE_TYPES`.

    Returns:
        N values of that type.

    Raises:
        ValueFormatError: If a message is of another type, or none at all.
    """
    column = pa.array(values, pa.binary())
    try:
        decoded = _DECODERS[kind](_Stored(column))
        decoded.validate(full=True)
    except (IndexError, pa.ArrowInvalid) as error:
        raise ValueFormatError(str(error).splitlines()[0]) from None
    return decoded


class _Stored:
    """A column of messages, and where in its bytes each of those that are not null begins and ends.

    Attributes:
        column: The messages.
        data: Their bytes, one after the other.
        known_N: Which of them hold a value.
        start_K: Where each of the K known ones begins.
        end_K: Where it ends.
    """

    def __init__(self, column: pa.BinaryArray) -> None:
        _, offsets, data = column.buffers()
        bounds: _Positions = np.frombuffer(offsets, np.int32, len(column) + 1).astype(np.int64)
        self.column = column
        self.data: _Bytes = np.frombuffer(data, np.uint8) if data is not None and data.size else np.empty(0, np.uint8)
        self.known_N: npt.NDArray[np.bool_] = bounds[1:] > bounds[:-1]
        self.start_K: _Positions = bounds[:-1][self.known_N]
        self.end_K: _Positions = bounds[1:][self.known_N]

    def after_tag(self, tag: bytes) -> _Positions:
        """Where each value goes on behind its tag.

        Raises:
            ValueFormatError: If a value has another tag.
        """
        for place, byte in enumerate(tag):
            if not (self.data[self.start_K + place] == byte).all():
                raise ValueFormatError("a value of another type")
        return self.start_K + len(tag)

    def varint(self, place_K: _Positions) -> tuple[_Positions, _Positions]:
        """The numbers at some places, and where the bytes go on behind them."""
        number_K = np.zeros(len(place_K), np.int64)
        place_K = place_K.copy()
        going = np.arange(len(place_K))
        for shift in range(0, 63, 7):
            byte = self.data[place_K[going]]
            number_K[going] |= (byte & 127).astype(np.int64) << shift
            place_K[going] += 1
            going = going[byte > 127]
            if not len(going):
                return number_K, place_K
        raise ValueFormatError("a number without an end")

    def sized(self, place_K: _Positions, end_K: _Positions) -> _Positions:
        """Where the content begins whose size stands at each place, and that has to go on to `end_K`."""
        size_K, body_K = self.varint(place_K)
        if not np.array_equal(body_K + size_K, end_K):
            raise ValueFormatError("a value of another size than it says")
        return body_K

    def rest(self, body_K: _Positions) -> pa.Buffer:
        """The known values' bytes from `body_K` on, one after the other."""
        head_K = body_K - self.start_K
        if len(head_K) and (head_K == head_K[0]).all():
            # Without a stop pyarrow 26 refuses many rows.
            most = int((self.end_K - self.start_K).max())
            return pc.binary_slice(self.column, int(head_K[0]), stop=most).buffers()[2]
        return self.between(body_K, self.end_K)

    def between(self, start_P: _Positions, end_P: _Positions) -> pa.Buffer:
        """The bytes of P ranges that are in order and do not overlap, one after the other."""
        step = np.zeros(len(self.data) + 1, np.int8)
        step[start_P] += 1
        step[end_P] -= 1
        return pa.py_buffer(self.data[np.cumsum(step[:-1], dtype=np.int8) > 0])

    def nullable(self, kind: pa.DataType, size_K: _Positions, content: Any) -> pa.Array:
        """A column of lists or texts of known sizes; null where no value is known."""
        offsets = np.zeros(len(self.column) + 1, np.int32)
        size_N = np.zeros(len(self.column), np.int64)
        size_N[self.known_N] = size_K
        np.cumsum(size_N, out=offsets[1:])
        if pa.types.is_list(kind):
            return pa.ListArray.from_arrays(pa.array(offsets), content, mask=pa.array(~self.known_N))
        return pa.Array.from_buffers(kind, len(self.column), [self._valid(), pa.py_buffer(offsets), content])

    def _valid(self) -> pa.Buffer:
        return pa.py_buffer(np.packbits(self.known_N, bitorder="little"))


def _strings(stored: _Stored) -> pa.Array:
    body_K = stored.sized(stored.after_tag(_STRING), stored.end_K)
    return stored.nullable(pa.string(), stored.end_K - body_K, stored.rest(body_K))


def _doubles(stored: _Stored) -> pa.Array:
    body_K = stored.after_tag(_DOUBLE)
    if not (stored.end_K - body_K == 8).all():
        raise ValueFormatError("a number of another size")
    number_N = np.zeros(len(stored.column), np.float64)
    number_N[stored.known_N] = stored.data[body_K[:, None] + np.arange(8)].view("<f8")[:, 0]
    return pa.array(number_N, mask=~stored.known_N)


def _string_lists(stored: _Stored) -> pa.Array:
    place_K = stored.sized(stored.after_tag(_STRING_LIST), stored.end_K)
    count_K = np.zeros(len(place_K), np.int64)
    starts, ends = [], []
    going = np.flatnonzero(place_K < stored.end_K)
    while len(going):
        # All lists at once, one part of each at a time.
        if not (stored.data[place_K[going]] == _PART).all():
            raise ValueFormatError("a list with parts of another type")
        size, start = stored.varint(place_K[going] + 1)
        starts.append(start)
        ends.append(start + size)
        place_K[going] = ends[-1]
        if (ends[-1] > stored.end_K[going]).any():
            raise ValueFormatError("a part of a list beyond its end")
        count_K[going] += 1
        going = going[place_K[going] < stored.end_K[going]]
    start_P = np.sort(np.concatenate(starts)) if starts else np.empty(0, np.int64)
    end_P = np.sort(np.concatenate(ends)) if ends else np.empty(0, np.int64)
    offsets = np.zeros(len(start_P) + 1, np.int32)
    np.cumsum(end_P - start_P, out=offsets[1:])
    content = stored.between(start_P, end_P)
    parts = pa.Array.from_buffers(pa.string(), len(start_P), [None, pa.py_buffer(offsets), content])
    return stored.nullable(pa.list_(pa.string()), count_K, parts)


def _float_lists(stored: _Stored) -> pa.Array:
    body_K = stored.sized(stored.after_tag(_FLOAT_LIST), stored.end_K)
    filled = body_K < stored.end_K
    if not (stored.data[body_K[filled]] == _PART).all():
        raise ValueFormatError("a list with parts of another type")
    body_K[filled] = stored.sized(body_K[filled] + 1, stored.end_K[filled])
    size_K = stored.end_K - body_K
    if (size_K % 4).any():
        raise ValueFormatError("a list of numbers of another size")
    content = stored.rest(body_K)
    numbers = pa.Array.from_buffers(pa.float32(), int(size_K.sum()) // 4, [None, content])
    return stored.nullable(pa.list_(pa.float32()), size_K // 4, numbers)


_DECODERS = {
    pa.string(): _strings,
    pa.float64(): _doubles,
    pa.list_(pa.string()): _string_lists,
    pa.list_(pa.float32()): _float_lists,
}
