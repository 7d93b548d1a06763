"""AUC, per-user AUC, LogLoss and calibration, in numpy, without a loop over rows or users."""

from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from elec.errors import InputError

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.integer[Any]]
Indices = npt.NDArray[np.int64]

_SMALLEST = float(np.finfo(np.float64).eps)


class Metrics(BaseModel):
    """How good predictions are.

    Attributes:
        auc: Chance that a click is scored above a non-click, ties counting half.
        gauc: Mean of the users' own AUC, weighted by their rows, over users with both classes; None if no user has both.
        logloss: Mean binary cross-entropy, natural logarithm.
        pcoc: Predicted clicks over observed clicks; 1 is calibrated.
        rows: How many.
        users: How many.
    """

    model_config = ConfigDict(frozen=True)

    auc: float
    gauc: float | None
    logloss: float
    pcoc: float
    rows: int
    users: int


def evaluate(label: Labels, probability: Floats, user_index: Indices) -> Metrics:
    """Measures predictions.

    Args:
        label: 0 or 1, one a row.
        probability: Between 0 and 1, one a row.
        user_index: Which user a row is of.

    Raises:
        InputError: If there are no rows, the arrays differ in length, a label is neither 0 nor 1, only one class occurs, or
            a probability is not one.
    """
    check(label, probability, user_index)
    positives = int(np.count_nonzero(label))
    if positives in {0, len(label)}:
        raise InputError(
            f"all {len(label):,} rows to evaluate have label {int(positives > 0)}, so AUC is undefined; "
            "give a longer window, or check the label's rule"
        )
    per_user = gauc(label, probability, user_index)
    return Metrics(
        auc=auc(label, probability),
        gauc=None if np.isnan(per_user) else per_user,
        logloss=logloss(label, probability),
        pcoc=pcoc(label, probability),
        rows=len(label),
        users=len(np.unique(user_index)),
    )


def check(label: Labels, *columns: npt.NDArray[Any]) -> None:
    """Refuses what no metric is defined on.

    Args:
        label: 0 or 1, one a row.
        columns: Probabilities (floats) and user indices (integers), one a row.

    Raises:
        InputError: With the reason.
    """
    if len(label) == 0:
        raise InputError("there are no rows to evaluate; give a longer window")
    if any(len(column) != len(label) for column in columns):
        lengths = ", ".join(f"{len(column):,}" for column in columns)
        raise InputError(f"there are {len(label):,} labels but {lengths} values beside them; give one of each a row")
    if not np.isin(label, (0, 1)).all():
        wrong = label[~np.isin(label, (0, 1))][0]
        raise InputError(f"the label {wrong} is neither 0 nor 1; turn labels into clicks and non-clicks first")
    for column in columns:
        if not np.issubdtype(column.dtype, np.floating):
            continue
        fits = (column >= 0) & (column <= 1)
        if not fits.all():
            wrong = column[~fits][0]
            raise InputError(f"the prediction {wrong} is not a probability; give numbers between 0 and 1")


def auc(label: Labels, score: Floats) -> float:
    """Area under the ROC curve: the Mann-Whitney statistic over all pairs, ties counting half; NaN with one class only.

    Args:
        label: 0 or 1, one a row.
        score: Higher means more likely a click.
    """
    clicked = np.asarray(label, dtype=bool)
    positives = int(clicked.sum())
    negatives = len(clicked) - positives
    if positives == 0 or negatives == 0:
        return float("nan")
    order = np.argsort(score, kind="stable")
    rank_N = _mid_ranks(score[order], np.zeros(len(order), dtype=np.int64))
    # R - P(P+1)/2 with ranks from 1: how many negatives stand below the positives.
    below = rank_N[clicked[order]].sum() - positives * (positives + 1) / 2
    return float(below / (positives * negatives))


def gauc(label: Labels, score: Floats, user_index: Indices) -> float:
    """Per-user AUC: each user's Mann-Whitney statistic, ties counting half, weighted by the user's rows.

    Users whose rows are all clicks or all non-clicks have no AUC and do not count. NaN if no user has both.

    Args:
        label: 0 or 1, one a row.
        score: Higher means more likely a click.
        user_index: Which user a row is of.
    """
    order = np.lexsort((score, user_index))
    user_N, clicked_N = user_index[order], np.asarray(label, dtype=bool)[order]
    # Users are sorted, so each is a run of rows; ranks start anew in each run.
    starts_U = np.flatnonzero(np.concatenate([[True], user_N[1:] != user_N[:-1]]))
    group_N = np.repeat(np.arange(len(starts_U)), np.diff(np.append(starts_U, len(user_N))))
    rank_N = _mid_ranks(score[order], group_N) - starts_U[group_N]
    rows_U = np.diff(np.append(starts_U, len(user_N))).astype(np.float64)
    positives_U = np.add.reduceat(clicked_N.astype(np.float64), starts_U)
    ranks_U = np.add.reduceat(rank_N * clicked_N, starts_U)
    pairs_U = positives_U * (rows_U - positives_U)
    has_both = pairs_U > 0
    if not has_both.any():
        return float("nan")
    below_U = ranks_U - positives_U * (positives_U + 1) / 2
    auc_U = below_U[has_both] / pairs_U[has_both]
    return float(np.average(auc_U, weights=rows_U[has_both]))


def row_losses(label: Labels, probability: Floats) -> Floats:
    """Binary cross-entropy a row, natural logarithm; probabilities are kept an epsilon away from 0 and 1.

    Args:
        label: 0 or 1, one a row.
        probability: One a row.
    """
    clipped = np.clip(np.asarray(probability, dtype=np.float64), _SMALLEST, 1.0 - _SMALLEST)
    losses: Floats = -np.log(np.where(np.asarray(label, dtype=bool), clipped, 1.0 - clipped))
    return losses


def logloss(label: Labels, probability: Floats) -> float:
    """Mean binary cross-entropy.

    Args:
        label: 0 or 1, one a row.
        probability: One a row.
    """
    return float(row_losses(label, probability).mean())


def pcoc(label: Labels, probability: Floats) -> float:
    """Predicted clicks over observed clicks; NaN without a click.

    Args:
        label: 0 or 1, one a row.
        probability: One a row.
    """
    clicks = float(np.sum(label, dtype=np.float64))
    return float(np.sum(probability, dtype=np.float64) / clicks) if clicks > 0 else float("nan")


def _mid_ranks(sorted_score_N: Floats, group_N: Indices) -> Floats:
    """Ranks from 1 over the whole array, equal scores of one group sharing the mean of theirs."""
    rows = len(sorted_score_N)
    new = np.concatenate([[True], (np.diff(sorted_score_N) != 0) | (np.diff(group_N) != 0)])
    first_T = np.flatnonzero(new)
    last_T = np.append(first_T[1:], rows)
    ranks: Floats = np.repeat((first_T + 1 + last_T) / 2.0, last_T - first_T)
    return ranks
