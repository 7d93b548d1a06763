"""`elec data` from the command line."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from elec.commands.data import app
from elec.errors import InputError
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


def test_describe(spec_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    shown = CliRunner().invoke(app, ["describe", "--spec", str(spec_file)])
    assert shown.exit_code == 0, shown.output
    assert "refused: 1 x age: not a number" in shown.output
    assert "Rome 100.0%" in shown.output
    assert "50.0%" in shown.output, "of two users one has no city"
    assert "values, median" in shown.output
    assert not [left for left in spec_file.parent.iterdir() if left.name not in {"ads.yaml", "log.csv", "users.csv"}]


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
