"""ROC and reliability as points to draw."""

import numpy as np

from elec.evaluation.metrics import Floats, Labels, check

_ROC_POINTS = 200
_RELIABILITY_BINS = 20


def roc_curve(label: Labels, score: Floats, points: int = _ROC_POINTS) -> dict[str, list[float]]:
    """The ROC curve, thinned evenly along its length, with both ends.

    Args:
        label: 0 or 1, one a row.
        score: Between 0 and 1, one a row.
        points: At most this many.

    Returns:
        `fpr`, `tpr` and `thresholds` (falling; a row is called a click at or above it, and the first, 1, stands for none).
        With one class only, the diagonal: nothing can be ranked.

    Raises:
        InputError: As `metrics.evaluate` does on broken input.
    """
    check(label, score)
    order = np.argsort(-score, kind="stable")
    falling_N, clicked_N = score[order], np.asarray(label, dtype=bool)[order]
    # A point after each distinct score: inside a tie there is no threshold.
    last_T = np.append(np.flatnonzero(np.diff(falling_N)), len(falling_N) - 1)
    hits_T = np.cumsum(clicked_N)[last_T].astype(np.float64)
    alarms_T = last_T + 1 - hits_T
    if hits_T[-1] == 0 or alarms_T[-1] == 0:
        return {"fpr": [0.0, 1.0], "tpr": [0.0, 1.0], "thresholds": [1.0, 0.0]}
    tpr = np.concatenate([[0.0], hits_T / hits_T[-1]])
    fpr = np.concatenate([[0.0], alarms_T / alarms_T[-1]])
    thresholds = np.concatenate([[1.0], falling_N[last_T]])
    kept = _evenly(tpr + fpr, points)
    return {"fpr": fpr[kept].tolist(), "tpr": tpr[kept].tolist(), "thresholds": thresholds[kept].tolist()}


def reliability_curve(label: Labels, probability: Floats, bins: int = _RELIABILITY_BINS) -> dict[str, list[float]]:
    """Predicted against observed click rate in bins of about equally many rows.

    Equal predictions always share a bin, so there are fewer bins where many rows are tied.

    Args:
        label: 0 or 1, one a row.
        probability: Between 0 and 1, one a row.
        bins: At most this many.

    Returns:
        `predicted` (mean probability), `observed` (share of clicks) and `rows`, a bin each, by rising prediction.

    Raises:
        InputError: As `metrics.evaluate` does on broken input.
    """
    check(label, probability)
    order = np.argsort(probability, kind="stable")
    rising_N = probability[order]
    first_of_tie_N = np.searchsorted(rising_N, rising_N, side="left")
    bin_N = first_of_tie_N * bins // len(rising_N)
    starts = np.flatnonzero(np.concatenate([[True], np.diff(bin_N) > 0]))
    rows = np.diff(np.append(starts, len(rising_N))).astype(np.float64)
    predicted = np.add.reduceat(rising_N.astype(np.float64), starts) / rows
    observed = np.add.reduceat(np.asarray(label, dtype=np.float64)[order], starts) / rows
    return {"predicted": predicted.tolist(), "observed": observed.tolist(), "rows": rows.tolist()}


def _evenly(length_T: Floats, points: int) -> np.ndarray:
    """Indices of at most `points` entries of a rising array, even in its values, with the first and the last."""
    if len(length_T) <= points:
        return np.arange(len(length_T))
    wanted = np.linspace(length_T[0], length_T[-1], points)
    found = np.searchsorted(length_T, wanted, side="left")
    return np.unique(np.clip(found, 0, len(length_T) - 1))
