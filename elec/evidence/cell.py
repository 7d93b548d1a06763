"""A cell: one training on one sample, kept under a key made of everything that its figures depend on."""

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError, field_serializer

from elec import storage
from elec.evidence.arms import Arm, Source, Student, Training
from elec.evidence.experiment import changed
from elec.evidence.measures import Measures
from elec.spec.learning import AdaptSpec, DistillSpec, LlmSpec, ModelSpec, StudentSpec, TextSpec, UnlabelledSpec
from elec.spec.run import RunSpec

#: Raised whenever a cell would come out differently from the same settings.
CELL_VERSION = 1

#: The settings that a training reads; what a run does before and after it makes no other cell.
_READ = {"seed", "text", "llm", "adapt", "model", "training", "distill", "student"}


class Cell(BaseModel):
    """What is to be trained.

    Attributes:
        sample: The prepared data set: its name, seed and content.
        training: What is trained.
        student: What the student reads.
        teacher: What the teacher reads.
        reads: What the student's codes or vectors are made of.
        run: All settings, the seed included; what this training does not read is at its default, and in no file.
        test: Whether the test rows are scored; only final cells touch them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sample: str
    training: Training
    student: Student
    teacher: Source
    reads: Source
    run: RunSpec
    test: bool

    @field_serializer("run")
    def _read(self, run: RunSpec) -> dict[str, Any]:
        return run.model_dump(mode="json", include=_READ)

    def __hash__(self) -> int:
        # The settings hold dictionaries, which have no hash of their own.
        return hash(self.key)

    @cached_property
    def key(self) -> str:
        """Names the cell's files."""
        content = {"version": CELL_VERSION, **self.model_dump(mode="json")}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:24]

    @property
    def kind(self) -> str:
        """Cells of a kind cost about the same."""
        if self.training == "mllm":
            return f"{self.sample.rsplit('-', 2)[0]} mllm {self.run.llm.name}"
        way = self.run.distill.mode if self.training == "pair" else "plain"
        pairs = " unlabelled" if self.run.distill.unlabelled.share else ""
        return f"{self.sample.rsplit('-', 2)[0]} {self.run.model.name} {self.student} {way}{pairs}"


class Result(BaseModel):
    """What a cell found.

    Attributes:
        cell: What was trained.
        best_epochs: A network.
        epochs: A network; how many were trained.
        valid: A network's measures on the validation rows.
        test: A network's measures on the test rows; empty unless the cell is a final one.
        rows: A split.
        seconds: Of the training and its evaluation, on the clock.
        cpu_seconds: Of the same, of its one thread; the machine may have had other work.
        code_version: Of the code that computed it.
        threads: That it was given.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    cell: Cell
    best_epochs: dict[str, int]
    epochs: dict[str, int]
    valid: dict[str, Measures]
    test: dict[str, Measures]
    rows: dict[str, int]
    seconds: float
    cpu_seconds: float
    code_version: str
    threads: int


class Scores(BaseModel):
    """Scored test rows, as `<key>.parquet` holds them."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    label: npt.NDArray[np.int8]
    user: npt.NDArray[np.int64]
    networks: dict[str, npt.NDArray[np.float64]]


class Cells:
    """The cells' folder.

    Args:
        folder: Where `<key>.json` and, for final cells, `<key>.parquet` are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, cell: Cell) -> Result | None:
        """The result of a cell, if it is there and whole; a damaged one counts as not there."""
        try:
            result = Result.model_validate_json((self.folder / f"{cell.key}.json").read_bytes())
        except (OSError, ValidationError):
            return None
        return result if result.cell == cell else None

    def write(self, result: Result, scores: Scores | None) -> None:
        """Keeps a result; its JSON goes last, so a cell is there as a whole or not at all."""
        if scores is not None:
            columns = {"label": scores.label, "user": scores.user, **scores.networks}
            sink = pa.BufferOutputStream()
            pq.write_table(pa.table(columns), sink)
            storage.write_bytes(self.folder / f"{result.cell.key}.parquet", sink.getvalue().to_pybytes())
        storage.write_bytes(self.folder / f"{result.cell.key}.json", result.model_dump_json(indent=1).encode())

    def scores(self, cell: Cell) -> Scores:
        """The test rows of a final cell.

        Raises:
            FileNotFoundError: If the cell has none.
        """
        table = pq.read_table(self.folder / f"{cell.key}.parquet")
        columns: dict[str, Any] = {name: table[name].to_numpy() for name in table.column_names}
        return Scores(label=columns.pop("label"), user=columns.pop("user"), networks=columns)

    def results(self) -> list[Result]:
        """All that are whole."""
        found = []
        for path in sorted(self.folder.glob("*.json")):
            try:
                found.append(Result.model_validate_json(path.read_bytes()))
            except ValidationError:
                continue
        return found


def make_cell(arm: Arm, run: RunSpec, sample: str, *, seed: int, test: bool) -> Cell:
    """The cell of an arm: the same for all arms that train the same thing.

    Args:
        arm: Which.
        run: The settings of a trial; the arm's own are put on top.
        sample: The prepared data set.
        seed: Of weights, batches and draws.
        test: Whether it is a final one.
    """
    own = changed(run, {**arm.changes, "seed": seed})
    if arm.training == "pair" and arm.unlabelled and own.distill.unlabelled.share == 0:
        raise ValueError(f"{arm.name} has unlabelled pairs, but run.distill.unlabelled.share is 0")
    return Cell(
        sample=sample,
        training=arm.training,
        student=arm.student,
        teacher=arm.teacher,
        reads=arm.reads,
        run=_only_what_counts(own, arm),
        test=test,
    )


def _only_what_counts(run: RunSpec, arm: Arm) -> RunSpec:
    """Settings that the training does not read go back to their default, so that equal trainings share a cell."""
    reads_text = arm.teacher != "none" or arm.reads != "none"
    distill = run.distill
    if arm.training == "plain":
        taught = DistillSpec()
        ignored = ("mode", "clid", "score_weight", "alpha", "unlabelled")
        distill = distill.model_copy(update={name: getattr(taught, name) for name in ignored})
    elif not arm.unlabelled:
        distill = distill.model_copy(update={"unlabelled": UnlabelledSpec()})
    is_mllm = arm.training == "mllm"
    return RunSpec(
        seed=run.seed,
        text=run.text if reads_text else TextSpec(),
        llm=run.llm if reads_text else LlmSpec(),
        adapt=run.adapt if arm.teacher != "none" else AdaptSpec(),
        model=ModelSpec() if is_mllm else run.model,
        training=run.training,
        distill=DistillSpec() if is_mllm else distill,
        student=run.student if arm.student != "vanilla" else StudentSpec(),
    )
