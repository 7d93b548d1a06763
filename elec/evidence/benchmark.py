"""Computes what the tables need, phase by phase, and skips what is there: samples, vectors, M-LLMs, trials, final cells."""

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import pyarrow.parquet as pq

from elec.evidence.arms import Arm, Source
from elec.evidence.cell import Cell, Cells
from elec.evidence.compute import compute_cell
from elec.evidence.experiment import Experiment
from elec.evidence.plan import SEARCH_SEED, Durations, MissingError, Plan
from elec.evidence.pool import Outcome, Task, run_tasks
from elec.evidence.prepared import Sample, vector_store
from elec.evidence.teacher import Teacher
from elec.progress import Progress
from elec.spec.run import RunSpec

#: Says a line to whoever waits.
Say = Callable[[str], None]


@dataclass
class Benchmark:
    """The experiments of one command.

    Attributes:
        plans: One an experiment.
        tables: Which tables are wanted.
        workers: Processes; 0 for none but this one.
        say: Where lines go.
        failures: What failed so far, a line each.
    """

    plans: Sequence[Plan]
    tables: Sequence[int]
    workers: int
    say: Say
    failures: list[str] = field(default_factory=list)

    def prepare(self) -> None:
        """Makes the samples, their texts and the vectors."""
        samples = [(plan, plan.sample(seed)) for plan in self.plans for seed in (SEARCH_SEED, *plan.seeds)]
        distinct = {sample.name: (plan, sample) for plan, sample in samples}
        tasks = [Task(f"sample {name}", "prepare", prepare_sample, (sample,)) for name, (_, sample) in distinct.items()]
        self._run("prepare", tasks)
        for name, (plan, sample) in distinct.items():
            for llm in self._llms(plan):
                self._encode(name, sample, plan.recipe(llm))

    def compute(self) -> None:
        """Computes all cells: the M-LLM's trials, the trials of every arm, the final cells."""
        self._cells("M-LLM trials", lambda plan: [plan.teacher_trials(llm) for llm in self._llms(plan)])
        self._cells("trials", lambda plan: [plan.trials(arm, llm) for arm, llm in self._arms(plan)])
        self._cells("final", lambda plan: [plan.finals(arm, llm) for arm, llm in self._arms(plan)])

    def missing_seconds(self) -> tuple[int, float]:
        """How many cells are missing, as far as that is known now, and about how long they will take."""
        count, seconds = 0, 0.0
        for plan in self.plans:
            durations = _durations(plan)
            for cell in self._known_cells(plan):
                if plan.cells.read(cell) is None:
                    count, seconds = count + 1, seconds + durations.of(cell)
        return count, seconds / max(self.workers, 1)

    def _known_cells(self, plan: Plan) -> list[Cell]:
        """All cells; while the settings are not chosen, those of the recipe stand for what will be chosen."""
        found: list[Cell] = []
        for arm, llm in self._arms(plan):
            for wanted in (plan.trials, plan.finals):
                try:
                    found += wanted(arm, llm)
                except MissingError:
                    found += plan.stand_ins(arm, llm, final=wanted == plan.finals)
        for llm in self._llms(plan):
            found += plan.teacher_trials(llm)
        return list(dict.fromkeys(found))

    def _arms(self, plan: Plan) -> list[tuple[Arm, str]]:
        return list(dict.fromkeys(chain.from_iterable(plan.arms(table) for table in self.tables if table != 5)))

    def _llms(self, plan: Plan) -> list[str]:
        """The base LLMs whose vectors are needed."""
        needed = {llm: None for arm, llm in self._arms(plan) if arm.teacher != "none" or arm.reads != "none"}
        if 5 in self.tables and plan.experiment.inference:
            needed[plan.experiment.run.llm.name] = None
        return list(needed)

    def _encode(self, name: str, sample: Sample, run: RunSpec) -> None:
        texts = sample.texts(run.text) / "texts.parquet"
        if not texts.exists():
            return
        missing = len(vector_store(run.llm).missing(pq.read_table(texts, columns=["key"])["key"]))
        if not missing:
            return
        shards = max(self.workers, 1)
        title = f"{missing:,} texts of {name} by {run.llm.name}"
        tasks = [
            Task(
                f"{title}, part {shard + 1}",
                "encode",
                encode_sample,
                (sample, run, shard, shards),
            )
            for shard in range(shards)
        ]
        self._run("encode", tasks)

    def _cells(self, phase: str, wanted: Callable[[Plan], list[list[Cell]]]) -> None:
        todo: list[tuple[Plan, Cell]] = []
        for plan in self.plans:
            try:
                cells = list(dict.fromkeys(chain.from_iterable(wanted(plan))))
            except MissingError as error:
                self._fail(f"{plan.experiment.name}: {phase} cannot start: {error}")
                continue
            todo += [(plan, cell) for cell in cells if plan.cells.read(cell) is None]
        if not todo:
            return
        self._run(f"{phase}: M-LLMs and knowledge", _prerequisites(todo))
        durations = {plan.experiment.name: _durations(plan) for plan in self.plans}
        # Long ones first: the last ones to end are then short.
        todo.sort(key=lambda pair: -durations[pair[0].experiment.name].of(pair[1]))
        tasks = [Task(_title(cell), cell.kind, compute_cell, (plan.experiment, cell, plan.cells.folder)) for plan, cell in todo]
        expected = {task: durations[plan.experiment.name].of(cell) for task, (plan, cell) in zip(tasks, todo, strict=True)}
        self._run(phase, tasks, expected)

    def _run(self, phase: str, tasks: Sequence[Task], expected: dict[Task, float] | None = None) -> None:
        if not tasks:
            return
        left = dict(expected or {})
        took: dict[str, list[float]] = {}
        with Progress(phase, unit="tasks", total=len(tasks)) as progress:
            for number, outcome in enumerate(run_tasks(tasks, self.workers), 1):
                left.pop(outcome.task, None)
                if outcome.error is not None:
                    self._fail(f"{outcome.task.title}: {outcome.error}")
                took.setdefault(outcome.task.kind, []).append(outcome.seconds)
                note = _note(outcome, left, took, self.workers)
                progress.advance(1, note=note)
                if not sys.stderr.isatty():
                    self.say(f"{phase} {number}/{len(tasks)}: {outcome.task.title}, {note}")

    def _fail(self, line: str) -> None:
        self.failures.append(line)
        self.say(f"failed: {line}")


