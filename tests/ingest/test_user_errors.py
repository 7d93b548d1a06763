"""What a newcomer gets wrong, and the one sentence that comes back."""

import bz2
import gzip
import json
import lzma
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from elec.errors import BlockedError, ElecError, InputError
from elec.ingest import ingest
from tests.ingest.made import AS_OF, COLUMNS, NOW, START, csv_text, made_rows, made_spec, write_csv


def _fails(folder: Path, kind: type[ElecError], pattern: str, path: Path | str, **change: Any) -> None:
    out = folder / "out"
    with pytest.raises(kind) as raised:
        ingest(made_spec(path, **change), out, as_of=AS_OF, now=NOW)
    message = str(raised.value)
    assert re.search(pattern, message), message
    assert "\n" not in message
    assert not out.exists()
    assert not [left for left in folder.iterdir() if left.name.endswith(".tmp")]


def _text(text: str | bytes) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = folder / "log.csv"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write


ROWS = made_rows(60)
ONE_CLASS_LATE = made_rows(60, clicked=lambda position, row: "0" if position > 40 else row["clicked"])
NO_HEADER = {"header": False, "columns": COLUMNS}

CASES: list[tuple[str, str | bytes, dict[str, Any], str]] = [
    ("empty", "", {}, r"log\.csv is empty \(0 bytes\)"),
    ("header only", csv_text([]), {}, r"holds no rows"),
    ("blank lines only", "\n\n\n", {}, r"holds no rows"),
    ("wrong delimiter", csv_text(ROWS, ";"), {}, r"single column, 'ts;user;.*set `delimiter: \";\"`"),
    ("tab", csv_text(ROWS, "\t"), {}, r"set `delimiter: \"\\t\"`"),
    (
        "wrong delimiter, no header",
        csv_text(ROWS, ";", header=False),
        {"source": NO_HEADER},
        r"line 1: .*no line fits; set `delim",
    ),
    (
        "too few columns named",
        csv_text(ROWS),
        {"source": {"columns": COLUMNS[:-1]}},
        r"`columns` names 7 columns.* has 8 \(ts,",
    ),
    ("no header", csv_text(ROWS, header=False), {}, r"no column 'user'.*set `header: false`"),
    (
        "missing column",
        csv_text(ROWS),
        {"user": "usr"},
        r"no column 'usr' \(named by user\); did you mean 'user'\? found: ts, user, ad",
    ),
    ("column of the rule", csv_text(ROWS), {"label": {"rule": "click > 0"}}, r"no column 'click' \(named by label\.rule\)"),
    (
        "column of the split",
        csv_text(ROWS),
        {"split": {"by": "column", "column": "fold"}},
        r"'fold' \(named by split\.column\)",
    ),
    ("column not in `columns`", csv_text(ROWS), {"source": {"columns": [*COLUMNS[:-1], "x"]}}, r"no column 'clicked'"),
    ("twice", csv_text(ROWS).replace("age", "user", 1), {"fields": []}, r"column 'user' is there twice"),
    (
        "text for numbers",
        csv_text(made_rows(60, age="old")),
        {},
        r"every row \(60\) is refused, age: not a number \(line 2: '.*old.*kind: cat",
    ),
    (
        "text in a rule",
        csv_text(ROWS),
        {"label": {"rule": "title > 3"}, "fields": []},
        r"title: not a number.*quote the value in `label\.rule`",
    ),
    ("no times", csv_text(made_rows(60, ts="yesterday")), {}, r"ts: not a time \(ISO 8601\)"),
    ("times without values", csv_text(made_rows(60, ts="")), {}, r"ts: no value.*`timestamp\.missing`"),
    (
        "ms read as s",
        csv_text(made_rows(60, ts="1704067200000")),
        {"timestamp": {"column": "ts"}},
        r"in the future.*seconds since 1970",
    ),
    ("future", csv_text(made_rows(60, ts="2031-01-01")), {}, r"every row.*ts: in the future"),
    ("labels 1 to 5", csv_text(made_rows(60, clicked="4")), {}, r"clicked: not 0 or 1.*label: \{rule: clicked"),
    ("all clicks", csv_text(made_rows(60, clicked="1")), {}, r"'clicked' makes each of the 60 rows a click.*correct `label`"),
    (
        "no clicks",
        csv_text(ROWS),
        {"label": {"rule": "age > 200"}, "fields": []},
        r"the rule 'age > 200' makes none of the 60 rows a click",
    ),
    ("one class in the test window", csv_text(ONE_CLASS_LATE), {}, r"the valid split \(6 rows\) holds no click.*by: random"),
    (
        "everything dropped",
        csv_text(ROWS),
        {"label": {"column": "clicked", "drop": "age > 0"}},
        r"none is left \(60 dropped by 'age > 0'\)",
    ),
    ("one time", csv_text(made_rows(60, ts="2024-01-01")), {}, r"1 distinct event time, too few.*by: random"),
    (
        "split column with one value",
        csv_text(made_rows(60, slot="train")),
        {"split": {"by": "column", "column": "slot"}},
        r"no row is in the valid",
    ),
    (
        "split column of noise",
        csv_text(made_rows(60, slot="x")),
        {"split": {"by": "column", "column": "slot"}},
        r"slot: not one of train",
    ),
    ("zip", b"PK\x03\x04....", {}, r"is a zip archive"),
    ("parquet called csv", b"PAR1....PAR1", {}, r"set `format: parquet`"),
    ("xz", lzma.compress(csv_text(ROWS).encode()), {}, r"is compressed with xz.* compress it with gzip, zstd or bzip2"),
    ("half a gzip", gzip.compress(csv_text(ROWS).encode())[:300], {}, r"damaged gzip"),
    ("half a zstd", pa.compress(csv_text(ROWS).encode(), "zstd", asbytes=True)[:300], {}, r"damaged zstd"),
    ("no zstd", b"\x28\xb5\x2f\xfd....", {}, r"damaged zstd"),
    ("half a bzip2", bz2.compress(csv_text(ROWS).encode())[:300], {}, r"damaged bzip2"),
    ("no bzip2", b"BZh9" + b"." * 50, {}, r"damaged bzip2"),
    ("utf-16", csv_text(ROWS).encode("utf-16"), {}, r"set `encoding: utf-16`"),
    ("csv called jsonl", csv_text(ROWS), {"source": {"format": "jsonl"}}, r"line 1: no line is a JSON object"),
    ("jsonl called csv", "\n".join(json.dumps(row) for row in ROWS), {}, r"set `format: jsonl`"),
    ("json array", json.dumps(ROWS), {"source": {"format": "jsonl"}}, r"one JSON array; write one object a line"),
    (
        "json key missing",
        "\n".join(json.dumps(row) for row in ROWS),
        {"source": {"format": "jsonl"}, "item": "adv"},
        r"'adv'.*mean 'ad'",
    ),
    (
        "json field never there",
        "\n".join(json.dumps(row) for row in ROWS),
        {"source": {"format": "jsonl"}, "fields": [{"name": "sloot"}]},
        r"'sloot' \(named by fields\); did you mean 'slot'",
    ),
    ("no parquet", "not parquet at all", {"source": {"format": "parquet"}}, r"is not Parquet, or damaged"),
]


