"""Metrics against scikit-learn and against loops over all pairs."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from elec.errors import InputError
from elec.evaluation import auc, evaluate, gauc, logloss, pcoc

# Few distinct scores, so that ties are common.
ROWS = st.lists(
    st.tuples(st.integers(0, 1), st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.5, 0.9, 1.0]), st.integers(-3, 4)),
    min_size=1,
    max_size=60,
)


def columns(rows: list[tuple[int, float, int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    label, score, user = zip(*rows, strict=True)
    return np.array(label, np.int8), np.array(score), np.array(user, np.int64)


def auc_over_pairs(label: np.ndarray, score: np.ndarray) -> float:
    clicks, others = score[label == 1], score[label == 0]
    if len(clicks) == 0 or len(others) == 0:
        return float("nan")
    won = [1.0 if c > o else 0.5 if c == o else 0.0 for c in clicks for o in others]
    return sum(won) / len(won)


@settings(max_examples=150, deadline=None)
@given(ROWS)
def test_auc_counts_pairs_and_halves_ties(rows: list[tuple[int, float, int]]) -> None:
    label, score, _ = columns(rows)
    np.testing.assert_allclose(auc(label, score), auc_over_pairs(label, score), atol=1e-12)


@settings(max_examples=150, deadline=None)
@given(ROWS)
def test_gauc_is_the_row_weighted_mean_of_the_users_auc(rows: list[tuple[int, float, int]]) -> None:
    label, score, user = columns(rows)
    own = [(auc_over_pairs(label[user == u], score[user == u]), int((user == u).sum())) for u in np.unique(user)]
    counted = [(value, weight) for value, weight in own if not np.isnan(value)]
    expected = np.average([v for v, _ in counted], weights=[w for _, w in counted]) if counted else float("nan")
    np.testing.assert_allclose(gauc(label, score, user), expected, atol=1e-12)


def test_equals_scikit_learn_on_many_rows() -> None:
    generator = np.random.default_rng(0)
    score = np.round(generator.random(20_000), 3)
    label = (generator.random(20_000) < score).astype(np.int8)
    user = generator.integers(0, 700, 20_000)
    found = evaluate(label, score, user)
    assert found.auc == pytest.approx(sk.roc_auc_score(label, score), abs=1e-12)
    assert found.logloss == pytest.approx(sk.log_loss(label, score), abs=1e-12)
    assert found.pcoc == pytest.approx(score.sum() / label.sum(), rel=1e-12)
    assert (found.rows, found.users) == (20_000, 700)


def test_gauc_does_not_depend_on_the_users_level() -> None:
    label = np.array([1, 0, 1, 0])
    score = np.array([0.2, 0.1, 0.9, 0.8])
    user = np.array([7, 7, 3, 3])
    assert gauc(label, score, user) == 1.0
    assert auc(label, score) == 0.75


def test_logloss_stays_finite_at_certain_mistakes() -> None:
    assert np.isfinite(logloss(np.array([1, 0]), np.array([0.0, 1.0])))


def test_one_class_has_no_auc() -> None:
    ones, score, user = np.ones(3, np.int8), np.array([0.1, 0.5, 0.9]), np.arange(3)
    assert np.isnan(auc(ones, score))
    assert np.isnan(gauc(ones, score, user))
    assert np.isnan(pcoc(np.zeros(3, np.int8), score))
    with pytest.raises(InputError, match="all 3 rows to evaluate have label 1"):
        evaluate(ones, score, user)


def test_gauc_is_none_when_no_user_has_both_classes() -> None:
    found = evaluate(np.array([1, 0, 1]), np.array([0.9, 0.1, 0.8]), np.arange(3))
    assert found.gauc is None
    assert found.auc == 1.0
    assert '"gauc":null' in found.model_dump_json()


@pytest.mark.parametrize(
    ("label", "probability", "user", "message"),
    [
        ([], [], [], "no rows"),
        ([0, 1], [0.1], [0, 0], "2 labels but 1, 2 values"),
        ([0, 2], [0.1, 0.2], [0, 0], "the label 2 is neither 0 nor 1"),
        ([0, 1], [0.1, 1.5], [0, 0], "1.5 is not a probability"),
        ([0, 1], [0.1, float("nan")], [0, 0], "nan is not a probability"),
    ],
)
def test_what_has_no_metric_is_refused(label: list[int], probability: list[float], user: list[int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        evaluate(np.array(label, np.int64), np.array(probability, np.float64), np.array(user, np.int64))


def test_torch_is_not_needed() -> None:
    check = "import sys, elec.evaluation; sys.exit(bool({'torch', 'sklearn', 'pandas'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
