"""Reads CSV, TSV and text with a longer delimiter (`::`): every cell as text, every row with its line.

A quoted cell may hold delimiters and line ends. A quote that is never closed, or closed so that no row or many rows would
disappear in the cell, is taken for an ordinary character: one stray quote does not swallow the lines after it.
"""

import re
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from elec.errors import InputError
from elec.ingest.batches import Broken, Int64, Needed, RawBatch, check_columns, listed
from elec.ingest.lines import MARK, Lines, read_lines
from elec.ingest.plain import WRONG_WIDTH, cut, read_plain
from elec.ingest.sources import SourceFile
from elec.spec import Source

_DELIMITERS = {"csv": ",", "tsv": "\t"}
_LIKELY = ("::", "\t", ";", ",", "|", " ")
#: A quoted cell of more lines than this is taken for a stray quote.
_MAX_CELL_LINES = 200
#: At least so many lines within a cell, each a row of so many columns by itself, say that the cell's quote is a stray one.
_TELLING_LINES = 3
_TELLING_COLUMNS = 4


def read_delimited(
    file: SourceFile, source: Source, needed: Sequence[Needed], advance: Callable[[int], None]
) -> Iterator[RawBatch]:
    """Reads a file of delimited text.

    Args:
        file: The file.
        source: How to read it.
        needed: The columns that the spec names.
        advance: Called with the number of stored bytes read.

    Yields:
        Batches of rows; cells are text, an empty cell is null.

    Raises:
        InputError: If a column is missing, or no line has the expected number of columns.
    """
    cells = _Cells(source.delimiter or _DELIMITERS[file.format])
    asked = {column.column for column in needed}
    rest: list[str] = []
    good, marked = 0, False
    with closing(_named(file, source, needed, cells, advance)) as blocks:
        for names, block in blocks:
            batch = cells.plain(file.uri, names, asked, block) if not rest else None
            if batch is None:
                lines, first = rest + block.lines, block.first - len(rest)
                # Sticky: a marked line may wait in `rest`.
                marked = marked or block.marked
                records, numbers, rest = cells.records(lines, first, block.final, len(names))
                if not records:
                    continue
                batch = cells.parse(file.uri, records, numbers, names, marked, source.encoding)
            if good == 0 and len(batch.lines) == 0 and all(row.reason == WRONG_WIDTH for row in batch.broken):
                raise InputError(_no_row_fits(file, cells, batch.broken[0], names))
            good += len(batch.lines)
            yield batch


def _named(
    file: SourceFile, source: Source, needed: Sequence[Needed], cells: "_Cells", advance: Callable[[int], None]
) -> Generator[tuple[list[str], Lines], None, None]:
    """The blocks of a file without the line of names, with the names."""
    names: list[str] | None = None if source.header else list(source.columns or ())
    if names is not None:
        check_columns(file.uri, names, needed, " (from `columns`)")
    with closing(read_lines(file, source.encoding, advance)) as blocks:
        for block in blocks:
            if names is None:
                begin = len(block.content) - len(block.content.lstrip(b"\n"))
                line, line_end, content = block.content[begin:].partition(b"\n")
                if not line:
                    continue
                names = _header(file, source, needed, cells, line.decode())
                if not line_end:
                    continue
                done = begin + 1
                block = replace(block, first=block.first + done, content=content, count=block.count - done)
            yield names, block


def _header(file: SourceFile, source: Source, needed: Sequence[Needed], cells: "_Cells", line: str) -> list[str]:
    """The names of the columns, from the first line or from `columns`."""
    if line.startswith("{") and line.rstrip().endswith("}"):
        raise InputError(f"{file.uri}: holds JSON lines, not {file.format}; set `format: jsonl`")
    found = [name.strip().replace(MARK, "\ufffd") for name in cells.split(line)]
    other = _other_delimiter(line, cells.delimiter) if len(found) == 1 else None
    if source.columns is not None:
        if len(source.columns) != len(found) and other is None:
            raise InputError(
                f"{file.uri}: `columns` names {len(source.columns)} columns, its first line has {len(found)} "
                f"({listed(found)}); name each of them"
            )
        found = list(source.columns) if other is None else found
    if other is not None and any(column.column not in found for column in needed):
        raise InputError(
            f"{file.uri}: with the delimiter {_shown(cells.delimiter)} there is a single column, '{line[:80]}'; "
            f"set `delimiter: {_shown(other)}`"
        )
    as_data = source.columns is None and any(re.fullmatch(r"-?\d+(\.\d+)?", name) for name in found)
    hint = "; if its first line is data already, set `header: false` and name the `columns`" if as_data else ""
    check_columns(file.uri, found, needed, hint)
    return found


