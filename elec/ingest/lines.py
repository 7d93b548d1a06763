"""Reads text in blocks of whole lines: bounded memory, any encoding, any line end, and every line keeps its number.

Bytes that are not of the encoding become a mark, so that only the lines that hold them are refused.
"""

import codecs
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from elec.errors import InputError
from elec.ingest.sources import SourceFile, open_text

_BLOCK_BYTES = 4 << 20
_MAX_LINE_BYTES = 64 << 20

#: Stands for undecodable bytes: a noncharacter, which Unicode keeps out of all text.
MARK = "\ufdd0"


@dataclass
class Lines:
    """Consecutive lines of a file.

    Attributes:
        first: The first line's number, from 1.
        lines: The lines, without their ends.
        marked: Whether one of them may hold `MARK`.
        final: Whether the file ends here.
    """

    first: int
    lines: list[str]
    marked: bool
    final: bool


def _mark(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return MARK, error.end


codecs.register_error("elec.mark", _mark)


def read_lines(file: SourceFile, encoding: str, advance: Callable[[int], None]) -> Iterator[Lines]:
    """Reads a file in blocks of lines.

    Args:
        file: The file; gzip is unpacked.
        encoding: Of the text; a byte order mark is left out.
        advance: Called with the number of stored bytes read since the last call.

    Raises:
        InputError: If the file cannot be read, or has no line ends.
    """
    with open_text(file) as (stream, stored):
        head = stream.peek(4)[:4] if isinstance(stream, io.BufferedReader) else b""
        if head[:2] in {codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE} and codecs.lookup(encoding).name == "utf-8":
            raise InputError(f"{file.uri}: is text in UTF-16; set `encoding: utf-16`")
        decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(encoding)("elec.mark"), translate=True)
        number = 1
        rest = ""
        position = 0
        started = False
        while True:
            block = stream.read(_BLOCK_BYTES)
            advance(stored.tell() - position)
            position = stored.tell()
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeError as error:
                # Wrong bytes are marked: this is a text without the byte order mark that its encoding needs.
                raise InputError(
                    f"{file.uri}: cannot be read as {encoding} ({error}); set `encoding` to what the text is in, "
                    "as utf-8, utf-16-le or utf-32-le"
                ) from None
            if not started and text:
                text = text.removeprefix("\ufeff")
                started = True
            text = rest + text
            if block and "\n" not in text:
                if len(text) > _MAX_LINE_BYTES:
                    raise InputError(f"{file.uri}: line {number} has no end within {_MAX_LINE_BYTES >> 20} MB; is this text?")
                rest = text
                continue
            lines = text.split("\n")
            rest = lines.pop() if block else ""
            yield Lines(number, lines, marked=MARK in text, final=not block)
            number += len(lines)
            if not block:
                return
