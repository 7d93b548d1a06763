"""The fused table: offsets, pooling, and what must never contribute."""

from typing import NamedTuple

import pytest
import torch

from elec.models import Embedding


class Column(NamedTuple):
    name: str
    width: int
    size: int
    kind: str = "categorical"


FIELDS = [Column("a", 1, 5), Column("b", 1, 4), Column("tags", 3, 7, "multivalued"), Column("c", 1, 6)]


def test_equals_one_table_a_field_with_masked_means() -> None:
    embedding = Embedding(FIELDS, 4)
    slots = torch.tensor([[3, 1, 3, 4, 0, 5], [4, 3, 6, 0, 0, 1]])
    tables = torch.split(embedding.table.weight, [field.size for field in FIELDS])
    expected = torch.stack(
        [
            torch.cat([tables[0][3], tables[1][1], (tables[2][3] + tables[2][4]) / 2, tables[3][5]]),
            torch.cat([tables[0][4], tables[1][3], tables[2][6], tables[3][1]]),
        ]
    )
    torch.testing.assert_close(embedding(slots), expected)
    assert embedding.output_size == expected.shape[1]


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
    assert embedding(torch.zeros((2, 2), dtype=torch.int64)).abs().max() == 0


def test_missing_and_unknown_are_embeddings_of_their_own() -> None:
    embedding = Embedding(FIELDS, 4)
    missing, unknown = embedding(torch.tensor([[1, 1, 1, 0, 0, 1], [2, 1, 1, 0, 0, 1]]))
    assert not torch.equal(missing[:4], unknown[:4])
    torch.testing.assert_close(missing[4:], unknown[4:])


def test_first_weights_are_small() -> None:
    torch.manual_seed(0)
    weight = Embedding([Column("a", 1, 4000)], 16).table.weight
    assert abs(float(weight.std()) - 0.01) < 1e-3
    assert abs(float(weight.mean())) < 1e-3


def test_no_fields_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one field"):
        Embedding([], 4)
