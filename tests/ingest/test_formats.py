"""The same rows give the same bytes, whatever the format that they came in."""

import bz2
import codecs
import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from elec.ingest import Ingested, ingest
from tests.ingest.made import AS_OF, COLUMNS, NOW, csv_text, made_rows, made_spec

FILES = ("train", "valid", "test", "users", "items", "quarantine")


def _bytes(folder: Path) -> dict[str, bytes]:
    return {name: (folder / f"{name}.parquet").read_bytes() for name in FILES}


def _typed(rows: list[dict[str, str]]) -> pa.Table:
    """Parquet with types of its own: integers, lists, timestamps, dictionaries, booleans."""
    none = {"": None}
    return pa.table(
        {
            "ts": pa.array([row["ts"] for row in rows]).cast(pa.timestamp("ns")),
            "user": [row["user"] for row in rows],
            "ad": pa.array([int(row["ad"]) for row in rows], pa.int64()),
            "age": pa.array([int(row["age"]) for row in rows], pa.int8()),
            "slot": pa.array([none.get(row["slot"], row["slot"]) for row in rows]).dictionary_encode(),
            "tags": pa.array([[tag for tag in row["tags"].split("|") if tag] for row in rows], pa.large_list(pa.string())),
            "title": pa.array([row["title"] for row in rows], pa.large_string()),
            "clicked": pa.array([row["clicked"] == "1" for row in rows]),
        }
    )


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("reference")
    (folder / "log.csv").write_text(csv_text(made_rows()), encoding="utf-8")
    ingest(made_spec(folder / "log.csv"), folder / "out", as_of=AS_OF, now=NOW)
    return _bytes(folder / "out")


def _write(path: Path, kind: str) -> dict[str, object]:
    """Writes the log one way and gives the source's settings."""
    rows = made_rows()
    text = csv_text(rows)
    columns = {"header": False, "columns": COLUMNS}
    if kind == "crlf":
        path.write_bytes(text.replace("\n", "\r\n").encode())
    elif kind == "bom":
        path.write_bytes(codecs.BOM_UTF8 + text.encode())
    elif kind == "latin-1":
        path.write_bytes(text.encode("latin-1"))
        return {"encoding": "latin-1"}
    elif kind == "utf-16":
        path.write_bytes(text.encode("utf-16"))
        return {"encoding": "utf-16"}
    elif kind == "gzip":
        path.with_suffix(".csv.gz").write_bytes(gzip.compress(text.encode()))
        return {"path": str(path.with_suffix(".csv.gz"))}
    elif kind == "gzip without its ending":
        path.write_bytes(gzip.compress(text.encode()))
    elif kind in {"zst", "bz2"}:
        packed = path.with_name(f"log.csv.{kind}")
        content = text.encode()
        # Two streams one after the other, as `cat a.zst b.zst` makes them.
        pieces = (content[:2000], content[2000:])
        pack = bz2.compress if kind == "bz2" else lambda piece: pa.compress(piece, "zstd", asbytes=True)
        packed.write_bytes(b"".join(pack(piece) for piece in pieces))
        return {"path": str(packed)}
    elif kind == "jsonl.zst":
        packed = path.with_name("log.jsonl.zst")
        packed.write_bytes(pa.compress("\n".join(json.dumps(row) for row in rows).encode(), "zstd", asbytes=True))
        return {"path": str(packed)}
    elif kind == "semicolon":
        path.write_text(csv_text(rows, ";"))
        return {"delimiter": ";"}
    elif kind == "tsv":
        path.write_text(csv_text(rows, "\t"))
        return {"format": "tsv"}
    elif kind == "no header":
        path.write_text(csv_text(rows, header=False))
        return columns
    elif kind == "renamed":
        path.write_text("A,B,C,D,E,F,G,H\n" + csv_text(rows, header=False))
        return {"columns": COLUMNS}
    elif kind == "::":
        path.write_text("\n".join("::".join(row.values()) for row in rows))
        return {"delimiter": "::", **columns}
    elif kind == "blank lines":
        path.write_text("\n\n" + text.replace("\n", "\n\n") + "\n\n")
    elif kind == "other column order":
        path.write_text(csv_text([{"unused": "x", **dict(reversed(row.items()))} for row in rows]))
    elif kind == "jsonl":
        path.write_text("\n".join(json.dumps(row) for row in rows))
        return {"format": "jsonl"}
    elif kind == "jsonl, typed":
        typed = [
            {
                **row,
                "ad": int(row["ad"]),
                "age": float(row["age"]),
                "clicked": row["clicked"] == "1",
                "tags": row["tags"].split("|"),
                "slot": row["slot"] or None,
            }
            for row in rows
        ]
        path.write_text("\n\n".join(json.dumps(row) for row in typed))
        return {"format": "jsonl"}
    elif kind == "parquet of text":
        pq.write_table(pa.Table.from_pylist(rows), path)
        return {"format": "parquet"}
    elif kind == "parquet, typed":
        pq.write_table(_typed(rows), path, row_group_size=17)
        return {"format": "parquet"}
    return {}


@pytest.mark.parametrize(
    "kind",
    [
        "crlf",
        "bom",
        "latin-1",
        "utf-16",
        "gzip",
        "gzip without its ending",
        "zst",
        "bz2",
        "jsonl.zst",
        "semicolon",
        "tsv",
        "no header",
        "renamed",
        "::",
        "blank lines",
        "other column order",
        "jsonl",
        "jsonl, typed",
        "parquet of text",
        "parquet, typed",
    ],
)
def test_a_format_leaves_no_trace(kind: str, tmp_path: Path, reference: dict[str, bytes]) -> None:
    path = tmp_path / "log.csv"
    source = {"path": str(path), **_write(path, kind)}
    ingest(made_spec(path, source=source), tmp_path / "out", as_of=AS_OF, now=NOW)
    assert _bytes(tmp_path / "out") == reference


