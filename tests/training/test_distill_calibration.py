"""The shift of the logits that makes the predicted clicks as many as the observed ones."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from elec.models import vanilla_network
from elec.spec.learning import ModelSpec
from elec.training.calibration import calibrate, shift
from elec.training.data import Batch
from elec.training.learner import Learner


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


def test_rows_that_the_best_epoch_has_scored_are_not_scored_again() -> None:
    def score(_: Batch) -> torch.Tensor:
        raise AssertionError("scored again")

    fields: Any = [SimpleNamespace(name="item", size=5, width=1, kind="categorical")]
    network = vanilla_network(fields, ModelSpec(embedding=2, deep=(2,)))
    scored = np.array([0.1, 0.2, 0.6])
    learner = Learner(network, score, best_valid=scored)
    before = network.prediction.bias.detach().clone()
    moved = calibrate(learner, cast(Any, SimpleNamespace(label_N=torch.tensor([0.0, 1.0, 1.0]))))
    assert moved == shift(scored, 2 / 3)
    assert (network.prediction.bias.detach() - before).item() == pytest.approx(moved, abs=1e-6)
    assert learner.best_valid is None
