"""Trains the siamese pair with the joint loss, and beside it the same vanilla network without a teacher.

The plain network is the honest rival: same seed, same first weights, same batches, same dropout, same settings, same early
stopping as the vanilla network. What the two differ by is what the teacher gave.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from pydantic import BaseModel, ConfigDict

from elec.device import choose_device
from elec.features import FeatureEncoder
from elec.models import Field, SiameseNetwork, gain_network, vanilla_network
from elec.progress import Progress
from elec.spec import Spec
from elec.spec.run import DistillSpec, ModelSpec
from elec.storage import whole_folder
from elec.training.checkpoint import ModelRecord, field_records, save_weights
from elec.training.data import Batch, Rows, load_rows
from elec.training.loop import Learner, Point, predict, seeded, train
from elec.training.losses import click_loss, joint_loss
from elec.training.optimiser import Optimiser

#: Splits whose predictions are kept.
PREDICTED = ("valid", "test")
#: The networks of a run; the first is the one that serves.
NETWORKS = ("vanilla", "gain", "plain")


class DistillReport(BaseModel):
    """What the training did.

    Attributes:
        rows: A split.
        best_epochs: A network; its weights are of this epoch.
        epochs: A network; how many were trained.
        valid_logloss: A network, at its best epoch.
        valid_auc: A network, at its best epoch.
        samples: Rows that went through a training step, of both trainings.
        seconds: Of training.
        samples_per_second: Of training.
        device: Where it ran.
    """

    model_config = ConfigDict(frozen=True)

    rows: dict[str, int]
    best_epochs: dict[str, int]
    epochs: dict[str, int]
    valid_logloss: dict[str, float]
    valid_auc: dict[str, float]
    samples: int
    seconds: float
    samples_per_second: float
    device: str


def distill(
    spec: Spec,
    features: Path,
    representations: Mapping[str, npt.NDArray[np.float32]],
    folder: Path,
    device: str | None = None,
) -> DistillReport:
    """Trains the gain, the vanilla and the plain network and writes them, their curves and their predictions.

    Args:
        spec: `run.model`, `run.distill` and `run.seed` count here.
        features: Folder of the features: `encoded/` and `vocabulary/`.
        representations: Of each row of `train`, `valid` and `test` by the M-LLM, float32 [N, L], in the order of `row_id`.
        folder: Where the result goes; complete, or not there.
        device: `cpu` or `cuda`; left out, CUDA when there is one.

    Returns:
        Epochs, validation figures and speed.

    Raises:
        InputError: If the features folder is not complete.
        RunFailedError: If the training diverges.
    """
    place = choose_device(device or "auto")
    settings, seed = spec.run.distill, spec.run.seed
    fields = FeatureEncoder.load(features / "vocabulary").fields
    rows = {
        split: load_rows(features / "encoded" / f"{split}.parquet", representations[split]).to(place)
        for split in ("train", *PREDICTED)
    }
    llm_size = int(representations["train"].shape[1])

    started = time.monotonic()
    with Progress("distill", unit="samples", total=2 * settings.epochs * len(rows["train"])) as progress:
        learners = _train_pair(fields, spec.run.model, llm_size, rows, settings, seed, place, progress)
        learners["plain"] = _train_plain(fields, spec.run.model, rows, settings, seed, place, progress)
    seconds = time.monotonic() - started

    best_epochs = {name: learners[name].best_epoch for name in NETWORKS}
    record = ModelRecord(
        model=spec.run.model,
        fields=field_records(fields),
        llm_size=llm_size,
        settings=settings,
        seed=seed,
        best_epochs=best_epochs,
    )
    with whole_folder(folder) as written:
        for name in NETWORKS:
            save_weights(learners[name].network, written / f"{name}.safetensors")
        (written / "model.json").write_text(record.model_dump_json(indent=2), encoding="utf-8")
        curves = {name: learners[name].curve for name in NETWORKS}
        (written / "curves.json").write_bytes(orjson.dumps(curves, option=orjson.OPT_INDENT_2))
        (written / "predictions").mkdir()
        for split in PREDICTED:
            _write_predictions(learners, rows[split], written / "predictions" / f"{split}.parquet")

    at_best: dict[str, Point] = {name: learners[name].curve[best_epochs[name] - 1] for name in NETWORKS}
    return DistillReport(
        rows={split: len(found) for split, found in rows.items()},
        best_epochs=best_epochs,
        epochs={name: len(learners[name].curve) for name in NETWORKS},
        valid_logloss={name: point["valid_logloss"] for name, point in at_best.items()},
        valid_auc={name: point["valid_auc"] for name, point in at_best.items()},
        samples=progress.done,
        seconds=round(seconds, 3),
        samples_per_second=round(progress.done / seconds, 1),
        device=place.type,
    )


def _train_pair(
    fields: Sequence[Field],
    model: ModelSpec,
    llm_size: int,
    rows: Mapping[str, Rows],
    settings: DistillSpec,
    seed: int,
    device: torch.device,
    progress: Progress,
) -> dict[str, Learner]:
    with seeded(seed):
        # The vanilla network is made first, so that the same seed gives the plain network the same first weights.
        vanilla = vanilla_network(fields, model)
        siamese = SiameseNetwork(gain_network(fields, model, llm_size), vanilla).to(device)
        learners = {
            "vanilla": Learner(siamese.vanilla, lambda batch: siamese.vanilla(batch.slots_BS)[0]),
            "gain": Learner(siamese.gain, lambda batch: siamese.gain(batch.slots_BS, batch.llm_BL)[0]),
        }

        def step(batch: Batch) -> tuple[torch.Tensor, dict[str, dict[str, torch.Tensor]]]:
            loss = joint_loss(
                siamese(batch.slots_BS, batch.llm_BL),
                batch.label_B,
                clid_reduction=settings.clid,
                score_weight=settings.score_weight,
                alpha=settings.alpha,
            )
            taught = {"loss": loss.vanilla, "score_loss": loss.score, "representation_loss": loss.representation}
            return loss.total, {"vanilla": taught, "gain": {"loss": loss.gain}}

        train(
            learners,
            step,
            _optimiser(siamese, rows["train"], settings),
            train_rows=rows["train"],
            valid_rows=rows["valid"],
            settings=settings,
            seed=seed,
            watched="vanilla",
            progress=progress,
        )
    return learners


def _train_plain(
    fields: Sequence[Field],
    model: ModelSpec,
    rows: Mapping[str, Rows],
    settings: DistillSpec,
    seed: int,
    device: torch.device,
    progress: Progress,
) -> Learner:
    with seeded(seed):
        network = vanilla_network(fields, model).to(device)
        learner = Learner(network, lambda batch: network(batch.slots_BS)[0])

        def step(batch: Batch) -> tuple[torch.Tensor, dict[str, dict[str, torch.Tensor]]]:
            loss = click_loss(network(batch.slots_BS)[0], batch.label_B)
            return loss, {"plain": {"loss": loss}}

        train(
            {"plain": learner},
            step,
            _optimiser(network, rows["train"], settings),
            train_rows=rows["train"],
            valid_rows=rows["valid"],
            settings=settings,
            seed=seed,
            watched="plain",
            progress=progress,
        )
    return learner


def _optimiser(network: torch.nn.Module, rows: Rows, settings: DistillSpec) -> Optimiser:
    steps_an_epoch = -(-len(rows) // settings.batch_size)
    return Optimiser(
        network,
        learning_rate=settings.learning_rate,
        embedding_l2=settings.embedding_l2,
        steps=settings.epochs * steps_an_epoch,
    )


def _write_predictions(learners: Mapping[str, Learner], rows: Rows, path: Path) -> None:
    columns: dict[str, npt.NDArray[np.generic]] = {
        "row_id": rows.row_id_N,
        "label": rows.label_N.cpu().numpy().astype(np.int8),
        "user_index": rows.user_index_N,
    }
    for name in NETWORKS:
        columns[name] = predict(learners[name].network, learners[name].score, rows)
    pq.write_table(pa.table(columns), path)
