"""Whether a difference over seeds is more than chance: mean and deviation, the paired t-test, Holm's correction, retention."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict


class Spread(BaseModel):
    """A figure over seeds.

    Attributes:
        mean: Over the seeds.
        sd: Sample standard deviation (n - 1); None with one seed.
        n: How many seeds.
    """

    model_config = ConfigDict(frozen=True)

    mean: float
    sd: float | None
    n: int


class PairedTest(BaseModel):
    """A paired, two-sided t-test.

    Attributes:
        difference: Mean of the differences.
        sd: Of the differences; None with one pair.
        t: The statistic; None with one pair, or where all differences are equal.
        p: Chance of a difference as large if there were none; None with one pair.
        n: Pairs.
    """

    model_config = ConfigDict(frozen=True)

    difference: float
    sd: float | None
    t: float | None
    p: float | None
    n: int


def spread(values: Sequence[float]) -> Spread:
    """Mean and sample standard deviation.

    Args:
        values: One a seed, at least one.
    """
    array = np.asarray(values, np.float64)
    return Spread(mean=float(array.mean()), sd=float(array.std(ddof=1)) if len(array) > 1 else None, n=len(array))


def paired_test(challenger: Sequence[float], base: Sequence[float]) -> PairedTest:
    """Compares two models over the same seeds.

    Args:
        challenger: One a seed.
        base: Of the same seeds in the same order.

    Raises:
        ValueError: If they differ in length, or are empty.
    """
    if len(challenger) != len(base) or not len(base):
        raise ValueError(f"{len(challenger)} and {len(base)} figures are not pairs")
    gap = np.asarray(challenger, np.float64) - np.asarray(base, np.float64)
    mean = float(gap.mean())
    if len(gap) < 2:
        return PairedTest(difference=mean, sd=None, t=None, p=None, n=1)
    sd = float(gap.std(ddof=1))
    # Differences that are all the same: a deviation of rounding errors only would give a statistic without meaning.
    if sd <= 1e-12 * max(1.0, float(np.abs(challenger).max())):
        return PairedTest(difference=mean, sd=sd, t=None, p=1.0 if mean == 0 else 0.0, n=len(gap))
    from scipy import stats

    statistic = mean / (sd / np.sqrt(len(gap)))
    return PairedTest(
        difference=mean, sd=sd, t=float(statistic), p=float(2 * stats.t.sf(abs(statistic), len(gap) - 1)), n=len(gap)
    )


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction (1979) over a family of comparisons; it bounds the chance of any false claim.

    Args:
        p_values: One a comparison; None where there is none, which then does not count.

    Returns:
        Adjusted p-values, in the same order.
    """
    known = [place for place, p in enumerate(p_values) if p is not None]
    raw: npt.NDArray[np.float64] = np.array([p_values[place] for place in known], np.float64)
    order = np.argsort(raw, kind="stable")
    stepped = raw[order] * (len(raw) - np.arange(len(raw)))
    adjusted = np.minimum(np.maximum.accumulate(stepped), 1.0) if len(raw) else raw
    result: list[float | None] = [None] * len(p_values)
    for place, value in zip(order, adjusted, strict=True):
        result[known[int(place)]] = float(value)
    return result


def retention(vanilla: float, base: float, gain: float) -> float | None:
    """The share of the gain network's lift that the student keeps: (vanilla - base) / (gain - base).

    Args:
        vanilla: The student's AUC.
        base: Of the same network without a teacher.
        gain: The gain network's.

    Returns:
        None where the gain network is not above the base: there is nothing to keep.
    """
    return (vanilla - base) / (gain - base) if gain > base else None
