"""AutoInt against a plain reference in numpy, written from the paper's formulas, in float64."""

import numpy as np
import pytest

from elec.models import InteractingLayer
from elec.spec.learning import ModelSpec
from tests.models.reference import VECTOR, Weights, check, deep, embed, network_of, slots_of, vectors_of, weights_of

HEADS, WIDTH = 2, 6


def interacting(weights: Weights, layer: int, e: np.ndarray) -> np.ndarray:
    """Eq. 5 to 8 for one row: field by field, head by head."""
    query, key, value, residual = np.split(weights[f"module.attention.{layer}.projection.weight"], 4)
    result = []
    for m in range(len(e)):
        heads = []
        for head in np.split(np.arange(WIDTH), HEADS):
            scores = np.array([(query[head] @ e[m]) @ (key[head] @ e[k]) for k in range(len(e))])
            alpha = np.exp(scores) / np.exp(scores).sum()
            heads.append(sum(alpha[k] * (value[head] @ e[k]) for k in range(len(e))))
        result.append(np.maximum(np.concatenate(heads) + residual @ e[m], 0))
    return np.stack(result)


@pytest.mark.parametrize(("layers", "with_vectors"), [((7, 5), False), ((7, 5), True), ((), False)])
def test_equals_the_formulas(layers: tuple[int, ...], with_vectors: bool) -> None:
    spec = ModelSpec(
        name="autoint", embedding=4, deep=layers, dropout=0.0, attention_layers=2, attention_heads=HEADS, attention_size=WIDTH
    )
    network = network_of(spec, VECTOR if with_vectors else 0)
    slots, vectors = slots_of(20), vectors_of(20) if with_vectors else None
    weights = weights_of(network)
    x = embed(weights, slots, vectors)
    attended = np.stack([interacting(weights, 1, interacting(weights, 0, row)).reshape(-1) for row in x])
    beside = [deep(weights, x.reshape(20, -1))] if layers else []
    check(network, slots, vectors, np.concatenate([attended, *beside], axis=1), 0.0)


def test_heads_share_the_width_evenly() -> None:
    with pytest.raises(ValueError, match="3 heads cannot share a width of 64"):
        InteractingLayer(8, 3, 64)


def test_a_spec_with_uneven_heads_is_refused() -> None:
    with pytest.raises(ValueError, match="`attention_size` 64 cannot be shared evenly by 3 `attention_heads`"):
        ModelSpec(name="autoint", attention_heads=3)
