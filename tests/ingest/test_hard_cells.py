"""Cells that other tools get wrong, from the file to the split: each has one treatment, in every format."""

import codecs
import datetime as dt
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from elec.ingest import SPLITS, Ingested, IngestReport, ingest
from tests.ingest.made import AS_OF, NOW, csv_text, made_rows, made_spec

FORMATS = ["csv", "jsonl", "parquet"]


def _write(path: Path, rows: list[Any], kind: str) -> Path:
    path = path.with_suffix(f".{kind}")
    if kind == "csv":
        path.write_text(csv_text(rows), encoding="utf-8")
    elif kind == "jsonl":
        path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def _run(folder: Path, path: Path, **change: Any) -> tuple[IngestReport, list[dict[str, Any]]]:
    report = ingest(made_spec(path, **change), folder / "out", as_of=AS_OF, now=NOW)
    data = Ingested(folder / "out")
    rows = [row for split in SPLITS for row in pq.read_table(data.split(split)).to_pylist()]
    return report, sorted(rows, key=lambda row: int(row["row_id"]))


@pytest.mark.parametrize("kind", FORMATS)
def test_a_time_means_the_same_moment_in_every_zone(kind: str, tmp_path: Path) -> None:
    moment = dt.datetime(2024, 1, 2, 1, 30, tzinfo=dt.UTC)
    written = ["2024-01-02T01:30:00", "2024-01-02T01:30:00Z", "2024-01-02T02:30:00+01:00", "2024-01-01 20:30:00-0500"]
    rows = made_rows(60)
    for row, text in zip(rows[10:], written, strict=False):
        row["ts"] = text
    report, found = _run(tmp_path, _write(tmp_path / "log", rows, kind), split={"by": "random", "valid": 0.2, "test": 0.2})
    assert {row["event_timestamp"] for row in found[10:14]} == {moment}
    assert report.rows_quarantined == 0