def _no_row_fits(file: SourceFile, cells: "_Cells", first: Broken, names: Sequence[str]) -> str:
    width = len(cells.split(first.raw))
    other = _other_delimiter(first.raw, cells.delimiter)
    way_out = f"set `delimiter: {_shown(other)}`" if other is not None and width == 1 else "correct `columns` or `delimiter`"
    return (
        f"{file.uri}, line {first.line}: {width} column{'s' if width > 1 else ''} with the delimiter {_shown(cells.delimiter)} "
        f"instead of {len(names)} ({listed(names)}), and no line fits; {way_out} (the line: '{first.raw[:80]}')"
    )


def _other_delimiter(line: str, delimiter: str) -> str | None:
    """A delimiter that the line seems to have instead."""
    return next((other for other in _LIKELY if other != delimiter and other in line.strip()), None)


def _shown(delimiter: str) -> str:
    return f'"{delimiter}"'.replace("\t", "\\t")


class _Cells:
    """Cuts lines into records and records into cells, for one delimiter."""

    def __init__(self, delimiter: str) -> None:
        self.delimiter = delimiter
        # Arrow's parser wants one byte; text with a longer delimiter has no quoting of its own.
        self.quoting = len(delimiter) == 1 and delimiter.isascii() and delimiter != '"'
        mark = re.escape(delimiter)
        cell = rf'(?:"(?:[^"]|"")*"(?:[^{mark}"][^{mark}]*)?|[^{mark}"][^{mark}]*|)'
        self._closed = rf"^{cell}(?:{mark}{cell})*$"
        self._closed_record = re.compile(rf"{cell}(?:{mark}{cell})*\Z")
        self._cell = re.compile(rf"(?:\A|{mark})({cell})")
        self._closing_line = re.compile(rf'(?:[^"]|"")*"(?:{mark}{cell})*\Z')
        self._inner_line = re.compile(rf'(?:[^"]|"")*(?:"(?:{mark}{cell})*{mark}"(?:[^"]|"")*)?\Z')

    def split(self, record: str) -> list[str]:
        """The cells of one record; of one whose quotes are broken, as if there were no quoting."""
        if not self.quoting or not self._closed_record.match(record):
            return record.split(self.delimiter)
        return [_unquoted(cell) for cell in self._cell.findall(record)]

    def plain(self, file: str, names: list[str], needed: set[str], block: Lines) -> RawBatch | None:
        """Cuts lines into cells if each line is a record that needs no closer look."""
        return read_plain(file, block, names, needed, self.delimiter, self._closed_record.match) if self.quoting else None

    def records(self, lines: list[str], first: int, final: bool, width: int) -> tuple[list[str], Int64, list[str]]:
        """Joins the lines of quoted cells.

        Args:
            lines: Consecutive lines.
            first: The first line's number.
            final: Whether the file ends with them.
            width: Columns of a record.

        Returns:
            The records that are not blank, the number of each one's first line, and the lines at the end whose record goes on.
        """
        numbers = np.arange(first, first + len(lines), dtype=np.int64)
        rest: list[str] = []
        if self.quoting:
            lines, numbers, rest = self._join(lines, numbers, final, width)
        if "" in lines:
            filled = np.fromiter(map(bool, lines), dtype=bool, count=len(lines))
            lines, numbers = pa.array(lines, pa.large_string()).filter(pa.array(filled)).to_pylist(), numbers[filled]
        return lines, numbers, rest

    def _join(self, lines: list[str], numbers: Int64, final: bool, width: int) -> tuple[list[str], Int64, list[str]]:
        text = pa.array(lines, pa.large_string())
        quoted = np.flatnonzero(pc.match_substring(text, '"').to_numpy(zero_copy_only=False))
        if len(quoted) == 0:
            return lines, numbers, []
        closed = pc.match_substring_regex(text.take(pa.array(quoted)), self._closed).to_numpy(zero_copy_only=False)
        keep = np.ones(len(lines), dtype=bool)
        done = clear = 0
        # Only lines that open a quoted cell without closing it are looked at one by one.
        for start in quoted[~closed].tolist():
            if start < done:
                continue
            limit = min(len(lines), start + _MAX_CELL_LINES)
            # No line before `clear` closes a cell: what was looked at once is not looked at again.
            clear, closes = self._closing(lines, max(start + 1, clear), limit)
            if clear == len(lines) < start + _MAX_CELL_LINES and not final:
                return _kept(lines[:start], numbers[:start], keep[:start], lines[start:])
            if closes and not self._all_rows(lines[start + 1 : clear], width):
                joined = "\n".join(lines[start : clear + 1])
                if len(self.split(joined)) == width:
                    lines[start], done = joined, clear + 1
                    keep[start + 1 : done] = False
        return _kept(lines, numbers, keep, [])

    def _closing(self, lines: list[str], first: int, limit: int) -> tuple[int, bool]:
        """Looks for the line that closes a quoted cell which a line before `first` opened.

        Returns:
            The first line that closes the cell, or that cannot be within one (a closing quote has to be followed by a delimiter
            or the line's end), or the limit; and whether it closes the cell.
        """
        for position in range(first, limit):
            if '"' in lines[position]:
                if self._closing_line.match(lines[position]):
                    return position, True
                if not self._inner_line.match(lines[position]):
                    return position, False
        return max(first, limit), False

    def _all_rows(self, lines: list[str], width: int) -> bool:
        """Whether lines look like rows, not like the inside of a cell; too few to tell do not."""
        if width < _TELLING_COLUMNS or len(lines) < _TELLING_LINES:
            return False
        return all(len(self.split(line)) == width for line in lines[: 2 * _TELLING_LINES])

    def parse(self, file: str, records: list[str], numbers: Int64, names: list[str], marked: bool, encoding: str) -> RawBatch:
        """Cuts records into cells."""
        bad: dict[int, str] = {}
        # Not the list: it takes several times the memory, and rows may wait.
        text = pa.array(records, pa.large_string())
        if marked:
            hits = pc.match_substring(text, MARK).to_numpy(zero_copy_only=False)
            bad = dict.fromkeys(np.flatnonzero(hits).tolist(), f"bytes that are not {encoding}")
        columns, wrong = (self._quoted if self.quoting else self._plain)(records, len(names), bad)
        bad.update(dict.fromkeys(wrong, WRONG_WIDTH))
        index = np.delete(np.arange(len(records), dtype=np.int64), sorted(bad))
        return RawBatch(
            file=file,
            # Of two columns with one name none is needed (that was checked), so one of them is enough.
            table=pa.table(dict(zip(names, columns, strict=True))),
            identity=pa.table(columns, names=[str(i) for i in range(len(columns))]),
            lines=numbers[index],
            index=index,
            rows=len(records),
            raw=lambda positions: text.take(pa.array(index[positions])).to_pylist(),
            broken=[Broken(int(numbers[i]), bad[i], records[i].replace(MARK, "\ufffd")) for i in sorted(bad)],
        )

    def _plain(self, records: list[str], width: int, leave_out: dict[int, str]) -> tuple[list[Any], list[int]]:
        cells = pc.split_pattern(pa.array(records, pa.large_string()), self.delimiter)
        fits = pc.list_value_length(cells).to_numpy(zero_copy_only=False) == width
        wrong = [i for i in np.flatnonzero(~fits).tolist() if i not in leave_out]
        fits[list(leave_out)] = False
        flat = cells.filter(pa.array(fits)).flatten()
        starts = np.arange(0, len(flat), width, dtype=np.int64)
        return [_text(flat.take(pa.array(starts + column))) for column in range(width)], wrong

    def _quoted(self, records: list[str], width: int, leave_out: dict[int, str]) -> tuple[list[Any], list[int]]:
        kept = [i for i in range(len(records)) if i not in leave_out] if leave_out else None
        asked = records if kept is None else [records[i] for i in kept]
        asked = self._closed_only(asked)
        if not asked:
            return [pa.array([], pa.string()) for _ in range(width)], []
        table, wrong = cut("\n".join(asked).encode(), [pa.string()] * width, self.delimiter)
        assert table.num_rows + len(wrong) == len(asked), "records and rows do not line up"
        wrong = wrong if kept is None else [kept[position] for position in wrong]
        return [column.combine_chunks() for column in table.columns], wrong

    def _closed_only(self, records: list[str]) -> list[str]:
        """Writes the stray quotes of a record, which would swallow its successors, as ordinary characters."""
        text = pa.array(records, pa.large_string())
        quoted = np.flatnonzero(pc.match_substring(text, '"').to_numpy(zero_copy_only=False))
        if len(quoted) == 0:
            return records
        closed = pc.match_substring_regex(text.take(pa.array(quoted)), self._closed).to_numpy(zero_copy_only=False)
        records = list(records) if not closed.all() else records
        for position in quoted[~closed].tolist():
            parts = (part.replace('"', '""') for part in records[position].split(self.delimiter))
            records[position] = self.delimiter.join(f'"{part}"' for part in parts)
        return records


def _kept(
    lines: list[str], numbers: Int64, keep: np.ndarray[Any, np.dtype[np.bool_]], rest: list[str]
) -> tuple[list[str], Int64, list[str]]:
    if keep.all():
        return lines, numbers, rest
    return [lines[i] for i in np.flatnonzero(keep).tolist()], numbers[keep], rest


def _unquoted(cell: str) -> str:
    quoted = re.match(r'"((?:[^"]|"")*)"', cell)
    return cell if quoted is None else quoted[1].replace('""', '"') + cell[quoted.end() :]


def _text(cells: Any) -> Any:
    """Cells as text; an empty one is null."""
    cells = cells.cast(pa.string())
    return pc.if_else(pc.equal(cells, ""), pa.scalar(None, pa.string()), cells)
