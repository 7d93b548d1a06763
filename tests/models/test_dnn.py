"""DNN against a plain reference in numpy, in float64."""

import pytest

from elec.spec.learning import ModelSpec
from tests.models.reference import VECTOR, check, deep, embed, network_of, slots_of, vectors_of, weights_of


@pytest.mark.parametrize("with_vectors", [False, True])
def test_equals_the_formulas(with_vectors: bool) -> None:
    network = network_of(ModelSpec(name="dnn", embedding=4, deep=(7, 5), dropout=0.0), VECTOR if with_vectors else 0)
    slots, vectors = slots_of(20), vectors_of(20) if with_vectors else None
    weights = weights_of(network)
    check(network, slots, vectors, deep(weights, embed(weights, slots, vectors).reshape(20, -1)), 0.0)
