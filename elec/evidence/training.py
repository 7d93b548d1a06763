"""Trains the networks of a cell with the product's own training functions."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from elec.evidence.cell import Cell
from elec.evidence.prepared import Sample
from elec.evidence.teacher import Teacher
from elec.features import FeatureEncoder
from elec.llm.rows import read_texts
from elec.progress import Progress
from elec.training.crossed_pairs import CrossedPairs
from elec.training.data import load_rows
from elec.training.inputs import StudentInputs
from elec.training.learner import Learner, predict
from elec.training.pair import train_pair
from elec.training.plain import train_plain
from elec.training.unlabelled import PairTeacher, UnlabelledPairs, read_items


@dataclass(frozen=True)
class Trained:
    """What came out of a training.

    Attributes:
        scores: By split and network, probabilities float64 [N] in the order of `row_id`.
        best_epochs: A network.
        epochs: A network; how many were trained.
        rows: A split.
    """

    scores: dict[str, dict[str, npt.NDArray[np.float64]]]
    best_epochs: dict[str, int]
    epochs: dict[str, int]
    rows: dict[str, int]


def train_cell(sample: Sample, cell: Cell, splits: tuple[str, ...]) -> Trained:
    """Trains a `plain` or a `pair` cell on the CPU and scores splits.

    Args:
        sample: Prepared.
        cell: What to train.
        splits: To score: `valid`, and `test` for a final cell. Others are not read.
    """
    place = torch.device("cpu")
    teacher = None
    if cell.teacher != "none":
        teacher = Teacher(sample, cell.run, cell.teacher)
        teacher.make()
    knowledge = sample.knowledge(cell.run, cell.reads) if cell.student != "vanilla" else None
    inputs = read_cell_inputs(sample, cell, splits, teacher, knowledge)
    learners: Mapping[str, Learner]
    with Progress("train", unit="samples") as progress:
        if cell.training == "plain":
            learners = {"plain": train_plain(inputs, cell.run, place, progress)}
        else:
            pairs = _pairs(sample, cell, inputs, teacher, place) if cell.run.distill.unlabelled.share > 0 else None
            learners = train_pair(inputs, cell.run, place, progress, pairs=pairs)
    return Trained(
        scores={
            split: {name: predict(learner.network, learner.score, inputs.rows[split]) for name, learner in learners.items()}
            for split in splits
        },
        best_epochs={name: learner.best_epoch for name, learner in learners.items()},
        epochs={name: len(learner.curve) for name, learner in learners.items()},
        rows={split: len(rows) for split, rows in inputs.rows.items()},
    )


def read_cell_inputs(
    sample: Sample, cell: Cell, splits: tuple[str, ...], teacher: Teacher | None, knowledge: Path | None
) -> StudentInputs:
    """Reads the train rows and the splits to score, as the cell's student and teacher see them.

    Args:
        sample: Prepared.
        cell: What is trained.
        splits: Beside `train`.
        teacher: Made; None where there is none, or it knows only the labels.
        knowledge: Folder of what the student reads beside the fields.
    """
    encoded = knowledge if cell.student == "semantic_ids" and knowledge is not None else sample.features
    vectors = knowledge / "rows" if cell.student == "vectors" and knowledge is not None else None
    rows = {
        split: load_rows(
            encoded / "encoded" / f"{split}.parquet",
            teacher.rows(split) if teacher is not None else None,
            np.load(vectors / f"{split}.npy", allow_pickle=False) if vectors is not None else None,
        )
        for split in ("train", *splits)
    }
    train = rows["train"]
    return StudentInputs(
        fields=FeatureEncoder.load(encoded / "vocabulary").fields,
        rows=rows,
        llm_size=train.llm_NL.shape[1] if train.llm_NL is not None else 0,
        vector_size=train.vectors_N2V.shape[2] if train.vectors_N2V is not None else 0,
        train_files=(encoded / "encoded" / "train.parquet", vectors / "train.npy" if vectors is not None else None),
    )


def _pairs(sample: Sample, cell: Cell, inputs: StudentInputs, teacher: Teacher | None, device: torch.device) -> UnlabelledPairs:
    items = read_items(sample.features / "frame" / "train.parquet", sample.spec.dataset.item, *inputs.train_files)
    read = None
    if teacher is not None:
        _, _, texts_NR = read_texts(sample.texts(cell.run.text) / "rows" / "train.parquet")
        numbers = texts_NR.astype(np.int64)
        read = PairTeacher(numbers[:, 0], numbers[:, 1], teacher.pairs)
    crossed = CrossedPairs.of_rows(inputs.train_files[0])
    return UnlabelledPairs(inputs.fields, cell.run.distill, items, device, read, crossed)
