"""How sure a difference is that was measured over several seeds: users are resampled, and all seeds share the draw.

Seeds may have samples of their own (negatives drawn anew), so rows differ between seeds while users are the same people.
A draw weighs users; every seed's AUC difference is computed under these weights, and the mean over the seeds is the statistic.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from elec.evaluation.bootstrap import CELLS_AT_ONCE, Interval, Ranked, interval
from elec.evaluation.metrics import Floats, Indices, Labels, auc, check


class Paired(NamedTuple):
    """Two models' predictions of one seed's rows.

    Attributes:
        label_N: 0 or 1, both classes.
        challenger_N: Scores.
        base_N: Scores of the same rows.
        user_N: int64; the same number is the same user in every seed.
    """

    label_N: Labels
    challenger_N: Floats
    base_N: Floats
    user_N: Indices


def auc_difference(seeds: Sequence[Paired], *, resamples: int, confidence: float, seed: int) -> Interval:
    """The mean over seeds of the challenger's AUC minus the base's, with its user-clustered interval.

    Args:
        seeds: One a seed, at least one.
        resamples: Draws of users.
        confidence: Of the interval.
        seed: Of the draws.

    Raises:
        InputError: If arrays do not fit each other.
    """
    for part in seeds:
        check(part.label_N, part.challenger_N, part.base_N, part.user_N)
    users = np.unique(np.concatenate([part.user_N for part in seeds]))
    ranked = []
    for part in seeds:
        clicked_N = np.asarray(part.label_N, dtype=bool)
        place_N = np.searchsorted(users, part.user_N)
        ranked.append([Ranked(clicked_N, score, place_N) for score in (part.challenger_N, part.base_N)])

    generator = np.random.default_rng(seed)
    longest = max(len(part.label_N) for part in seeds)
    chunk = max(1, CELLS_AT_ONCE // max(longest, len(users)))
    even = np.full(len(users), 1.0 / len(users))
    gains = []
    for start in range(0, resamples, chunk):
        drawn = generator.multinomial(len(users), even, size=min(chunk, resamples - start))
        weight_UR = np.ascontiguousarray(drawn.T, dtype=np.float64)
        gains.append(np.mean([pair[0].auc(weight_UR) - pair[1].auc(weight_UR) for pair in ranked], axis=0))
    estimate = float(np.mean([auc(part.label_N, part.challenger_N) - auc(part.label_N, part.base_N) for part in seeds]))
    return interval(estimate, np.concatenate(gains), confidence)
