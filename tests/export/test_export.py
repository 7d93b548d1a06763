from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from elec.errors import InputError, RunFailedError
from elec.export.bundle import build_bundle, check_network
from elec.features import FeatureEncoder
from elec.serving.bundle import open_bundle
from elec.serving.manifest import read_manifest
from elec.serving.predictor import Predictor
from elec.spec.learning import ModelSpec
from tests.serving.made import SPEC, frame, make_model, metadata


def test_the_same_model_makes_the_same_bundle_anywhere(made: Path, tmp_path: Path) -> None:
    again = build_bundle(
        SPEC, made / "model-0", made / "features", tmp_path / "deep" / "bundle", metadata=metadata(run_id="run-2")
    )
    first = read_manifest(made / "bundle")
    assert again.files == first.files
    assert again.bundle_id == first.bundle_id
    assert again.digest != first.digest, "but each tells which run made it"
    assert b"/work" not in (tmp_path / "deep" / "bundle" / "model.onnx").read_bytes()
    assert str(tmp_path).encode() not in (tmp_path / "deep" / "bundle" / "model.onnx").read_bytes()


def test_a_network_too_large_for_one_file_and_of_the_other_structure(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("elec.export.onnx_file._LARGEST_IN_ONE_FILE", 0)
    model = make_model(
        made / "features",
        tmp_path / "model",
        seed=3,
        model=ModelSpec(embedding=4, deep=(8,), structure="parallel", dropout=0.5),
    )
    manifest = build_bundle(SPEC, model, made / "features", tmp_path / "bundle", metadata=metadata())
    assert "model.onnx.data" in manifest.files
    assert manifest.bundle_id != read_manifest(made / "bundle").bundle_id
    # Dropout is off in a network that serves, and the bundle works after a move.
    (tmp_path / "bundle").rename(tmp_path / "moved")
    bundle = open_bundle(tmp_path / "moved")
    table = pq.read_table(made / "features" / "frame" / "test.parquet")
    np.testing.assert_array_equal(Predictor(bundle).score(table), Predictor(bundle).score(table))


def test_what_was_there_is_replaced_and_a_failed_build_leaves_it(made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "leftover").write_text("of a step that was killed")
    with pytest.raises(InputError, match="give the folder of a trained model"):
        build_bundle(SPEC, tmp_path / "no-model", made / "features", folder, metadata=metadata())
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
    assert (folder / "leftover").exists()


def test_a_test_window_without_rows(made: Path, tmp_path: Path) -> None:
    features = tmp_path / "features"
    (features / "frame").mkdir(parents=True)
    FeatureEncoder.load(made / "features" / "vocabulary").save(features / "vocabulary")
    pq.write_table(frame(3, 0).slice(0, 0), features / "frame" / "test.parquet")
    with pytest.raises(InputError, match=r"test\.parquet: has no rows"):
        build_bundle(SPEC, made / "model-0", features, tmp_path / "bundle", metadata=metadata())


def test_an_export_that_scores_otherwise_is_not_published(made: Path) -> None:
    predictor = Predictor(open_bundle(made / "bundle"))
    given = {"slots": predictor.encode(frame(10, 4))}
    scores = predictor.run(given["slots"]).astype(np.float64)
    check_network(predictor.network, given, scores)
    scores[4] += 1.5e-5
    with pytest.raises(RunFailedError, match=r"differ from the trained one's by 1\.5e-05"):
        check_network(predictor.network, given, scores)
    scores[4] = np.nan
    with pytest.raises(RunFailedError, match="differ from the trained one's by nan"):
        check_network(predictor.network, given, scores)
