"""The last touch of a training: predicted clicks are as many as observed ones on the validation rows."""

import numpy as np
import numpy.typing as npt
import torch

from elec.models import GainNetwork, VanillaNetwork
from elec.training.data import RowSource
from elec.training.learner import Learner, predict

_STEPS = 50
_PRECISION = 1e-12


def calibrate(learner: Learner, rows: RowSource) -> float:
    """Moves the bias of a network's prediction layer so that its probabilities add up to the clicks.

    The order of the predictions stays as it is. A network that learns from a teacher, or that is stopped early, need not
    predict the right number of clicks, although it was trained on the labels too.

    Args:
        learner: At its best epoch, with a network that has a prediction layer; changed.
        rows: The validation rows.

    Returns:
        By how much the logits were moved.
    """
    network = learner.network
    assert isinstance(network, GainNetwork | VanillaNetwork)
    # The epoch that was kept has scored these rows already, with these weights.
    probability = learner.best_valid if learner.best_valid is not None else predict(network, learner.score, rows)
    learner.best_valid = None
    moved = shift(probability, float(rows.label_N.double().mean()))
    with torch.no_grad():
        network.prediction.bias.add_(moved)
    return moved


def shift(probability_N: npt.NDArray[np.float64], rate: float) -> float:
    """What to add to all logits so that the mean probability is a given one.

    Args:
        probability_N: Between 0 and 1.
        rate: Strictly between 0 and 1.
    """
    inside_N = probability_N.clip(1e-15, 1 - 1e-15)
    logit_N = np.log(inside_N) - np.log1p(-inside_N)
    # The mean is increasing in what is added, so an interval that holds the answer can be halved.
    low, high = (float(np.log(rate / (1 - rate)) - end) for end in (logit_N.max(), logit_N.min()))
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if float((1 / (1 + np.exp(-(logit_N + middle)))).mean()) < rate:
            low = middle
        else:
            high = middle
        if high - low < _PRECISION:
            break
    return (low + high) / 2
