"""The network of a bundle in ONNX Runtime: in two halves or whole, the same probabilities."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from elec.errors import InputError
from elec.export.bundle import build_bundle
from elec.serving.bundle import open_bundle
from elec.serving.latency import request_call
from elec.serving.manifest import read_manifest
from elec.serving.network import Network
from elec.serving.predictor import Predictor
from elec.spec.serving import ServingSpec
from tests.serving.made import UNSPLIT, VECTOR, frame, metadata, shared_students, variant


@pytest.fixture(scope="module")
def students() -> Path:
    return shared_students()


@pytest.mark.parametrize("student", ["vanilla", "semantic_ids", "vectors"])
def test_states_that_are_kept_score_as_whole_rows(students: Path, student: str) -> None:
    predictor = Predictor(open_bundle(students / student))
    network = predictor.network
    slots_NS = predictor.encode(frame(50, 3))
    slots_NS[:, network.request_columns] = slots_NS[0, network.request_columns]
    vectors_N2V = None
    if student == "vectors":
        vectors_N2V = np.random.default_rng(1).normal(size=(50, 2, VECTOR)).astype(np.float32)
        vectors_N2V[:, 0] = vectors_N2V[0, 0]
        vectors_N2V[7, 1] = 0
    assert network.split
    of_user, of_item = (None, None) if vectors_N2V is None else (vectors_N2V[:, 0], vectors_N2V[:, 1])
    states_NK = network.item_states(slots_NS[:, network.item_columns], of_item)
    assert states_NK.shape == (50, network.state_size)
    assert states_NK.dtype == np.float32
    expected = network.run(slots_NS, vectors_N2V)
    assert expected.std() > 0.01
    requests_NR = slots_NS[:, network.request_columns]
    one = None if of_user is None else of_user[:1]
    for scores in (
        network.join(requests_NR[:1], states_NK, one),
        network.join(requests_NR, states_NK, of_user),
        np.concatenate([network.join(requests_NR[:1], states_NK[row : row + 1], one) for row in range(50)]),
        request_call(network, slots_NS, vectors_N2V)(),
    ):
        np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-6)
    assert network.join(requests_NR[:1], states_NK[:0], one).shape == (0,)
    with pytest.raises(ValueError, match="2 requests for 50 items"):
        network.join(requests_NR[:2], states_NK, of_user)


def test_columns_are_of_the_item_or_of_the_request(students: Path) -> None:
    network = Predictor(open_bundle(students / "semantic_ids")).network
    # user_id, item_id, age, city | genres (three slots), price | hour | two semantic ids: as the spec has them in order.
    manifest = read_manifest(students / "semantic_ids")
    names = [name for field in manifest.fields for name in [field.name] * field.width] + [*manifest.semantic_ids]
    of_item = {names[column] for column in network.item_columns}
    assert of_item == {"item_id", "genres", "price", "semantic_id_1", "semantic_id_2"}
    assert {names[column] for column in network.request_columns} == {"user_id", "age", "city", "hour"}
    assert sorted([*network.item_columns, *network.request_columns]) == list(range(len(names)))


def test_split_is_off_where_the_spec_says_so_or_the_module_cannot(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = frame(40, 8)
    expected = Predictor(open_bundle(made / "bundle")).score(table)
    build_bundle(UNSPLIT, made / "model-0", made / "features", tmp_path / "off", metadata=metadata())
    monkeypatch.setattr("elec.models.dcnv2.DCNv2.splits", False)
    build_bundle(
        UNSPLIT.model_copy(update={"run": UNSPLIT.run.model_copy(update={"serving": ServingSpec()})}),
        made / "model-0",
        made / "features",
        tmp_path / "cannot",
        metadata=metadata(),
    )
    for name in ("off", "cannot"):
        predictor = Predictor(open_bundle(tmp_path / name))
        assert not predictor.network.split
        assert "item.onnx" not in predictor.manifest.files
        assert predictor.network.state_size == 0
        np.testing.assert_allclose(predictor.score(table), expected, rtol=0, atol=1e-6)
        with pytest.raises(ValueError, match="not split"):
            predictor.network.item_states(np.zeros((1, 5), np.int64))


def test_a_split_bundle_without_its_items_half_is_refused(made: Path, tmp_path: Path) -> None:
    bundle = made / "bundle"
    with pytest.raises(InputError, match="its network reads requests, states, and the manifest says slots"):
        Network(bundle, read_manifest(bundle).model_copy(update={"split": False}))
    variant(bundle, tmp_path / "lacking")
    (tmp_path / "lacking" / "item.onnx").unlink()
    variant(tmp_path / "lacking", tmp_path / "rewritten")
    with pytest.raises(InputError, match=r"file 'item\.onnx' is missing"):
        open_bundle(tmp_path / "rewritten")


@pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="there is a GPU provider")
def test_a_gpu_is_taken_if_there_is_one_and_missed_if_asked_for(made: Path) -> None:
    bundle = open_bundle(made / "bundle")
    assert Predictor(bundle, settings=ServingSpec(device="auto")).network.providers == ("CPUExecutionProvider",)
    with pytest.raises(InputError, match=r"device 'cuda': this installation of ONNX Runtime has no CUDA provider; .*use auto"):
        Predictor(bundle, settings=ServingSpec(device="cuda"))


@pytest.mark.skipif("CUDAExecutionProvider" not in onnxruntime.get_available_providers(), reason="there is no GPU provider")
def test_the_gpu_scores_as_the_processor(made: Path) -> None:
    bundle, table = open_bundle(made / "bundle"), frame(64, 2)
    on_gpu = Predictor(bundle, settings=ServingSpec(device="cuda"))
    assert on_gpu.network.providers[0] == "CUDAExecutionProvider"
    expected = Predictor(bundle, settings=ServingSpec(device="cpu")).score(table)
    np.testing.assert_allclose(on_gpu.score(table), expected, rtol=0, atol=1e-5)
