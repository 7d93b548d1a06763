"""The description of a run: in a workspace on S3, and with the aggregates of its training frame."""

import math
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from elec import storage
from elec.commands.data import app
from elec.describe import DataSummary
from elec.ingest import SPLITS
from elec.spec import Entity, Spec
from elec.steps.build_features import build_features
from elec.steps.ingest import DESCRIPTION, PAGE, ingest
from tests.ingest.made import made_rows, made_spec, write_csv
from tests.serving.seaweed import BUCKET, seaweed

AGGREGATES = [
    {"by": ["user"], "windows": ["30m", "2h"], "every": "10m"},
    {"by": ["item", "slot"], "windows": ["1h"], "what": ["ctr"], "every": "30m"},
]


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "seaweed").mkdir()
    for server in seaweed(tmp_path / "seaweed"):
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield f"s3://{BUCKET}"


def described(folder: Path, workspace: str, run: str) -> tuple[Spec, str]:
    """A run that has read its log, one row of which is bad: its spec and its job."""
    log = write_csv(folder / "log.csv", made_rows(400, age=lambda position, row: "old" if position == 3 else row["age"]))
    dataset = made_spec(log, aggregates=AGGREGATES, crossed=[["slot", "tags"]], max_bad_share=0.5)
    spec = Spec(dataset=dataset)
    return spec, ingest(spec.model_dump_json(), workspace, run, "2025-01-01", ingested=str(folder / "ingested"))


def test_a_run_on_s3(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    workspace = f"{bucket}/ws"
    described(tmp_path, workspace, "r1")
    page = storage.join(workspace, "r1", PAGE)
    kept = storage.read_bytes(page)
    storage.write_bytes(page, b"gone")
    shown = CliRunner().invoke(app, ["describe", "--run", "r1", "--output", workspace])
    assert shown.exit_code == 0, shown.output
    assert f"page: {page}" in shown.output
    assert "refused: 1 x age: not a number" in shown.output
    assert "slot_x_tags" in shown.output
    assert storage.read_bytes(page) == kept
    listed = CliRunner().invoke(app, ["quarantine", "--run", "r1", "--output", workspace])
    assert listed.exit_code == 0, listed.output
    assert "Refused: 1 rows" in listed.output
    assert "age: not a number" in listed.output
    assert re.search(r"log\.csv +\S +5 ", listed.output), listed.output
    assert f"all rows: {workspace}/r1/quarantine.parquet" in listed.output
    wrong = CliRunner().invoke(app, ["quarantine", "--run", "r2", "--output", workspace])
    assert f"there is no such run in {workspace}" in str(wrong.exception)


def test_the_aggregates_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    workspace = str(tmp_path / "runs")
    spec, job = described(tmp_path, workspace, "r1")
    before = DataSummary.model_validate_json((tmp_path / "runs" / "r1" / DESCRIPTION).read_bytes())
    build_features(job, ingested=str(tmp_path / "ingested"), features=str(tmp_path / "features"))
    summary = DataSummary.model_validate_json((tmp_path / "runs" / "r1" / DESCRIPTION).read_bytes())
    names = [field.name for field in spec.dataset.aggregate_fields]
    assert [field.name for field in summary.fields] == [*(field.name for field in before.fields), *names]
    assert summary.fields[: len(before.fields)] == before.fields
    rows = [row for split in SPLITS for row in pq.read_table(tmp_path / "features" / "frame" / f"{split}.parquet").to_pylist()]
    for field in summary.fields[-len(names) :]:
        there = [row for row in rows if row[field.name] is not None]
        gone = [row for row in rows if row[field.name] is None]
        assert (field.rows, field.missing.rows) == (len(rows), len(gone))
        assert field.missing.clicks == sum(row["label"] for row in gone)
        assert 0 < len(gone) < len(rows), "nothing was known before the first tick"
        assert field.distinct == len({row[field.name] for row in there})
        assert field.numbers is not None
        assert field.numbers.mean == pytest.approx(math.fsum(row[field.name] for row in there) / len(there))
        assert sum(one.rows for one in field.numbers.bins) == len(there)
        assert sum(one.clicks for one in field.numbers.bins) == sum(row["label"] for row in there)
    assert summary.fields[-1].made_of == ("ad", "slot")
    assert summary.fields[-1].of is Entity.PAIR
    page = (tmp_path / "runs" / "r1" / PAGE).read_text()
    assert "counted by ad and slot" in page
    assert "counted by user" in page
    assert "crossed, of slot and tags" in page
    # Once more is the same.
    shown = CliRunner().invoke(app, ["describe", "--run", "r1", "--output", workspace])
    assert shown.exit_code == 0, shown.output
    assert names[-1] in shown.output
    assert (tmp_path / "runs" / "r1" / PAGE).read_text() == page
