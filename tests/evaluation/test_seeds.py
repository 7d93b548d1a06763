"""The interval of a difference over seeds, against one resample after the other."""

import numpy as np
import pytest

from elec.errors import InputError
from elec.evaluation import auc
from elec.evaluation.seeds import Paired, auc_difference


def sample(seed: int, users: int = 40) -> Paired:
    generator = np.random.default_rng(seed)
    rows = 400 + 20 * seed
    label = generator.integers(0, 2, rows)
    noise = generator.normal(size=(2, rows))
    better = 1 / (1 + np.exp(-(label + noise[0])))
    return Paired(label, better, 1 / (1 + np.exp(-(0.3 * label + noise[1]))), 1000 + generator.integers(0, users, rows))


def test_equals_a_plain_bootstrap_with_the_same_draws() -> None:
    parts = [sample(1), sample(2), sample(3)]
    users = np.unique(np.concatenate([part.user_N for part in parts]))
    found = auc_difference(parts, resamples=50, confidence=0.9, seed=7)
    drawn = np.random.default_rng(7).multinomial(len(users), np.full(len(users), 1 / len(users)), size=50)
    gaps = []
    for weights in drawn:
        own = []
        for part in parts:
            times = weights[np.searchsorted(users, part.user_N)]
            label = np.repeat(part.label_N, times)
            own.append(auc(label, np.repeat(part.challenger_N, times)) - auc(label, np.repeat(part.base_N, times)))
        gaps.append(np.mean(own))
    assert found.low == pytest.approx(np.percentile(gaps, 5))
    assert found.high == pytest.approx(np.percentile(gaps, 95))
    expected = np.mean([auc(p.label_N, p.challenger_N) - auc(p.label_N, p.base_N) for p in parts])
    assert found.estimate == pytest.approx(expected)
    assert found.above_zero


def test_a_model_against_itself_is_zero() -> None:
    part = sample(1)
    found = auc_difference([part._replace(base_N=part.challenger_N)], resamples=20, confidence=0.95, seed=0)
    assert (found.estimate, found.low, found.high) == (0.0, 0.0, 0.0)


def test_users_of_one_seed_only_are_drawn_too() -> None:
    first, second = sample(1), sample(2)
    second = second._replace(user_N=second.user_N + 1000)
    found = auc_difference([first, second], resamples=200, confidence=0.95, seed=0)
    assert found.low < found.estimate < found.high


def test_arrays_that_do_not_fit_are_refused() -> None:
    part = sample(1)
    with pytest.raises(InputError):
        auc_difference([part._replace(base_N=part.base_N[:-1])], resamples=5, confidence=0.95, seed=0)
