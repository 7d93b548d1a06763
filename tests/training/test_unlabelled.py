"""Unlabelled pairs: who meets whom, what the teacher reads of it, and what the student learns."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from elec.features.encoding import EncodedField
from elec.features.ids import MISSING
from elec.models import gain_network, vanilla_network
from elec.spec import Entity, Kind
from elec.spec.learning import DistillSpec, ModelSpec, UnlabelledSpec
from elec.training.data import Batch
from elec.training.unlabelled import Items, PairTeacher, UnlabelledPairs, read_items

FIELDS = (
    EncodedField("user", 1, 20, Kind.CATEGORICAL, Entity.USER),
    EncodedField("item", 1, 20, Kind.CATEGORICAL, Entity.ITEM),
    EncodedField("hour", 1, 20, Kind.CATEGORICAL, Entity.CONTEXT),
    EncodedField("genres", 2, 20, Kind.MULTIVALUED, Entity.ITEM),
)
CPU = torch.device("cpu")
ITEMS = Items(
    row_I=np.array([1, 2, 5]),
    shown_I=np.array([1, 2, 3]),
    slots_IS=np.array([[9, 3, 9, 5, 0], [9, 4, 9, 6, 7], [9, 5, 9, 8, 0]]),
    vector_IV=np.array([[1, 0], [0, 1], [1, 1]], np.float32),
)


class Reader:
    """In the M-LLM's place: says which texts it was asked for, and likes items of high numbers."""

    def __call__(self, user_B: torch.Tensor, item_B: torch.Tensor) -> torch.Tensor:
        return torch.stack([user_B, item_B], dim=1).float()

    def predict(self, representation_BD: torch.Tensor) -> torch.Tensor:
        return representation_BD[:, 1] - 2


def settings(**unlabelled: object) -> DistillSpec:
    return DistillSpec(unlabelled=UnlabelledSpec.model_validate({"share": 1.0, **unlabelled}))


def batch(rows: int = 6, *, vectors: bool = False) -> Batch:
    slots = torch.stack([torch.arange(rows) % 10 + 3, torch.full((rows,), 2), torch.arange(rows) % 7 + 4], dim=1)
    known = torch.randn(rows, 2, 2) if vectors else None
    return Batch(
        torch.zeros(rows), torch.cat([slots, torch.ones(rows, 2, dtype=torch.int64)], 1), None, known, torch.arange(rows)
    )


def test_the_distinct_items_are_those_of_the_train_rows(tmp_path: Path) -> None:
    pq.write_table(pa.table({"movie": ["b", "a", "b", "c", "a", "b"]}), tmp_path / "frame.parquet")
    slots = np.arange(18).reshape(6, 3)
    column = pa.FixedSizeListArray.from_arrays(pa.array(slots.ravel()), 3)
    pq.write_table(pa.table({"slots": column}), tmp_path / "encoded.parquet", row_group_size=4)
    vectors = np.arange(24, dtype=np.float16).reshape(6, 2, 2)
    np.save(tmp_path / "train.npy", vectors)
    found = read_items(tmp_path / "frame.parquet", "movie", tmp_path / "encoded.parquet", tmp_path / "train.npy")
    # c's only row, a's last one, b's last one.
    assert found.row_I.tolist() == [3, 4, 5]
    assert found.shown_I.tolist() == [1, 2, 3]
    assert found.slots_IS.tolist() == slots[[3, 4, 5]].tolist()
    assert found.vector_IV is not None
    assert found.vector_IV.tolist() == vectors[[3, 4, 5], 1].tolist()


def test_what_is_of_a_pair_is_missing_of_pairs_that_were_never_shown() -> None:
    fields = (*FIELDS, EncodedField("user_x_item", 1, 20, Kind.CATEGORICAL, Entity.PAIR))
    items = replace(ITEMS, slots_IS=np.column_stack([ITEMS.slots_IS, [10, 11, 12]]))
    rows = batch()
    rows = replace(rows, slots_BS=torch.cat([rows.slots_BS, torch.full((len(rows), 1), 15)], dim=1))
    found = UnlabelledPairs(fields, settings(), items, CPU, None).draw(rows)
    assert found.slots_BS[:, -1].tolist() == [MISSING] * len(found)
    assert found.slots_BS[:, 0].tolist() == rows.slots_BS[:, 0].tolist()


