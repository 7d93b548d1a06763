"""Figures of a table: every arm over its seeds, against the baseline, against its controls, and slice by slice."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from elec.evaluation.seeds import Paired, auc_difference
from elec.evaluation.significance import holm, paired_test, retention, spread
from elec.evidence.arms import Arm
from elec.evidence.cell import Cell, Result
from elec.evidence.measures import Measures
from elec.evidence.plan import MissingError, Plan
from elec.evidence.search import space_of
from elec.evidence.table import METRICS, ControlOf, Lift, Row, SliceFigures, TableFigures


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
