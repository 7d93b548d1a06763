"""Calibration and entropy measures of predictions, in numpy, without a loop over rows, bins or field values."""

import numpy as np

from elec.evaluation.metrics import Floats, Indices, Labels, logloss

_ECE_BINS = 20
# Keeps the relative error of a value without a click finite, as in the paper.
_FIELD_EPSILON = 0.01


def normalised_entropy(label: Labels, probability: Floats) -> float:
    """LogLoss over the entropy of the rows' own click rate (He et al., ADKDD 2014); 1 is no better than the mean.

    Args:
        label: 0 or 1, one a row.
        probability: One a row.

    Returns:
        NaN with one class only: the entropy is then 0.
    """
    rate = float(np.mean(label))
    if rate in {0.0, 1.0}:
        return float("nan")
    entropy = -(rate * np.log(rate) + (1 - rate) * np.log(1 - rate))
    return float(logloss(label, probability) / entropy)


def relative_information_gain(label: Labels, probability: Floats) -> float:
    """RIG = 1 - NE: the share of the click rate's entropy that the predictions explain; NaN with one class only.

    Args:
        label: 0 or 1, one a row.
        probability: One a row.
    """
    return 1.0 - normalised_entropy(label, probability)


def expected_calibration_error(label: Labels, probability: Floats, bins: int = _ECE_BINS) -> float:
    """ECE over bins of equally many rows: the mean distance of a bin's click rate from its mean prediction, weighted by rows.

    Equal predictions always share a bin, so there are fewer bins where many rows are tied.

    Args:
        label: 0 or 1, one a row.
        probability: One a row.
        bins: At most this many.

    Returns:
        NaN without rows.
    """
    if len(label) == 0:
        return float("nan")
    rising_N = np.sort(probability)
    bin_N = np.searchsorted(rising_N, probability, side="left") * bins // len(rising_N)
    gap_V = np.bincount(bin_N, weights=np.asarray(label, np.float64) - probability, minlength=bins)
    return float(np.abs(gap_V).sum() / len(label))


def field_ece(label: Labels, probability: Floats, value: Indices) -> float:
    """Field-ECE (Pan et al., WWW 2020): the mean over a field's values of |clicks - predicted clicks| a row.

    Args:
        label: 0 or 1, one a row.
        probability: One a row.
        value: Which of the field's values a row has.

    Returns:
        NaN without rows.
    """
    if len(label) == 0:
        return float("nan")
    gap_V, _, _ = _by_value(label, probability, value)
    return float(np.abs(gap_V).sum() / len(label))


def field_rce(label: Labels, probability: Floats, value: Indices, epsilon: float = _FIELD_EPSILON) -> float:
    """Field-RCE (Pan et al., WWW 2020): |clicks - predicted clicks| over clicks, the mean over values weighted by rows.

    Args:
        label: 0 or 1, one a row.
        probability: One a row.
        value: Which of the field's values a row has.
        epsilon: Added to each row's label in the divisor, so that a value without a click counts and stays finite.

    Returns:
        NaN without rows.
    """
    if len(label) == 0:
        return float("nan")
    gap_V, clicks_V, rows_V = _by_value(label, probability, value)
    return float((rows_V * np.abs(gap_V) / (clicks_V + epsilon * rows_V)).sum() / len(label))


def _by_value(label: Labels, probability: Floats, value: Indices) -> tuple[Floats, Floats, Floats]:
    """Of each value: clicks minus predicted clicks, clicks, rows."""
    _, value_N = np.unique(value, return_inverse=True)
    label_N = np.asarray(label, np.float64)
    sums = (np.bincount(value_N, weights=part) for part in (label_N - probability, label_N, np.ones(len(label_N))))
    gap_V, clicks_V, rows_V = (np.asarray(part, np.float64) for part in sums)
    return gap_V, clicks_V, rows_V
