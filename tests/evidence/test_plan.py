"""Plans: which cells there are, what validation chooses, and what may touch the test rows."""

from pathlib import Path

import pytest

from elec.evidence.arms import ARMS
from elec.evidence.cell import Cells
from elec.evidence.plan import SEARCH_SEED, Durations, MissingError, Plan
from tests.evidence.made_cells import EXPERIMENT, fill, make_result

LLM = EXPERIMENT.run.llm.name


def test_nothing_is_chosen_before_all_trials_are_there(tmp_path: Path) -> None:
    plan = Plan(EXPERIMENT, Cells(tmp_path))
    for cell in plan.trials(ARMS["dcnv2"], LLM)[:1]:
        plan.cells.write(*make_result(cell))
    with pytest.raises(MissingError):
        plan.finals(ARMS["dcnv2"], LLM)
    with pytest.raises(MissingError):
        plan.trials(ARMS["elec"], LLM)


def test_validation_chooses_and_only_final_cells_have_test_rows(tmp_path: Path) -> None:
    plan = fill(tmp_path)
    trials = plan.trials(ARMS["dcnv2"], LLM)
    rates = [cell.run.distill.learning_rate for cell in trials]
    assert plan.chosen(ARMS["dcnv2"], LLM).distill.learning_rate == max(rates)
    finals = plan.finals(ARMS["dcnv2"], LLM)
    assert {cell.run.distill.learning_rate for cell in finals} == {max(rates)}
    assert [cell.test for cell in trials + finals] == [False] * 2 + [True] * 3
    assert {cell.run.seed for cell in trials} == {SEARCH_SEED}
    assert SEARCH_SEED not in {cell.run.seed for cell in finals}


def test_the_teachers_settings_are_those_chosen_for_the_mllm(tmp_path: Path) -> None:
    plan = fill(tmp_path)
    chosen = plan.chosen(ARMS["mllm"], LLM).adapt
    assert {cell.run.adapt for cell in plan.trials(ARMS["elec"], LLM)} == {chosen}
    assert {cell.run.adapt for cell in plan.finals(ARMS["elec_shuffled"], LLM)} == {chosen}


def test_a_borrower_takes_the_settings_and_searches_nothing(tmp_path: Path) -> None:
    experiment = EXPERIMENT.model_copy(update={"borrowed": {"elec_shuffled": "elec"}})
    plan = fill(tmp_path, experiment)
    assert plan.trials(ARMS["elec_shuffled"], LLM) == plan.trials(ARMS["elec"], LLM)
    assert plan.chosen(ARMS["elec_shuffled"], LLM) == plan.chosen(ARMS["elec"], LLM)
    assert {cell.teacher for cell in plan.finals(ARMS["elec_shuffled"], LLM)} == {"shuffled"}


def test_the_baseline_leads_every_table() -> None:
    plan = Plan(EXPERIMENT.model_copy(update={"llms": ("a", "b")}), Cells(Path("nowhere")))
    assert [arm.name for arm, _ in plan.arms(3)] == ["dcnv2", "elec", "no_text"]
    assert [(arm.name, llm) for arm, llm in plan.arms(4)][1:4] == [("mllm", "a"), ("gain", "a"), ("elec", "a")]


def test_durations_are_those_of_the_kind(tmp_path: Path) -> None:
    plan = fill(tmp_path)
    durations = Durations(plan.cells.results(), {"toy": 5000})
    cell = plan.finals(ARMS["elec"], LLM)[0]
    assert durations.of(cell) == 2.0
    assert durations.total([cell] * 6, workers=3) == 4.0
    unknown = Durations([], {"toy": 5000})
    assert unknown.of(cell) > unknown.of(plan.finals(ARMS["dcnv2"], LLM)[0]) > 2
