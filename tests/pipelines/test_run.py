"""The whole pipeline, as a user runs it: first run, second run, what it leaves and what it says."""

import json

import pytest


@pytest.fixture(scope="module")
def runs(shop):
    """Two runs on the same data, one after the other."""
    first = shop("run", "--spec", "shop.yaml", "--as-of", "2026-03-01")
    assert first.returncode == 0, first.stdout + first.stderr
    second = shop("run", "--spec", "shop.yaml", "--as-of", "2026-03-01")
    assert second.returncode == 0, second.stdout + second.stderr
    return (first, second, *shop.summaries())


def test_first_run_does_every_step_and_promotes(runs):
    _, _, first, _ = runs
    assert first["status"] == "done"
    assert list(first["steps"]) == [
        "ingest", "check_drift", "build_features", "textify", "encode_text", "adapt_llm", "distill", "evaluate", "deploy",
    ]  # fmt: skip
    assert {step["status"] for step in first["steps"].values()} == {"done"}
    assert first["drift"]["verdict"] == "first"
    assert first["gate"]["verdict"] == "promote"
    assert first["bundle"]


def test_every_row_is_accounted_for(runs):
    rows = runs[2]["rows"]
    assert rows["read"] == 3000
    assert rows["quarantined"] == 0
    assert rows["train"] + rows["valid"] + rows["test"] == 3000


def test_the_networks_learn_what_there_is_to_learn(runs):
    metrics = runs[2]["metrics"]
    assert set(metrics) == {"vanilla", "gain", "plain"}
    assert all(found["auc"] > 0.65 for found in metrics.values())
    assert all(0 < found["logloss"] < 0.7 for found in metrics.values())


def test_second_run_encodes_nothing_and_keeps_the_champion(runs):
    _, _, first, second = runs
    assert first["texts"]["encoded"] == first["texts"]["unique"] > 0
    assert second["texts"]["encoded"] == 0
    assert second["texts"]["reused"] == second["texts"]["unique"]
    assert second["drift"]["verdict"] == "ok"
    assert second["gate"]["verdict"] == "keep"
    assert second["gate"]["reasons"]
    assert second["steps"]["deploy"]["status"] == "skipped"


def test_same_data_and_seed_give_the_same_figures(runs):
    _, _, first, second = runs
    for network in ("vanilla", "gain", "plain"):
        assert first["metrics"][network] == second["metrics"][network]
    assert second["metrics"]["champion"]["auc"] == pytest.approx(first["metrics"]["vanilla"]["auc"], abs=1e-6)


def test_output_tells_the_story(runs, shop):
    first, second, summary, _ = runs
    for word in ("distill", "vanilla", "plain", "AUC", "promote", f"{summary['run_id']}/index.html"):
        assert word in first.stdout
    assert "keep" in second.stdout
    page = (shop.folder / "runs" / summary["run_id"] / "index.html").read_text()
    assert summary["run_id"] in page
    assert "<script src" not in page


def test_nothing_temporary_is_left(runs, shop):
    left = [path for path in (shop.folder / "runs").rglob("*") if path.name.endswith(".tmp") or ".tmp." in path.name]
    assert left == []


def test_the_champion_scores_a_file(runs, shop):
    summary = runs[2]
    header, *log = (shop.folder / "log.csv").read_text().splitlines()
    records = [header + ",topic,price", *(f"{row},office,9.5" for row in log[:20])]
    (shop.folder / "some.csv").write_text("\n".join(records) + "\n")
    done = shop("score", "--bundle", summary["bundle"], "--input", "some.csv", "--output", "scores.csv")
    assert done.returncode == 0, done.stderr
    lines = (shop.folder / "scores.csv").read_text().splitlines()
    assert len(lines) == 21
    assert "score" in lines[0]


def test_summary_is_json_a_program_can_read(runs, shop):
    text = (shop.folder / "runs" / runs[2]["run_id"] / "summary.json").read_text()
    summary = json.loads(text)
    for key in (
        "run_id", "as_of", "code_version", "steps", "rows", "texts", "metrics", "drift", "gate", "bundle", "endpoint",
    ):  # fmt: skip
        assert key in summary
