"""The training loop: epochs over shuffled batches, early stopping on the validation rows, best weights restored."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import nn

from elec.errors import RunFailedError
from elec.progress import Progress
from elec.spec.learning import DistillSpec
from elec.training.data import WHOLE, Batch, RowSource, Shard
from elec.training.faster import applied
from elec.training.learner import Learner
from elec.training.memory import keep_freed_memory
from elec.training.optimiser import Optimiser
from elec.training.probe import PROBE_STEPS, Choice, choose
from elec.training.state import Parallel, Snapshot, Snapshots

#: Computes (the loss to minimise, the terms to report a network) of a batch.
Step = Callable[[Batch], tuple[torch.Tensor, Mapping[str, Mapping[str, torch.Tensor]]]]


@dataclass
class Training:
    """Where a training stands between two steps.

    Attributes:
        learners: By name.
        optimiser: Over all parameters that the loss reaches.
        epoch: In training, from 1.
        step: Steps done in this epoch.
        sums: Of the loss's terms over the rows of this epoch, a learner; float64, on the device.
    """

    learners: Mapping[str, Learner]
    optimiser: Optimiser
    epoch: int = 1
    step: int = 0
    sums: dict[str, dict[str, torch.Tensor]] = field(default_factory=dict)

    def add(self, terms: Mapping[str, Mapping[str, torch.Tensor]], rows: int) -> None:
        """Adds a step's terms; they stay on the device and are read once an epoch, so no step waits for the one before."""
        for name, values in terms.items():
            sums = self.sums.setdefault(name, {})
            for term, value in values.items():
                if term not in sums:
                    sums[term] = torch.zeros((), dtype=torch.float64, device=value.device)
                sums[term].add_(value.detach(), alpha=rows)
        self.step += 1

    def finish_epoch(self, rows: int, valid: RowSource, parallel: Parallel | None = None) -> None:
        """Puts a point on each learner's curve and goes on to the next epoch.

        Raises:
            RunFailedError: If a loss is no longer a number.
        """
        for name, learner in self.learners.items():
            means = {term: float(total) / rows for term, total in self.sums.get(name, {}).items()}
            if not np.isfinite(list(means.values())).all():
                raise RunFailedError(
                    f"training diverged: the loss of the {name} network is not a number in epoch {self.epoch}; "
                    f"lower run.distill.learning_rate (now {self.optimiser.learning_rate:g})"
                )
            learner.record(self.epoch, means, valid, parallel)
        self.epoch, self.step, self.sums = self.epoch + 1, 0, {}

    def snapshot(self, job: Mapping[str, Any], choice: Choice) -> Snapshot:
        """All that the next step depends on; the tensors are the live ones.

        Args:
            job: What has to be the same to go on.
            choice: How the dense half is computed.
        """
        tensors = {f"optimiser.{name}": tensor for name, tensor in self.optimiser.state_dict().items()}
        learners = {}
        for name, learner in self.learners.items():
            tensors |= {f"network.{name}.{key}": value.detach() for key, value in learner.network.state_dict().items()}
            tensors |= {f"best.{name}.{key}": value for key, value in learner.best.items()}
            tensors |= {f"sums.{name}.{term}": value for term, value in self.sums.get(name, {}).items()}
            # Infinity is no JSON: before the first epoch there is no best one.
            best = learner.best_logloss if learner.best_epoch else None
            learners[name] = {"curve": learner.curve, "best_epoch": learner.best_epoch, "best_logloss": best}
        values = {"job": dict(job), "choice": choice.model_dump(mode="json"), "learners": learners}
        return Snapshot(tensors, {**values, "epoch": self.epoch, "step": self.step})

    def load(self, snapshot: Snapshot) -> None:
        """Goes on from a snapshot of the same job."""
        self.epoch, self.step = snapshot.values["epoch"], snapshot.values["step"]
        self.optimiser.load_state_dict(snapshot.part("optimiser"))
        for name, learner in self.learners.items():
            learner.network.load_state_dict(snapshot.part(f"network.{name}"))
            learner.best, learner.best_valid = snapshot.part(f"best.{name}"), None
            device = next(learner.network.parameters()).device
            self.sums[name] = {term: value.to(device) for term, value in snapshot.part(f"sums.{name}").items()}
            kept = snapshot.values["learners"][name]
            learner.curve, learner.best_epoch = kept["curve"], kept["best_epoch"]
            learner.best_logloss = kept["best_logloss"] if learner.best_epoch else float("inf")


