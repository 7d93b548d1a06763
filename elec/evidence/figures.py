"""Figures of a table: every arm over its seeds, against the baseline, against its controls, and slice by slice."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from elec.evaluation.bootstrap import Interval
from elec.evaluation.seeds import Paired, auc_difference
from elec.evaluation.significance import PairedTest, Spread, holm, paired_test, retention, spread
from elec.evidence.arms import Arm
from elec.evidence.cell import Cell, Result
from elec.evidence.measures import Measures
from elec.evidence.plan import MissingError, Plan
from elec.evidence.search import space_of

#: What every row says of its network, and whether more is better.
METRICS = ("auc", "gauc", "logloss", "ne", "rig", "pcoc", "ece")


class _Figures(BaseModel):
    model_config = ConfigDict(frozen=True)


class Lift(_Figures):
    """What an arm improves on the baseline; positive is better.

    Attributes:
        auc: Paired over seeds.
        auc_p: Of it, corrected by Holm over the table's rows.
        interval: Of the mean AUC difference, users resampled.
        logloss: Baseline's minus the arm's, paired over seeds.
        logloss_p: Corrected likewise.
    """

    auc: PairedTest
    auc_p: float | None
    interval: Interval
    logloss: PairedTest
    logloss_p: float | None


class ControlOf(_Figures):
    """A control beside the arm that it puts in doubt.

    Attributes:
        arm: That arm.
        share: The control's lift over the arm's; None where the arm has none.
        beyond: The arm's AUC minus the control's, paired over seeds.
    """

    arm: str
    share: float | None
    beyond: PairedTest


class SliceFigures(_Figures):
    """A slice of the test rows over seeds.

    Attributes:
        name: Which.
        rows: Mean over the seeds.
        interactions: Mean of what it is cut by.
        auc: Over the seeds in which both classes occur; None if there are none.
        lift: Over the baseline, in those seeds.
    """

    name: str
    rows: float
    interactions: float | None
    auc: Spread | None
    lift: PairedTest | None


class Row(_Figures):
    """A line of a table.

    Attributes:
        arm: Its name.
        llm: The base LLM.
        title: For people.
        serves: What is needed online.
        control_of: The arm whose control it is.
        seeds: Of the final cells.
        metrics: Over the seeds; None where a metric is undefined in one of them.
        fields: Calibration a value of each field: mean Field-ECE and Field-RCE over the seeds.
        lift: None for the baseline.
        retention: Of the gain network's lift, for a student whose teacher is in the table.
        control: None unless it is one.
        slices: In the order in which they are cut.
        settings: What was chosen, of the settings that were searched.
        settings_of: The arm that searched.
        trials: The validation metric of each trial, the recipe first.
        seconds: Processor seconds of a final cell, the mean; the M-LLM's own are those of its arm.
    """

    arm: str
    llm: str
    title: str
    serves: str
    control_of: str | None
    seeds: tuple[int, ...]
    metrics: dict[str, Spread | None]
    fields: dict[str, dict[str, float]]
    lift: Lift | None
    retention: float | None
    control: ControlOf | None
    slices: tuple[SliceFigures, ...]
    settings: dict[str, Any]
    settings_of: str
    trials: tuple[float, ...]
    seconds: float


class TableFigures(_Figures):
    """A table, and how it came about.

    Attributes:
        dataset: The experiment's name.
        table: Its number.
        baseline: The arm that lifts are over.
        rows: Its lines.
        missing: Arms without all of their cells, and why.
        samples: Rows a split, of the first final cell.
        code_versions: Of the code that computed the cells.
        experiment: All settings.
    """

    dataset: str
    table: int
    baseline: str
    rows: tuple[Row, ...]
    missing: tuple[str, ...]
    samples: dict[str, int]
    code_versions: tuple[str, ...]
    experiment: dict[str, Any]

    def row(self, arm: str, llm: str | None = None) -> Row | None:
        """A line by its arm, and its base LLM where that matters."""
        return next((row for row in self.rows if row.arm == arm and llm in {None, row.llm}), None)


class _Complete(BaseModel):
    """An arm with all of its final cells."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    arm: Arm
    llm: str
    cells: tuple[Cell, ...]
    results: tuple[Result, ...]

    def test(self) -> list[Measures]:
        return [result.test[self.arm.network] for result in self.results]

    def values(self, metric: str) -> list[float]:
        """A metric a seed; empty where it is undefined in one."""
        found = [getattr(measures, metric) for measures in self.test()]
        return [] if any(value is None or np.isnan(value) for value in found) else found


def table_figures(plan: Plan, table: int) -> TableFigures:
    """Computes the figures of table 2, 3 or 4 from the cells that are there.

    Args:
        plan: Of the experiment.
        table: Which.
    """
    complete: list[_Complete] = []
    missing = []
    for arm, llm in plan.arms(table):
        try:
            cells = plan.finals(arm, llm)
        except MissingError as error:
            missing.append(f"{_title(arm, llm, plan, table)}: {error}")
            continue
        results = [plan.cells.read(cell) for cell in cells]
        known = [result for result in results if result is not None]
        if len(known) < len(cells):
            missing.append(f"{_title(arm, llm, plan, table)}: {len(known)} of {len(cells)} final cells are there")
            continue
        complete.append(_Complete(arm=arm, llm=llm, cells=tuple(cells), results=tuple(known)))
    base = next((found for found in complete if found.arm.name == plan.experiment.baseline), None)
    rows = [_row(found, base, complete, plan, table) for found in complete]
    return TableFigures(
        dataset=plan.experiment.name,
        table=table,
        baseline=plan.experiment.baseline,
        rows=tuple(_corrected(rows)),
        missing=tuple(missing),
        samples=next((result.rows for found in complete for result in found.results if result.rows), {}),
        code_versions=tuple(sorted({result.code_version for found in complete for result in found.results})),
        experiment=plan.experiment.model_dump(mode="json"),
    )


