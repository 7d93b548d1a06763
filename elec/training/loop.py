"""The training loop: epochs over shuffled batches, early stopping on the validation rows, best weights restored."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from elec.errors import RunFailedError
from elec.evaluation.metrics import auc, logloss
from elec.progress import Progress
from elec.spec.run import DistillSpec
from elec.training.data import Batch, Rows, batches_in_order, shuffled_batches
from elec.training.optimiser import Optimiser

_ROWS_SCORED_AT_ONCE = 8192

#: One epoch of one network: `epoch`, `loss`, `valid_logloss`, `valid_auc`, and the loss's further terms.
Point = dict[str, float]
#: Computes (the loss to minimise, the terms to report a network) of a batch.
Step = Callable[[Batch], tuple[torch.Tensor, Mapping[str, Mapping[str, torch.Tensor]]]]
#: Computes the logits of a batch.
Score = Callable[[Batch], torch.Tensor]


@dataclass
class Learner:
    """A network in training, and the best state that it had.

    Attributes:
        network: Its parameters.
        score: Its logits.
    """

    network: nn.Module
    score: Score
    curve: list[Point] = field(default_factory=list)
    best_epoch: int = 0
    best_logloss: float = float("inf")
    _best: dict[str, torch.Tensor] = field(default_factory=dict)

    def record(self, epoch: int, terms: Mapping[str, float], valid: Rows) -> None:
        """Evaluates on the validation rows after an epoch, and keeps the weights if they are the best so far."""
        probability = predict(self.network, self.score, valid)
        label = valid.label_N.cpu().numpy()
        found = logloss(label, probability)
        self.curve.append({"epoch": epoch, **terms, "valid_logloss": found, "valid_auc": auc(label, probability)})
        if found < self.best_logloss:
            self.best_logloss, self.best_epoch = found, epoch
            self._best = {name: value.detach().clone() for name, value in self.network.state_dict().items()}

    def restore(self) -> None:
        """Goes back to the best weights."""
        self.network.load_state_dict(self._best)


def train(
    learners: Mapping[str, Learner],
    step: Step,
    optimiser: Optimiser,
    *,
    train_rows: Rows,
    valid_rows: Rows,
    settings: DistillSpec,
    seed: int,
    watched: str,
    progress: Progress,
) -> None:
    """Trains one or more networks on the same batches; each ends with the weights of its own best epoch.

    Args:
        learners: By name; their curves and weights are changed.
        step: The loss of a batch.
        optimiser: Over all parameters that the loss reaches.
        train_rows: On the training device.
        valid_rows: On the training device.
        settings: Epochs, batch size, patience.
        seed: Decides the order of the rows and the dropout; call this inside `seeded`.
        watched: The learner whose validation LogLoss stops the training.
        progress: Advanced by rows.

    Raises:
        RunFailedError: If the loss is no longer a number.
    """
    steps = 0
    for epoch in range(1, settings.epochs + 1):
        sums: dict[str, dict[str, torch.Tensor]] = {name: {} for name in learners}
        for learner in learners.values():
            learner.network.train()
        for batch in shuffled_batches(train_rows, settings.batch_size, seed, epoch):
            # Each step draws its dropout anew from the seed, so that networks in different trainings drop the same units.
            torch.manual_seed(seed * 1_000_003 + steps)
            steps += 1
            loss, terms = step(batch)
            optimiser.step(loss, batch.slots_BS)
            rows = len(batch.label_B)
            # Sums stay on the device; they are read once an epoch, so no step waits for the one before.
            for name, values in terms.items():
                for term, value in values.items():
                    sums[name][term] = sums[name].get(term, torch.zeros_like(value)) + value.detach() * rows
            progress.advance(rows)
        for name, learner in learners.items():
            means = {term: float(total) / len(train_rows) for term, total in sums[name].items()}
            if not np.isfinite(list(means.values())).all():
                raise RunFailedError(
                    f"training diverged: the loss of the {name} network is not a number in epoch {epoch}; "
                    f"lower run.distill.learning_rate (now {settings.learning_rate:g})"
                )
            learner.record(epoch, means, valid_rows)
        stopped = learners[watched]
        progress.advance(0, note=f"epoch {epoch}, valid LogLoss {stopped.curve[-1]['valid_logloss']:.4f}")
        if epoch - stopped.best_epoch >= settings.patience:
            break
    for learner in learners.values():
        learner.restore()


def predict(network: nn.Module, score: Score, rows: Rows) -> npt.NDArray[np.float64]:
    """Probabilities of all rows, in their order.

    Args:
        network: Put into evaluation mode.
        score: Its logits.
        rows: On the network's device.
    """
    network.eval()
    with torch.inference_mode():
        logits = [score(batch) for batch in batches_in_order(rows, _ROWS_SCORED_AT_ONCE)]
        return np.asarray(torch.cat(logits).double().sigmoid().cpu().numpy())


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's random numbers follow the seed inside the block and are as before after it.

    Args:
        seed: For fresh parameters and dropout.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
