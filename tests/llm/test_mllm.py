"""The M-LLM against a plain reference in float64, and its files."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from elec.errors import InputError
from elec.llm.mllm import MLLM, MllmConfig, load_mllm, save_mllm
from elec.llm.representations import PairRepresentations, representations

GENERATOR = np.random.default_rng(0)
ROLES = {1: ("sample",), 2: ("user", "item")}


def made(roles: int, dim: int = 6, layers: tuple[int, ...] = (8, 5, 4)) -> MLLM:
    torch.manual_seed(roles)
    mllm = MLLM(dim, roles, layers)
    mllm.standardise(torch.randn(roles, dim), torch.rand(roles, dim) + 0.1)
    return mllm.eval()


def reference(mllm: MLLM, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Section 3.2, one row at a time, in float64."""
    state = {name: tensor.double().numpy() for name, tensor in mllm.state_dict().items()}
    logits, hidden = [], []
    for row in vectors.astype(np.float64):
        scaled = (row - state["mean"]) / state["std"]
        x = scaled[0]
        if len(scaled) == 2:
            u, i = scaled
            x = np.concatenate([u, i, u * i, abs(u - i), [u @ i / np.linalg.norm(u) / np.linalg.norm(i)]])
        for layer in (0, 3, 6):
            x = np.maximum(state[f"transformation.{layer}.weight"] @ x + state[f"transformation.{layer}.bias"], 0)
        hidden.append(x)
        logits.append(state["prediction.weight"][0] @ x + state["prediction.bias"][0])
    return np.array(logits), np.array(hidden)


@pytest.mark.parametrize("roles", [1, 2])
def test_it_computes_what_the_paper_says(roles: int) -> None:
    mllm = made(roles)
    vectors = GENERATOR.normal(size=(20, roles, 6)).astype(np.float32)
    logit_B, representation_BD = mllm(torch.from_numpy(vectors))
    logits, hidden = reference(mllm, vectors)
    assert representation_BD.shape == (20, 4)
    np.testing.assert_allclose(logit_B.detach().numpy(), logits, atol=1e-5)
    np.testing.assert_allclose(representation_BD.detach().numpy(), hidden, atol=1e-5)


def test_the_papers_layers_are_the_default() -> None:
    mllm = MLLM(384, 1)
    widths = [tuple(layer.weight.shape) for layer in mllm.transformation if isinstance(layer, torch.nn.Linear)]
    assert widths == [(512, 384), (256, 512), (128, 256)]
    assert mllm.representation_size == 128
    with pytest.raises(ValueError, match="not 3"):
        MLLM(384, 3)


def test_a_dimension_that_never_changes_is_only_centred() -> None:
    mllm = MLLM(2, 1, (3,))
    mllm.standardise(torch.tensor([[1.0, 5.0]]), torch.tensor([[4.0, 0.0]]))
    assert mllm.std.tolist() == [[2.0, 1.0]]
    assert torch.isfinite(mllm(torch.tensor([[[1.0, 5.0]]]))[0]).all()


@pytest.mark.parametrize("roles", [1, 2])
def test_it_comes_back_frozen(tmp_path: Path, roles: int) -> None:
    mllm = made(roles)
    save_mllm(mllm, MllmConfig(llm_dim=6, roles=ROLES[roles], layers=(8, 5, 4)), {"seed": 7}, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mllm.json", "mllm.safetensors"]
    assert json.loads((tmp_path / "mllm.json").read_text())["seed"] == 7
    loaded = load_mllm(tmp_path)
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    vectors = torch.randn(5, roles, 6)
    for found, expected in zip(loaded(vectors), mllm(vectors), strict=True):
        assert torch.equal(found, expected)


def test_files_that_are_no_mllm(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"not an M-LLM that can be loaded .*mllm\.json"):
        load_mllm(tmp_path)
    save_mllm(made(2), MllmConfig(llm_dim=6, roles=("user", "item"), layers=(8, 5, 4)), {}, tmp_path)
    settings = tmp_path / "mllm.json"
    content = json.loads(settings.read_text())
    for change in (
        {"schema_version": 2},
        {"config": content["config"] | {"layers": [8, 5, 3]}},
        {"config": {}},
        {"config": None},
    ):
        settings.write_text(json.dumps(content | change))
        with pytest.raises(InputError, match="adapt the LLM again"):
            load_mllm(tmp_path)
    settings.write_text(json.dumps(content))
    weights = tmp_path / "mllm.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(InputError, match="adapt the LLM again"):
        load_mllm(tmp_path)


@pytest.mark.parametrize(("half", "tolerance"), [(False, 1e-5), (True, 3e-2)])
def test_representations_are_those_of_the_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, half: bool, tolerance: float
) -> None:
    monkeypatch.setattr("elec.llm.representations._ROWS_AT_ONCE", 7)
    monkeypatch.setattr("elec.llm.mllm.fast_bfloat16", lambda device: half)
    mllm = made(2)
    vectors = GENERATOR.normal(size=(9, 6)).astype(np.float16)
    users, items = GENERATOR.integers(0, 9, 30), GENERATOR.integers(0, 9, 30)
    rows = pa.table({"row_id": np.arange(30), "user": users.astype(np.int32), "item": items.astype(np.int32)})
    pq.write_table(rows, tmp_path / "train.parquet")
    found = representations(mllm, vectors, tmp_path / "train.parquet")
    assert found.dtype == np.float32
    _, expected = reference(mllm, np.stack([vectors[users], vectors[items]], axis=1))
    np.testing.assert_allclose(found, expected, atol=tolerance)
    pairs = PairRepresentations(mllm, vectors)(torch.from_numpy(users), torch.from_numpy(items))
    assert pairs.dtype == torch.float32
    np.testing.assert_allclose(pairs.numpy(), expected, atol=tolerance)
