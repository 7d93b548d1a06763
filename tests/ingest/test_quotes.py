"""Cutting lines into records and cells: like Python's csv module where that is right, and better where a quote is broken."""

import csv
import io
import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from elec.ingest.delimited import _Cells, read_delimited
from elec.ingest.sources import SourceFile
from elec.spec import Source

cells = st.text('ab",;\n\t é\x00\x0b\x0c\x85\u2028', max_size=5)


@settings(max_examples=300, deadline=None)
@given(data=st.data(), width=st.integers(2, 4), delimiter=st.sampled_from([",", ";", "\t", "|"]))
def test_what_csv_writes_is_read_back(data: st.DataObject, width: int, delimiter: str) -> None:
    rows = data.draw(st.lists(st.lists(cells, min_size=width, max_size=width), min_size=1, max_size=6))
    buffer = io.StringIO()
    csv.writer(buffer, delimiter=delimiter, lineterminator="\n").writerows(rows)
    cutter = _Cells(delimiter)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("elec.ingest.delimited._TELLING_LINES", 1000)
        records, numbers, rest = cutter.records(buffer.getvalue().split("\n"), 1, True, width)
    batch = cutter.parse("f", records, numbers, [str(column) for column in range(width)], False, "utf-8")
    assert rest == []
    assert batch.broken == []
    assert [[cell or "" for cell in row.values()] for row in batch.table.to_pylist()] == rows
    starts = [1]
    for row in rows[:-1]:
        starts.append(starts[-1] + 1 + sum(cell.count("\n") for cell in row))
    assert batch.lines.tolist() == starts


def _read(
    path: Path, text: str, read: list[int], columns: tuple[str, ...] = ("a", "b", "c")
) -> tuple[list[list[str | None]], list[tuple[int, str]]]:
    path.write_text(text)
    file = SourceFile(str(path), "csv", len(text))
    source = Source(path=str(path), header=False, columns=columns)
    rows, broken = [], []
    for batch in read_delimited(file, source, [], read.append):
        rows += [list(row.values()) for row in batch.table.to_pylist()]
        broken += [(row.line, row.raw) for row in batch.broken]
    return rows, broken


def test_a_stray_quote_costs_its_own_line_only(tmp_path: Path) -> None:
    lines = [f"{number},x,y,z" for number in range(1, 700)]
    lines[99] = '100,"x,y'
    lines[199] = '200,5" nail,y,z'
    lines[250] = '251,13",y,z'
    lines[299] = '300,"x,y,z'
    lines[399] = '"400,x,y,z'
    lines[499] = '500,"a ""b"" c",y,z'
    rows, broken = _read(tmp_path / "log.csv", "\n".join(lines), [], ("a", "b", "c", "d"))
    assert broken == [(100, '100,"x,y')]
    assert len(rows) == 698
    assert rows[198] == ["200", '5" nail', "y", "z"]
    assert rows[249] == ["251", '13"', "y", "z"]
    assert rows[298] == ["300", '"x', "y", "z"], "a quote that is never closed is an ordinary character"
    assert rows[398] == ['"400', "x", "y", "z"]
    assert rows[498] == ["500", 'a "b" c', "y", "z"]


def test_a_cell_may_have_many_lines(tmp_path: Path) -> None:
    text = 'x,"' + "long\n" * 150 + '",z\n1,2,3\n'
    rows, broken = _read(tmp_path / "log.csv", text, [])
    assert broken == []
    assert rows == [["x", "long\n" * 150, "z"], ["1", "2", "3"]]


@settings(max_examples=100, deadline=None)
@given(text=st.text('ab",\n\x0c\u2028', max_size=80), block=st.integers(1, 20))
@example(text=',,"\n"a\n"', block=1)
def test_where_a_block_ends_leaves_no_trace(text: str, block: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("blocks") / "log.csv"
    text = "1,2,3\n" + text
    whole = _read(path, text, [])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("elec.ingest.lines._BLOCK_BYTES", block)
        assert _read(path, text, []) == whole
    # Whatever is in the text, records and rows line up (an assertion of the reader's own).
    assert len(whole[0]) + len(whole[1]) <= len([line for line in text.split("\n") if line])


def test_a_cell_may_be_very_long(tmp_path: Path) -> None:
    long = "x" * 300_000
    rows, broken = _read(tmp_path / "log.csv", f'1,"{long}\n{long}",3\n', [])
    assert (rows, broken) == ([["1", f"{long}\n{long}", "3"]], [])


def test_progress_adds_up_to_the_file(tmp_path: Path) -> None:
    read: list[int] = []
    text = "1,2,3\n" * 5000
    _read(tmp_path / "log.csv", text, read)
    assert sum(read) == len(text)


def test_many_broken_quotes_do_not_take_for_ever(tmp_path: Path) -> None:
    lines = ['1,"x","y' for _ in range(20_000)]
    lines[0] = "1,2,3"
    rows, broken = _read(tmp_path / "log.csv", "\n".join(lines), [])
    assert len(rows) + len(broken) == 20_000


def test_the_regular_expression_needs_linear_time() -> None:
    pattern = _Cells(",")._closing_line
    assert pattern.match('""' * 200_000 + "x") is None
    inner = _Cells(",")._inner_line
    assert inner.match('","",' * 100_000 + '"x"y') is None
    assert re.match(pattern, 'a""b",c,"d"') is not None
