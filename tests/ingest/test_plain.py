"""Lines that are records are cut as bytes: the same rows, hashes, lines and refusals as where every line is looked at."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from elec.errors import InputError
from elec.ingest.batches import Needed
from elec.ingest.delimited import _Cells, read_delimited
from elec.ingest.jsonlines import JsonLines
from elec.ingest.lines import MARK, read_lines
from elec.ingest.sources import SourceFile
from elec.ingest.splits import identities
from elec.ingest.sql import Sql
from elec.spec import Source

#: What text of rows is made of, each piece with something that a reader may take wrongly.
PIECES = [
    *(b"a", b"bb", b"7", b"1.50", b" ", b"\xc3\xa9", b"\xe2\x80\xa8", b"\x00", b"\x0b", b"\x0c", b"\xc2\x85"),
    *(b",", b",", b",", b";", b"\t", b"\n", b"\n", b"\n", b"\n\n", b"\r\n", b"\r", b"\r\r\n"),
    *(b'"', b'"', b'""', b'"a"', b'"a,b"', b'"a\nb"', b'""""', b'"a"b', b'a"b', b'"a""b"', b',"'),
    *(b"\xff", b"\xc3", b"\xe2\x80", b"\xed\xa0\x80", MARK.encode(), b"\xef\xbb\xbf"),
    *(b"1,2\n", b"x,y\n", b'"x","y"\n', b"1,2,3\n", b',""\n'),
]
contents = st.lists(st.sampled_from(PIECES), max_size=40).map(b"".join)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sql]:
    made = Sql(tmp_path_factory.mktemp("spill"))
    yield made
    made.close()


def _found(path: Path, source: Source, database: Sql) -> object:
    """All that a reader gives: of rows their cells, hash, line and text, and the refused ones."""
    file = SourceFile(str(path), "csv", path.stat().st_size)
    rows: list[object] = []
    broken: list[object] = []
    read = 0
    try:
        for batch in read_delimited(file, source, [Needed("a", "user")], lambda size: None):
            cells = [column.to_pylist() for column in batch.identity.columns]
            named = [batch.table[name].to_pylist() for name in dict.fromkeys(batch.table.column_names)]
            places = (batch.index + read).tolist()
            hashes = identities(batch.identity, database).tolist()
            rows += zip(places, hashes, batch.lines.tolist(), batch.raw(np.arange(len(batch.index))), strict=True)
            rows += [cells, named]
            broken += [(row.line, row.reason, row.raw) for row in batch.broken]
            read += batch.rows
    except InputError as error:
        return rows, broken, read, str(error)
    return rows, broken, read


