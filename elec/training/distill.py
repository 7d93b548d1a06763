"""Trains the students that the spec names: each with its teacher, and beside it the same structure without one.

The plain network is the honest rival: same fields, same seed, same first weights, same batches, same dropout, same settings,
same early stopping as the student. What the two differ by is what the teacher gave.
"""

import math
import shutil
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from elec.device import choose_device
from elec.errors import InputError
from elec.progress import Progress
from elec.spec import Spec
from elec.spec.run import RunSpec
from elec.storage import whole_folder
from elec.students.semantic_ids import field_names
from elec.training.aid import ALONE, Aid
from elec.training.beside import Floats
from elec.training.checkpoint import ModelRecord, StudentName, field_records
from elec.training.crossed_pairs import CrossedPairs
from elec.training.inputs import StudentInputs, read_inputs
from elec.training.learner import Learner
from elec.training.pair import train_pair
from elec.training.parallel import is_first
from elec.training.plain import train_plain
from elec.training.trained import NETWORKS, Figures, figures_of, write_student
from elec.training.unlabelled import PairTeacher, UnlabelledPairs, read_items
from elec.training.warm_start import WarmStart, warm_start


class StudentsRecord(BaseModel):
    """`students.json` of a model folder that holds several students.

    Attributes:
        chosen: The best on the validation rows; the folder itself holds its files too.
        students: By name; the files are in `students/<name>/`.
    """

    model_config = ConfigDict(frozen=True)

    chosen: StudentName
    students: dict[StudentName, Figures]


class DistillReport(Figures):
    """What the training did; the figures are the chosen student's.

    Attributes:
        rows: A split.
        student: The chosen one: the best AUC on the validation rows.
        students: The figures of each.
        samples: Rows that went through a training step, of all trainings.
        seconds: Of training.
        samples_per_second: Of training.
        device: Where it ran.
        warm_start: By student, whether it started from the champion, and if not, why; empty where it was not asked for.
    """

    rows: dict[str, int]
    student: StudentName
    students: dict[StudentName, Figures]
    samples: int
    seconds: float
    samples_per_second: float
    device: str
    warm_start: dict[StudentName, str]


def distill(
    spec: Spec,
    features: Path,
    representations: Mapping[str, Floats | Path] | None,
    folder: Path,
    device: str | None = None,
    *,
    knowledge: Path | None = None,
    teacher: PairTeacher | None = None,
    aid: Aid = ALONE,
) -> DistillReport:
    """Trains the gain, the vanilla and the plain network of every student and writes them, their curves and predictions.

    One student's files lie in the folder itself. Of several, each has `students/<name>/`; the folder itself then holds the
    files of the best one and `students.json`.

    Args:
        spec: `run.student.train`, `run.model`, `run.training`, `run.distill` and `run.seed` count here.
        features: Folder of the features: `frame/`, `encoded/` and `vocabulary/`.
        representations: Of each row of `train`, `valid` and `test` by the M-LLM, [N, L] in the order of `row_id`, as an array
            or a .npy file; None for a teacher that knows only the labels.
        folder: Where the result goes; complete, or not there.
        device: `cpu` or `cuda`; left out, CUDA when there is one.
        knowledge: Folder of the students' knowledge, for `semantic_ids` and `vectors`.
        teacher: What the M-LLM reads of unlabelled pairs.
        aid: Snapshots to go on from, processes to train with (the first one writes), a champion to start from.

    Returns:
        Epochs, validation figures and speed.

    Raises:
        InputError: If a folder is not complete, or unlabelled pairs are asked for without texts of users and items.
        RunFailedError: If the training diverges.
    """
    place = choose_device(device or "auto")
    run = spec.run
    settings = run.distill
    if settings.unlabelled.share > 0 and representations is not None and teacher is None:
        raise InputError(
            "run.distill.unlabelled.share: unlabelled pairs need a text of the user and one of the item; "
            "set run.text.per to entity, or the share to 0"
        )
    figures: dict[StudentName, Figures] = {}
    rows: dict[str, int] = {}
    seconds = 0.0
    starts: dict[StudentName, str] = {}
    trainings = 3 if settings.mode == "two_stage" else 2
    with _written(folder) as written, Progress("distill", unit="samples") as progress:
        for name in run.student.train:
            read = read_inputs(name, features, representations, knowledge, place, run.training.memory)
            inputs = replace(read, correction=math.log(spec.dataset.split.negatives))
            rows = {split: len(found) for split, found in inputs.rows.items()}
            progress.total = trainings * settings.epochs * rows["train"] * len(run.student.train)
            pairs = None
            if settings.unlabelled.share > 0:
                items = read_items(features / "frame" / "train.parquet", spec.dataset.item, *inputs.train_files)
                crossed = CrossedPairs.of_rows(inputs.train_files[0])
                read_by = teacher if inputs.llm_size else None
                pairs = UnlabelledPairs(inputs.fields, settings, items, place, read_by, crossed)
            start = None
            if aid.champion is not None:
                start, starts[name] = _start(aid.champion, name, inputs, run, knowledge)
            own = aid.of(name, start)
            started = time.monotonic()
            learners = train_pair(inputs, run, place, progress, pairs=pairs, aid=own)
            learners["plain"] = train_plain(inputs, _computed_as(learners["vanilla"], run), place, progress, aid=own)
            seconds += time.monotonic() - started
            record = ModelRecord(
                student=name,
                model=run.model,
                fields=field_records(inputs.fields),
                llm_size=inputs.llm_size,
                vector_size=inputs.vector_size,
                settings=settings,
                seed=run.seed,
                best_epochs={network: learners[network].best_epoch for network in NETWORKS},
            )
            figures[name] = figures_of(learners)
            if is_first():
                write_student(learners, record, inputs, _folder_of(name, spec, written))
        chosen = max(figures, key=lambda name: figures[name].valid_auc["vanilla"])
        if len(figures) > 1 and is_first():
            shutil.copytree(_folder_of(chosen, spec, written), written, dirs_exist_ok=True)
            students = StudentsRecord(chosen=chosen, students=figures)
            (written / "students.json").write_text(students.model_dump_json(indent=2), encoding="utf-8")
    return DistillReport(
        **figures[chosen].model_dump(),
        rows=rows,
        student=chosen,
        students=figures,
        samples=progress.done,
        seconds=round(seconds, 3),
        samples_per_second=round(progress.done / seconds, 1),
        device=place.type,
        warm_start=starts,
    )


def _written(folder: Path) -> AbstractContextManager[Path]:
    """The folder to write into; of processes that train together only the first one writes."""
    return whole_folder(folder) if is_first() else nullcontext(folder)


def _computed_as(learner: Learner, run: RunSpec) -> RunSpec:
    """The same run with its dense half computed as another network's was, so that the two differ by the teacher alone."""
    if learner.choice is None:
        return run
    return run.model_copy(update={"training": learner.choice.pinned(run.training)})


def _start(
    champion: Path, name: StudentName, inputs: StudentInputs, run: RunSpec, knowledge: Path | None
) -> tuple[WarmStart | None, str]:
    """What a student starts from, and a sentence about it."""
    return warm_start(
        champion,
        inputs.train_files[0].parents[1] / "vocabulary",
        run.model,
        vector_size=inputs.vector_size,
        semantic=field_names(run.student.levels) if name == "semantic_ids" else (),
        knowledge=knowledge,
    )


def _folder_of(name: StudentName, spec: Spec, folder: Path) -> Path:
    return folder if len(spec.run.student.train) == 1 else folder / "students" / name