@pytest.mark.parametrize(("text", "change", "pattern"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_one_sentence(text: str | bytes, change: dict[str, Any], pattern: str, tmp_path: Path) -> None:
    _fails(tmp_path, InputError, pattern, _text(text)(tmp_path), **change)


def test_nothing_there(tmp_path: Path) -> None:
    write_csv(tmp_path / "clicks.csv", ROWS)
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("x")
    _fails(tmp_path, InputError, r"no such file; check `path` \(is it clicks\.csv\?\)", tmp_path / "click.csv")
    _fails(tmp_path, InputError, r"no folder .*/no either", tmp_path / "no" / "log.csv")
    _fails(tmp_path, InputError, r"the pattern matches no file", tmp_path / "2024-*.csv")
    _fails(tmp_path, InputError, r"the folder holds no files", tmp_path / "empty")
    _fails(tmp_path, InputError, r"none of its files ends in \.csv.*first: a\.txt", tmp_path / "notes")
    _fails(tmp_path, InputError, r"name does not tell the format; set `format`", tmp_path / "notes" / "a.txt")
    _fails(tmp_path, InputError, r"not supported; use a path", "gs://bucket/log.csv")


def test_a_path_with_brackets_is_a_path(tmp_path: Path) -> None:
    write_csv(tmp_path / "log [1].csv", ROWS)
    assert ingest(made_spec(tmp_path / "log [1].csv"), tmp_path / "out", as_of=AS_OF, now=NOW).rows_kept == 60


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "log.csv", ROWS)
    path.chmod(0)
    _fails(tmp_path, InputError, "permission denied", path)


def test_nothing_before_as_of(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "log.csv", ROWS)
    with pytest.raises(InputError, match=r"none is left \(60 later than as_of\)"):
        ingest(made_spec(path), tmp_path / "out", as_of=START.replace(year=2020), now=NOW)


def test_a_folder_that_is_taken_stays(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "log.csv", ROWS)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match="is there already; remove it, or give another folder"):
        ingest(made_spec(path), tmp_path / "mine", as_of=AS_OF, now=NOW)
    assert [found.name for found in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


def test_parquet_types_that_make_no_sense(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    table = pa.Table.from_pylist(ROWS)
    seconds = pa.array(range(1_704_067_200, 1_704_067_260))
    pq.write_table(table.set_column(0, "ts", seconds), path)
    _fails(tmp_path, InputError, r"column 'ts': holds numbers \(int64\).*set the unit", path)
    pq.write_table(table.set_column(table.column_names.index("age"), "age", pa.array([[1]] * 60)), path)
    _fails(tmp_path, InputError, r"column 'age': holds list", path)
    pq.write_table(table.set_column(table.column_names.index("slot"), "slot", pa.array([["a"]] * 60)), path)
    _fails(tmp_path, InputError, r"column 'slot': holds list.*kind: multivalued", path)
    pq.write_table(table.set_column(table.column_names.index("user"), "user", pa.array([2.0**60] * 60)), path)
    _fails(tmp_path, InputError, r"user: a floating-point number beyond 2\^53.*as integers or text", path)


def test_too_many_bad_rows_block_and_say_why(tmp_path: Path) -> None:
    def age(position: int, row: dict[str, str]) -> str:
        return "old" if position % 4 == 0 else row["age"]

    path = write_csv(tmp_path / "log.csv", made_rows(60, age=age, ts=lambda position, row: "" if position == 7 else row["ts"]))
    pattern = (
        r"16 of 60 rows \(26\.7%\).*max_bad_share \(5\.0%\): 15 x age: not a number \(line 2: '.*\); 1 x ts: no value \(line 9"
    )
    _fails(tmp_path, BlockedError, pattern, path)
    report = ingest(made_spec(path, max_bad_share=0.3), tmp_path / "out", as_of=AS_OF, now=NOW)
    assert report.reasons == {"age: not a number": 15, "ts: no value": 1}


def test_a_name_that_is_too_long_for_a_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"x\.\.\.: the name is too long for a file; check `path`"):
        ingest(made_spec(tmp_path / ("x" * 5000)), tmp_path / "out", as_of=AS_OF, now=NOW)


@pytest.mark.parametrize("encoding", ["punycode", "idna", "zlib", "undefined"])
def test_an_encoding_that_cannot_be_read_piece_by_piece(encoding: str) -> None:
    with pytest.raises(ValueError, match=rf"`encoding` = '{encoding}' is not known; use utf-8"):
        made_spec("log.csv", source={"encoding": encoding})


def test_a_seed_of_many_digits(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "log.csv", made_rows(120))
    spec = made_spec(path, split={"by": "random", "valid": 0.3, "test": 0.3, "seed": 10**30})
    assert ingest(spec, tmp_path / "out", as_of=AS_OF, now=NOW).rows_kept == 120


@pytest.mark.parametrize("encoding", ["utf-16", "utf_32"])
def test_an_encoding_whose_byte_order_mark_is_not_there(encoding: str, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "log.csv", made_rows(60))
    pattern = rf"log\.csv: cannot be read as {encoding} \(UTF-\d\d stream does not start with BOM\); set `encoding` to what"
    _fails(tmp_path, InputError, pattern, path, source={"encoding": encoding})
