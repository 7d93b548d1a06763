"""Text vectors as pseudo-fields: what unknown means, and who reads them."""

import pytest
import torch

from elec.models import PSEUDO_FIELDS, TextVectors, vanilla_network
from elec.spec.learning import ModelSpec
from tests.models.reference import FIELDS, VECTOR, slots_of, vectors_of

SPEC = ModelSpec(embedding=4, deep=(6,))


def cosine_of(vectors: torch.Tensor) -> torch.Tensor:
    """What the fourth pseudo-field says of the cosine alone."""
    module = TextVectors(vectors.shape[2], 1)
    with torch.no_grad():
        module.match.weight.copy_(torch.tensor([[1.0, 0.0, 0.0]]))
        return module(vectors)[:, 3, 0]


def test_cosine_of_known_vectors() -> None:
    vectors = torch.from_numpy(vectors_of(8))
    expected = torch.nn.functional.cosine_similarity(vectors[3:, 0], vectors[3:, 1])
    torch.testing.assert_close(cosine_of(vectors)[3:], expected)


def test_unknown_vectors_have_cosine_0() -> None:
    assert cosine_of(torch.from_numpy(vectors_of(8)))[:3].tolist() == [0.0, 0.0, 0.0]


def test_unknown_vectors_give_finite_gradients() -> None:
    module, vectors = TextVectors(VECTOR, 4), torch.from_numpy(vectors_of(8)).requires_grad_()
    x = module(vectors)
    assert x.shape == (8, PSEUDO_FIELDS, 4)
    assert torch.isfinite(x).all()
    x.square().sum().backward()
    for tensor in (vectors, *module.parameters()):
        assert tensor.grad is not None
        assert torch.isfinite(tensor.grad).all()
        assert tensor.grad.any()


def test_known_and_unknown_differ_even_where_all_else_is_zero() -> None:
    torch.manual_seed(0)
    module, zeros = TextVectors(2, 4), torch.zeros(1, 2)
    opposite = torch.stack([torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])], dim=1)
    unknown = torch.stack([zeros, zeros], dim=1)
    assert not torch.equal(module(opposite)[:, 3], module(unknown)[:, 3])


def test_vectors_go_to_a_network_made_for_them_and_to_no_other() -> None:
    slots, vectors = torch.from_numpy(slots_of(4)), torch.from_numpy(vectors_of(4))
    with pytest.raises(ValueError, match="text vectors"):
        vanilla_network(FIELDS, SPEC)(slots, vectors)
    with pytest.raises(ValueError, match="text vectors"):
        vanilla_network(FIELDS, SPEC, VECTOR)(slots)
