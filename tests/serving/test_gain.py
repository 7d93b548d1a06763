"""The gain network as a bundle: it scores records that come with the M-LLM's representation, for audits."""

from pathlib import Path

import numpy as np
import pytest
import torch

from elec.errors import InputError
from elec.export.bundle import build_bundle
from elec.models import gain_network
from elec.serving.bundle import open_bundle
from elec.serving.golden import Golden
from elec.serving.manifest import read_manifest
from elec.serving.predictor import Predictor
from elec.training.checkpoint import load_network, load_record, save_weights
from tests.serving.made import SPEC, make_features, make_model, metadata, variant

LLM = 128


@pytest.fixture(scope="module")
def gain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a gain network, its model and its features."""
    root = tmp_path_factory.mktemp("gain")
    features = make_features(root / "features")
    record = load_record(make_model(features, root / "model"))
    torch.manual_seed(4)
    network = gain_network(record.fields, record.model, LLM)
    with torch.no_grad():
        network.module.embedding.table.weight.normal_(std=0.5)
    save_weights(network, root / "model" / "gain.safetensors")
    llm_NL = np.random.default_rng(2).normal(size=(300, LLM)).astype(np.float16)
    build_bundle(SPEC, root / "model", features, root / "bundle", metadata=metadata(), network="gain", llm=llm_NL)
    return root


def golden_of(gain: Path) -> Golden:
    manifest = read_manifest(gain / "bundle")
    return Golden.load(gain / "bundle" / "golden.json", manifest.fields, llm_size=LLM)


def test_scores_as_torch_does_and_reads_the_representation(gain: Path) -> None:
    predictor = Predictor(open_bundle(gain / "bundle"))
    manifest = predictor.manifest
    assert (manifest.network, manifest.inputs, manifest.llm_size, manifest.split) == ("gain", ("slots", "llm"), LLM, False)
    predictor.warm_up()
    golden = golden_of(gain)
    assert golden.llm is not None
    scores = predictor.score(golden.records, llm_NL=golden.llm)
    np.testing.assert_allclose(scores, golden.scores, rtol=0, atol=1e-5)
    given = torch.from_numpy(predictor.encode(golden.records)), torch.from_numpy(golden.llm)
    with torch.inference_mode():
        expected = torch.sigmoid(load_network(gain / "model", "gain")(*given)[0]).numpy()
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-5)
    assert np.abs(predictor.score(golden.records, llm_NL=-golden.llm) - scores).max() > 0.001


def test_without_the_representation_nothing_is_scored(gain: Path) -> None:
    predictor = Predictor(open_bundle(gain / "bundle"))
    with pytest.raises(InputError, match=r"reads the M-LLM's representation of each record; send it to /infer as the input"):
        predictor.score(golden_of(gain).records)


def test_a_manifest_that_contradicts_itself_is_refused(gain: Path, tmp_path: Path) -> None:
    contradictions: list[dict[str, object]] = [
        {"llm_size": 0},
        {"network": "vanilla"},
        {"inputs": ("slots",)},
        {"split": True},
    ]
    for number, changes in enumerate(contradictions):
        with pytest.raises(InputError, match="are not those of the student 'vanilla' and its"):
            variant(gain / "bundle", tmp_path / str(number), **changes)
    with pytest.raises(ValueError, match="the gain network, and no other"):
        build_bundle(SPEC, gain / "model", gain / "features", tmp_path / "b", metadata=metadata(), network="gain")
