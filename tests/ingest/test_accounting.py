"""Every row that is read is in exactly one count, whatever is wrong with it; and what is right comes out as it went in."""

import datetime as dt
import json
import tempfile
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from elec.ingest import SPLITS, Ingested, ingest
from tests.ingest.made import AS_OF, NOW, START, csv_text, made_rows, made_spec, write_csv

#: What may befall a row -> the line, and what has to become of it.
FATES = {
    "good": ("{ts},{user},1,30,top,a,t,1", "kept"),
    "empty age": ("{ts},{user},1,,top,a,t,1", "kept"),
    "text age": ("{ts},{user},1,old,top,a,t,1", "age: not a number"),
    "short": ("{ts},{user},1", "wrong number of columns"),
    "long": ("{ts},{user},1,30,top,a,t,1,1,1", "wrong number of columns"),
    "stray quote": ('{ts},{user},1,30,"top,a', "wrong number of columns"),
    "quoted line end": ('{ts},{user},1,30,"to\np",a,t,0', "kept"),
    "no user": ("{ts},,1,30,top,a,t,1", "user: no value"),
    "no item": ("{ts},{user},,30,top,a,t,1", "ad: no value"),
    "no time": (",{user},1,30,top,a,t,1", "ts: no value"),
    "no such time": ("2024-02-30,{user},1,30,top,a,t,1", "ts: not a time (ISO 8601)"),
    "no label": ("{ts},{user},1,30,top,a,t,", "clicked: no value"),
    "label 2": ("{ts},{user},1,30,top,a,t,2", "clicked: not 0 or 1"),
    "future": ("2026-01-01,{user},1,30,top,a,t,1", "ts: in the future"),
    "after": ("2025-02-01,{user},1,30,top,a,t,1", "after"),
    "bad, after": ("2025-02-01,{user},1,old,top,a,t,7", "after"),
    "dropped": ("{ts},{user},1,30,bot,a,t,1", "dropped"),
    "bad, dropped": ("{ts},{user},1,old,bot,a,t,1", "age: not a number"),
    "blank": ("", None),
    "bytes": ("{ts},{user},1,30,\udcff,a,t,1", "bytes that are not utf-8"),
}


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from(sorted(FATES)), max_size=40), st.booleans())
@example(["stray quote", "bytes"], False)
def test_every_row_is_in_one_count(fates: list[str], drop: bool) -> None:
    lines = [
        FATES[fate][0].format(ts=(START + dt.timedelta(seconds=position)).isoformat()[:19], user=f"x{position}")
        for position, fate in enumerate(fates)
    ]
    text = csv_text(made_rows(60)) + "\n".join(lines) + "\n"
    expected = Counter(FATES[fate][1] for fate in fates if FATES[fate][1] is not None)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "log.csv").write_bytes(text.encode("utf-8", "surrogateescape"))
        spec = made_spec(
            folder / "log.csv",
            label={"column": "clicked", "drop": "slot == 'bot'"},
            max_bad_share=0.99,
            duplicates="drop" if drop else "keep",
        )
        report = ingest(spec, folder / "out", as_of=AS_OF, now=NOW)
        data = Ingested(folder / "out")
        ids = [row_id for split in SPLITS for row_id in pq.read_table(data.split(split))["row_id"].to_pylist()]
        quarantined = pq.read_table(data.quarantine)
    kept, after, dropped = expected.pop("kept", 0), expected.pop("after", 0), expected.pop("dropped", 0)
    assert report.rows_read == 60 + kept + after + dropped + expected.total()
    assert (report.rows_kept, report.rows_after_as_of, report.rows_dropped) == (60 + kept, after, dropped)
    assert report.reasons == dict(expected)
    assert sorted(quarantined["reason"].to_pylist()) == sorted(expected.elements())
    assert len(set(ids)) == len(ids) == report.rows_kept
    assert max(ids) < report.rows_read


def test_the_quarantine_names_file_line_and_text(tmp_path: Path) -> None:
    lines = csv_text(made_rows(200)).splitlines()
    quoted = next(position for position, line in enumerate(lines) if '"' in line)
    lines[20] = lines[20].replace(lines[20].split(",")[3], "ä" * 3000)
    lines[30] = "broken"
    lines[40] = "broken \udcff\udcfe"
    assert quoted < 20
    path = tmp_path / "log.csv"
    path.write_bytes("\n".join(lines).encode("utf-8", "surrogateescape"))
    ingest(made_spec(path), tmp_path / "out", as_of=AS_OF, now=NOW)
    rows = pq.read_table(tmp_path / "out" / "quarantine.parquet").to_pylist()
    assert [(row["line"], row["reason"]) for row in rows] == [
        (21, "age: not a number"),
        (31, "wrong number of columns"),
        (41, "bytes that are not utf-8"),
    ]
    assert {row["file"] for row in rows} == {str(path)}
    assert len(rows[0]["raw"]) == 2000
    assert rows[1]["raw"] == "broken"
    assert rows[2]["raw"] == "broken \ufffd\ufffd"


