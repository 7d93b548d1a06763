"""int8 and bfloat16 variants: taken only if LogLoss and PCOC stay, and if they are faster."""

import logging
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from elec.export.bundle import build_bundle
from elec.serving.bundle import open_bundle
from elec.serving.golden import TOLERANCE, Golden
from elec.serving.manifest import Manifest, read_manifest
from elec.serving.predictor import Predictor
from elec.spec.learning import ModelSpec
from elec.spec.serving import ServingSpec
from tests.serving.made import SPEC, frame, make_features, make_model, metadata

AUTO = SPEC.model_copy(update={"run": SPEC.run.model_copy(update={"serving": ServingSpec(precision="auto")})})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with validation rows, and a network wide enough for int8 to pay."""
    root = tmp_path_factory.mktemp("precision")
    features = make_features(root / "features")
    pq.write_table(frame(4000, 9), features / "frame" / "valid.parquet")
    make_model(features, root / "model", model=ModelSpec(embedding=32, deep=(512, 256)))
    return root


def build(run: Path, folder: Path) -> Manifest:
    return build_bundle(AUTO, run / "model", run / "features", folder, metadata=metadata())


@pytest.fixture(autouse=True)
def wider(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights round worse than trained ones."""
    monkeypatch.setattr("elec.export.precision.MOST_LOGLOSS", 0.01)
    monkeypatch.setattr("elec.export.precision.MOST_PCOC", 0.03)


def test_int8_is_taken_where_it_is_as_good_and_faster(run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        manifest = build(run, tmp_path / "bundle")
    assert "pre-processing" not in caplog.text
    precision = manifest.precision
    plain, int8 = precision.variants["float32"], precision.variants["int8"]
    assert precision.chosen == "int8", precision
    assert int8.refused == "" == plain.refused
    assert plain.logloss is not None
    assert int8.logloss is not None
    assert int8.logloss != plain.logloss
    assert int8.logloss <= plain.logloss * 1.01
    assert int8.size is not None
    assert plain.size is not None
    assert int8.size < 0.5 * plain.size
    assert (tmp_path / "bundle" / "model.onnx").stat().st_size == int8.size
    # ONNX Runtime has no such kernels for this processor; on a GPU it may.
    assert "bfloat16" in precision.variants
    assert read_manifest(tmp_path / "bundle") == manifest

    predictor = Predictor(open_bundle(tmp_path / "bundle"))
    golden = Golden.load(tmp_path / "bundle" / "golden.json", manifest.fields)
    scores = predictor.score(golden.records)
    assert TOLERANCE < np.abs(scores - golden.scores).max() < precision.tolerance < 0.1
    # A row's score does not depend on the rows beside it.
    alone = [predictor.score(golden.records.slice(row, 1))[0] for row in range(10)]
    np.testing.assert_allclose(alone, scores[:10], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("bound", "value", "reason"),
    [
        ("MOST_LOGLOSS", -1.0, "its LogLoss is "),
        ("MOST_PCOC", -1.0, "its PCOC differs by "),
        ("LEAST_FASTER", 0.99, "of the time (at most 0.01)"),
    ],
)
def test_what_is_worse_or_not_faster_is_refused_with_the_figure(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str, value: float, reason: str
) -> None:
    monkeypatch.setattr(f"elec.export.precision.{bound}", value)
    precision = build(run, tmp_path / "bundle").precision
    assert precision.chosen == "float32"
    assert precision.tolerance == TOLERANCE
    assert reason in precision.variants["int8"].refused
    Predictor(open_bundle(tmp_path / "bundle")).warm_up()


def test_a_few_rows_judge_nothing(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elec.export.bundle.VALID_ROWS", 900)
    precision = build(run, tmp_path / "bundle").precision
    assert precision.chosen == "float32"
    assert "there are 900 validation rows, too few" in precision.variants["int8"].refused
