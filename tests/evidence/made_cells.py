"""Cells with made-up results, for tests of plans, figures and texts."""

from pathlib import Path

import numpy as np

from elec.evidence.cell import Cell, Cells, Result, Scores
from elec.evidence.experiment import Experiment
from elec.evidence.measures import Known, measure
from elec.evidence.plan import Plan

ROWS, USERS = 600, 40

EXPERIMENT = Experiment.model_validate(
    {
        "name": "toy",
        "title": "Toy",
        "spec": "movielens-100k",
        "trials": 2,
        "seeds": 3,
        "resamples": 20,
        "search": {"shared": {"distill.learning_rate": [0.001, 0.01, 0.1]}, "teacher": {"adapt.dropout": [0.1, 0.2]}},
        "comparison": ["dcnv2", "mllm", "gain", "elec", "elec_shuffled"],
        "ablation": ["elec", "no_text"],
    }
)


def quality(cell: Cell, network: str) -> float:
    """How much of the label each made network knows."""
    known = {"plain": 0.5, "mllm": 0.8, "vanilla": 0.9, "gain": 1.5}[network]
    if cell.teacher in {"none", "shuffled"} and cell.training == "pair":
        known = 0.55
    # The second trial is the better one.
    return known + 10 * (cell.run.distill.learning_rate - 0.002)


def make_result(cell: Cell) -> tuple[Result, Scores | None]:
    networks = {"plain": ["plain"], "mllm": ["mllm"], "pair": ["vanilla", "gain"]}[cell.training]
    draw = np.random.default_rng(cell.run.seed)
    label = draw.integers(0, 2, ROWS).astype(np.int8)
    user = draw.integers(0, USERS, ROWS)
    noise = draw.normal(size=ROWS)
    known = Known(*(draw.integers(0, 60, ROWS) for _ in range(3)))
    scores = {name: 1 / (1 + np.exp(-(quality(cell, name) * (label - 0.5) + noise))) for name in networks}
    measures = {
        name: measure(label, score, user, fields={"item": user}, known=known if cell.test else None)
        for name, score in scores.items()
    }
    result = Result(
        cell=cell,
        best_epochs=dict.fromkeys(networks, 1),
        epochs=dict.fromkeys(networks, 2),
        valid=measures,
        test=measures if cell.test else {},
        rows={"train": 5000, "valid": ROWS, "test": ROWS},
        seconds=2.5,
        cpu_seconds=2.0,
        code_version="abc",
        threads=1,
    )
    return result, Scores(label=label, user=user, networks=scores) if cell.test else None


def fill(folder: Path, experiment: Experiment = EXPERIMENT, tables: tuple[int, ...] = (2,)) -> Plan:
    """A plan whose cells are all there."""
    plan = Plan(experiment, Cells(folder))
    wanted = [plan.teacher_trials(experiment.run.llm.name)]
    _write(plan, wanted)
    arms = [pair for table in tables for pair in plan.arms(table)]
    _write(plan, [plan.trials(arm, llm) for arm, llm in arms])
    _write(plan, [plan.finals(arm, llm) for arm, llm in arms])
    return plan


def _write(plan: Plan, wanted: list[list[Cell]]) -> None:
    for cells in wanted:
        for cell in cells:
            plan.cells.write(*make_result(cell))
