"""Reads text in blocks of whole lines: bounded memory, any encoding, any line end, and every line keeps its number.

Bytes that are not of the encoding become a mark, so that only the lines that hold them are refused. Blocks are UTF-8 whatever
the file is in: of the usual file a block is a piece, as it is.
"""

import codecs
import io
from collections.abc import Callable, Generator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from elec.errors import InputError
from elec.ingest.sources import SourceFile, open_text

_FIRST_BYTES = 4 << 20
_BLOCK_BYTES = 16 << 20
#: About as many lines at once, where lines are short.
_BLOCK_LINES = 131_072
_MAX_LINE_BYTES = 64 << 20

#: Stands for undecodable bytes: a noncharacter, which Unicode keeps out of all text.
MARK = "\ufdd0"


@dataclass(frozen=True)
class Lines:
    """Consecutive lines of a file.

    Attributes:
        first: The first line's number, from 1.
        content: The lines as UTF-8, a line feed between two of them and none at the end.
        count: How many.
        marked: Whether one of them may hold `MARK`.
        final: Whether the file ends here.
    """

    first: int
    content: bytes
    count: int
    marked: bool
    final: bool

    @property
    def lines(self) -> list[str]:
        """The lines, without their ends."""
        return self.content.decode().split("\n")

    @property
    def array(self) -> pa.LargeStringArray:
        """The same as a column."""
        return pc.split_pattern(_one_text(self.content), "\n").flatten()


def _mark(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError | UnicodeEncodeError)
    return MARK, error.end


codecs.register_error("elec.mark", _mark)


def read_lines(file: SourceFile, encoding: str, advance: Callable[[int], None]) -> Generator[Lines, None, None]:
    """Reads a file in blocks of lines.

    Args:
        file: The file; gzip is unpacked.
        encoding: Of the text; a byte order mark is left out.
        advance: Called with the number of stored bytes read since the last call.

    Raises:
        InputError: If the file cannot be read, or has no line ends.
    """
    with open_text(file) as (stream, stored):
        plain = codecs.lookup(encoding).name == "utf-8"
        head = stream.peek(4)[:4] if isinstance(stream, io.BufferedReader) else b""
        if head[:2] in {codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE} and plain:
            raise InputError(f"{file.uri}: is text in UTF-16; set `encoding: utf-16`")
        cut = _Utf8() if plain else _Decoded(file.uri, encoding)
        number = 1
        position = 0
        size = min(_FIRST_BYTES, _BLOCK_BYTES)
        while True:
            block = stream.read(size)
            advance(stored.tell() - position)
            position = stored.tell()
            content = cut.lines(block)
            if content is None:
                if cut.waiting > _MAX_LINE_BYTES:
                    raise InputError(f"{file.uri}: line {number} has no end within {_MAX_LINE_BYTES >> 20} MB; is this text?")
                size = _BLOCK_BYTES
                continue
            count = _line_ends(content) + 1
            marked = not content.isascii() and MARK.encode() in content
            yield Lines(number, content, count, marked, final=not block)
            number += count
            size = min(_BLOCK_BYTES, _BLOCK_LINES * (len(content) + count) // count)
            if not block:
                return


class _Utf8:
    """Cuts blocks of UTF-8 at the ends of lines; no character goes over the end of a line."""

    def __init__(self) -> None:
        self._rest = b""
        self._started = False

    @property
    def waiting(self) -> int:
        """Bytes of the line that goes on."""
        return len(self._rest)

    def lines(self, block: bytes) -> bytes | None:
        """The lines that end in a block, the empty one that the file ends with; None if none does."""
        if block and self._rest.endswith(b"\r"):
            # It may be half of a line end.
            block, self._rest = b"\r" + block, self._rest[:-1]
        content, line_end = self._rest, b""
        if block:
            end = max(block.rfind(b"\n"), block.rfind(b"\r", 0, -1))
            if end < 0:
                self._rest += block
                return None
            content, line_end = b"".join((content, memoryview(block)[:end])), block[end : end + 1]
            self._rest = block[end + 1 :]
        if not self._started:
            content = content.removeprefix(codecs.BOM_UTF8)
            self._started = True
        if not _is_utf8(content):
            content = content.decode("utf-8", "elec.mark").encode()
        if b"\r" in content:
            content = (content + line_end).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
            content = content[: len(content) - len(line_end)]
        return content


class _Decoded:
    """Cuts blocks of another encoding at the ends of lines.

    Args:
        uri: The file, for messages.
        encoding: Of the text.
    """

    def __init__(self, uri: str, encoding: str) -> None:
        self._uri, self._encoding = uri, encoding
        self._decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(encoding)("elec.mark"), translate=True)
        self._rest = ""
        self._started = False

    @property
    def waiting(self) -> int:
        """Characters of the line that goes on."""
        return len(self._rest)

    def lines(self, block: bytes) -> bytes | None:
        """The lines that end in a block, the empty one that the file ends with; None if none does."""
        try:
            text = self._decoder.decode(block, final=not block)
        except UnicodeError as error:
            # Wrong bytes are marked: this is a text without the byte order mark that its encoding needs.
            raise InputError(
                f"{self._uri}: cannot be read as {self._encoding} ({error}); set `encoding` to what the text is in, "
                "as utf-8, utf-16-le or utf-32-le"
            ) from None
        if not self._started and text:
            text = text.removeprefix("\ufeff")
            self._started = True
        text = self._rest + text
        if block:
            end = text.rfind("\n")
            self._rest = text[end + 1 :]
            if end < 0:
                return None
            text = text[:end]
        # Half a pair of UTF-16, which some decoders let through, is no character.
        return text.encode("utf-8", "elec.mark")


def _line_ends(content: bytes) -> int:
    # A third of what `bytes.count` takes, which stops at each.
    return int(np.count_nonzero(np.frombuffer(content, np.uint8) == ord("\n")))


def _is_utf8(content: bytes) -> bool:
    if content.isascii():
        return True
    try:
        _one_text(content).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _one_text(content: bytes) -> pa.LargeStringArray:
    """Bytes as an array of one text."""
    offsets = pa.py_buffer(np.array([0, len(content)], dtype=np.int64))
    return pa.LargeStringArray.from_buffers(1, offsets, pa.py_buffer(content))
