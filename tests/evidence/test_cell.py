"""Cells: equal trainings share a key, and what is kept comes back."""

from pathlib import Path

import numpy as np
import pytest

from elec.evidence.arms import ARMS
from elec.evidence.cell import Cells, make_cell
from elec.evidence.experiment import changed
from elec.spec.run import RunSpec
from tests.evidence.made_cells import make_result

RUN = changed(RunSpec(), {"distill.unlabelled.share": 1.0})


def key(arm: str, run: RunSpec = RUN, *, seed: int = 1, test: bool = True) -> str:
    return make_cell(ARMS[arm], run, "toy-0-abc", seed=seed, test=test).key


def test_equal_trainings_share_a_cell() -> None:
    assert key("elec") == key("gain")
    assert key("no_text") == key("elec_label_only")
    assert key("dcnv2") == key("dcnv2", changed(RUN, {"distill.alpha": 0.5, "adapt.epochs": 3, "llm.name": "other"}))
    assert key("elec_label_only") == key("elec_label_only", changed(RUN, {"adapt.epochs": 3, "text.history": 4}))
    assert key("mllm") == key("mllm", changed(RUN, {"distill.learning_rate": 0.5, "model.dropout": 0.0}))
    assert key("elec") == key("elec", changed(RUN, {"student.codes": 16}))
    assert key("elec") == key("elec", changed(RUN, {"gate.resamples": 200, "drift.sample": 200, "feast.online_store": "redis"}))


@pytest.mark.parametrize(
    ("arm", "setting", "value"),
    [
        ("dcnv2", "distill.learning_rate", 0.5),
        ("elec", "distill.alpha", 0.5),
        ("elec", "adapt.epochs", 3),
        ("elec", "text.history", 4),
        ("mllm", "adapt.dropout", 0.5),
        ("unlabelled", "distill.unlabelled.weight", 0.5),
        ("semantic_ids", "student.codes", 16),
    ],
)
def test_what_a_training_reads_is_in_its_key(arm: str, setting: str, value: float) -> None:
    assert key(arm) != key(arm, changed(RUN, {setting: value}))


def test_seed_and_test_are_in_the_key() -> None:
    assert len({key("dcnv2"), key("dcnv2", seed=2), key("dcnv2", test=False), key("dnn"), key("elec_shuffled")}) == 5


def test_unlabelled_arms_need_a_share() -> None:
    with pytest.raises(ValueError, match="share is 0"):
        make_cell(ARMS["unlabelled"], RunSpec(), "toy-0-abc", seed=1, test=True)


def test_what_is_kept_comes_back(tmp_path: Path) -> None:
    cells = Cells(tmp_path)
    cell = make_cell(ARMS["elec"], RUN, "toy-0-abc", seed=1, test=True)
    assert cells.read(cell) is None
    result, scores = make_result(cell)
    cells.write(result, scores)
    assert cells.read(cell) == result
    assert scores is not None
    found = cells.scores(cell)
    assert np.array_equal(found.label, scores.label)
    assert np.array_equal(found.networks["gain"], scores.networks["gain"])


def test_a_damaged_cell_is_not_there(tmp_path: Path) -> None:
    cells = Cells(tmp_path)
    cell = make_cell(ARMS["dcnv2"], RUN, "toy-0-abc", seed=1, test=False)
    cells.write(*make_result(cell))
    path = tmp_path / f"{cell.key}.json"
    path.write_bytes(path.read_bytes()[:100])
    assert cells.read(cell) is None
    assert cells.results() == []