def test_a_pair_has_the_users_row_and_the_items_fields() -> None:
    teacher = PairTeacher(user_N=np.arange(100, 106), item_N=np.array([20, 21, 22, 23, 24, 25]), represent=Reader())
    pairs = UnlabelledPairs(FIELDS, settings(share=10), ITEMS, CPU, teacher)
    rows = batch(vectors=True)
    torch.manual_seed(0)
    found = pairs.draw(rows)
    assert len(found) == 60
    assert found.vectors_B2V is not None
    assert found.llm_BL is not None
    item_of = {3: 0, 4: 1, 5: 2}
    for number in range(60):
        row, slots = number % 6, found.slots_BS[number]
        item = item_of[int(slots[1])]
        # User and context are the row's, everything of the item is the item's.
        assert slots[[0, 2]].tolist() == rows.slots_BS[row, [0, 2]].tolist()
        assert slots[[1, 3, 4]].tolist() == ITEMS.slots_IS[item, [1, 3, 4]].tolist()
        assert torch.equal(found.vectors_B2V[number, 0], rows.vectors_B2V[row, 0])  # type: ignore[index]
        assert found.vectors_B2V[number, 1].tolist() == ITEMS.vector_IV[item].tolist()  # type: ignore[index]
        assert found.llm_BL[number].tolist() == [100 + row, 20 + ITEMS.row_I[item]]


def test_items_come_evenly_or_as_often_as_they_were_shown() -> None:
    rows = batch(3000)
    for rule, expected in (("uniform", [1 / 3, 1 / 3, 1 / 3]), ("popularity", [1 / 6, 2 / 6, 3 / 6])):
        pairs = UnlabelledPairs(FIELDS, settings(items=rule), ITEMS, CPU, None)
        torch.manual_seed(1)
        drawn = pairs.draw(rows).slots_BS[:, 1]
        share = torch.bincount(drawn, minlength=6)[3:].double() / len(drawn)
        np.testing.assert_allclose(share.numpy(), expected, atol=0.04)


def test_the_share_says_how_many_and_the_seed_which() -> None:
    pairs = UnlabelledPairs(FIELDS, settings(share=0.5), ITEMS, CPU, None)
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(pairs.draw(batch(40)).slots_BS)
    assert len(drawn[0]) == 20
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert len(pairs.draw(batch(0))) == 0


def test_the_mllm_may_be_the_teacher() -> None:
    torch.manual_seed(0)
    model = ModelSpec(embedding=8, deep=(16, 8), dropout=0.0)
    student, gain = vanilla_network(FIELDS, model), gain_network(FIELDS, model, 2)
    teacher = PairTeacher(np.arange(6), np.array([9, 0, 2, 9, 9, 4]), Reader())
    pairs = UnlabelledPairs(FIELDS, settings(share=10, teacher="mllm"), ITEMS, CPU, teacher)
    optimiser = torch.optim.Adam(student.parameters(), lr=0.02)
    rows = batch()
    for _ in range(80):
        optimiser.zero_grad()
        loss = pairs.loss(student, gain, rows)
        torch.autograd.backward(loss)
        optimiser.step()
    drawn = pairs.draw(rows)
    learnt_U = student(drawn.slots_BS)[0].sigmoid()
    first, second, third = (float(learnt_U[drawn.slots_BS[:, 1] == slot].mean()) for slot in (3, 4, 5))
    # A list fixes probabilities up to a common factor: those of the M-LLM are sigma(-2), sigma(0) and sigma(2).
    assert second / first == pytest.approx(0.5 / 0.1192, rel=0.1)
    assert third / second == pytest.approx(0.8808 / 0.5, rel=0.1)


@pytest.mark.parametrize("frozen", [False, True])
def test_only_the_student_learns_from_pairs(frozen: bool) -> None:
    torch.manual_seed(0)
    model = ModelSpec(embedding=4, deep=(8, 6), dropout=0.5)
    student, gain = vanilla_network(FIELDS, model).train(), gain_network(FIELDS, model, 2).train(not frozen)
    teacher = PairTeacher(np.arange(6), np.arange(6), Reader())
    pairs = UnlabelledPairs(FIELDS, settings(), ITEMS, CPU, teacher)
    loss = pairs.loss(student, gain, batch())
    torch.autograd.backward(loss)
    assert all(parameter.grad is not None for parameter in student.parameters())
    assert all(parameter.grad is None for parameter in gain.parameters())
    # The teacher speaks without dropout, and goes on training if it did.
    assert gain.training is not frozen
