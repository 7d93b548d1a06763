"""A network in training: how it is scored, its learning curve, and the best weights that it had."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from elec.evaluation.metrics import auc, logloss
from elec.training.data import Batch, RowSource
from elec.training.probe import Choice
from elec.training.state import Parallel

_ROWS_SCORED_AT_ONCE = 8192

#: One epoch of one network: `epoch`, `loss`, `valid_logloss`, `valid_auc`, and the loss's further terms.
Point = dict[str, float]
#: Computes the logits of a batch.
Score = Callable[[Batch], torch.Tensor]


@dataclass
class Learner:
    """A network in training, and the best state that it had.

    Attributes:
        network: Its parameters.
        score: Its logits.
        curve: A point an epoch.
        best_epoch: The one whose weights are kept.
        best_logloss: On the validation rows, at the best epoch.
        best: The weights of the best epoch.
        best_valid: Its probabilities of the validation rows, float64; None where a resumed training did not see that epoch.
        choice: How its dense half was computed, once it is trained.
        correction: What has to be added to its logits for probabilities of the full log, where train has a sample of the rows
            without a click only.
    """

    network: nn.Module
    score: Score
    curve: list[Point] = field(default_factory=list)
    best_epoch: int = 0
    best_logloss: float = float("inf")
    best: dict[str, torch.Tensor] = field(default_factory=dict)
    best_valid: npt.NDArray[np.float64] | None = None
    choice: Choice | None = None
    correction: float = 0.0

    def record(self, epoch: int, terms: Mapping[str, float], valid: RowSource, parallel: Parallel | None = None) -> None:
        """Evaluates on the validation rows after an epoch, and keeps the weights if they are the best so far."""
        probability = corrected(predict(self.network, self.score, valid), self.correction)
        label = valid.label_N.cpu().numpy()
        found, area = logloss(label, probability), auc(label, probability)
        if parallel is not None:
            # GPUs add up in any order: processes whose last digits differ still have to stop in the same epoch.
            found, area = parallel.first([found, area])
        self.curve.append({"epoch": epoch, **terms, "valid_logloss": found, "valid_auc": area})
        if found < self.best_logloss:
            self.best_logloss, self.best_epoch, self.best_valid = found, epoch, probability
            self.best = {name: value.detach().clone() for name, value in self.network.state_dict().items()}

    def restore(self) -> None:
        """Goes back to the best weights."""
        self.network.load_state_dict(self.best)


def corrected(probability_N: npt.NDArray[np.float64], correction: float) -> npt.NDArray[np.float64]:
    """The probabilities of logits that a correction is added to."""
    if correction == 0.0:
        return probability_N
    factor = np.exp(correction)
    moved_N: npt.NDArray[np.float64] = factor * probability_N / (factor * probability_N + (1.0 - probability_N))
    return moved_N


def predict(network: nn.Module, score: Score, rows: RowSource) -> npt.NDArray[np.float64]:
    """Probabilities of all rows, in their order.

    Args:
        network: Put into evaluation mode.
        score: Its logits.
        rows: Giving batches on the network's device.
    """
    network.eval()
    with torch.inference_mode():
        logits = [score(batch) for batch in rows.in_order(_ROWS_SCORED_AT_ONCE)]
        return np.asarray(torch.cat(logits).double().sigmoid().cpu().numpy())
