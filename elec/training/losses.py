"""The four terms of ELEC's joint loss (Dong, Ouyang, Liu, SIGIR 2025, arXiv 2509.07594).

Eq. 5: L = L_gain + L_van + L_score + alpha * L_rep. The teacher's side of L_score and L_rep is detached, so that both reach
the vanilla network only.
"""

from typing import Literal, NamedTuple

import torch
from torch.nn import functional

from elec.models.siamese import SiameseOutput


class JointLoss(NamedTuple):
    """Eq. 5 and its terms, each a scalar; `gain`, `vanilla`, `score` and `representation` are unweighted."""

    total: torch.Tensor
    gain: torch.Tensor
    vanilla: torch.Tensor
    score: torch.Tensor
    representation: torch.Tensor


class TeachingLoss(NamedTuple):
    """The two terms of Eq. 5 that come from the teacher: their weighted sum, and each unweighted."""

    total: torch.Tensor
    score: torch.Tensor
    representation: torch.Tensor


def click_loss(logit_B: torch.Tensor, label_B: torch.Tensor) -> torch.Tensor:
    """L_gain and L_van, the first two terms of Eq. 5: binary cross-entropy, the mean over the batch.

    Args:
        logit_B: Before the sigmoid.
        label_B: 0.0 or 1.0.
    """
    return functional.binary_cross_entropy_with_logits(logit_B, label_B)


def clid(
    student_logit_B: torch.Tensor, teacher_logit_B: torch.Tensor, reduction: Literal["sum", "mean"] = "sum"
) -> torch.Tensor:
    """L_score (Eq. 1): calibration-compatible listwise distillation, the batch being the list.

    With q_i = sigma(t_i) / sum_j sigma(t_j) of the teacher and p_i likewise of the student, the loss is -sum_i q_i log p_i.
    It fixes the student's probabilities up to a common factor only, which leaves calibration to L_van.

    ELEC's Eq. 1 divides this by N once more, although q sums to 1 already; then its gradient is about N times smaller than
    the click loss's. CLID's own paper (Gui et al., WWW 2024) does not divide: `sum` is the default.

    Args:
        student_logit_B: Gets the gradient.
        teacher_logit_B: Detached here.
        reduction: `sum` as in CLID's paper, `mean` as ELEC's Eq. 1 is printed.
    """
    # In logarithms throughout: log sigma(z) - logsumexp(log sigma(z)) stays finite where sigma(z) underflows.
    log_q_B = functional.log_softmax(functional.logsigmoid(teacher_logit_B.detach()), dim=0)
    log_p_B = functional.log_softmax(functional.logsigmoid(student_logit_B), dim=0)
    loss = -(log_q_B.exp() * log_p_B).sum()
    return loss / len(student_logit_B) if reduction == "mean" else loss


def representation_loss(student_BD: torch.Tensor, teacher_BD: torch.Tensor) -> torch.Tensor:
    """L_rep, the last term of Eq. 5: the squared L2 distance of the high-level representations, the mean over the batch.

    Args:
        student_BD: Gets the gradient.
        teacher_BD: Detached here.
    """
    return (student_BD - teacher_BD.detach()).square().sum(dim=1).mean()


def joint_loss(
    output: SiameseOutput, label_B: torch.Tensor, *, clid_reduction: Literal["sum", "mean"], score_weight: float, alpha: float
) -> JointLoss:
    """The joint loss (Eq. 5).

    Args:
        output: Of the siamese network.
        label_B: 0.0 or 1.0.
        clid_reduction: See `clid`.
        score_weight: Weight of L_score; the paper's is 1.
        alpha: Weight of L_rep.
    """
    gain = click_loss(output.gain_logit_B, label_B)
    vanilla = click_loss(output.vanilla_logit_B, label_B)
    taught = teaching_loss(output, clid_reduction=clid_reduction, score_weight=score_weight, alpha=alpha)
    return JointLoss(gain + vanilla + taught.total, gain, vanilla, taught.score, taught.representation)


def teaching_loss(
    output: SiameseOutput, *, clid_reduction: Literal["sum", "mean"], score_weight: float, alpha: float
) -> TeachingLoss:
    """What the vanilla network learns from the gain network: L_score + alpha * L_rep. It needs no labels.

    Args:
        output: Of both networks on the same rows, which are the list of L_score.
        clid_reduction: See `clid`.
        score_weight: Weight of L_score; the paper's is 1.
        alpha: Weight of L_rep.
    """
    score = clid(output.vanilla_logit_B, output.gain_logit_B, clid_reduction)
    representation = representation_loss(output.vanilla_representation_BD, output.gain_representation_BD)
    return TeachingLoss(score_weight * score + alpha * representation, score, representation)