@settings(max_examples=400, deadline=None)
@given(
    content=contents,
    block=st.sampled_from([1, 2, 3, 7, 20, 1 << 20]),
    delimiter=st.sampled_from([",", ";", "\t"]),
    header=st.booleans(),
    encoding=st.sampled_from(["utf-8", "utf-8", "latin-1", "ascii", "cp1252"]),
    width=st.sampled_from([1, 2, 2, 3]),
)
@example(content=b'1,2\n3,"a""', block=1 << 20, delimiter=",", header=False, encoding="utf-8", width=2)
@example(content=b'1,2\n3,"abc', block=1 << 20, delimiter=",", header=False, encoding="utf-8", width=2)
@example(content=b'1,"2\n3",4\n5,6', block=1 << 20, delimiter=",", header=False, encoding="utf-8", width=2)
@example(content=b'"\n"\n\n,\n\n', block=1 << 20, delimiter=",", header=False, encoding="utf-8", width=2)
@example(content=b"a\r\nb\r\rc\r", block=3, delimiter=",", header=False, encoding="utf-8", width=1)
@example(content=b'"a\n",\n\n"\n', block=1 << 20, delimiter=",", header=False, encoding="utf-8", width=1)
@example(content=b",\n\n1,\n,2", block=1 << 20, delimiter=",", header=False, encoding="utf-8", width=2)
def test_lines_cut_as_bytes_are_what_they_are_looked_at_one_by_one(
    content: bytes,
    block: int,
    delimiter: str,
    header: bool,
    encoding: str,
    width: int,
    database: Sql,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.mktemp("plain") / "log.csv"
    path.write_bytes(content)
    columns = ("a", "b", "c")[:width]
    source = Source(path=str(path), header=header, columns=columns, delimiter=delimiter, encoding=encoding)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("elec.ingest.lines._BLOCK_BYTES", block)
        found = _found(path, source, database)
        patch.setattr(_Cells, "plain", lambda *asked: None)
        assert found == _found(path, source, database)


def test_the_usual_block_needs_no_look_at_its_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database: Sql) -> None:
    def look(*asked: object) -> None:
        raise AssertionError("lines were looked at")

    monkeypatch.setattr(_Cells, "records", look)
    monkeypatch.setattr("elec.ingest.lines._BLOCK_BYTES", 1 << 12)
    for name, line, end in (
        ("plain", "{0},x,é{0}", "\n"),
        ("quoted", '"{0}","say ""x"", or, y","{0}"', "\r\n"),
        ("mac", "{0},,", "\r"),
    ):
        path = tmp_path / f"{name}.csv"
        text = end.join(["a,b,c", *(line.format(number) for number in range(1, 2001)), "1,2"])
        path.write_bytes(text.encode())
        file = SourceFile(str(path), "csv", path.stat().st_size)
        batches = list(read_delimited(file, Source(path=str(path)), [Needed("b", "item")], lambda size: None))
        assert [cell for batch in batches for cell in batch.table["a"].to_pylist()] == [
            str(number) for number in range(1, 2001)
        ]
        assert [number for batch in batches for number in batch.lines.tolist()] == list(range(2, 2002))
        assert [(row.line, row.raw) for batch in batches for row in batch.broken] == [(2002, "1,2")]
        for batch in batches:
            assert batch.table.schema.types == [pa.string(), pa.dictionary(pa.int32(), pa.string()), pa.string()]


@settings(max_examples=300, deadline=None)
@given(
    content=st.one_of(contents, st.binary(max_size=60)),
    block=st.sampled_from([1, 2, 3, 5, 50]),
    encoding=st.sampled_from(["utf-8", "latin-1", "ascii", "utf-16-le", "utf-7", "shift_jis"]),
)
@example(content=b"\xef\xbb\xbf\xef\xbb\xbfa\r\nb\rc\n\r", block=1, encoding="utf-8")
@example(content=b"\xe2\x80\na", block=2, encoding="utf-8")
@example(content=b"\r\ra", block=2, encoding="utf-8")
def test_lines_are_what_the_whole_text_is_cut_into(
    content: bytes, block: int, encoding: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("lines") / "log.txt"
    path.write_bytes(b"a" + content)
    text = (b"a" + content).decode(encoding, "elec.mark")
    whole = io.StringIO(text.encode("utf-8", "elec.mark").decode(), newline=None).read().split("\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("elec.ingest.lines._BLOCK_BYTES", block)
        blocks = list(read_lines(SourceFile(str(path), "csv", len(content)), encoding, lambda size: None))
    assert [line for piece in blocks for line in piece.lines] == whole
    assert [line for piece in blocks for line in piece.array.to_pylist()] == whole
    first = 1
    for piece in blocks:
        assert (piece.first, piece.count) == (first, len(piece.lines))
        assert piece.marked == (MARK in piece.content.decode())
        first += piece.count
    assert [piece.final for piece in blocks] == [False] * (len(blocks) - 1) + [True]


def test_json_lines_are_read_in_blocks_too(tmp_path: Path, database: Sql) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"a": 1}\r\n\n{"a": "\xff"}\n{"a": "x"}')
    file = SourceFile(str(path), "jsonl", path.stat().st_size)
    batches = list(JsonLines(database, Source(path=str(path)), [], lambda size: None, {}).read(file))
    assert [batch.lines.tolist() for batch in batches] == [[1], [4]]
    assert [list(batch.raw(np.array([0]))) for batch in batches] == [['{"a": 1}'], ['{"a": "x"}']]
    assert [(row.line, row.reason) for batch in batches for row in batch.broken] == [(3, "bytes that are not utf-8")]
