"""The fused table: offsets, pooling, what must never contribute, and gradients of the rows that were read."""

import pytest
import torch

from elec.models import COLLABORATIVE_MODULES, Embedding, VanillaNetwork, vanilla_network
from elec.spec.learning import ModelSpec
from tests.models.reference import FIELDS as MIXED
from tests.models.reference import Column, slots_of

FIELDS = [Column("a", 1, 5), Column("b", 1, 4), Column("tags", 3, 7, "multivalued"), Column("c", 1, 6)]


def test_equals_one_table_a_field_with_masked_means() -> None:
    embedding = Embedding(FIELDS, 4)
    slots = torch.tensor([[3, 1, 3, 4, 0, 5], [4, 3, 6, 0, 0, 1]])
    tables = torch.split(embedding.table.weight, [field.size for field in FIELDS])
    expected = torch.stack(
        [
            torch.stack([tables[0][3], tables[1][1], (tables[2][3] + tables[2][4]) / 2, tables[3][5]]),
            torch.stack([tables[0][4], tables[1][3], tables[2][6], tables[3][1]]),
        ]
    )
    torch.testing.assert_close(embedding(slots), expected)


def test_pooling_gradients_are_those_of_finite_differences() -> None:
    pooling = Embedding(MIXED, 2).pooling
    slots = torch.from_numpy(slots_of(6))
    vectors = torch.randn(*slots.shape, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: pooling(x, slots), (vectors,))


def test_padding_contributes_nothing_and_gets_no_gradient() -> None:
    embedding = Embedding(FIELDS, 4)
    slots = torch.tensor([[3, 1, 3, 0, 0, 5]])
    before = embedding(slots)
    padding_row = 5 + 4
    with torch.no_grad():
        embedding.table.weight[padding_row] += 100.0
    torch.testing.assert_close(embedding(slots), before)
    embedding(slots).sum().backward()
    assert embedding.table.weight.grad is not None
    assert embedding.table.weight.grad[padding_row].abs().max() == 0
    assert embedding.table.weight.grad[5 + 4 + 3].abs().min() > 0


def test_all_padding_is_zero_rather_than_nan() -> None:
    embedding = Embedding([Column("tags", 2, 4, "multivalued")], 3)
    x = embedding(torch.zeros((2, 2), dtype=torch.int64))
    assert x.abs().max() == 0
    x.sum().backward()
    assert embedding.table.weight.grad is not None
    assert embedding.table.weight.grad.abs().max() == 0


def test_missing_and_unknown_are_embeddings_of_their_own() -> None:
    embedding = Embedding(FIELDS, 4)
    missing, unknown = embedding(torch.tensor([[1, 1, 1, 0, 0, 1], [2, 1, 1, 0, 0, 1]]))
    assert not torch.equal(missing[0], unknown[0])
    torch.testing.assert_close(missing[1:], unknown[1:])


def test_single_valued_fields_are_not_copied() -> None:
    embedding = Embedding([Column("a", 1, 5), Column("b", 1, 4)], 4)
    embedding.captures = True
    x = embedding(torch.tensor([[3, 1], [4, 3]]))
    assert x.data_ptr() == embedding.captured[0].vectors_BSE.data_ptr()


def test_first_weights_are_small() -> None:
    torch.manual_seed(0)
    weight = Embedding([Column("a", 1, 4000)], 16).table.weight
    assert abs(float(weight.std()) - 0.01) < 1e-3
    assert abs(float(weight.mean())) < 1e-3


def test_no_fields_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one field"):
        Embedding([], 4)


def gradient_of(network: VanillaNetwork, slots: torch.Tensor) -> torch.Tensor:
    network.zero_grad()
    logit, representation = network(slots)
    (logit.square().sum() + representation.sum()).backward()
    return logit


@pytest.mark.parametrize("name", COLLABORATIVE_MODULES)
def test_capturing_changes_neither_the_result_nor_the_gradient(name: str) -> None:
    torch.manual_seed(1)
    network = vanilla_network(MIXED, ModelSpec(name=name, embedding=4, deep=(6,), dropout=0.0))  # type: ignore[arg-type]
    embedding, slots = network.module.embedding, torch.from_numpy(slots_of(12))
    ordinary = gradient_of(network, slots)
    expected = embedding.table.weight.grad
    assert expected is not None

    embedding.captures = True
    captured = gradient_of(network, slots)
    assert torch.equal(captured, ordinary)
    assert embedding.table.weight.grad is None
    (rows, vectors), *others = embedding.captured
    assert not others
    assert vectors.is_leaf
    assert torch.equal(vectors, embedding.table(rows))
    assert vectors.grad is not None
    scattered = torch.zeros_like(expected).index_add_(0, rows.flatten(), vectors.grad.flatten(end_dim=1))
    torch.testing.assert_close(scattered, expected)


def test_only_passes_that_learn_are_captured() -> None:
    embedding, slots = Embedding(MIXED, 4), torch.from_numpy(slots_of(3))
    embedding.captures = True
    embedding(slots)
    embedding(slots)
    assert len(embedding.captured) == 2
    with torch.no_grad():
        embedding(slots)
    embedding.eval()(slots)
    assert len(embedding.captured) == 2
