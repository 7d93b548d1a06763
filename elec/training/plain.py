"""Trains a student without a teacher: the baseline that every teacher is measured against."""

import torch

from elec.models import vanilla_network
from elec.progress import Progress
from elec.spec.run import RunSpec
from elec.training.aid import ALONE, Aid
from elec.training.calibration import calibrate
from elec.training.data import Batch, RowSource
from elec.training.inputs import StudentInputs
from elec.training.learner import Learner
from elec.training.loop import seeded, train
from elec.training.losses import click_loss
from elec.training.optimiser import Optimiser
from elec.training.parallel import gathered
from elec.training.sampled import correct


def train_plain(inputs: StudentInputs, run: RunSpec, device: torch.device, progress: Progress, *, aid: Aid = ALONE) -> Learner:
    """Trains the vanilla network's own structure on the labels alone.

    It has the seed, the first weights, the batches, the dropout, the settings and the early stopping of the vanilla network.
    What the two differ by is what the teacher gave.

    Args:
        inputs: Fields and rows.
        run: `model`, `training`, `distill` and `seed` count here.
        device: Where the rows are.
        progress: Advanced by rows.
        aid: Snapshots to go on from, processes to train with, a champion to start from.

    Returns:
        The network at its best epoch.

    Raises:
        RunFailedError: If the training diverges.
    """
    with seeded(run.seed):
        network = vanilla_network(inputs.fields, run.model, inputs.vector_size).to(device)
        aid.begin("plain", network)
        learner = Learner(network, lambda batch: network(batch.slots_BS, batch.vectors_B2V)[0], correction=inputs.correction)

        def step(batch: Batch) -> tuple[torch.Tensor, dict[str, dict[str, torch.Tensor]]]:
            loss = click_loss(*gathered(network(batch.slots_BS, batch.vectors_B2V)[0], batch.label_B))
            return loss, {"plain": {"loss": loss}}

        train(
            {"plain": learner},
            step,
            optimiser_for(network, inputs.rows["train"], run),
            train_rows=inputs.rows["train"],
            valid_rows=inputs.rows["valid"],
            settings=run.distill,
            seed=run.seed,
            watched="plain",
            progress=progress,
            snapshots=aid.snapshots_of("plain"),
            parallel=aid.group,
        )
        correct(learner)
        if run.distill.calibrate:
            calibrate(learner, inputs.rows["valid"])
    return learner


def optimiser_for(network: torch.nn.Module, rows: RowSource, run: RunSpec) -> Optimiser:
    """The optimiser of a whole training.

    Args:
        network: On its device.
        rows: The train rows; they and the batch size say how many steps there will be.
        run: Learning rate, L2, epochs and batch size.
    """
    settings = run.distill
    return Optimiser(
        network,
        learning_rate=settings.learning_rate,
        embedding_l2=settings.embedding_l2,
        steps=settings.epochs * -(-len(rows) // settings.batch_size),
        training=run.training,
    )
