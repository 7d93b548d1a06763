"""Compressed text: gzip, zstd and bzip2, told by the first bytes and not by the name."""

import bz2
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, cast

import pyarrow as pa

from elec import s3
from elec.errors import InputError

#: Endings of compressed files; the one before them tells the format.
ENDINGS = (".gz", ".zst", ".zstd", ".bz2")

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_BZIP2 = b"BZh"
_OTHER = {b"\xfd7zX": "xz", b"\x04\x22\x4d\x18": "lz4"}


@contextmanager
def unpacked(uri: str, raw: IO[bytes]) -> Iterator[IO[bytes]]:
    """Opens a stream of plain bytes over one that may be compressed.

    Args:
        uri: The file, for messages.
        raw: The stored stream, at its start.

    Raises:
        InputError: If the file is damaged, or compressed in another way.
    """
    head = raw.read(4)
    raw.seek(0)
    if head in _OTHER:
        raise InputError(
            f"{uri}: is compressed with {_OTHER[head]}, which is not supported; compress it with gzip, zstd or bzip2"
        )
    kind = "gzip" if head[:2] == _GZIP else "zstd" if head == _ZSTD else "bzip2" if head[:3] == _BZIP2 else None
    if kind is None:
        yield io.BufferedReader(cast(Any, raw), buffer_size=1 << 20)
        return
    try:
        with _opened(kind, raw) as plain:
            yield plain
    except (gzip.BadGzipFile, zlib.error, EOFError, _DamagedError) as error:
        raise InputError(f"{uri}: is a damaged {kind} file ({_short(error)}); copy or export it again") from error


class _DamagedError(Exception):
    """What a decompressor says that has no error of its own kind."""


class _Checked(io.RawIOBase):
    """Reads through a decompressor whose errors are plain OSErrors, which a failing disk raises too."""

    def __init__(self, plain: Any) -> None:
        super().__init__()
        self._plain = plain

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            content = self._plain.read(len(buffer))
        except OSError as error:
            if error.errno is not None or s3.is_failure(error):
                raise
            raise _DamagedError(str(error)) from error
        buffer[: len(content)] = content
        return len(content)


@contextmanager
def _opened(kind: str, raw: IO[bytes]) -> Iterator[IO[bytes]]:
    buffered = io.BufferedReader(cast(Any, raw), buffer_size=1 << 20)
    if kind == "gzip":
        with gzip.GzipFile(fileobj=buffered) as plain:
            yield cast(IO[bytes], plain)
    elif kind == "bzip2":
        with bz2.BZ2File(buffered) as packed:
            yield io.BufferedReader(_Checked(packed), buffer_size=1 << 20)
    else:
        yield io.BufferedReader(_Checked(pa.CompressedInputStream(pa.PythonFile(buffered, "r"), "zstd")), buffer_size=1 << 20)


def _short(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(". ")