def train(
    learners: Mapping[str, Learner],
    step: Step,
    optimiser: Optimiser,
    *,
    train_rows: RowSource,
    valid_rows: RowSource,
    settings: DistillSpec,
    seed: int,
    watched: str,
    progress: Progress,
    snapshots: Snapshots | None = None,
    parallel: Parallel | None = None,
) -> None:
    """Trains one or more networks on the same batches; each ends with the weights of its own best epoch.

    Args:
        learners: By name; their curves and weights are changed.
        step: The loss of a batch; with `parallel`, of the whole batch from this process's part of it.
        optimiser: Over all parameters that the loss reaches; released at the end.
        train_rows: Giving batches on the training device.
        valid_rows: Giving batches on the training device.
        settings: Epochs, batch size, patience.
        seed: Decides the order of the rows and the dropout; call this inside `seeded`.
        watched: The learner whose validation LogLoss stops the training.
        progress: Advanced by rows.
        snapshots: Keeps the state of the training, and gives back that of a killed one.
        parallel: The processes that train together.

    Raises:
        RunFailedError: If the loss is no longer a number.
    """
    keep_freed_memory()
    job = _Job(step, train_rows, settings, seed, progress, snapshots, parallel, watched, len(valid_rows))
    training = Training(learners, optimiser)
    networks = nn.ModuleDict({name: learner.network for name, learner in learners.items()})
    try:
        choice = _begun(training, job) or _chosen(training, job)
        with applied(networks, choice.option):
            while training.epoch <= settings.epochs and not _stopped(training, learners[watched], settings):
                _epoch(training, job, choice)
                training.finish_epoch(len(train_rows), valid_rows, parallel)
                note = f"epoch {training.epoch - 1}, valid LogLoss {learners[watched].curve[-1]['valid_logloss']:.4f}"
                progress.advance(0, note=note)
                if snapshots is not None:
                    snapshots.save(training.snapshot(job.identity, choice))
    finally:
        optimiser.release()
    for learner in learners.values():
        learner.restore()
        learner.choice = choice


@dataclass(frozen=True)
class _Job:
    """What a training is given, and does not change."""

    step: Step
    rows: RowSource
    settings: DistillSpec
    seed: int
    progress: Progress
    snapshots: Snapshots | None
    parallel: Parallel | None
    watched: str
    valid_rows: int

    @property
    def identity(self) -> dict[str, Any]:
        """What has to be the same for a snapshot to be of this job."""
        settings = self.settings.model_dump(mode="json")
        return {"seed": self.seed, "settings": settings, "rows": [len(self.rows), self.valid_rows], "watched": self.watched}

    @property
    def shard(self) -> Shard:
        """The part of each batch that this process trains on."""
        return Shard(self.parallel.rank, self.parallel.world) if self.parallel is not None else WHOLE


def _begun(training: Training, job: _Job) -> Choice | None:
    """Goes on with a training that was killed, in the way that it had chosen; nothing if there is none."""
    found = job.snapshots.load() if job.snapshots is not None else None
    # A snapshot of another job (other settings, other data) is no start for this one.
    if found is None or found.values["job"] != job.identity:
        return None
    training.load(found)
    job.progress.advance((training.epoch - 1) * len(job.rows) + training.step * job.settings.batch_size)
    return Choice.model_validate(found.values["choice"])


def _chosen(training: Training, job: _Job) -> Choice:
    """How the dense half will be computed."""
    for learner in training.learners.values():
        learner.network.train()
    return choose(
        {name: learner.network for name, learner in training.learners.items()},
        lambda batch: job.step(batch)[0],
        training.optimiser,
        lambda: list(islice(job.rows.shuffled(job.settings.batch_size, job.seed, 1, shard=job.shard), PROBE_STEPS)),
        job.settings.epochs * len(job.rows),
        parallel=job.parallel,
    )


def _stopped(training: Training, watched: Learner, settings: DistillSpec) -> bool:
    """Whether the last epochs brought nothing better."""
    return training.epoch - 1 - watched.best_epoch >= settings.patience


def _epoch(training: Training, job: _Job, choice: Choice) -> None:
    """The rest of the epoch that the training is in."""
    for learner in training.learners.values():
        learner.network.train()
    size, optimiser = job.settings.batch_size, training.optimiser
    seconds = optimiser.training.checkpoint_seconds
    saved = time.monotonic()
    for batch in job.rows.shuffled(size, job.seed, training.epoch, start=training.step, shard=job.shard):
        # Each step draws its dropout anew from the seed, so that networks in different trainings drop the same units, and a
        # resumed training goes on with those that the killed one would have dropped. Processes drop different ones.
        torch.manual_seed(job.seed * 1_000_003 + optimiser.steps_done + (job.shard.rank << 52))
        loss, terms = job.step(batch)
        optimiser.step(loss, job.parallel)
        done = min(size, len(job.rows) - training.step * size)
        training.add(terms, done)
        job.progress.advance(done)
        if job.snapshots is not None and seconds > 0 and time.monotonic() - saved >= seconds:
            job.snapshots.save(training.snapshot(job.identity, choice))
            saved = time.monotonic()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's random numbers follow the seed inside the block and are as before after it.

    Args:
        seed: For fresh parameters and dropout.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