def prepare_sample(sample: Sample) -> None:
    """Makes a sample and its texts, in a process of its own."""
    sample.prepare()
    sample.textify(sample.experiment.run.text)


def encode_sample(sample: Sample, run: RunSpec, shard: int, shards: int) -> None:
    """Encodes a shard of a sample's texts, in a process of its own."""
    sample.encode(run, shard, shards)


def make_teacher(sample: Sample, run: RunSpec, source: Source, splits: tuple[str, ...]) -> None:
    """Adapts an M-LLM and keeps its representations, in a process of its own."""
    teacher = Teacher(sample, run, source)
    teacher.make()
    for split in splits:
        teacher.rows(split)


def make_knowledge(sample: Sample, run: RunSpec, source: Source) -> None:
    """Makes what students read beside the fields, in a process of its own."""
    sample.knowledge(run, source)


def _prerequisites(todo: Iterable[tuple[Plan, Cell]]) -> list[Task]:
    """What several cells share is made once, before any of them waits for another."""
    tasks: dict[tuple[str, str], Task] = {}
    for plan, cell in todo:
        sample = plan.sample(cell.run.seed)
        splits = ("train", "valid", "test") if cell.test else ("train", "valid")
        if cell.teacher != "none" and cell.training == "pair":
            folder = Teacher(sample, cell.run, cell.teacher).folder
            if not all((folder / f"{split}.npy").exists() for split in splits):
                title = f"M-LLM of {cell.sample}, {cell.teacher}, seed {cell.run.seed}"
                tasks["teacher", str(folder)] = Task(title, "teacher", make_teacher, (sample, cell.run, cell.teacher, splits))
        if cell.student != "vanilla":
            folder = sample.knowledge_folder(cell.run, cell.reads)
            if not folder.exists():
                title = f"knowledge of {cell.sample}, {cell.reads}, seed {cell.run.seed}"
                tasks["knowledge", str(folder)] = Task(title, "knowledge", make_knowledge, (sample, cell.run, cell.reads))
    return list(tasks.values())


def _durations(plan: Plan) -> Durations:
    rows = {}
    encoded = plan.sample(SEARCH_SEED).features / "encoded" / "train.parquet"
    if encoded.exists():
        rows[plan.experiment.name] = int(pq.read_metadata(encoded).num_rows)
    return Durations(plan.cells.results(), rows)


def _title(cell: Cell) -> str:
    teacher = f", {cell.teacher} teacher" if cell.training == "pair" else ""
    return f"{cell.kind}{teacher}, seed {cell.run.seed}"


def _note(outcome: Outcome, left: dict[Task, float], took: dict[str, list[float]], workers: int) -> str:
    seconds = 0.0
    for task, expected in left.items():
        known = took.get(task.kind)
        seconds += sum(known) / len(known) if known else expected
    return f"{outcome.seconds:.0f} s" + (f", about {seconds / max(workers, 1) / 60:.0f} min left in this phase" if left else "")


def cells_of(experiment: Experiment, root: Path) -> Cells:
    """Where an experiment's cells are."""
    return Cells(root / "cells" / experiment.name)
