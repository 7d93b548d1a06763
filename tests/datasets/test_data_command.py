"""`elec data` from the command line."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from elec.commands.data import app
from elec.errors import InputError
from elec.spec import load_spec
from elec.steps.ingest import ingest
from elec.steps.report import report
from tests.ingest.made import made_rows, write_csv


@pytest.fixture
def spec_file(tmp_path: Path) -> Path:
    write_csv(tmp_path / "log.csv", made_rows(100, age=lambda position, row: "old" if position == 3 else row["age"]))
    (tmp_path / "users.csv").write_text("user,city\n00001,[Oslo]\n00001,Rome\n00002,\n")
    (tmp_path / "ads.yaml").write_text(
        "name: ads\nsource: {path: log.csv}\nlabel: {column: clicked}\n"
        "timestamp: {column: ts, unit: iso}\nuser: user\nitem: ad\n"
        "tables: {users: {path: users.csv}}\n"
        "fields:\n  - {name: age, kind: numeric}\n  - {name: tags, kind: multivalued}\n  - {name: city, of: user}\n"
    )
    return tmp_path / "ads.yaml"


def test_describe(spec_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    output = tmp_path / "runs"
    shown = CliRunner().invoke(app, ["describe", "--spec", str(spec_file), "--output", str(output)])
    assert shown.exit_code == 0, shown.output
    assert "refused: 1 x age: not a number" in shown.output
    cities = re.search(r"Rome (\d+\.\d)%", shown.output)
    assert cities is not None
    assert 0 < float(cities[1]) < 15, "one of twenty users lives there"
    assert "values, median" in shown.output
    assert f"page: {output}/ads-data.html" in shown.output
    assert [file.name for file in output.iterdir()] == ["ads-data.html"]
    page = (output / "ads-data.html").read_text()
    assert "<bdi>Rome</bdi>" in page
    assert "age: not a number" in page
    assert not [left for left in spec_file.parent.iterdir() if left.name not in {"ads.yaml", "log.csv", "users.csv", "runs"}]


def test_describe_a_run(spec_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    output = str(tmp_path / "runs")
    spec = load_spec(str(spec_file))
    ingest(spec.model_dump_json(), output, "r1", "2025-01-01", ingested=str(tmp_path / "in"), page=str(tmp_path / "looks.html"))
    page = tmp_path / "runs" / "r1" / "data.html"
    assert page.read_bytes() == (tmp_path / "looks.html").read_bytes()
    report(output, "r1")
    assert 'href="data.html"' in (page.parent / "index.html").read_text()
    kept = page.read_bytes()
    page.unlink()
    shown = CliRunner().invoke(app, ["describe", "--run", "r1", "--output", output])
    assert shown.exit_code == 0, shown.output
    assert "refused: 1 x age: not a number" in shown.output
    assert page.read_bytes() == kept
    listed = CliRunner().invoke(app, ["quarantine", "--run", "r1", "--output", output]).output
    assert "Refused: 1 rows" in listed
    assert "Quarantined: 1 row<" in kept.decode()
    for content, said in ((b"{}", "not a description"), (None, "kept no description")):
        description = tmp_path / "runs" / "r1" / "data.json"
        description.write_bytes(content) if content is not None else description.unlink()
        wrong = CliRunner().invoke(app, ["describe", "--run", "r1", "--output", output])
        assert isinstance(wrong.exception, InputError)
        assert said in str(wrong.exception)


def test_describe_a_spec_or_a_run(spec_file: Path, tmp_path: Path) -> None:
    for asked, said in (
        ([], "give either --spec"),
        (["--spec", str(spec_file), "--run", "r1"], "give either --spec"),
        (["--run", "r1", "--as-of", "2025-01-01"], "--as-of goes with --spec"),
        (["--run", "r1", "--output", str(tmp_path)], "there is no such run"),
    ):
        wrong = CliRunner().invoke(app, ["describe", *asked])
        assert isinstance(wrong.exception, InputError)
        assert said in str(wrong.exception)


def test_errors_are_left_to_the_program(spec_file: Path) -> None:
    wrong = CliRunner().invoke(app, ["describe", "--spec", "nope.yaml"])
    assert isinstance(wrong.exception, InputError)
    wrong = CliRunner().invoke(app, ["fetch", "nope"])
    assert isinstance(wrong.exception, InputError)
    wrong = CliRunner().invoke(app, ["describe", "--spec", str(spec_file), "--as-of", "yesterday"])
    assert wrong.exit_code == 2


def test_help_is_worth_reading() -> None:
    shown = CliRunner().invoke(app, ["describe", "--help"]).output
    assert "without training anything" in shown
    assert "--as-of" in shown
    assert "movielens-100k" in CliRunner().invoke(app, ["fetch", "--help"]).output
