"""All figures of one network on one split."""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from elec.evaluation.calibration import (
    expected_calibration_error,
    field_ece,
    field_rce,
    normalised_entropy,
    relative_information_gain,
)
from elec.evaluation.metrics import evaluate
from elec.evaluation.slices import Slice, measure_slices, slice_masks


class FieldCalibration(BaseModel):
    """Calibration a value of a field (Pan et al., WWW 2020)."""

    model_config = ConfigDict(frozen=True)

    ece: float
    rce: float


class Measures(BaseModel):
    """How good predictions are.

    Attributes:
        auc: Over all rows.
        gauc: Mean of the users' own AUC, weighted by the user's rows, over users with both classes; None if no user has both.
        logloss: Natural logarithm.
        ne: LogLoss over the entropy of the rows' click rate.
        rig: 1 - ne.
        pcoc: Predicted over observed clicks.
        ece: Over 20 bins of equally many rows.
        fields: By field.
        slices: Of the test rows; empty on validation.
        rows: How many.
        users: How many.
    """

    model_config = ConfigDict(frozen=True)

    auc: float
    gauc: float | None
    logloss: float
    ne: float
    rig: float
    pcoc: float
    ece: float
    fields: dict[str, FieldCalibration]
    slices: tuple[Slice, ...]
    rows: int
    users: int

    def slice(self, name: str) -> Slice | None:
        """A slice by its name, if it was measured."""
        return next((part for part in self.slices if part.name == name), None)


class Known(NamedTuple):
    """What training knew of each evaluation row's user and item; int64 [N] each.

    Attributes:
        user_rows_N: Train rows of the user.
        item_rows_N: Train rows of the item.
        user_clicks_N: Train clicks of the user.
    """

    user_rows_N: npt.NDArray[np.int64]
    item_rows_N: npt.NDArray[np.int64]
    user_clicks_N: npt.NDArray[np.int64]


def measure(
    label: npt.NDArray[np.int8],
    probability: npt.NDArray[np.float64],
    user_index: npt.NDArray[np.int64],
    *,
    fields: dict[str, npt.NDArray[np.int64]],
    known: Known | None = None,
) -> Measures:
    """Measures predictions.

    Args:
        label: 0 or 1, one a row.
        probability: Between 0 and 1, one a row.
        user_index: Which user a row is of.
        fields: Of each field to measure calibration by, the rows' values.
        known: For the slices; none are measured when left out.

    Raises:
        InputError: As `metrics.evaluate`.
    """
    found = evaluate(label, probability, user_index)
    calibration = {
        name: FieldCalibration(ece=field_ece(label, probability, value), rce=field_rce(label, probability, value))
        for name, value in fields.items()
    }
    slices = measure_slices(label, probability, slice_masks(*known)) if known is not None else ()
    assert math.isfinite(found.logloss), "probabilities are kept away from 0 and 1"
    return Measures(
        auc=found.auc,
        gauc=found.gauc,
        logloss=found.logloss,
        ne=normalised_entropy(label, probability),
        rig=relative_information_gain(label, probability),
        pcoc=found.pcoc,
        ece=expected_calibration_error(label, probability),
        fields=calibration,
        slices=slices,
        rows=found.rows,
        users=found.users,
    )
