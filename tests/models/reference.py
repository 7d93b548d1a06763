"""The models' formulas in plain numpy, float64, a row at a time; and rows to try them on."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch

from elec.models import VanillaNetwork, vanilla_network
from elec.spec.learning import ModelSpec


class Column(NamedTuple):
    name: str
    width: int
    size: int
    kind: str = "categorical"


FIELDS = [
    Column("user", 1, 9),
    Column("tags", 3, 6, "multivalued"),
    Column("item", 1, 8),
    Column("hour", 1, 5, "numeric"),
    Column("genres", 2, 7, "multivalued"),
]
VECTOR = 3

_SIZES = {"embedding": 8, "deep": (16, 12), "attention_size": 8, "dropout": 0.0}
#: Every module once, DCNv2 in its four forms.
SPECS = {
    "dnn": ModelSpec(name="dnn", **_SIZES),
    "deepfm": ModelSpec(name="deepfm", **_SIZES),
    "autoint": ModelSpec(name="autoint", **_SIZES),
    "dcnv2_stacked": ModelSpec(**_SIZES),
    "dcnv2_parallel": ModelSpec(structure="parallel", **_SIZES),
    "dcnv2_stacked_low_rank": ModelSpec(cross_rank=3, **_SIZES),
    "dcnv2_parallel_low_rank": ModelSpec(structure="parallel", cross_rank=3, **_SIZES),
}

Weights = Mapping[str, np.ndarray]


def network_of(spec: ModelSpec, vector_size: int = 0) -> VanillaNetwork:
    """A network in float64 whose parameters are all far from zero."""
    torch.manual_seed(3)
    network = vanilla_network(FIELDS, spec, vector_size).double().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=0.5)
    return network


def weights_of(network: torch.nn.Module) -> Weights:
    return {name: value.detach().double().numpy() for name, value in network.state_dict().items()}


def slots_of(rows: int, seed: int = 0) -> np.ndarray:
    """Encoded rows: one value at least in a multi-valued field, paddings behind."""
    generator = np.random.default_rng(seed)
    columns = []
    for field in FIELDS:
        ids = generator.integers(1, field.size, (rows, field.width))
        ids[np.arange(field.width) >= generator.integers(1, field.width + 1, (rows, 1))] = 0
        columns.append(ids)
    return np.concatenate(columns, axis=1)


def vectors_of(rows: int, seed: int = 0) -> np.ndarray:
    """Text vectors; of the first row the user, of the second the item, of the third both are unknown."""
    vectors = np.random.default_rng(seed).normal(size=(rows, 2, VECTOR)).astype(np.float32)
    for row, unknown in enumerate(((0,), (1,), (0, 1))):
        vectors[row : row + 1, list(unknown)] = 0
    return vectors


def embed(weights: Weights, slots: np.ndarray, vectors: np.ndarray | None = None) -> np.ndarray:
    """One vector a field, [rows, fields, E]: a table of its own for each, the mean over real values."""
    table = weights["module.embedding.table.weight"]
    rows = []
    for number, ids in enumerate(slots):
        found, slot, first = [], 0, 0
        for field in FIELDS:
            own = table[first : first + field.size]
            values = [own[i] for i in ids[slot : slot + field.width] if i != 0]
            found.append(np.mean(values, axis=0))
            slot += field.width
            first += field.size
        if vectors is not None:
            found += pseudo_fields(weights, *vectors[number].astype(np.float64))
        rows.append(np.stack(found))
    return np.stack(rows)


def pseudo_fields(weights: Weights, user: np.ndarray, item: np.ndarray) -> list[np.ndarray]:
    lengths = np.linalg.norm(user), np.linalg.norm(item)
    cosine = 0.0 if 0 in lengths else user @ item / (lengths[0] * lengths[1])
    match = np.array([cosine, float(lengths[0] > 0), float(lengths[1] > 0)])
    inputs = {"user": user, "item": item, "product": user * item, "match": match}
    return [linear(weights, f"module.text_vectors.{name}", given) for name, given in inputs.items()]


def linear(weights: Weights, name: str, x: np.ndarray) -> np.ndarray:
    bias = weights.get(f"{name}.bias")
    return x @ weights[f"{name}.weight"].T + (0 if bias is None else bias)


def deep(weights: Weights, x: np.ndarray, layers: int = 2) -> np.ndarray:
    """The deep layers of a network without dropout."""
    for layer in range(layers):
        x = np.maximum(linear(weights, f"module.deep.{2 * layer}", x), 0)
    return x


def check(
    network: VanillaNetwork, slots: np.ndarray, vectors: np.ndarray | None, representation: np.ndarray, wide: np.ndarray | float
) -> None:
    """Compares a network with what the formulas give, and its gradients with finite differences; all parameters get one."""
    given = torch.from_numpy(slots), None if vectors is None else torch.from_numpy(vectors).double()
    got_logit, got_representation = network(*given)
    np.testing.assert_allclose(got_representation.detach().numpy(), representation, rtol=1e-12, atol=1e-12)
    logit = linear(weights_of(network), "prediction", representation)[:, 0] + wide
    np.testing.assert_allclose(got_logit.detach().numpy(), logit, rtol=1e-12, atol=1e-12)
    assert network.representation_size == representation.shape[1]

    parameters = dict(network.named_parameters())

    def forward(*values: torch.Tensor) -> torch.Tensor:
        named = dict(zip(parameters, values, strict=True))
        logit, representation = torch.func.functional_call(network, named, given)
        return torch.cat([logit, representation.sum(dim=1)])

    values = [parameter.detach().clone().requires_grad_() for parameter in parameters.values()]
    assert torch.autograd.gradcheck(forward, values, fast_mode=True)
    got_logit.sum().backward()
    for name, parameter in parameters.items():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name
