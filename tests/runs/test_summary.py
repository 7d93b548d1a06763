import json

import pytest

from elec.runs import RunFolder
from elec.runs.summary import STEPS, Summary, summarise

TRACED = {"message": "shapes do not fit", "kind": "RuntimeError", "exit_code": 1, "trace": "Traceback ..."}


def test_a_complete_run(write, made_up):
    found = summarise(write(made_up))
    assert found.status == "done"
    assert found.error is None
    assert list(found.steps) == list(STEPS)
    assert {step.status for step in found.steps.values()} == {"done"}
    assert (found.run_id, found.dataset) == ("movielens-100k-20260522-0300", "movielens-100k")
    assert found.rows.model_dump() == {"read": 100_000, "quarantined": 37, "train": 79_970, "valid": 9_996, "test": 9_997}
    assert found.texts.model_dump() == {"unique": 2620, "encoded": 318, "reused": 2302}
    assert found.metrics["vanilla"].auc == 0.7812
    assert found.drift.verdict == "warn"
    assert found.gate.verdict == "promote"
    assert found.bundle.endswith("3f9c21ab07de")
    assert found.endpoint.startswith("http://")
    assert Summary.model_validate(json.loads(found.model_dump_json())) == found


def test_shards_are_one_step_from_first_start_to_last_end(write, made_up):
    # The second shard starts half a second after the first and takes 7.1 s.
    assert summarise(write(made_up)).steps["encode_text"].seconds == pytest.approx(7.6)


def test_a_failed_step(write, made_up):
    found = summarise(write(made_up, until="adapt_llm", status="failed", error=TRACED))
    assert (found.status, found.error_step) == ("failed", "adapt_llm")
    assert found.error == "adapt_llm failed with RuntimeError: shapes do not fit"
    assert found.steps["adapt_llm"].status == "failed"
    assert found.steps["encode_text"].status == "done"
    assert [found.steps[name].status for name in STEPS[6:]] == ["skipped"] * 3
    assert found.metrics == {}
    assert found.gate.verdict is None


def test_an_expected_error_is_its_own_sentence(write, made_up):
    said = {"message": "log.csv: column 'click' is missing", "kind": "InputError", "exit_code": 2, "trace": ""}
    found = summarise(write(made_up, until="ingest", status="failed", error=said))
    assert found.error == "log.csv: column 'click' is missing"
    # The step died before it could say which run it was.
    assert (found.run_id, found.dataset, found.as_of) == ("a-run", None, None)


def test_one_bad_shard_fails_the_step(write, made_up):
    found = summarise(write(made_up, until="encode_text-1", status="failed", error=TRACED))
    assert found.steps["encode_text"].status == "failed"
    assert found.error.startswith("encode_text failed")
    assert found.texts.encoded == 160


def test_a_step_that_still_runs_was_killed(write, made_up):
    run = write(made_up, until="distill", status="running")
    started = run.records()["distill"]["started"]
    found = summarise(run, failure="exit code 137", now=started + 30)
    assert (found.status, found.error_step) == ("killed", "distill")
    assert found.steps["distill"].model_dump() == {"seconds": 30.0, "status": "killed"}
    assert found.error.startswith("distill was killed before it could finish (exit code 137)")


def test_a_run_that_ended_between_two_steps(write, made_up):
    found = summarise(write(made_up, until="textify"))
    assert found.status == "killed"
    assert found.error == "The run ended after textify; what was to follow never started."


def test_a_promoted_bundle_that_was_never_deployed_is_no_success(write, made_up):
    assert summarise(write(made_up, until="evaluate")).status == "killed"


@pytest.mark.parametrize("verdict", ["keep", "reject"])
def test_a_run_whose_challenger_stays_behind_is_done(write, made_up, verdict):
    made_up["evaluate"]["gate"]["verdict"] = verdict
    found = summarise(write(made_up, until="evaluate"))
    assert (found.status, found.error) == ("done", None)
    assert found.steps["deploy"].status == "skipped"
    assert found.gate.verdict == verdict


def test_a_drift_check_that_blocks(write, made_up):
    made_up["check_drift"] |= {"decision": "block", "verdict": "block", "reasons": ["The label is gone.", "So is age."]}
    found = summarise(write(made_up, until="check_drift"), failure="the task stop failed")
    assert (found.status, found.error_step) == ("blocked", "check_drift")
    assert found.error == "The drift check blocked the run (one reason of 2): The label is gone."
    assert found.steps["check_drift"].status == "blocked"


def test_a_drift_check_that_sees_no_need(write, made_up):
    made_up["check_drift"] |= {"decision": "stop", "verdict": "ok"}
    found = summarise(write(made_up, until="check_drift"))
    assert (found.status, found.error) == ("stopped", None)


def test_a_smoke_test_that_blocks(write, made_up):
    said = {"message": "the smoke test failed", "kind": "BlockedError", "exit_code": 1, "trace": ""}
    found = summarise(write(made_up, status="blocked", error=said))
    assert (found.status, found.error, found.bundle) == ("blocked", "the smoke test failed", None)


def test_what_only_the_orchestrator_knows(write, made_up, tmp_path):
    found = summarise(RunFolder(str(tmp_path / "nothing")), failure="the image cannot be pulled")
    assert (found.status, found.error, found.run_id) == ("failed", "the image cannot be pulled", "nothing")
    assert summarise(write(made_up, until="textify"), failure="no node has memory left").error == "no node has memory left"


def test_a_run_of_which_nothing_is_left(tmp_path):
    found = summarise(RunFolder(str(tmp_path / "nothing")))
    assert found.status == "killed"
    assert found.error == "The run ended before its first step began; what was to follow never started."
    assert {step.status for step in found.steps.values()} == {"skipped"}


def test_steps_of_other_pipelines_are_listed_after_ours(write, made_up):
    run = write(made_up)
    with run.step("canary"):
        pass
    assert list(summarise(run).steps)[-1] == "canary"


def test_missing_facts_are_tolerated_everywhere(write):
    found = summarise(write({}))
    assert found.status == "done"
    assert found.metrics == {}
