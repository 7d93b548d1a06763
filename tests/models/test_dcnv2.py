"""DCNv2 against a plain reference in numpy, written from the paper's formulas, in float64."""

from typing import NamedTuple

import numpy as np
import pytest
import torch

from elec.models import VanillaNetwork, collaborative_module, vanilla_network
from elec.spec.run import ModelSpec


class Column(NamedTuple):
    name: str
    width: int
    size: int
    kind: str = "categorical"


FIELDS = [Column("user", 1, 9), Column("tags", 3, 6, "multivalued"), Column("item", 1, 8)]


def reference(network: VanillaNetwork, slots: np.ndarray, *, parallel: bool) -> tuple[np.ndarray, np.ndarray]:
    weights = {name: value.detach().double().numpy() for name, value in network.state_dict().items()}
    table = weights["module.embedding.table.weight"]
    rows = []
    for user, first, second, third, item in slots:
        tags = [table[9 + tag] for tag in (first, second, third) if tag != 0]
        rows.append(np.concatenate([table[user], np.mean(tags, axis=0), table[9 + 6 + item]]))
    x0 = np.stack(rows)
    x = x0
    for layer in range(2):
        w, b = weights[f"module.cross.layers.{layer}.weight"], weights[f"module.cross.layers.{layer}.bias"]
        x = x0 * (x @ w.T + b) + x
    h = x0 if parallel else x
    for layer in (0, 2):
        h = np.maximum(h @ weights[f"module.deep.{layer}.weight"].T + weights[f"module.deep.{layer}.bias"], 0)
    representation = np.concatenate([x, h], axis=1) if parallel else h
    logit = representation @ weights["prediction.weight"].T + weights["prediction.bias"]
    return logit[:, 0], representation


@pytest.mark.parametrize("structure", ["stacked", "parallel"])
def test_equals_the_formulas(structure: str) -> None:
    torch.manual_seed(3)
    spec = ModelSpec(embedding=4, cross_layers=2, deep=(7, 5), structure=structure, dropout=0.0)  # type: ignore[arg-type]
    network = vanilla_network(FIELDS, spec).double().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_()
    generator = np.random.default_rng(0)
    slots = np.stack(
        [
            generator.integers(0, 9, 20),
            generator.integers(1, 6, 20),
            *generator.integers(0, 6, (2, 20)),
            generator.integers(0, 8, 20),
        ],
        axis=1,
    )
    logit, representation = network(torch.from_numpy(slots))
    expected_logit, expected_representation = reference(network, slots, parallel=structure == "parallel")
    np.testing.assert_allclose(logit.detach().numpy(), expected_logit, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(representation.detach().numpy(), expected_representation, rtol=1e-12, atol=1e-12)
    assert network.representation_size == expected_representation.shape[1]


def test_paper_sizes_are_the_default() -> None:
    module = collaborative_module(FIELDS, ModelSpec())
    assert module.representation_size == 64
    shapes = {tuple(parameter.shape) for parameter in module.parameters()}
    assert {(96, 96), (256, 96), (128, 256), (64, 128)} <= shapes


def test_dropout_acts_in_training_only() -> None:
    torch.manual_seed(0)
    network = vanilla_network(FIELDS, ModelSpec(dropout=0.5))
    slots = torch.tensor([[3, 3, 4, 0, 5]] * 8)
    network.train()
    assert not torch.equal(network(slots)[1], network(slots)[1])
    network.eval()
    assert torch.equal(network(slots)[1], network(slots)[1])
