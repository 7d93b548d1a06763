"""The binary tensor extension of the Open Inference Protocol: a JSON header, then the tensors' bytes in the header's order.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/extension_binary_data.md. The HTTP header
`Inference-Header-Content-Length` says how long the JSON is. A tensor with `parameters.binary_data_size` has its data in the
bytes behind it: little-endian numbers, row-major; texts each behind their length, four bytes, little-endian. There is no null:
a missing number is NaN, a missing text is empty, and several values of a field are joined with its separator.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from elec.serving.http.protocol_errors import RequestError

#: Says how many bytes of the body are JSON; in requests and in answers.
HEADER_LENGTH = "inference-header-content-length"

_BYTES = "BYTES"
_LENGTH = 4
_NUMBERS: Mapping[str, np.dtype[Any]] = {
    **{f"INT{bits}": np.dtype(f"<i{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": np.dtype(f"<u{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": np.dtype(f"<f{bits // 8}") for bits in (16, 32, 64)},
}


class Tail:
    """The bytes behind a request's JSON; tensors take theirs in order.

    Args:
        content: All of them.
    """

    def __init__(self, content: memoryview) -> None:
        self._content = content
        self._taken = 0

    def take(self, name: str, size: Any) -> memoryview:
        """The next bytes.

        Args:
            name: Of the tensor.
            size: Its `binary_data_size`.

        Raises:
            RequestError: If there are not that many.
        """
        left = len(self._content) - self._taken
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= left:
            raise RequestError(f"input '{name}' has the binary_data_size {size!r}, and {left:,} bytes are left for it")
        taken = self._content[self._taken : self._taken + size]
        self._taken += size
        return taken

    def end(self) -> None:
        """Checks that nothing is left.

        Raises:
            RequestError: If no tensor has taken some bytes.
        """
        left = len(self._content) - self._taken
        if left:
            raise RequestError(f"{left:,} bytes behind the JSON are of no input; give each its binary_data_size")


def split_body(body: bytes, length: str | None) -> tuple[memoryview, Tail]:
    """The JSON of a request, and what is behind it.

    Args:
        body: All of it.
        length: The header `Inference-Header-Content-Length`; None if all is JSON.

    Raises:
        RequestError: If the header is no length within the body.
    """
    content = memoryview(body)
    if length is None:
        return content, Tail(content[:0])
    if not (length.isascii() and length.isdigit()) or int(length) > len(body):
        raise RequestError(f"Inference-Header-Content-Length is {length!r}, and the body has {len(body):,} bytes")
    return content[: int(length)], Tail(content[int(length) :])


def read_numbers(name: str, datatype: str, content: memoryview) -> np.ndarray:
    """Numbers in row-major order.

    Raises:
        RequestError: If the bytes are not a whole number of them.
    """
    kind = _NUMBERS[datatype]
    if len(content) % kind.itemsize:
        raise RequestError(f"input '{name}' has {len(content):,} bytes, which are not whole {datatype} numbers")
    # A copy: the bytes start anywhere, and Arrow reads numbers from where numbers may start.
    return np.frombuffer(content, kind).copy()


def read_column(name: str, datatype: str, content: memoryview) -> pa.Array:
    """A column of numbers or texts.

    Raises:
        RequestError: If the bytes are not whole values, or a text is not UTF-8.
    """
    if datatype != _BYTES:
        return pa.array(read_numbers(name, datatype, content))
    # Each length says where the next one is, so they are read one after the other.
    texts: list[bytes] = []
    start, end = 0, len(content)
    while start < end:
        first = start + _LENGTH
        start = first + int.from_bytes(content[start:first], "little")
        if first > end or start > end:
            raise RequestError(f"input '{name}' ends within a text; each is its length in {_LENGTH} bytes, then its bytes")
        texts.append(bytes(content[first:start]))
    try:
        return pa.array(texts, pa.binary()).cast(pa.string())
    except pa.ArrowInvalid:
        raise RequestError(f"input '{name}' has a text that is not UTF-8") from None


def write_column(column: pa.Array | pa.ChunkedArray, datatype: str) -> bytes:
    """What `read_column` reads; null as NaN, or as an empty text."""
    if datatype == _BYTES:
        encoded = [(value or "").encode() for value in column.to_pylist()]
        return b"".join(part for text in encoded for part in (len(text).to_bytes(_LENGTH, "little"), text))
    values: np.ndarray = column.to_numpy(zero_copy_only=False)
    return values.astype(_NUMBERS[datatype]).tobytes()
