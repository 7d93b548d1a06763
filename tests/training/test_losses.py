"""The joint loss: values worked out by hand, gradients, and which parameters they reach."""

import math
from typing import NamedTuple

import pytest
import torch

from elec.models import SiameseNetwork, gain_network, vanilla_network
from elec.spec.learning import ModelSpec
from elec.training import click_loss, clid, joint_loss, representation_loss


class Column(NamedTuple):
    name: str
    width: int
    size: int
    kind: str = "categorical"


FIELDS = [Column("user", 1, 9), Column("tags", 2, 6, "multivalued")]
SPEC = ModelSpec(embedding=4, deep=(8, 6), dropout=0.0)
SLOTS = torch.tensor([[3, 3, 4], [4, 5, 0], [5, 3, 0], [8, 1, 0]])
LABEL = torch.tensor([1.0, 0.0, 1.0, 0.0])


def logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


def siamese_output() -> tuple[SiameseNetwork, torch.Tensor]:
    torch.manual_seed(0)
    siamese = SiameseNetwork(gain_network(FIELDS, SPEC, 5), vanilla_network(FIELDS, SPEC))
    return siamese, torch.randn(4, 5)


def test_click_loss_by_hand() -> None:
    logits = torch.tensor([logit(0.8), logit(0.4)])
    expected = -(math.log(0.8) + math.log(0.6)) / 2
    assert float(click_loss(logits, torch.tensor([1.0, 0.0]))) == pytest.approx(expected, rel=1e-6)


def test_clid_by_hand() -> None:
    student = torch.tensor([logit(0.2), logit(0.6)], dtype=torch.float64)
    teacher = torch.tensor([logit(0.3), logit(0.1)], dtype=torch.float64)
    # p = (0.25, 0.75), q = (0.75, 0.25)
    expected = -(0.75 * math.log(0.25) + 0.25 * math.log(0.75))
    assert float(clid(student, teacher, "sum")) == pytest.approx(expected, rel=1e-12)
    assert float(clid(student, teacher, "mean")) == pytest.approx(expected / 2, rel=1e-12)


def test_clid_is_least_at_proportional_probabilities() -> None:
    teacher = torch.tensor([logit(p) for p in (0.2, 0.4, 0.8)], dtype=torch.float64)
    half = torch.tensor([logit(p) for p in (0.1, 0.2, 0.4)], dtype=torch.float64, requires_grad=True)
    clid(half, teacher).backward()
    assert half.grad is not None
    assert half.grad.abs().max() < 1e-12


def test_clid_stays_finite_at_extreme_logits() -> None:
    student = torch.tensor([-200.0, 0.0, 200.0], requires_grad=True)
    loss = clid(student, torch.tensor([200.0, -200.0, -200.0]))
    loss.backward()
    assert torch.isfinite(loss)
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()


def test_representation_loss_by_hand() -> None:
    student, teacher = torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    assert float(representation_loss(student, teacher)) == pytest.approx((1 + 4 + 9 + 16) / 2)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_gradients_are_those_of_finite_differences(reduction: str) -> None:
    torch.manual_seed(1)
    student = torch.randn(6, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(6, dtype=torch.float64)
    label = torch.tensor([1, 0, 0, 1, 1, 0], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda s: clid(s, teacher, reduction), (student,))  # type: ignore[arg-type]
    assert torch.autograd.gradcheck(lambda s: click_loss(s, label), (student,))
    wide = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: representation_loss(s, torch.ones_like(s)), (wide,))


def test_eq_5_adds_its_terms_with_their_weights() -> None:
    siamese, llm = siamese_output()
    loss = joint_loss(siamese(SLOTS, llm), LABEL, clid_reduction="sum", score_weight=0.5, alpha=0.25)
    expected = loss.gain + loss.vanilla + 0.5 * loss.score + 0.25 * loss.representation
    torch.testing.assert_close(loss.total, expected)


def test_distillation_leaves_the_gain_network_without_gradient() -> None:
    siamese, llm = siamese_output()
    loss = joint_loss(siamese(SLOTS, llm), LABEL, clid_reduction="sum", score_weight=1.0, alpha=1.0)
    (loss.score + loss.representation).backward()
    assert all(parameter.grad is None for parameter in siamese.gain.parameters())
    reached = [
        name for name, parameter in siamese.vanilla.named_parameters() if parameter.grad is not None and parameter.grad.any()
    ]
    assert {"module.embedding.table.weight", "prediction.weight"} <= set(reached)


def test_the_teachers_gradient_is_that_of_its_own_loss() -> None:
    siamese, llm = siamese_output()
    loss = joint_loss(siamese(SLOTS, llm), LABEL, clid_reduction="sum", score_weight=1.0, alpha=1.0)
    loss.total.backward()
    joint = [parameter.grad for parameter in siamese.gain.parameters()]
    alone = torch.autograd.grad(click_loss(siamese.gain(SLOTS, llm)[0], LABEL), list(siamese.gain.parameters()))
    for one, other in zip(joint, alone, strict=True):
        torch.testing.assert_close(one, other)