def _row(found: _Complete, base: _Complete | None, complete: Sequence[_Complete], plan: Plan, table: int) -> Row:
    arm, experiment = found.arm, plan.experiment
    has_lift = base is not None and found is not base
    measured = {metric: found.values(metric) for metric in METRICS}
    names = found.test()[0].fields
    chosen = plan.chosen(arm, found.llm).model_dump()
    giver = plan.searched(arm)
    trials = [plan.cells.read(cell) for cell in plan.trials(arm, found.llm)]
    gain = next((other for other in complete if other.arm.name == "gain" and other.llm == found.llm), None)
    kept = None
    if has_lift and base is not None and gain is not None and arm.network == "vanilla" and arm.control_of is None:
        kept = retention(*(float(np.mean(part.values("auc"))) for part in (found, base, gain)))
    return Row(
        arm=arm.name,
        llm=found.llm,
        title=_title(arm, found.llm, plan, table),
        serves=arm.serves,
        control_of=arm.control_of,
        seeds=tuple(plan.seeds),
        metrics={metric: spread(values) if values else None for metric, values in measured.items()},
        fields={
            name: {
                kind: float(np.mean([getattr(measures.fields[name], kind) for measures in found.test()]))
                for kind in ("ece", "rce")
            }
            for name in names
        },
        lift=_lift(found, base, plan) if has_lift and base is not None else None,
        retention=kept,
        control=_control(found, base, complete) if has_lift and base is not None else None,
        slices=_slices(found, base),
        settings={name: _setting(chosen, name) for name in space_of(giver, experiment.search)},
        settings_of=giver.name,
        trials=tuple(getattr(trial.valid[giver.network], experiment.metric) for trial in trials if trial is not None),
        seconds=float(np.mean([result.cpu_seconds for result in found.results])),
    )


def _lift(found: _Complete, base: _Complete, plan: Plan) -> Lift:
    pairs = []
    for mine, theirs in zip(found.cells, base.cells, strict=True):
        own, other = plan.cells.scores(mine), plan.cells.scores(theirs)
        assert np.array_equal(own.label, other.label), "cells of one sample score the same rows"
        pairs.append(Paired(own.label, own.networks[found.arm.network], other.networks[base.arm.network], own.user))
    experiment = plan.experiment
    return Lift(
        auc=paired_test(found.values("auc"), base.values("auc")),
        auc_p=None,
        interval=auc_difference(pairs, resamples=experiment.resamples, confidence=experiment.confidence, seed=0),
        logloss=paired_test(base.values("logloss"), found.values("logloss")),
        logloss_p=None,
    )


def _control(found: _Complete, base: _Complete, complete: Sequence[_Complete]) -> ControlOf | None:
    doubted = next((other for other in complete if other.arm.name == found.arm.control_of and other.llm == found.llm), None)
    if doubted is None:
        return None
    own, full = (float(np.mean(part.values("auc")) - np.mean(base.values("auc"))) for part in (found, doubted))
    return ControlOf(
        arm=doubted.arm.name,
        share=own / full if full > 0 else None,
        beyond=paired_test(doubted.values("auc"), found.values("auc")),
    )


def _slices(found: _Complete, base: _Complete | None) -> tuple[SliceFigures, ...]:
    figures = []
    for name in (part.name for part in found.test()[0].slices):
        parts = [measures.slice(name) for measures in found.test()]
        others = [measures.slice(name) for measures in base.test()] if base is not None else [None] * len(parts)
        pairs = [
            (part.auc, other.auc if other is not None else None)
            for part, other in zip(parts, others, strict=True)
            if part is not None and part.auc is not None
        ]
        both = [(own, theirs) for own, theirs in pairs if theirs is not None]
        interactions = [part.interactions for part in parts if part is not None and part.interactions is not None]
        figures.append(
            SliceFigures(
                name=name,
                rows=float(np.mean([part.rows if part is not None else 0 for part in parts])),
                interactions=float(np.mean(interactions)) if interactions else None,
                auc=spread([own for own, _ in pairs]) if pairs else None,
                lift=paired_test([own for own, _ in both], [theirs for _, theirs in both])
                if both and found is not base
                else None,
            )
        )
    return tuple(figures)


def _corrected(rows: Sequence[Row]) -> list[Row]:
    """Holm over all comparisons of the table, for AUC and for LogLoss."""
    auc_p = holm([row.lift.auc.p if row.lift is not None else None for row in rows])
    logloss_p = holm([row.lift.logloss.p if row.lift is not None else None for row in rows])
    return [
        row
        if row.lift is None
        else row.model_copy(update={"lift": row.lift.model_copy(update={"auc_p": auc_p[place], "logloss_p": logloss_p[place]})})
        for place, row in enumerate(rows)
    ]


def _setting(run: dict[str, Any], name: str) -> Any:
    value: Any = run
    for part in name.split("."):
        value = value[part]
    return value


def _title(arm: Arm, llm: str, plan: Plan, table: int) -> str:
    if table != 4 or arm.name == plan.experiment.baseline:
        return arm.title
    return f"{llm.rstrip('/').rsplit('/', 1)[-1]}: {arm.title}"
