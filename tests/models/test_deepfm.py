"""DeepFM against a plain reference in numpy, written from the paper's formulas, in float64."""

from itertools import combinations

import numpy as np
import pytest

from elec.models import collaborative_module
from elec.spec.learning import ModelSpec
from tests.models.reference import FIELDS, VECTOR, check, deep, embed, network_of, slots_of, vectors_of, weights_of

SPEC = ModelSpec(name="deepfm", embedding=4, deep=(7, 5), dropout=0.0)


def wide(x: np.ndarray) -> float:
    """Eq. 2 of one row: the first-order weights, and the products of all pairs."""
    first, v = x[:, -1], x[:, :-1]
    return float(first.sum() + sum(v[i] @ v[j] for i, j in combinations(range(len(v)), 2)))


@pytest.mark.parametrize("with_vectors", [False, True])
def test_equals_the_formulas(with_vectors: bool) -> None:
    network = network_of(SPEC, VECTOR if with_vectors else 0)
    slots, vectors = slots_of(20), vectors_of(20) if with_vectors else None
    weights = weights_of(network)
    x = embed(weights, slots, vectors)
    assert x.shape[2] == 5
    check(network, slots, vectors, deep(weights, x[:, :, :-1].reshape(20, -1)), np.array([wide(row) for row in x]))


def test_first_order_weights_are_a_column_of_the_one_table() -> None:
    module = collaborative_module(FIELDS, SPEC)
    assert module.embedding.table.weight.shape == (sum(field.size for field in FIELDS), SPEC.embedding + 1)
