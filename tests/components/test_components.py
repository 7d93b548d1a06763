"""Components are adapters: short, importing downwards only, and what the library returns is what the pipeline sees."""

import ast
import importlib
from pathlib import Path

import pytest
from kfp import dsl

from elec.spec import load_spec
from elec.steps.job import parse_job
from tests.pipelines.conftest import write_log

ROOT = Path(__file__).parents[2]
COMPONENTS = sorted(path.stem for path in (ROOT / "components").glob("*.py") if path.stem not in {"__init__", "image"})


def imports_of(path: Path) -> set[str]:
    """The top-level packages that a module imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[0] for name in node.names}
        if isinstance(node, ast.ImportFrom):
            found.add((node.module or "").split(".")[0])
    return found


def test_imports_point_down():
    for path in (ROOT / "elec").rglob("*.py"):
        assert not imports_of(path) & {"kfp", "components", "pipelines"}, path
    for path in (ROOT / "components").glob("*.py"):
        assert "pipelines" not in imports_of(path), path


@pytest.mark.parametrize("name", COMPONENTS)
def test_a_component_is_a_thin_adapter_of_its_step(name):
    component = getattr(importlib.import_module(f"components.{name}"), name)
    module = ast.parse((ROOT / "components" / f"{name}.py").read_text())
    function = next(node for node in module.body if isinstance(node, ast.FunctionDef))
    assert len(function.body) <= 7
    assert component.description
    image = component.component_spec.implementation.container.image
    assert image.startswith("elec-training:")
    assert not image.endswith(("latest", ":"))


def test_ingest_and_check_drift_through_their_components(tmp_path):
    from components.check_drift import check_drift
    from components.ingest import ingest

    spec = load_spec(write_log(tmp_path, rows=400))
    log, looks = dsl.Dataset(uri=str(tmp_path / "ingested")), dsl.HTML(uri=str(tmp_path / "data.html"))
    job = ingest.python_func(spec.model_dump_json(), str(tmp_path / "runs"), "r1", "2026-03-01", log, looks)
    assert parse_job(job).run_id == "r1"
    assert (tmp_path / "ingested" / "train.parquet").exists()
    assert "Train, valid and test" in (tmp_path / "data.html").read_text()

    window, report, metrics = (
        dsl.Dataset(uri=str(tmp_path / "window")),
        dsl.HTML(uri=str(tmp_path / "drift.html")),
        dsl.Metrics(uri=str(tmp_path / "metrics")),
    )
    assert check_drift.python_func(job, False, log, window, report, metrics) == "train"
    assert "<html" in (tmp_path / "drift.html").read_text()
    assert metrics.metadata["rows"] == 320
    assert "worst_psi" not in metrics.metadata
    assert (tmp_path / "window" / "profile.json").exists()