def test_a_typed_time_of_a_zone_is_its_moment_and_a_date_its_midnight_in_utc(tmp_path: Path) -> None:
    rows = made_rows(60)
    summer = dt.datetime(2024, 7, 1, 12, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    times = [summer + dt.timedelta(minutes=position) for position in range(60)]
    table = pa.Table.from_pylist(rows).set_column(0, "ts", pa.array(times, pa.timestamp("ms", "Europe/Berlin")))
    pq.write_table(table, tmp_path / "log.parquet")
    _, found = _run(tmp_path, tmp_path / "log.parquet")
    assert found[0]["event_timestamp"] == summer


@pytest.mark.parametrize("kind", FORMATS)
def test_ids_stay_what_they_are(kind: str, tmp_path: Path) -> None:
    ids = [
        "007",
        "7",
        "0",
        "00",
        str(2**53 + 1),
        str(2**53),
        str(2**64 - 1),
        "1e5",
        "1.0",
        "+5",
        " 5",
        "NaN",
        "null",
        "é\u200b",
    ]
    rows = made_rows(60)
    for row, value in zip(rows, ids, strict=False):
        row["user"] = value
    _, found = _run(tmp_path, _write(tmp_path / "log", rows, kind), split={"by": "random", "valid": 0.2, "test": 0.2})
    assert [row["user"] for row in found[: len(ids)]] == ids


def test_numbers_that_are_ids_are_exact_beyond_2_to_the_53(tmp_path: Path) -> None:
    rows = made_rows(60)
    big = 2**53 + 1
    lines = [json.dumps({**row, "user": big + position}) for position, row in enumerate(rows)]
    (tmp_path / "log.jsonl").write_text("\n".join(lines))
    _, found = _run(tmp_path, tmp_path / "log.jsonl", split={"by": "random", "valid": 0.2, "test": 0.2})
    assert [row["user"] for row in found] == [str(big + position) for position in range(60)]


def test_a_float_that_is_no_longer_the_id_is_refused(tmp_path: Path) -> None:
    rows = made_rows(60)
    users = [float(position) for position in range(60)]
    users[50] = float(2**60)
    table = pa.Table.from_pylist(rows).set_column(1, "user", pa.array(users))
    pq.write_table(table, tmp_path / "log.parquet")
    report, found = _run(tmp_path, tmp_path / "log.parquet")
    assert report.reasons == {"user: a floating-point number beyond 2^53, so not exactly the id it was": 1}
    assert found[7]["user"] == "7"


@pytest.mark.parametrize("kind", FORMATS)
def test_an_empty_cell_is_missing_and_a_word_for_nothing_is_a_word(kind: str, tmp_path: Path) -> None:
    rows = made_rows(60)
    for position, value in enumerate(["", "null", "NA", " ", "None", "0"]):
        rows[position]["slot"] = value
        rows[position]["age"] = "" if position == 0 else "null" if position == 1 else "0"
    path = _write(tmp_path / "log", rows, kind)
    if kind != "csv":
        # What a format can say and CSV cannot: no value at all.
        none: list[Any] = [{**row, "slot": None} if position == 6 else row for position, row in enumerate(rows)]
        path = _write(tmp_path / "log", none, kind)
    _, found = _run(tmp_path, path, fields=[{"name": "slot"}, {"name": "age", "kind": "numeric"}])
    assert [row["slot"] for row in found[:6]] == [None, "null", "NA", " ", "None", "0"]
    assert [row["age"] for row in found[:3]] == [None, None, 0.0]
    assert kind == "csv" or found[6]["slot"] is None


@pytest.mark.parametrize("kind", FORMATS)
def test_a_million_characters_in_a_field(kind: str, tmp_path: Path) -> None:
    rows = made_rows(60)
    rows[5]["title"] = ('long, "quoted" and ä ' * 1000 + "\n") * 50
    rows[6]["slot"] = "x" * 1_000_000
    report, found = _run(tmp_path, _write(tmp_path / "log", rows, kind))
    assert report.rows_quarantined == 0
    assert found[6]["slot"] == rows[6]["slot"]
    titles = pq.read_table(Ingested(tmp_path / "out").items)["title"].to_pylist()
    assert rows[5]["title"] in titles


@pytest.mark.parametrize("kind", FORMATS)
def test_line_ends_and_separators_within_a_field(kind: str, tmp_path: Path) -> None:
    values = ["two\nlines", "a, b", 'say "hi"', "tab\there", "\u2028 is no line end", "back\\slash", "'"]
    rows = made_rows(60)
    for row, value in zip(rows, values, strict=False):
        row["slot"] = value
    _, found = _run(tmp_path, _write(tmp_path / "log", rows, kind))
    assert [row["slot"] for row in found[: len(values)]] == values


def test_a_byte_order_mark_in_every_file_is_no_part_of_a_name(tmp_path: Path) -> None:
    rows = made_rows(90)
    (tmp_path / "log").mkdir()
    for part in range(3):
        text = csv_text(rows[30 * part : 30 * part + 30])
        (tmp_path / "log" / f"{part}.csv").write_bytes((codecs.BOM_UTF8 if part != 1 else b"") + text.encode())
    report, found = _run(tmp_path, tmp_path / "log")
    assert (report.rows_quarantined, len(found)) == (0, 90)


def test_lines_of_another_encoding_are_refused_and_the_others_stay(tmp_path: Path) -> None:
    rows = made_rows(120, title="Café")
    lines = csv_text(rows).splitlines()
    content = b"\n".join(line.encode("latin-1" if position in {50, 51} else "utf-8") for position, line in enumerate(lines))
    (tmp_path / "log.csv").write_bytes(content)
    report, found = _run(tmp_path, tmp_path / "log.csv")
    assert report.reasons == {"bytes that are not utf-8": 2}
    assert len(found) == 118
    kept = pq.read_table(Ingested(tmp_path / "out").quarantine).to_pylist()
    assert [row["line"] for row in kept] == [51, 52]
    assert set(pq.read_table(Ingested(tmp_path / "out").items)["title"].to_pylist()) == {"Café"}


@pytest.mark.parametrize("kind", FORMATS)
def test_exact_duplicates_are_counted_and_dropped_by_the_spec(kind: str, tmp_path: Path) -> None:
    rows = made_rows(60)
    path = _write(tmp_path / "log", [*rows, *rows[:10], {**rows[0], "slot": "other"}], kind)
    kept = ingest(made_spec(path), tmp_path / "kept", as_of=AS_OF, now=NOW)
    assert (kept.duplicates, kept.duplicates_dropped, kept.rows_kept) == (10, 0, 71)
    dropped, found = _run(tmp_path, path, duplicates="drop")
    assert (dropped.duplicates, dropped.duplicates_dropped, dropped.rows_kept) == (10, 10, 61)
    assert [row["row_id"] for row in found] == [*range(60), 70]


def test_negatives_are_sampled_in_train_only_and_by_the_row(tmp_path: Path) -> None:
    rows = made_rows(3000, clicked=lambda position, row: str(int(position % 5 == 0)))
    path = _write(tmp_path / "log", rows, "csv")
    whole, _ = _run(tmp_path, path)
    sampled = ingest(made_spec(path, split={"negatives": 0.1}), tmp_path / "tenth", as_of=AS_OF, now=NOW)
    data, full = Ingested(tmp_path / "tenth"), Ingested(tmp_path / "out")
    for split in ("valid", "test"):
        assert data.split(split).read_bytes() == full.split(split).read_bytes()
    train, all_train = pq.read_table(data.train).to_pylist(), pq.read_table(full.train).to_pylist()
    assert [row for row in train if row["label"]] == [row for row in all_train if row["label"]]
    negatives = [row["row_id"] for row in train if not row["label"]]
    of = sum(not row["label"] for row in all_train)
    assert 0.07 * of < len(negatives) < 0.13 * of
    assert sampled.negatives_dropped == of - len(negatives) == whole.rows_kept - sampled.rows_kept
    # Aggregates count the others too.
    assert not (data.folder / "negatives.parquet").exists()
    counted = made_spec(path, split={"negatives": 0.1}, aggregates=[{"by": ["user"], "windows": ["1d"]}])
    ingest(counted, tmp_path / "counted", as_of=AS_OF, now=NOW)
    left_out = pq.read_table(tmp_path / "counted" / "negatives.parquet").to_pylist()
    assert Ingested(tmp_path / "counted").train.read_bytes() == data.train.read_bytes()
    assert sorted([*train, *left_out], key=lambda row: row["row_id"]) == all_train
    # Other rows around a row do not change whether it is in the sample.
    _write(tmp_path / "more", [*rows, *made_rows(500, slot="late", ts="2024-01-04T00:00:00")], "csv")
    more = made_spec(tmp_path / "more.csv", split={"negatives": 0.1})
    ingest(more, tmp_path / "grown", as_of=AS_OF, now=NOW)
    grown = {row["row_id"] for row in pq.read_table(Ingested(tmp_path / "grown").train).to_pylist() if not row["label"]}
    assert set(negatives) <= grown
