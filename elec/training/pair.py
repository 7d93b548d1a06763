"""Trains the pseudo-siamese pair: the gain network teaches the vanilla network (Eq. 5), at once or one after the other.

A teacher that has no M-LLM to read (`llm_size` 0) knows only the labels: it is the control that shows what the distillation
itself gives.
"""

from collections.abc import Mapping

import torch

from elec.models import GainNetwork, SiameseNetwork, SiameseOutput, VanillaNetwork, gain_network, vanilla_network
from elec.progress import Progress
from elec.spec.run import RunSpec
from elec.training.aid import ALONE, Aid
from elec.training.calibration import calibrate
from elec.training.data import Batch
from elec.training.inputs import StudentInputs
from elec.training.learner import Learner
from elec.training.loop import Step, seeded, train
from elec.training.losses import click_loss, joint_loss, teaching_loss
from elec.training.parallel import gathered
from elec.training.plain import optimiser_for
from elec.training.sampled import as_trained, correct
from elec.training.unlabelled import UnlabelledPairs

_Terms = dict[str, dict[str, torch.Tensor]]


def train_pair(
    inputs: StudentInputs,
    run: RunSpec,
    device: torch.device,
    progress: Progress,
    *,
    pairs: UnlabelledPairs | None = None,
    aid: Aid = ALONE,
) -> dict[str, Learner]:
    """Trains the gain and the vanilla network.

    Args:
        inputs: Fields and rows, with the M-LLM's representations.
        run: `model`, `training`, `distill` and `seed` count here.
        device: Where the rows are.
        progress: Advanced by rows; `two_stage` goes over them twice as often.
        pairs: Unlabelled pairs to learn from too.
        aid: Snapshots to go on from, processes to train with, a champion to start from.

    Returns:
        `vanilla` and `gain`, each at its own best epoch.

    Raises:
        RunFailedError: If the training diverges.
    """
    with seeded(run.seed):
        # The vanilla network is made first, so that the same seed gives the plain network the same first weights.
        vanilla = vanilla_network(inputs.fields, run.model, inputs.vector_size)
        gain = gain_network(inputs.fields, run.model, inputs.llm_size, inputs.vector_size)
        siamese = SiameseNetwork(gain, vanilla).to(device)
        aid.begin("vanilla", vanilla)
        aid.begin("gain", gain)
        learners = {
            "vanilla": Learner(vanilla, lambda batch: vanilla(batch.slots_BS, batch.vectors_B2V)[0]),
            "gain": Learner(gain, lambda batch: gain(batch.slots_BS, llm_of(batch), batch.vectors_B2V)[0]),
        }
        for learner in learners.values():
            learner.correction = inputs.correction
        if run.distill.mode == "joint":
            _train(learners, _joint_step(siamese, run, pairs), siamese, "vanilla", inputs, run, progress, aid)
        else:
            _train({"gain": learners["gain"]}, _gain_step(gain), gain, "gain", inputs, run, progress, aid)
            gain.eval().requires_grad_(False)
            student = {"vanilla": learners["vanilla"]}
            with as_trained(learners["gain"], inputs.correction):
                _train(student, _taught_step(gain, vanilla, run, pairs), vanilla, "vanilla", inputs, run, progress, aid)
    return learners


def llm_of(batch: Batch) -> torch.Tensor:
    """The M-LLM's representations of a batch; of width 0 where the teacher knows only the labels."""
    return batch.llm_BL if batch.llm_BL is not None else batch.label_B.new_zeros((len(batch.label_B), 0))


def _train(
    learners: Mapping[str, Learner],
    step: Step,
    network: torch.nn.Module,
    watched: str,
    inputs: StudentInputs,
    run: RunSpec,
    progress: Progress,
    aid: Aid,
) -> None:
    train(
        learners,
        step,
        optimiser_for(network, inputs.rows["train"], run),
        train_rows=inputs.rows["train"],
        valid_rows=inputs.rows["valid"],
        settings=run.distill,
        seed=run.seed,
        watched=watched,
        progress=progress,
        snapshots=aid.snapshots_of("-".join(learners)),
        parallel=aid.group,
    )
    for learner in learners.values():
        correct(learner)
    if run.distill.calibrate:
        for learner in learners.values():
            calibrate(learner, inputs.rows["valid"])


def _joint_step(siamese: SiameseNetwork, run: RunSpec, pairs: UnlabelledPairs | None) -> Step:
    """L_gain + L_van + L_score + alpha * L_rep, and on unlabelled pairs the last two."""
    settings = run.distill

    def step(batch: Batch) -> tuple[torch.Tensor, _Terms]:
        (label_B,) = gathered(batch.label_B)
        loss = joint_loss(
            SiameseOutput(*gathered(*siamese(batch.slots_BS, llm_of(batch), batch.vectors_B2V))),
            label_B,
            clid_reduction=settings.clid,
            score_weight=settings.score_weight,
            alpha=settings.alpha,
        )
        taught = {"loss": loss.vanilla, "score_loss": loss.score, "representation_loss": loss.representation}
        total = loss.total
        if pairs is not None:
            found = pairs.loss(siamese.vanilla, siamese.gain, batch)
            total, taught["unlabelled_loss"] = total + settings.unlabelled.weight * found, found
        return total, {"vanilla": taught, "gain": {"loss": loss.gain}}

    return step


def _gain_step(gain: GainNetwork) -> Step:
    def step(batch: Batch) -> tuple[torch.Tensor, _Terms]:
        loss = click_loss(*gathered(gain(batch.slots_BS, llm_of(batch), batch.vectors_B2V)[0], batch.label_B))
        return loss, {"gain": {"loss": loss}}

    return step


def _taught_step(gain: GainNetwork, vanilla: VanillaNetwork, run: RunSpec, pairs: UnlabelledPairs | None) -> Step:
    """L_van + L_score + alpha * L_rep from a teacher that is no longer trained, and on unlabelled pairs the last two."""
    settings = run.distill

    def step(batch: Batch) -> tuple[torch.Tensor, _Terms]:
        student = vanilla(batch.slots_BS, batch.vectors_B2V)
        with torch.no_grad():
            teacher = gain(batch.slots_BS, llm_of(batch), batch.vectors_B2V)
        (label_B,) = gathered(batch.label_B)
        output = SiameseOutput(*gathered(*teacher, *student))
        click = click_loss(output.vanilla_logit_B, label_B)
        loss = teaching_loss(
            output,
            clid_reduction=settings.clid,
            score_weight=settings.score_weight,
            alpha=settings.alpha,
        )
        taught = {"loss": click, "score_loss": loss.score, "representation_loss": loss.representation}
        total = click + loss.total
        if pairs is not None:
            found = pairs.loss(vanilla, gain, batch)
            total, taught["unlabelled_loss"] = total + settings.unlabelled.weight * found, found
        return total, {"vanilla": taught}

    return step
