"""The whole command on a small log: prepared, computed, reported; again, with nothing left to do; and when a cell fails."""

from pathlib import Path

import numpy as np
import orjson
import pytest
import yaml
from typer.testing import CliRunner

from elec.errors import InputError
from elec.evidence.run import Options, run_benchmark
from pipelines.cli import app

WORDS = ("pen", "paper", "chair", "lamp", "glue", "tape")


@pytest.fixture
def experiments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ELEC_CACHE", str(tmp_path / "cache"))
    draw = np.random.default_rng(0)
    folder = tmp_path / "experiments"
    folder.mkdir()
    user, item = draw.integers(0, 30, 900), draw.integers(0, 24, 900)
    label = ((user + item) % 3 == 0).astype(int)
    rows = [f"u{u},i{i},{y},{1_500_000_000 + n}" for n, (u, i, y) in enumerate(zip(user, item, label, strict=True))]
    (folder / "log.csv").write_text("\n".join(["user,item,label,time", *rows]) + "\n")
    items = [f"i{number},{WORDS[number % 6]} number {number}" for number in range(24)]
    (folder / "items.csv").write_text("\n".join(["item,title", *items]) + "\n")
    spec = {
        "name": "small",
        "source": {"path": "log.csv"},
        "label": {"column": "label"},
        "timestamp": {"column": "time"},
        "user": "user",
        "item": "item",
        "tables": {"items": {"path": "items.csv"}},
        "fields": [{"name": "title", "of": "item", "kind": "text"}],
    }
    (folder / "spec").mkdir()
    (folder / "small.spec").write_text(yaml.safe_dump(spec))
    experiment = {
        "title": "Small",
        "spec": str(folder / "small.spec"),
        "trials": 1,
        "seeds": 1,
        "resamples": 20,
        "run": {
            "adapt": {"layers": [16, 8], "epochs": 1},
            "model": {"embedding": 4, "deep": [8]},
            "training": {"precision": "float32", "compile": "off"},
            "distill": {"epochs": 1, "batch_size": 128, "unlabelled": {"share": 1.0}},
            "student": {"levels": 2, "codes": 4, "vector_size": 4},
        },
        "comparison": ["dcnv2", "unlabelled_shuffled", "semantic_ids_plain", "vectors_random"],
    }
    (folder / "small.yaml").write_text(yaml.safe_dump(experiment))
    return folder


@pytest.mark.slow
def test_a_table_is_computed_once_and_reported_the_same_again(experiments: Path, tmp_path: Path) -> None:
    said: list[str] = []
    options = Options(tables=(2,), workers=0)
    assert run_benchmark(options, experiments, None, said.append) == 0, said
    results = experiments / "small"
    content = {path.name: path.read_bytes() for path in results.iterdir()}
    assert {"table-2.json", "table-2.md", "table-2-lift.svg", "table-2-lift.png"} <= set(content)
    figures = orjson.loads(content["table-2.json"])
    arms = ["dcnv2", "unlabelled_shuffled", "semantic_ids_plain", "vectors_random"]
    assert [row["arm"] for row in figures["rows"]] == arms
    assert figures["missing"] == []
    assert figures["experiment"]["run"]["distill"]["epochs"] == 1

    said.clear()
    assert run_benchmark(options, experiments, None, said.append) == 0
    assert said[0] == "small: 0 cells to compute, about 0 min"
    assert {path.name: path.read_bytes() for path in results.iterdir()} == content

    # One cell is lost: it is planned again, and its arm is named as incomplete until then.
    cells = sorted((tmp_path / "cache" / "evidence" / "cells" / "small").glob("*.parquet"))
    cells[0].with_suffix(".json").unlink()
    said.clear()
    assert run_benchmark(Options(tables=(2,), plan_only=True), experiments, None, said.append) == 0
    assert said[0].startswith("small: 1 cells to compute")
    assert run_benchmark(Options(tables=(2,), report_only=True), experiments, tmp_path / "other", said.append) == 0
    assert "final cells are there" in (tmp_path / "other" / "small" / "table-2.md").read_text()


@pytest.mark.slow
def test_a_failed_cell_is_told_and_ends_with_1(experiments: Path) -> None:
    content = yaml.safe_load((experiments / "small.yaml").read_text())
    content["comparison"] = ["dcnv2", "mllm"]
    content["run"]["llm"] = {"name": "/nowhere/llm"}
    (experiments / "small.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(InputError, match="/nowhere/llm"):
        run_benchmark(Options(tables=(2,), workers=0), experiments, None, lambda line: None)


def test_a_table_that_no_experiment_has_is_refused(experiments: Path) -> None:
    with pytest.raises(InputError, match="no experiment has it; add `ablation`"):
        run_benchmark(Options(tables=(3,)), experiments, None, lambda line: None)


def test_the_command_plans(experiments: Path) -> None:
    ended = CliRunner().invoke(app, ["benchmark", "--table", "2", "--plan", "--experiments", str(experiments)])
    assert ended.exit_code == 0, ended.output
    assert "small: 9 cells to compute" in ended.output