def test_many_files_are_one_log(tmp_path: Path, reference: dict[str, bytes]) -> None:
    rows = made_rows()
    (tmp_path / "day=2").mkdir()
    (tmp_path / "day=1.csv").write_text(csv_text(rows[:50]))
    (tmp_path / "day=2" / "a.csv.gz").write_bytes(gzip.compress(csv_text(rows[50:51]).encode()))
    (tmp_path / "day=2" / "b.jsonl").write_text("\n".join(json.dumps(row) for row in rows[51:]))
    (tmp_path / "day=2" / "c.csv").write_text("")
    (tmp_path / "_SUCCESS").write_text("")
    report = ingest(made_spec(tmp_path), tmp_path.parent / f"{tmp_path.name}-out", as_of=AS_OF, now=NOW)
    assert _bytes(tmp_path.parent / f"{tmp_path.name}-out") == reference
    assert [Path(file).name for file in report.files] == ["day=1.csv", "a.csv.gz", "b.jsonl"]
    globbed = ingest(made_spec(tmp_path / "**" / "*.csv*"), tmp_path / "out", as_of=AS_OF, now=NOW)
    assert globbed.rows_read == 51


def test_raw_types_and_values_survive(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(csv_text(made_rows()))
    ingest(made_spec(tmp_path / "log.csv"), tmp_path / "out", as_of=AS_OF, now=NOW)
    data = Ingested(tmp_path / "out")
    train = pq.read_table(data.train)
    assert train.schema.names == ["row_id", "label", "event_timestamp", "user", "ad", "slot", "tags"]
    types = {field.name: field.type for field in train.schema}
    assert types["row_id"] == pa.int64()
    assert types["label"] == pa.int8()
    assert types["event_timestamp"] == pa.timestamp("us", tz="UTC")
    assert types["ad"] == types["slot"] == pa.string()
    assert pa.types.is_list(types["tags"])
    first = made_rows()[0]
    assert train["user"][0].as_py() == first["user"]
    assert train["ad"][0].as_py() == first["ad"]
    assert int(first["ad"]) > 2**53
    assert set(train["slot"].to_pylist()) == {"top", "side", None}
    assert [] not in train["tags"].to_pylist()
    assert ["c", "a", "d"] in train["tags"].to_pylist()
    assert {"Café au lait", 'A "quoted" title', "Comma, inside"} <= set(pq.read_table(data.items)["title"].to_pylist())
    assert data.report().rows_read == 120


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_folders_named_for_a_value_are_columns(kind: str, tmp_path: Path, reference: dict[str, bytes]) -> None:
    rows = made_rows()
    log = tmp_path / "log"
    for position, row in enumerate(rows):
        folder = log / f"day={position // 40}" / f"slot={row['slot'] or '__HIVE_DEFAULT_PARTITION__'}"
        folder.mkdir(parents=True, exist_ok=True)
    for folder in sorted(log.glob("*/*")):
        day, slot = (int(folder.parent.name[4:]), folder.name[5:].replace("__HIVE_DEFAULT_PARTITION__", ""))
        part = [
            {key: value for key, value in row.items() if key != "slot"}
            for position, row in enumerate(rows)
            if position // 40 == day and row["slot"] == slot
        ]
        if kind == "parquet":
            pq.write_table(pa.Table.from_pylist(part), folder / "part-0.parquet")
        elif kind == "csv":
            (folder / "part-0.csv").write_text(csv_text(part))
        else:
            (folder / "part-0.jsonl").write_text("\n".join(json.dumps(row) for row in part))
    report = ingest(made_spec(log), tmp_path / "out", as_of=AS_OF, now=NOW)
    assert len(report.files) == 9
    data = Ingested(tmp_path / "out")
    found = pa.concat_tables([pq.read_table(data.split(split)) for split in ("train", "valid", "test")])
    order = sorted(zip(found["event_timestamp"].to_pylist(), found["slot"].to_pylist(), strict=True))
    assert [slot or "" for _, slot in order] == [row["slot"] for row in rows]
    # One day named in the path is the same rows of that day.
    one = ingest(made_spec(log / "day=1"), tmp_path / "one", as_of=AS_OF, now=NOW)
    assert one.rows_read == 40


def test_a_folder_above_the_source_is_no_column(tmp_path: Path) -> None:
    folder = tmp_path / "slot=none" / "logs"
    folder.mkdir(parents=True)
    (folder / "a.csv").write_text(csv_text(made_rows()))
    ingest(made_spec(folder), tmp_path / "out", as_of=AS_OF, now=NOW)
    assert set(pq.read_table(Ingested(tmp_path / "out").train)["slot"].to_pylist()) == {"top", "side", None}


def test_the_same_row_in_two_partitions_is_no_duplicate(tmp_path: Path) -> None:
    for day in ("1", "2"):
        (tmp_path / "log" / f"day={day}").mkdir(parents=True)
        (tmp_path / "log" / f"day={day}" / "a.csv").write_text(csv_text(made_rows(60)))
    assert ingest(made_spec(tmp_path / "log"), tmp_path / "out", as_of=AS_OF, now=NOW).duplicates == 0