def test_bad_parquet_and_json_rows_are_quarantined_with_their_text(tmp_path: Path) -> None:
    rows = made_rows(100, age=lambda position, row: "old" if position == 50 else row["age"])
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "log.parquet", row_group_size=30)
    ingest(made_spec(tmp_path / "log.parquet"), tmp_path / "out", as_of=AS_OF, now=NOW)
    (found,) = pq.read_table(tmp_path / "out" / "quarantine.parquet").to_pylist()
    assert (found["line"], found["reason"]) == (51, "age: not a number")
    assert '"age":"old"' in found["raw"]
    lines = [json.dumps(row) for row in rows]
    lines[3:3] = ["{half", "[1, 2]", "3", ""]
    (tmp_path / "log.jsonl").write_text("\n".join(lines))
    report = ingest(made_spec(tmp_path / "log.jsonl"), tmp_path / "out2", as_of=AS_OF, now=NOW)
    assert report.reasons == {"not a JSON object": 2, "not valid JSON": 1, "age: not a number": 1}
    lines_found = pq.read_table(tmp_path / "out2" / "quarantine.parquet")["line"].to_pylist()
    assert lines_found == [4, 5, 6, 55]


def test_one_percent_of_broken_lines_costs_one_percent(tmp_path: Path) -> None:
    broken = ['"', "x", '2024-01-01T00:00:00,"u,1,1,top,a,t', ",,,", '","","', "\x00", "1,2,3,4,5,6,7,8,9,10", "::::"]
    lines = csv_text(made_rows(4000)).splitlines()
    for position in range(100, len(lines), 100):
        lines[position] = broken[position // 100 % len(broken)]
    path = tmp_path / "log.csv"
    path.write_text("\n".join(lines))
    report = ingest(made_spec(path), tmp_path / "out", as_of=AS_OF, now=NOW)
    assert report.rows_quarantined == len(range(100, len(lines), 100))
    assert report.rows_kept == 4000 - report.rows_quarantined


def test_duplicates_are_counted_and_dropped_on_request(tmp_path: Path) -> None:
    rows = made_rows(100)
    path = write_csv(tmp_path / "log.csv", [*rows, *rows[10:20], rows[10]])
    kept = ingest(made_spec(path), tmp_path / "keep", as_of=AS_OF, now=NOW)
    assert (kept.duplicates, kept.duplicates_dropped, kept.rows_kept) == (11, 0, 111)
    dropped = ingest(made_spec(path, duplicates="drop"), tmp_path / "drop", as_of=AS_OF, now=NOW)
    assert (dropped.duplicates, dropped.duplicates_dropped, dropped.rows_kept) == (11, 11, 100)
    data = Ingested(tmp_path / "drop")
    ids = [row_id for split in SPLITS for row_id in pq.read_table(data.split(split))["row_id"].to_pylist()]
    assert sorted(ids) == list(range(100)), "of equal rows the first stays"


def test_rows_that_differ_in_a_column_nobody_reads_are_no_duplicates(tmp_path: Path) -> None:
    rows = [{**row, "impression": str(position)} for position, row in enumerate(made_rows(100) + made_rows(100))]
    report = ingest(made_spec(write_csv(tmp_path / "log.csv", rows)), tmp_path / "out", as_of=AS_OF, now=NOW)
    assert report.duplicates == 0


def test_the_same_as_of_gives_the_same_result_when_the_log_has_grown(tmp_path: Path) -> None:
    rows = made_rows(300)
    for row in rows[200:]:
        row["age"] = "old"
    early, late = write_csv(tmp_path / "early.csv", rows[:200]), write_csv(tmp_path / "late.csv", rows)
    as_of = START + dt.timedelta(minutes=199)
    ingest(made_spec(early), tmp_path / "a", as_of=as_of, now=NOW)
    report = ingest(made_spec(late), tmp_path / "b", as_of=as_of, now=NOW)
    assert report.rows_after_as_of == 100
    for name in ("train", "valid", "test", "users", "items", "quarantine"):
        assert (tmp_path / "a" / f"{name}.parquet").read_bytes() == (tmp_path / "b" / f"{name}.parquet").read_bytes()


def test_the_same_input_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_csv(tmp_path / "log.csv", made_rows(500))
    ingest(made_spec(path), tmp_path / "a", as_of=AS_OF, now=NOW)
    # Small blocks cut records, quoted cells and characters in every way.
    monkeypatch.setattr("elec.ingest.lines._BLOCK_BYTES", 997)
    ingest(made_spec(path), tmp_path / "b", as_of=AS_OF, now=NOW)
    names = sorted(found.name for found in (tmp_path / "a").iterdir())
    assert names == [
        "items.parquet",
        "quarantine.parquet",
        "report.json",
        "test.parquet",
        "train.parquet",
        "users.parquet",
        "valid.parquet",
    ]
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
