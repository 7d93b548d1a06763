"""ROC and reliability points."""

import json

import numpy as np
import pytest
from sklearn import metrics as sk

from elec.errors import InputError
from elec.evaluation import auc, reliability_curve, roc_curve


def sample(rows: int, decimals: int = 8) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(2)
    score = np.round(generator.beta(2, 5, rows), decimals)
    return (generator.random(rows) < score).astype(np.int8), score


def test_roc_of_few_rows_is_scikit_learns() -> None:
    label, score = sample(60, decimals=1)
    found = roc_curve(label, score)
    fpr, tpr, _ = sk.roc_curve(label, score, drop_intermediate=False)
    np.testing.assert_allclose(found["fpr"], fpr)
    np.testing.assert_allclose(found["tpr"], tpr)
    for fpr_at, tpr_at, threshold in zip(found["fpr"][1:], found["tpr"][1:], found["thresholds"][1:], strict=True):
        called = score >= threshold
        assert (called[label == 0].mean(), called[label == 1].mean()) == pytest.approx((fpr_at, tpr_at))


def test_roc_is_thinned_with_its_ends_and_its_area() -> None:
    label, score = sample(30_000)
    found = roc_curve(label, score)
    assert 150 <= len(found["fpr"]) <= 200
    assert (found["fpr"][0], found["tpr"][0], found["fpr"][-1], found["tpr"][-1]) == (0, 0, 1, 1)
    assert np.all(np.diff(found["fpr"]) >= 0)
    assert np.all(np.diff(found["tpr"]) >= 0)
    assert np.all(np.diff(found["thresholds"]) <= 0)
    assert sk.auc(found["fpr"], found["tpr"]) == pytest.approx(auc(label, score), abs=1e-3)
    assert np.isfinite(json.loads(json.dumps(found))["thresholds"]).all()


def test_roc_of_one_class_is_the_diagonal() -> None:
    assert roc_curve(np.ones(3, np.int8), np.array([0.1, 0.2, 0.3]))["tpr"] == [0.0, 1.0]


def test_reliability_bins_hold_equally_many_rows() -> None:
    label, score = sample(10_000)
    found = reliability_curve(label, score, bins=10)
    assert found["rows"] == [1000.0] * 10
    order = np.argsort(score)
    np.testing.assert_allclose(found["predicted"], score[order].reshape(10, -1).mean(axis=1))
    np.testing.assert_allclose(found["observed"], label[order].reshape(10, -1).mean(axis=1))
    # The sample is calibrated by construction.
    assert np.abs(np.subtract(found["predicted"], found["observed"])).max() < 0.05


def test_reliability_keeps_equal_predictions_together() -> None:
    label = np.array([0, 1] * 50, np.int8)
    found = reliability_curve(label, np.full(100, 0.3))
    assert found == {"predicted": [pytest.approx(0.3)], "observed": [0.5], "rows": [100.0]}
    score = np.repeat([0.1, 0.2, 0.9], [50, 45, 5])
    found = reliability_curve(label, score, bins=10)
    assert found["predicted"] == pytest.approx([0.1, 0.2, 0.9])
    assert found["rows"] == [50, 45, 5]


def test_nothing_to_draw_is_refused() -> None:
    with pytest.raises(InputError, match="no rows"):
        roc_curve(np.array([], np.int8), np.array([]))
    with pytest.raises(InputError, match="not a probability"):
        reliability_curve(np.array([0, 1], np.int8), np.array([0.5, 2.0]))
