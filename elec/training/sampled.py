"""The correction for a training whose rows without a click were down-sampled: its odds are too high by a known factor."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from elec.models import GainNetwork, VanillaNetwork
from elec.training.learner import Learner


def correct(learner: Learner) -> None:
    """Folds a network's correction into the bias of its prediction layer: its probabilities are those of the full log.

    With a share s of the rows without a click, the odds of a click in the sample are 1/s of the log's, so log(s) is added to
    the logit.

    Args:
        learner: Trained; changed.
    """
    _move(learner, learner.correction)
    learner.correction = 0.0


@contextmanager
def as_trained(learner: Learner, correction: float) -> Iterator[None]:
    """Takes a correction back while the network teaches one that learns from the sample.

    Args:
        learner: Corrected.
        correction: By how much its logits were moved.
    """
    _move(learner, -correction)
    try:
        yield
    finally:
        _move(learner, correction)


def _move(learner: Learner, by: float) -> None:
    network = learner.network
    assert isinstance(network, GainNetwork | VanillaNetwork)
    if by != 0.0:
        with torch.no_grad():
            network.prediction.bias.add_(by)
