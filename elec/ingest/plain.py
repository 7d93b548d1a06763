"""Reads delimited text of which each line is a record: Arrow cuts the bytes, and no text is made of a line.

So are nearly all blocks of nearly all files. Where a quoted cell holds a line end, a quote is broken, a line is blank or bytes
are not of the encoding, nothing is given, and `elec.ingest.delimited` looks at the lines.
"""

import codecs
from collections.abc import Callable, Container, Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.csv

from elec.ingest.batches import Broken, Int64, RawBatch
from elec.ingest.lines import Lines
from elec.ingest.writing import ENCODED

WRONG_WIDTH = "wrong number of columns"


def read_plain(
    uri: str, block: Lines, names: Sequence[str], needed: Container[str], delimiter: str, closed: Callable[[str], object]
) -> RawBatch | None:
    """Cuts lines into cells if each line is a record; an empty cell is null.

    Args:
        uri: The file.
        block: The lines.
        names: Of the columns.
        needed: Those that are looked at, which become dictionaries.
        delimiter: One ASCII character.
        closed: Whether every quoted cell of a line ends in it.

    Returns:
        The rows, or None if one of the lines is no record of its own, or is not of the encoding.
    """
    if block.marked or not block.content:
        return None
    try:
        table, wrong = cut(block.content, [ENCODED if name in needed else pa.string() for name in names], delimiter)
    except pa.ArrowInvalid:
        return None
    # A record is a line at the least: if there are as many, each is one. But the last may be open.
    if table.num_rows + len(wrong) != block.count or not closed(_line(block.content, block.content.rfind(b"\n") + 1)):
        return None
    columns = table.columns
    # A blank line is a row without a value.
    if all(column.null_count for column in columns) and (block.content[:1] == b"\n" or b"\n\n" in block.content):
        return None
    index = np.delete(np.arange(block.count, dtype=np.int64), wrong)
    lines = _texts(block.content, wrong) if wrong else ()
    return RawBatch(
        file=uri,
        table=pa.table(dict(zip(names, columns, strict=True))),
        identity=table,
        lines=block.first + index,
        index=index,
        rows=block.count,
        raw=lambda positions: _texts(block.content, index[positions].tolist()),
        broken=[Broken(block.first + position, WRONG_WIDTH, line) for position, line in zip(wrong, lines, strict=True)],
    )


def cut(content: bytes, kinds: Sequence[pa.DataType], delimiter: str) -> tuple[pa.Table, list[int]]:
    """Cuts records into cells.

    Args:
        content: The records as UTF-8, a line feed between two of them.
        kinds: Of a record's columns: text, or a dictionary of it.
        delimiter: One ASCII character.

    Returns:
        The records that have as many columns, named by their numbers, an empty cell as null; and the positions of the others.

    Raises:
        pyarrow.ArrowInvalid: If a quoted cell goes on at the end, for some of such.
    """
    wrong: list[int] = []

    def note(row: pa.csv.InvalidRow) -> str:
        wrong.append(row.number - 1)
        return "skip"

    names = [str(column) for column in range(len(kinds))]
    if content.startswith(codecs.BOM_UTF8):
        # Arrow leaves one out; the file's own is gone already, this one is a character like others.
        content = codecs.BOM_UTF8 + content
    table = pa.csv.read_csv(
        pa.BufferReader(content),
        # One thread and one block: only then do refused rows have their numbers.
        read_options=pa.csv.ReadOptions(use_threads=False, column_names=names, block_size=len(content) + 1),
        parse_options=pa.csv.ParseOptions(
            delimiter=delimiter, newlines_in_values=True, ignore_empty_lines=False, invalid_row_handler=note
        ),
        convert_options=pa.csv.ConvertOptions(
            column_types=dict(zip(names, kinds, strict=True)), null_values=[""], strings_can_be_null=True, check_utf8=False
        ),
    )
    return table, wrong


def _texts(content: bytes, positions: Iterable[int]) -> list[str]:
    """The lines at positions."""
    begins: Int64 = np.flatnonzero(np.frombuffer(content, np.uint8) == ord("\n")) + 1
    return [_line(content, int(begins[position - 1]) if position else 0) for position in positions]


def _line(content: bytes, begin: int) -> str:
    """The line that begins at a position."""
    end = content.find(b"\n", begin)
    return content[begin : end if end >= 0 else len(content)].decode()
