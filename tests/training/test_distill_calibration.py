"""The shift of the logits that makes the predicted clicks as many as the observed ones."""

import numpy as np
import pytest

from elec.training.calibration import shift


@pytest.mark.parametrize("rate", [0.001, 0.2, 0.97])
def test_the_mean_becomes_the_rate_and_the_order_stays(rate: float) -> None:
    logit = np.random.default_rng(0).normal(size=1000) * 3
    probability = 1 / (1 + np.exp(-logit))
    moved = 1 / (1 + np.exp(-(logit + shift(probability, rate))))
    assert moved.mean() == pytest.approx(rate, rel=1e-9)
    assert (np.argsort(moved) == np.argsort(probability)).all()


def test_what_is_right_is_left_alone() -> None:
    probability = np.array([0.1, 0.2, 0.3])
    assert shift(probability, 0.2) == pytest.approx(0, abs=1e-9)
    assert shift(np.full(5, 0.2), 0.2) == pytest.approx(0, abs=1e-9)


def test_certain_predictions_stay_finite() -> None:
    assert np.isfinite(shift(np.array([0.0, 1.0, 0.5]), 0.4))
