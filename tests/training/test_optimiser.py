"""Adam's step, the decay of the learning rate, and L2 on the rows that were read."""

from itertools import pairwise
from typing import NamedTuple

import torch

from elec.models import vanilla_network
from elec.spec.run import ModelSpec
from elec.training.losses import click_loss
from elec.training.optimiser import Optimiser


class Column(NamedTuple):
    name: str
    width: int
    size: int
    kind: str = "categorical"


FIELDS = [Column("user", 1, 9), Column("item", 1, 8)]
SLOTS = torch.tensor([[3, 4], [3, 5], [4, 4]])
READ = [3, 4, 9 + 4, 9 + 5]


def after_one_step(embedding_l2: float, loss_weight: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    network = vanilla_network(FIELDS, ModelSpec(embedding=4, deep=(6,)))
    table = network.module.get_parameter("embedding.table.weight")
    before = table.detach().clone()
    optimiser = Optimiser(network, learning_rate=0.1, embedding_l2=embedding_l2, steps=10)
    optimiser.step(loss_weight * click_loss(network(SLOTS)[0], torch.tensor([1.0, 0.0, 1.0])), SLOTS)
    assert table.grad is not None
    return before, table.grad.clone()


def test_l2_adds_each_read_row_once_and_leaves_the_others() -> None:
    _, plain = after_one_step(0.0)
    before, with_l2 = after_one_step(0.5)
    added = with_l2 - plain
    torch.testing.assert_close(added[READ], 0.5 * before[READ])
    others = [row for row in range(len(before)) if row not in READ]
    assert added[others].abs().max() == 0


def test_learning_rate_falls_linearly_to_two_percent() -> None:
    network = torch.nn.Linear(1, 1, bias=False)
    optimiser = Optimiser(network, learning_rate=1.0, embedding_l2=0.0, steps=50)
    weights = [float(network.weight)]
    for _ in range(50):
        # A constant gradient moves Adam by exactly its learning rate.
        optimiser.step(network.weight.sum(), torch.zeros((1, 1), dtype=torch.int64))
        weights.append(float(network.weight))
    moved = [before - after for before, after in pairwise(weights)]
    assert abs(moved[0] - 1.0) < 1e-3
    assert abs(moved[-1] - 0.02) < 1e-3
    falls = [before - after for before, after in pairwise(moved)]
    assert max(falls) - min(falls) < 1e-3
