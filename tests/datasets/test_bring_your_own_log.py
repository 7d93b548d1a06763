"""The page `docs/bring-your-own-log.md` keeps its word: its YAML runs as it stands, and its table is complete."""

import datetime as dt
import random
import re
from pathlib import Path
from typing import Literal, get_args

import pytest
import yaml
from pydantic import BaseModel
from typer.testing import CliRunner

from elec.commands.data import app
from elec.describe import describe
from elec.ingest import Ingested, ingest
from elec.spec import (
    Clicks,
    Cross,
    DatasetSpec,
    FieldSpec,
    Label,
    LookBack,
    SideTable,
    Source,
    Split,
    Timestamp,
    load_spec,
    parse_spec,
)
from elec.spec.aggregates import Aggregate
from elec.spec.learning import StudentSpec
from elec.spec.run import GateSpec

PAGE = (Path(__file__).parents[2] / "docs" / "bring-your-own-log.md").read_text(encoding="utf-8")


def _block(kind: str, number: int = 0) -> str:
    return re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)[number]


def _yaml_of(section: str) -> str:
    return re.findall(r"```yaml\n(.*?)```", PAGE.split(f"## {section}\n")[1], re.DOTALL)[0]


@pytest.fixture
def spec_file(tmp_path: Path) -> Path:
    """The page's YAML beside a log of the page's columns: its three rows and 400 more."""
    sample = _block("csv").splitlines()
    draw = random.Random(3)
    start = dt.datetime(2024, 5, 1, 9)
    lines = [
        f"{start + dt.timedelta(minutes=minute):%Y-%m-%dT%H:%M:%SZ},u{draw.randrange(30):04},{draw.choice(['NL', 'DE'])},"
        f'{draw.choice(["phone", "desktop"])},a{ad:03},"Ad {ad}, new",sport|shoes,{10 + ad}.90,{draw.randrange(2)}'
        for minute in range(400)
        for ad in [draw.randrange(12)]
    ]
    (tmp_path / "clicks.csv").write_text("\n".join([*sample, *lines]) + "\n")
    (tmp_path / "ads.yaml").write_text(_block("yaml"))
    return tmp_path / "ads.yaml"


def test_the_example_is_20_lines_and_runs(spec_file: Path, tmp_path: Path) -> None:
    assert len(_block("yaml").splitlines()) <= 20
    spec = load_spec(spec_file).dataset
    report = ingest(spec, tmp_path / "out", as_of=dt.datetime(2025, 1, 1), now=dt.datetime(2025, 1, 1))
    assert (report.rows_read, report.rows_kept) == (403, 403)
    found = describe(Ingested(tmp_path / "out"), spec, dt.datetime(2025, 1, 1, tzinfo=dt.UTC))
    fields = {summary.name: summary for summary in found.fields}
    assert list(fields) == ["user_id", "ad_id", "country", "device", "ad_title", "ad_tags", "price"]
    assert {one.value for one in fields["ad_tags"].top[:2]} == {"sport", "shoes"}
    assert fields["price"].numbers is not None
    assert fields["ad_title"].numbers is not None
    assert fields["device"].missing.rows == 0


def test_describe_shows_it_all(spec_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    asked = ["describe", "--spec", str(spec_file), "--as-of", "2024-12-31", "--output", str(tmp_path / "runs")]
    shown = CliRunner().invoke(app, asked)
    assert shown.exit_code == 0, shown.output
    for word in (
        "ads",
        "Ad impressions of the web shop",
        "403",
        "train",
        "valid",
        "test",
        "2024-05-01 08:00:12",
        "ad_tags",
        "words",
    ):
        assert word in shown.output
    assert re.search(r"device +│ context +│ categorical +│ +2 │ +0\.0% │ (phone|desktop) \d\d\.\d%", shown.output)


def test_the_side_tables_of_the_page_are_right() -> None:
    spec = parse_spec(_block("yaml") + _block("yaml", 1), origin="page", folder=Path("/data")).dataset
    assert spec.tables.users is not None
    assert spec.tables.items is not None
    assert spec.tables.items.path == "s3://shop/ads/*.jsonl.gz"


def test_the_aggregates_of_the_page_are_right() -> None:
    spec = parse_spec(_block("yaml") + _yaml_of("What happened before"), origin="page", folder=Path("/data")).dataset
    section = PAGE.split("## What happened before")[1].split("\n## ")[0]
    named = re.findall(r"`(\w+_(?:count|ctr)_\d+[dh])`", section)
    assert len(named) == 3
    assert set(named) <= {field.name for field in spec.aggregate_fields}


def test_the_encodings_of_the_page_are_right() -> None:
    content = yaml.safe_load(_block("yaml")) | yaml.safe_load(_yaml_of("How fields are encoded"))
    spec = parse_spec(yaml.safe_dump(content), origin="page", folder=Path("/data")).dataset
    assert [(field.name, field.of) for field in spec.crossed_fields] == [
        ("country_x_price", "pair"),
        ("country_x_device", "context"),
        ("user_id_x_ad_id", "pair"),
    ]


def test_the_settings_of_learning_on_the_page_are_real() -> None:
    run = parse_spec(_block("yaml") + _yaml_of("How it learns"), origin="page", folder=Path("/data")).run
    section = PAGE.split("## How it learns")[1].split("\n## ")[0]
    for key in re.findall(r"\*\*([a-z_.]+)\*\*", section):
        found: object = run
        for part in key.split("."):
            found = getattr(found, part)
    assert run.distill.unlabelled.teacher == "mllm"
    assert run.model == type(run.model)()
    assert run.training == type(run.training)()


def test_the_students_of_the_page_are_those_that_there_are() -> None:
    spec = parse_spec(_block("yaml") + _yaml_of("Which student serves"), origin="page", folder=Path("/data"))
    section = PAGE.split("## Which student serves")[1].split("\n## ")[0]
    assert set(re.findall(r"^- \*\*(\w+)\*\*", section, re.MULTILINE)) == set(spec.run.student.train)
    assert set(get_args(StudentSpec.model_fields["train"].annotation)[:-1]) == {Literal[spec.run.student.train]}
    # The numbers shown are the defaults.
    assert spec.run.student.model_copy(update={"train": ("vanilla",)}) == StudentSpec()
    assert spec.run.gate == GateSpec()


def test_every_key_is_in_the_table() -> None:
    listed = {name for row in re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE) for name in re.findall(r"`([a-z_.]+)`", row)}
    models: dict[str, type[BaseModel]] = {
        "source": Source,
        "label": Label,
        "timestamp": Timestamp,
        "fields": FieldSpec,
        "crossed": Cross,
        "aggregates": Aggregate,
        "window": LookBack,
        "split": Split,
    }
    expected = {*DatasetSpec.model_fields, "run", "tables.users", "tables.items"}
    expected |= {f"{key}.{name}" for key, model in models.items() for name in model.model_fields}
    expected |= {f"tables.users.{name}" for name in SideTable.model_fields if name not in Source.model_fields}
    expected |= {f"label.clicks.{name}" for name in Clicks.model_fields if name not in Source.model_fields}
    assert listed == expected


def test_the_defaults_of_the_table_are_right() -> None:
    for key, shown in re.findall(r"^\| `fields\.(\w+)` \| .* \| `?(\d+|true|context|categorical)`? \|$", PAGE, re.MULTILINE):
        assert str(FieldSpec.model_fields[key].default).lower() == shown
    assert DatasetSpec.model_fields["max_bad_share"].default == 0.05
