"""`elec data quarantine`: what a run refused, whether it went on or not."""

import subprocess
import sys
from pathlib import Path

import pytest

from elec.errors import BlockedError
from elec.ingest.refusals import refusals
from elec.spec import Spec
from elec.steps.ingest import ingest
from tests.ingest.made import made_rows, made_spec, write_csv


def _run(folder: Path, run_id: str, bad: int, **change: object) -> None:
    rows = made_rows(400)
    for row in rows[:bad]:
        row["age"] = "old"
    rows[bad]["ts"] = "soon"
    path = write_csv(folder / "log.csv", rows)
    with path.open("a") as file:
        file.write("half a row\n")
    spec = Spec(dataset=made_spec(path, **change)).model_dump_json()
    ingest(spec, str(folder / "runs"), run_id, "2025-01-01", ingested=str(folder / f"out-{run_id}"))


def _elec(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipelines.cli", "data", "quarantine", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def test_reasons_counts_and_the_first_rows(tmp_path: Path) -> None:
    _run(tmp_path, "r1", 3)
    found = refusals(tmp_path / "runs" / "r1" / "quarantine.parquet")
    assert [(one.reason, one.rows) for one in found] == [
        ("age: not a number", 3),
        ("ts: not a time (ISO 8601)", 1),
        ("wrong number of columns", 1),
    ]
    assert [(line, raw.split(",")[3]) for _, line, raw in found[0].examples] == [(2, "old"), (3, "old")]
    assert found[2].examples == ((str(tmp_path / "log.csv"), 402, "half a row"),)
    shown = _elec(tmp_path, "--run", "r1")
    assert shown.returncode == 0, shown.stderr
    for words in ("Refused: 5 rows", "age: not a number", "half a row", "log.csv", "402", "r1/quarantine.parquet"):
        assert words in shown.stdout, shown.stdout


def test_rows_that_end_the_run_can_be_looked_at(tmp_path: Path) -> None:
    with pytest.raises(BlockedError):
        _run(tmp_path, "r2", 100)
    assert refusals(tmp_path / "runs" / "r2" / "quarantine.parquet")[0].rows == 100
    assert "Refused: 102 rows" in _elec(tmp_path, "--run", "r2", "--output", "runs").stdout


def test_one_sentence(tmp_path: Path) -> None:
    shown = _elec(tmp_path, "--run", "r3")
    assert (shown.returncode, shown.stderr) == (
        2,
        "elec: --run r3: there is no such run in runs; give the name of a folder there, and --output\n",
    )
