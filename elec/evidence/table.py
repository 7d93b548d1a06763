"""A table of the evidence: what its rows say of every arm."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from elec.evaluation.bootstrap import Interval
from elec.evaluation.significance import PairedTest, Spread

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
