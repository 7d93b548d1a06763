"""Training on a sample of the rows without a click: probabilities are those of the full log."""

import math
from typing import Literal

import numpy as np
import pytest
import torch

from elec.evaluation.metrics import logloss
from elec.progress import Progress
from elec.spec.run import RunSpec
from elec.training.data import Rows
from elec.training.inputs import StudentInputs
from elec.training.learner import Learner, corrected, predict
from elec.training.pair import train_pair
from elec.training.plain import train_plain

SHARE = 0.1
SIZES = (200, 100, 8)
CPU = torch.device("cpu")


class MadeField:
    """A field of the made log."""

    def __init__(self, name: str, size: int) -> None:
        self.name, self.size, self.width, self.kind = name, size, 1, "categorical"


def _rows(count: int, seed: int, share: float = 1.0) -> Rows:
    draw = np.random.default_rng(seed)
    weights = [np.random.default_rng(7 + number).normal(size=size) * 0.7 for number, size in enumerate(SIZES)]
    ids = np.stack([draw.integers(0, size, count) for size in SIZES], axis=1)
    logit = sum(weight[ids[:, number]] for number, weight in enumerate(weights)) - 2.2
    label = draw.random(count) < 1 / (1 + np.exp(-logit))
    kept = label | (draw.random(count) < share)
    ids, label = ids[kept] + 3, label[kept]
    return Rows(
        slots_NS=torch.from_numpy(ids),
        label_N=torch.from_numpy(label.astype(np.float32)),
        row_id_N=np.arange(len(ids)),
        user_index_N=ids[:, 0],
    )


def _run(mode: str, **settings: object) -> RunSpec:
    return RunSpec.model_validate(
        {
            "model": {"name": "dnn", "embedding": 8, "deep": [32]},
            "training": {"precision": "float32", "compile": "off"},
            "distill": {"mode": mode, "epochs": 2, "batch_size": 2048, "learning_rate": 0.005, **settings},
        }
    )


def _pcoc(learner: Learner, rows: Rows) -> float:
    return float(predict(learner.network, learner.score, rows).sum() / rows.label_N.double().sum())


def _inputs(share: float) -> StudentInputs:
    fields = [MadeField(f"f{number}", size + 3) for number, size in enumerate(SIZES)]
    rows = {"train": _rows(200_000, 1, share), "valid": _rows(40_000, 2)}
    return StudentInputs(fields, rows, correction=math.log(share))  # type: ignore[arg-type]  # made fields, not encoded ones


@pytest.mark.parametrize("mode", ["joint", "two_stage"])
def test_pcoc_of_a_tenth_is_that_of_all(mode: Literal["joint", "two_stage"]) -> None:
    judged = _rows(150_000, 3)
    found = {}
    for share in (1.0, SHARE):
        with Progress("test", unit="rows") as progress:
            learners = train_pair(_inputs(share), _run(mode), CPU, progress)
        found[share] = {name: _pcoc(learner, judged) for name, learner in learners.items()}
    for name, pcoc in found[1.0].items():
        assert found[SHARE][name] == pytest.approx(pcoc, rel=0.02), found


def test_without_the_calibration_too_and_early_stopping_sees_what_the_network_gives() -> None:
    judged = _rows(150_000, 3)
    found = {}
    for share in (1.0, SHARE):
        inputs = _inputs(share)
        with Progress("test", unit="rows") as progress:
            learner = train_plain(inputs, _run("joint", calibrate=False, epochs=4, batch_size=512), CPU, progress)
        found[share] = _pcoc(learner, judged)
        valid = inputs.rows["valid"]
        shown = logloss(valid.label_N.numpy(), predict(learner.network, learner.score, valid))
        assert shown == pytest.approx(learner.best_logloss, abs=1e-6)
    assert found[SHARE] == pytest.approx(found[1.0], rel=0.02), found


def test_the_correction_is_of_the_odds() -> None:
    probability = np.array([0.0, 0.2, 0.5, 1.0])
    assert corrected(probability, 0.0) is probability
    moved = corrected(probability, math.log(0.1))
    assert moved[[0, 3]].tolist() == [0.0, 1.0]
    odds = moved[1:3] / (1 - moved[1:3])
    assert odds == pytest.approx([0.025, 0.1])
