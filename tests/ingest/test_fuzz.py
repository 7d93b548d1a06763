"""Randomly damaged inputs end well or in one sentence; and what such inputs have found, one by one."""

import gzip
import io
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.data.damaged import KINDS
from benchmarks.data.fuzz import run, table
from benchmarks.data.judging import RIGHT
from elec.errors import BlockedError, ElecError, InputError
from elec.ingest import ingest
from elec.spec import parse_spec
from tests.ingest.made import AS_OF, NOW, csv_text, made_rows, made_spec

ROWS = made_rows(60)


def test_damaged_inputs_end_well_or_in_one_sentence() -> None:
    outcomes = list(run(200, 7, list(KINDS), 30.0))
    assert sorted(outcome.number for outcome in outcomes) == list(range(200))
    assert not [outcome for outcome in outcomes if outcome.end not in RIGHT], table(outcomes, 7, 0.0)
    assert {"success", "quarantine", "refused", "blocked"} == {outcome.end for outcome in outcomes}


def test_column_metadata_that_arrow_ends_the_process_over(tmp_path: Path) -> None:
    # Of its own: an abort ends the process that reads.
    command = "from benchmarks.data import judging; import sys, pathlib; "
    command += "print(judging.judge('parquet', 2, 9178, pathlib.Path(sys.argv[1])).end)"
    done = subprocess.run([sys.executable, "-c", command, str(tmp_path / "case")], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == "refused"


def _refused(folder: Path, name: str, content: bytes, match: str) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(InputError, match=match) as raised:
        ingest(made_spec(folder / name), folder / "out", as_of=AS_OF, now=NOW)
    assert str(raised.value).isprintable()
    assert [path.name for path in folder.iterdir()] == [name]


def _parquet(rows: pa.Table | None = None) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS) if rows is None else rows, sink, compression="none", use_dictionary=False)
    return sink.getvalue()


@pytest.mark.parametrize("place", ["page", "footer", "length"])
def test_damaged_parquet(place: str, tmp_path: Path) -> None:
    content = bytearray(_parquet())
    footer = len(content) - 8 - struct.unpack("<I", content[-8:-4])[0]
    if place == "length":
        content[-8:-4] = struct.pack("<I", 7)
    else:
        begin = 4 if place == "page" else footer
        content[begin : begin + 8] = b"\xff" * 8
    _refused(tmp_path, "log.parquet", bytes(content), r"log\.parquet: is not Parquet, or damaged \(.*export the file again")


def test_parquet_with_text_that_is_not_utf8(tmp_path: Path) -> None:
    content = _parquet().replace("Café".encode(), b"Caf\xff\xff")
    _refused(tmp_path, "log.parquet", content, r"is not Parquet, or damaged \(.*UTF8")


def test_a_parquet_type_that_the_database_does_not_know(tmp_path: Path) -> None:
    halves = pa.Table.from_pylist(ROWS).append_column("half", pa.array(np.zeros(60, np.float16)))
    _refused(tmp_path, "log.parquet", _parquet(halves), r"column 'half': holds halffloat, which is not supported; export it as")


def test_gzip_whose_inside_is_damaged(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(csv_text(ROWS).encode() * 50, mtime=0))
    packed[200:260] = b"\xff" * 60
    _refused(tmp_path, "log.csv.gz", bytes(packed), r"is a damaged gzip file \(.*copy or export it again")


def test_a_message_shows_what_cannot_be_shown_as_its_escape(tmp_path: Path) -> None:
    _refused(tmp_path, "log.csv", b"\x1b[31mts\x00,\xff,user\n1,2,3\n", r"found: \\x1b\[31mts\\x00, �, user")
    assert str(BlockedError("a\nb\ud800c\u202e")) == "a\\nb\\ud800c\\u202e"
    assert str(ElecError()) == ""
    assert str(InputError("Café 日本")) == "Café 日本"


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("description: !!float x", r"s\.yaml: a value is not what it looks like \(could not convert.*put quotes around"),
        ("description: 2024-13-45", r"s\.yaml: a value is not what it looks like \(month must be"),
        ("description: !!bool maybe", r"s\.yaml: a value is not what it looks like"),
        ("description: !!timestamp x", r"s\.yaml: a value is not what it looks like"),
        (f"description: {'[' * 3000}", r"s\.yaml: not a spec \(lists in lists without an end\)"),
        (
            "name: a\nlabel: {column: c}\ntimestamp: {column: t}\nuser: u\nitem: i\nsource: {path: a.csv, encoding: zlib}",
            r"'zlib' is not known; use utf-8",
        ),
        (
            "name: a\nlabel: {column: c}\ntimestamp: {column: t}\nuser: u\nitem: i\nsource: {path: a.csv, encoding: undefined}",
            r"'undefined' is not known; use utf-8",
        ),
        (f"name: {'x' * 5000}", r"'name' = 'x+\.\.\. has to be lower-case letters"),
    ],
)
def test_odd_yaml(line: str, match: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=match) as raised:
        parse_spec(line, origin="s.yaml", folder=tmp_path)
    assert len(str(raised.value)) < 300


def test_the_name_of_a_missing_column_is_shortened(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(csv_text(ROWS))
    with pytest.raises(InputError, match=r"there is no column 'x{37}\.\.\.' \(named by label\.column\)"):
        ingest(made_spec(tmp_path / "log.csv", label={"column": "x" * 5000}), tmp_path / "out", as_of=AS_OF, now=NOW)
