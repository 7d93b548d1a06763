"""What was read of a file is kept: a new day reads the new day, and the result is what it would have been."""

import datetime as dt
import os
import time
from pathlib import Path
from typing import Any

import pytest

from elec import s3, storage
from elec.ingest import IngestReport, ingest, segments
from elec.spec import DatasetSpec
from tests.ingest.made import NOW, START, Row, made_rows, made_spec, write_csv

DAYS = 5
FILES = ("train", "valid", "test", "users", "items", "quarantine")


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were read."""
    names: list[str] = []
    plain = segments.read_file

    def noted(database: Any, file: Any, *rest: Any) -> Any:
        names.append(Path(file.uri).name)
        return plain(database, file, *rest)

    monkeypatch.setattr(segments, "read_file", noted)
    return names


def _day(day: int, count: int = 80) -> list[Row]:
    rows = made_rows(count)
    for position, row in enumerate(rows):
        row["ts"] = (START + dt.timedelta(days=day, minutes=5 + 10 * position)).isoformat()[:19]
        if position == 40:
            row["age"] = "old"
        if position == 41:
            row["slot"] = "bot"
    return rows


def _write(folder: Path, day: int, rows: list[Row] | None = None) -> None:
    folder.mkdir(exist_ok=True)
    write_csv(folder / f"day{day}.csv", rows or _day(day))


def _spec(folder: Path, **change: Any) -> DatasetSpec:
    return made_spec(folder, **{"label": {"column": "clicked", "drop": "slot == 'bot'"}, "duplicates": "drop", **change})


def _as_of(day: int) -> dt.datetime:
    return START + dt.timedelta(days=day + 1)


def _run(spec: DatasetSpec, out: Path, day: int, kept: Path | str | None, now: dt.datetime = NOW) -> IngestReport:
    return ingest(spec, out, as_of=_as_of(day), now=now, kept=str(kept) if kept is not None else None)


def _same(one: Path, other: Path) -> None:
    for name in FILES:
        assert (one / f"{name}.parquet").read_bytes() == (other / f"{name}.parquet").read_bytes(), name
    assert (one / "report.json").read_bytes() == (other / "report.json").read_bytes()


@pytest.mark.parametrize("change", [{}, {"window": {"days": 2}}, {"split": {"by": "random", "seed": 3, "negatives": 0.5}}])
def test_a_new_day_reads_the_new_day(change: dict[str, Any], tmp_path: Path, read: list[str]) -> None:
    log, kept = tmp_path / "log", tmp_path / "kept"
    spec = _spec(log, **change)
    for day in range(DAYS):
        _write(log, day)
        read.clear()
        kept_report = _run(spec, tmp_path / f"kept{day}", day, kept)
        assert read == [f"day{day}.csv"]
        report = _run(spec, tmp_path / f"anew{day}", day, None)
        assert kept_report == report
        _same(tmp_path / f"kept{day}", tmp_path / f"anew{day}")
    # And an old day again: what has arrived since is invisible.
    read.clear()
    again = _run(spec, tmp_path / "again", 2, kept)
    assert read == []
    for name in FILES:
        assert (tmp_path / "again" / f"{name}.parquet").read_bytes() == (tmp_path / "kept2" / f"{name}.parquet").read_bytes()
    assert again.rows_after_as_of == 2 * 80


def test_rows_of_the_look_back_only(tmp_path: Path) -> None:
    log = tmp_path / "log"
    for day in range(DAYS):
        rows = _day(day)
        rows[0]["ts"] = rows[0]["ts"].replace("00:05", "00:00")
        _write(log, day, rows)
    report = _run(_spec(log, window={"days": 2}), tmp_path / "out", 3, None)
    assert (report.rows_read, report.rows_after_as_of) == (DAYS * 80, 79)
    # At the very moment of `as_of` a row is seen, and at that of the look-back's begin it is not.
    assert report.rows_before_window == 2 * 80 + 1
    assert report.first_event["train"] == START + dt.timedelta(days=2, minutes=15)
    assert report.last_event["test"] == _as_of(3)
    assert report.rows_quarantined == 2
    assert report.rows_dropped == 2


def test_a_file_that_has_changed_is_read_again_and_moves_the_ones_behind_it(tmp_path: Path, read: list[str]) -> None:
    log, kept = tmp_path / "log", tmp_path / "kept"
    for day in range(3):
        _write(log, day)
    _run(_spec(log), tmp_path / "first", 3, kept)
    read.clear()
    _write(log, 1, [*_day(1), *_day(1, 90)[80:]])
    _run(_spec(log), tmp_path / "kept1", 3, kept)
    assert read == ["day1.csv"]
    _run(_spec(log), tmp_path / "anew1", 3, None)
    _same(tmp_path / "kept1", tmp_path / "anew1")
    read.clear()
    (log / "day0.csv").unlink()
    _run(_spec(log), tmp_path / "kept2", 3, kept)
    assert read == []
    _run(_spec(log), tmp_path / "anew2", 3, None)
    _same(tmp_path / "kept2", tmp_path / "anew2")


def test_another_spec_reads_everything_again(tmp_path: Path, read: list[str]) -> None:
    log, kept = tmp_path / "log", tmp_path / "kept"
    _write(log, 0)
    _run(_spec(log), tmp_path / "a", 0, kept)
    read.clear()
    _run(_spec(log, split={"valid": 0.2, "test": 0.2}, window={"days": 9}), tmp_path / "b", 0, kept)
    assert read == [], "where the splits are has nothing to do with what is in a file"
    _run(_spec(log, label={"rule": "age > 30"}, fields=[{"name": "slot"}]), tmp_path / "c", 0, kept)
    assert read == ["day0.csv"]


def test_a_row_of_the_future_is_a_mistake_only_until_then(tmp_path: Path, read: list[str]) -> None:
    log, kept = tmp_path / "log", tmp_path / "kept"
    rows = _day(0)
    rows[5]["ts"] = "2024-02-01T00:00:00"
    _write(log, 0, rows)
    early = _run(_spec(log), tmp_path / "early", 0, kept, now=_as_of(0))
    assert early.reasons["ts: in the future"] == 1
    late = _run(_spec(log), tmp_path / "late", 0, kept)
    assert (late.reasons, late.rows_after_as_of) == ({"age: not a number": 1}, 1)
    read.clear()
    assert _run(_spec(log), tmp_path / "early again", 0, kept, now=_as_of(0)) == early
    assert read == ["day0.csv"]


@pytest.mark.parametrize("name", ["rows.parquet", "refused.parquet", "identity.bin", "segment.json"])
def test_a_segment_that_is_damaged_is_made_again(name: str, tmp_path: Path, read: list[str]) -> None:
    log, kept = tmp_path / "log", tmp_path / "kept"
    _write(log, 0)
    _run(_spec(log), tmp_path / "a", 0, kept)
    (victim,) = kept.glob(f"*/*/{name}")
    victim.write_bytes(victim.read_bytes()[:-7])
    read.clear()
    _run(_spec(log), tmp_path / "b", 0, kept)
    _same(tmp_path / "a", tmp_path / "b")
    assert read == ["day0.csv"]
    _run(_spec(log), tmp_path / "c", 0, kept)
    assert read == ["day0.csv"], "it is whole again"


def test_segments_that_nobody_uses_are_forgotten(tmp_path: Path) -> None:
    log, kept = tmp_path / "log", tmp_path / "kept"
    for day in range(2):
        _write(log, day)
    _run(_spec(log), tmp_path / "a", 1, kept)
    assert len(list(kept.glob("*/*"))) == 2
    old = time.time() - 31 * 86_400
    for meta in kept.glob("*/*/segment.json"):
        os.utime(meta, (old, old))
    (log / "day0.csv").unlink()
    _run(_spec(log), tmp_path / "b", 1, kept)
    assert len(list(kept.glob("*/*"))) == 1


def test_many_duplicates_are_found_a_part_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"
    for day in range(3):
        _write(log, day, [*_day(day), *_day(day)[10:20], *_day(0)[50:60]])
    plain = _run(_spec(log), tmp_path / "a", 3, None)
    assert (plain.duplicates, plain.duplicates_dropped) == (30 + 30, 60)
    monkeypatch.setattr("elec.ingest.duplicates._HASHES", 20)
    monkeypatch.setattr("elec.ingest.duplicates._ROWS", 7)
    assert _run(_spec(log), tmp_path / "b", 3, None) == plain
    _same(tmp_path / "a", tmp_path / "b")
    assert _run(_spec(log, duplicates="keep"), tmp_path / "c", 3, None).duplicates == 60


def test_segments_on_s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: list[str]) -> None:
    from moto.server import ThreadedMotoServer

    from tests.ingest.test_s3_sources import _use

    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    try:
        host, port = moto.get_host_and_port()
        _use(f"http://{host}:{port}", monkeypatch)
        s3.client().create_bucket(Bucket="logs")
        write_csv(tmp_path / "a.csv", _day(0))
        for day in range(2):
            storage.write_bytes(f"s3://logs/log/day{day}.csv", write_csv(tmp_path / "x.csv", _day(day)).read_bytes())
        spec = _spec(Path("log")).model_copy(update={"source": made_spec("s3://logs/log").source})
        _run(spec, tmp_path / "a", 1, "s3://logs/kept")
        assert read == ["day0.csv", "day1.csv"]
        read.clear()
        storage.write_bytes("s3://logs/log/day1.csv", write_csv(tmp_path / "x.csv", _day(1, 90)).read_bytes())
        _run(spec, tmp_path / "b", 1, "s3://logs/kept")
        assert read == ["day1.csv"]
        _run(spec, tmp_path / "c", 1, None)
        _same(tmp_path / "b", tmp_path / "c")
    finally:
        moto.stop()
