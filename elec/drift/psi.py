"""The population stability index, and how large it gets by chance alone.

PSI = sum over bins of (p - q) * ln(p / q), with p and q the bins' shares in the two windows: the symmetric form of the
Kullback-Leibler divergence. It is never negative, symmetric, and 0 for equal shares.

When nothing has changed, PSI is about (1/n + 1/m) times a chi-squared variable with bins - 1 degrees of freedom, for
windows of n and m rows (Yurdakul and Naranjo, Statistical properties of the population stability index, Journal of Risk
Model Validation 14(4), 2020). Small windows so reach 0.1 without any drift; a verdict has to look beyond that.
"""

import math
from collections.abc import Sequence

import numpy as np

#: An empty bin counts as this share, so that the logarithm stays finite.
SMALLEST_SHARE = 1e-4

_Z_999 = 3.090232306167813


def psi(current: Sequence[int], reference: Sequence[int]) -> float:
    """The population stability index of two histograms over the same bins.

    Args:
        current: Counts [bins].
        reference: Counts [bins].

    Returns:
        0 for equal shares (or if a histogram is empty), and up to about 18.

    Raises:
        ValueError: If the histograms have different bins.
    """
    if len(current) != len(reference):
        raise ValueError(f"histograms of {len(current)} and {len(reference)} bins cannot be compared")
    p, q = np.asarray(current, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    if p.sum() == 0 or q.sum() == 0:
        return 0.0
    p, q = np.maximum(p / p.sum(), SMALLEST_SHARE), np.maximum(q / q.sum(), SMALLEST_SHARE)
    # A difference of logarithms changes its sign exactly when the windows are swapped; a logarithm of a quotient does not.
    return float(((p - q) * (np.log(p) - np.log(q))).sum())


def chance(current: Sequence[int], reference: Sequence[int]) -> float:
    """The PSI that one window in a thousand exceeds although nothing has changed.

    Args:
        current: Counts [bins].
        reference: Counts [bins].
    """
    n, m = sum(current), sum(reference)
    bins = sum(1 for a, b in zip(current, reference, strict=True) if a or b)
    if n == 0 or m == 0 or bins < 2:
        return 0.0
    freedom = bins - 1
    # Wilson and Hilferty's approximation of the chi-squared quantile, within 2% from one degree of freedom on.
    spread = 2 / (9 * freedom)
    quantile = freedom * (1 - spread + _Z_999 * math.sqrt(spread)) ** 3
    return (1 / n + 1 / m) * quantile
