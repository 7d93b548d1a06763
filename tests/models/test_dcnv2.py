"""DCNv2 against a plain reference in numpy, written from the paper's formulas, in float64."""

import numpy as np
import pytest
import torch

from elec.models import collaborative_module, vanilla_network
from elec.spec.learning import ModelSpec
from tests.models.reference import (
    FIELDS,
    VECTOR,
    Weights,
    check,
    deep,
    embed,
    linear,
    network_of,
    slots_of,
    vectors_of,
    weights_of,
)


def crossed(weights: Weights, x0: np.ndarray, rank: int | None) -> np.ndarray:
    x = x0
    for layer in range(2):
        name = f"module.cross.layers.{layer}"
        if rank is None:
            product = linear(weights, name, x)
        else:
            v, u = weights[f"{name}.0.weight"].T, weights[f"{name}.1.weight"]
            assert u.shape == v.shape == (x0.shape[1], rank)
            product = np.stack([u @ (v.T @ row) for row in x]) + weights[f"{name}.1.bias"]
        x = x0 * product + x
    return x


@pytest.mark.parametrize("with_vectors", [False, True])
@pytest.mark.parametrize("rank", [None, 3])
@pytest.mark.parametrize("structure", ["stacked", "parallel"])
def test_equals_the_formulas(structure: str, rank: int | None, with_vectors: bool) -> None:
    spec = ModelSpec(embedding=4, cross_layers=2, cross_rank=rank, deep=(7, 5), structure=structure, dropout=0.0)  # type: ignore[arg-type]
    network = network_of(spec, VECTOR if with_vectors else 0)
    slots, vectors = slots_of(20), vectors_of(20) if with_vectors else None
    weights = weights_of(network)
    x0 = embed(weights, slots, vectors).reshape(20, -1)
    x = crossed(weights, x0, rank)
    parallel = structure == "parallel"
    expected = np.concatenate([x, deep(weights, x0)], axis=1) if parallel else deep(weights, x)
    check(network, slots, vectors, expected, 0.0)


def test_paper_sizes_are_the_default() -> None:
    module = collaborative_module(FIELDS[:3], ModelSpec())
    assert module.representation_size == 64
    shapes = {tuple(parameter.shape) for parameter in module.parameters()}
    assert {(96, 96), (256, 96), (128, 256), (64, 128)} <= shapes


def test_dropout_acts_in_training_only() -> None:
    torch.manual_seed(0)
    network = vanilla_network(FIELDS, ModelSpec(dropout=0.5))
    slots = torch.from_numpy(slots_of(8))
    network.train()
    assert not torch.equal(network(slots)[1], network(slots)[1])
    network.eval()
    assert torch.equal(network(slots)[1], network(slots)[1])
