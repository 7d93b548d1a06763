"""What a student and its teacher are trained on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from elec.errors import InputError
from elec.features import FeatureEncoder
from elec.features.encoding import EncodedField
from elec.spec.learning import TrainingSpec
from elec.training.beside import Floats
from elec.training.checkpoint import StudentName
from elec.training.data import RowSource
from elec.training.stream import open_rows

_SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class StudentInputs:
    """The encoded fields and the rows of all splits.

    Attributes:
        fields: What the networks read, in the order of the slots.
        rows: `train`, `valid` and, for predictions, `test`; on the device that trains.
        llm_size: Width L of the M-LLM's representations in the rows. With 0 the rows hold none, and the gain network is a
            teacher that knows only the labels.
        vector_size: Width V of the text vectors in the rows; 0 for a student that reads the fields alone.
        train_files: Where the train rows were read: the encoded fields and, if there are some, the text vectors.
        correction: What has to be added to the logits for probabilities of the full log: the logarithm of the share of the
            train rows without a click that are there.
    """

    fields: Sequence[EncodedField]
    rows: Mapping[str, RowSource]
    llm_size: int = 0
    vector_size: int = 0
    train_files: tuple[Path, Path | None] = (Path(), None)
    correction: float = 0.0


def read_inputs(
    student: StudentName,
    features: Path,
    representations: Mapping[str, Floats | Path] | None,
    knowledge: Path | None,
    device: torch.device,
    memory: str = TrainingSpec().memory,
) -> StudentInputs:
    """Reads what a student reads.

    Args:
        student: `vanilla` reads the features; `semantic_ids` the knowledge's encoded fields instead; `vectors` the features
            and the knowledge's vectors.
        features: Folder of the features.
        representations: Of each row of every split, [N, L], as an array or a .npy file; None for a teacher that knows only
            the labels.
        knowledge: Folder of the students' knowledge.
        device: That trains.
        memory: A split larger than this streams from its files; see `TrainingSpec`.

    Raises:
        InputError: If a folder is not complete.
    """
    if student != "vanilla" and knowledge is None:
        raise InputError(f"run.student.train: the student '{student}' needs the items' knowledge; build it first")
    encoded = knowledge if student == "semantic_ids" and knowledge is not None else features
    files = [encoded / "encoded" / f"{split}.parquet" for split in _SPLITS]
    vectors: list[Path | None] = [None] * len(_SPLITS)
    if student == "vectors" and knowledge is not None:
        vectors = [knowledge / "rows" / f"{split}.npy" for split in _SPLITS]
    known = [representations[split] if representations is not None else None for split in _SPLITS]
    opened = [
        open_rows(file, memory=memory, llm_NL=told, vectors_N2V=beside)
        for file, told, beside in zip(files, known, vectors, strict=True)
    ]
    return StudentInputs(
        fields=FeatureEncoder.load(encoded / "vocabulary").fields,
        rows={split: rows.to(device) for split, rows in zip(_SPLITS, opened, strict=True)},
        llm_size=_width(known[0]),
        vector_size=_width(vectors[0]),
        train_files=(files[0], vectors[0]),
    )


def _width(source: Floats | Path | None) -> int:
    """The last dimension of an array or a .npy file."""
    found = np.load(source, mmap_mode="r", allow_pickle=False) if isinstance(source, Path) else source
    return int(found.shape[-1]) if found is not None else 0
