"""How sure a difference is: a paired bootstrap that resamples users.

Rows of one user are not independent, so users are drawn with replacement, each with all of its rows (the cluster bootstrap;
Efron and Tibshirani 1993, chapter 8), and both models are measured on the same draw. A draw is a weight a user, so nothing
is copied: scores are sorted once, and a resample's AUC is two cumulative sums.
"""

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from elec.errors import InputError
from elec.evaluation.metrics import Floats, Indices, Labels, auc, check, row_losses
from elec.spec.run import GateSpec

#: Weights held at once.
CELLS_AT_ONCE = 4_000_000


class Interval(BaseModel):
    """An estimate with its percentile interval."""

    model_config = ConfigDict(frozen=True)

    estimate: float
    low: float
    high: float

    @property
    def above_zero(self) -> bool:
        """Whether the whole interval is."""
        return self.low > 0

    @property
    def below_zero(self) -> bool:
        """Whether the whole interval is."""
        return self.high < 0


class Difference(BaseModel):
    """What the challenger improves on the champion; positive is better in both.

    Attributes:
        auc: Challenger's minus champion's.
        logloss: Champion's minus challenger's.
        confidence: Of the intervals.
        resamples: How many draws gave them.
        users: How many were drawn from; with 1, rows were drawn instead.
    """

    model_config = ConfigDict(frozen=True)

    auc: Interval
    logloss: Interval
    confidence: float
    resamples: int
    users: int


def difference(
    label: Labels, challenger: Floats, champion: Floats, user_index: Indices, settings: GateSpec, *, seed: int
) -> Difference:
    """Compares two models on the same rows.

    Args:
        label: 0 or 1, one a row, both classes.
        challenger: Probabilities, one a row.
        champion: Probabilities, one a row.
        user_index: Which user a row is of.
        settings: Confidence and number of resamples.
        seed: Of the draws.

    Raises:
        InputError: If the arrays do not fit, or only one class occurs.
    """
    check(label, challenger, champion, user_index)
    clicked = np.asarray(label, dtype=bool)
    if clicked.all() or not clicked.any():
        raise InputError(
            f"all {len(label):,} rows have label {int(clicked[0])}, so models cannot be compared; give a longer window"
        )
    users, user_N = np.unique(user_index, return_inverse=True)
    if len(users) == 1:
        user_N = np.arange(len(label))
    count = int(user_N[-1] + 1) if len(users) == 1 else len(users)

    gained_N = row_losses(label, champion) - row_losses(label, challenger)
    gained_U = np.bincount(user_N, weights=gained_N, minlength=count)
    rows_U = np.bincount(user_N, minlength=count).astype(np.float64)
    ranked = [Ranked(clicked, score, user_N) for score in (challenger, champion)]

    generator = np.random.default_rng(seed)
    chunk = max(1, CELLS_AT_ONCE // max(len(label), count))
    even = np.full(count, 1.0 / count)
    auc_gains, logloss_gains = [], []
    for start in range(0, settings.resamples, chunk):
        draws = min(chunk, settings.resamples - start)
        weight_UR = np.ascontiguousarray(generator.multinomial(count, even, size=draws).T, dtype=np.float64)
        logloss_gains.append((gained_U @ weight_UR) / (rows_U @ weight_UR))
        auc_gains.append(ranked[0].auc(weight_UR) - ranked[1].auc(weight_UR))
    return Difference(
        auc=interval(auc(label, challenger) - auc(label, champion), np.concatenate(auc_gains), settings.confidence),
        logloss=interval(float(gained_N.mean()), np.concatenate(logloss_gains), settings.confidence),
        confidence=settings.confidence,
        resamples=settings.resamples,
        users=len(users),
    )


class Ranked:
    """Rows sorted by one model's score, to be weighted again and again.

    Args:
        clicked_N: Whether a row is a click.
        score_N: Higher means more likely a click.
        user_N: Which user a row is of, counted from 0.
    """

    def __init__(self, clicked_N: npt.NDArray[np.bool_], score_N: Floats, user_N: Indices) -> None:
        clicks_P = _by_score(np.flatnonzero(clicked_N), score_N)
        others_M = _by_score(np.flatnonzero(~clicked_N), score_N)
        self.click_user_P, self.other_user_M = user_N[clicks_P], user_N[others_M]
        # How many non-clicks a click stands above, and how many with those of its own score.
        self.below_P = np.searchsorted(score_N[others_M], score_N[clicks_P], side="left")
        self.up_to_P = np.searchsorted(score_N[others_M], score_N[clicks_P], side="right")

    def auc(self, weight_UR: Floats) -> Floats:
        """The AUC of each resample, ties counting half; NaN where a draw has one class only."""
        # A resample is a column: gathers copy whole rows, and the cumulative sum adds whole rows.
        sum_MR = np.empty((len(self.other_user_M) + 1, weight_UR.shape[1]))
        sum_MR[0] = 0.0
        np.cumsum(weight_UR[self.other_user_M], axis=0, out=sum_MR[1:])
        click_PR = weight_UR[self.click_user_P]
        won_R = np.einsum("pr,pr->r", click_PR, sum_MR[self.below_P])
        if not np.array_equal(self.below_P, self.up_to_P):
            won_R = (won_R + np.einsum("pr,pr->r", click_PR, sum_MR[self.up_to_P])) / 2
        pairs_R = click_PR.sum(axis=0) * sum_MR[-1]
        area_R: Floats = np.divide(won_R, pairs_R, out=np.full(len(won_R), np.nan), where=pairs_R > 0)
        return area_R


def _by_score(rows: Indices, score_N: Floats) -> Indices:
    return rows[np.argsort(score_N[rows], kind="stable")]


def interval(estimate: float, draws_R: Floats, confidence: float) -> Interval:
    """The percentile interval of resamples; a NaN among them does not count.

    Args:
        estimate: On all rows.
        draws_R: One a resample.
        confidence: Share of the resamples inside.
    """
    tail = 100 * (1 - confidence) / 2
    defined = draws_R[~np.isnan(draws_R)]
    # Two users of one class each: no draw may hold both. Then nothing is known beyond the estimate, and nothing is certain.
    low, high = np.percentile(defined, [tail, 100 - tail]) if len(defined) else (min(estimate, 0.0), max(estimate, 0.0))
    return Interval(estimate=estimate, low=float(low), high=float(high))
