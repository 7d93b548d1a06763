"""The bootstrap against copies of the rows, and what its intervals have to say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from elec.errors import InputError
from elec.evaluation import auc, difference, logloss
from elec.evaluation import bootstrap as module
from elec.spec.run import GateSpec

GATE = GateSpec(resamples=200)


def log(rows: int, users: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    user = generator.integers(0, users, rows) * 10 + 3
    logit = generator.normal(size=rows)
    return (generator.random(rows) < 1 / (1 + np.exp(-logit))).astype(np.int8), logit, user


def sigmoid(logit: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logit))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.sampled_from([0.1, 0.2, 0.5, 0.8]), st.integers(0, 5)), min_size=2, max_size=50),
    st.lists(st.integers(0, 3), min_size=6, max_size=6),
)
def test_a_weighted_auc_is_that_of_repeated_rows(rows: list[tuple[bool, float, int]], weights: list[int]) -> None:
    clicked, score, user = (np.array(column) for column in zip(*rows, strict=True))
    weight = np.array(weights)
    ranked = module.Ranked(clicked, score, user)
    found = ranked.auc(weight[:, None].astype(np.float64))[0]
    times = weight[user]
    repeated = np.repeat(clicked, times), np.repeat(score, times)
    np.testing.assert_allclose(found, auc(repeated[0].astype(int), repeated[1]), atol=1e-12)


def test_intervals_equal_a_plain_bootstrap_with_the_same_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    label, logit, user = log(300, 25)
    generator = np.random.default_rng(1)
    challenger = np.round(sigmoid(logit), 2)
    champion = np.round(sigmoid(logit + generator.normal(size=300)), 2)
    # Small chunks, so that the draws of several are joined.
    monkeypatch.setattr(module, "CELLS_AT_ONCE", 300 * 17)
    found = difference(label, challenger, champion, user, GATE, seed=9)

    draws, users = np.random.default_rng(9), np.unique(user)
    areas, losses = [], []
    for _ in range(GATE.resamples):
        counts = draws.multinomial(len(users), np.full(len(users), 1 / len(users)))
        rows = np.repeat(np.arange(300), counts[np.searchsorted(users, user)])
        areas.append(sk.roc_auc_score(label[rows], challenger[rows]) - sk.roc_auc_score(label[rows], champion[rows]))
        losses.append(logloss(label[rows], champion[rows]) - logloss(label[rows], challenger[rows]))
    np.testing.assert_allclose([found.auc.low, found.auc.high], np.percentile(areas, [2.5, 97.5]), atol=1e-10)
    np.testing.assert_allclose([found.logloss.low, found.logloss.high], np.percentile(losses, [2.5, 97.5]), atol=1e-10)
    assert found.auc.estimate == pytest.approx(auc(label, challenger) - auc(label, champion))
    assert found.logloss.estimate == pytest.approx(logloss(label, champion) - logloss(label, challenger))
    assert (found.users, found.resamples, found.confidence) == (25, 200, 0.95)


def test_a_better_model_is_seen_and_an_equal_one_is_not() -> None:
    label, logit, user = log(4000, 200)
    noise = np.random.default_rng(3).normal(size=4000)
    better = difference(label, sigmoid(logit), sigmoid(logit + noise), user, GATE, seed=0)
    assert better.auc.above_zero
    assert better.logloss.above_zero
    worse = difference(label, sigmoid(logit + noise), sigmoid(logit), user, GATE, seed=0)
    assert worse.auc.below_zero
    assert worse.logloss.below_zero
    same = difference(label, sigmoid(logit), sigmoid(logit), user, GATE, seed=0)
    assert (same.auc.low, same.auc.high, same.logloss.low, same.logloss.high) == (0, 0, 0, 0)
    assert not same.auc.above_zero


def test_rows_of_one_user_are_not_taken_for_independent() -> None:
    generator = np.random.default_rng(5)
    users = 30
    user = np.repeat(np.arange(users), 100)
    label = (np.arange(users * 100) % 2).astype(np.int8)
    # One model is better for some users and worse for others: many rows, but only thirty opinions.
    shift = np.repeat(generator.normal(0, 0.5, users), 100)
    sign = np.where(label == 1, 1, -1)
    challenger, champion = sigmoid(sign * shift + generator.normal(size=len(label))), sigmoid(generator.normal(size=len(label)))
    clustered = difference(label, challenger, champion, user, GATE, seed=0)
    by_row = difference(label, challenger, champion, np.arange(len(label)), GATE, seed=0)
    assert clustered.logloss.high - clustered.logloss.low > 2 * (by_row.logloss.high - by_row.logloss.low)


def test_the_seed_decides() -> None:
    label, logit, user = log(200, 20)
    other = sigmoid(logit * 0.5)
    one, again, another = (difference(label, sigmoid(logit), other, user, GATE, seed=seed) for seed in (1, 1, 2))
    assert one == again
    assert one != another


def test_a_single_user_falls_back_to_rows() -> None:
    label, logit, _ = log(200, 20)
    found = difference(label, sigmoid(logit), sigmoid(-logit), np.full(200, 7), GATE, seed=0)
    assert found.users == 1
    assert found.auc.low < found.auc.estimate < found.auc.high


def test_two_users_of_one_class_each_leave_it_open() -> None:
    label, score, user = np.array([1, 1, 0, 0], np.int8), np.array([0.9, 0.8, 0.2, 0.1]), np.array([0, 0, 1, 1])
    found = difference(label, score, 1 - score, user, GATE, seed=0)
    assert np.isfinite([found.auc.low, found.auc.high]).all()


def test_one_class_is_refused() -> None:
    with pytest.raises(InputError, match="cannot be compared"):
        difference(np.ones(3, np.int8), np.full(3, 0.5), np.full(3, 0.4), np.arange(3), GATE, seed=0)
