"""What the page says in sentences: the badge, the headline, and after a failure what was completed and what to do."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from elec.runs.page.numbers import fixed
from elec.runs.page.pipeline import title_of
from elec.runs.summary import Summary

_BADGES = {
    "promote": ("Promoted", "good"),
    "keep": ("Champion kept", "plain"),
    "reject": ("Challenger rejected", "warn"),
    "stopped": ("Nothing to retrain", "plain"),
    "blocked": ("Blocked", "warn"),
    "failed": ("Failed", "bad"),
    "killed": ("Killed", "bad"),
    "done": ("Done", "good"),
}
_LONGEST_TRACE = 6000


@dataclass(frozen=True)
class Failure:
    """What a run that did not end well tells first.

    Attributes:
        sentence: What went wrong.
        completed: The steps that were done.
        log: The record of the step that ended the run, in the run's folder.
        way_out: What to do.
        trace: Of an unexpected error.
    """

    sentence: str
    completed: str
    log: str | None
    way_out: str
    trace: str


def badge(summary: Summary) -> tuple[str, str]:
    """The verdict in a word or two, and its tone (`good`, `plain`, `warn`, `bad`)."""
    key = summary.gate.verdict if summary.status == "done" and summary.gate.verdict in _BADGES else summary.status
    return _BADGES[key or "done"]


def headline(summary: Summary) -> str:
    """The decision in one sentence."""
    drift, gate = summary.drift.reasons, summary.gate
    if summary.status == "stopped":
        return f"Nothing to retrain. {drift[0] if drift else ''}".strip()
    if summary.status == "blocked":
        where = f" at {title_of(summary.error_step)}" if summary.error_step else ""
        return f"The run was stopped on purpose{where}; the model in service is unchanged."
    if summary.status in {"failed", "killed"}:
        where = f" in {title_of(summary.error_step)}" if summary.error_step else ""
        return f"The run ended{where} before it was complete; the model in service is unchanged."
    ours, theirs = summary.metrics.get("vanilla"), summary.metrics.get("champion")
    figures = ""
    if ours is not None and theirs is not None:
        area = f"AUC {fixed(ours.auc)} against {fixed(theirs.auc)}"
        figures = f": {area}, LogLoss {fixed(ours.logloss)} against {fixed(theirs.logloss)}"
    elif ours is not None:
        figures = f": AUC {fixed(ours.auc)}, LogLoss {fixed(ours.logloss)}, PCOC {fixed(ours.pcoc, 3)}"
    said = {
        "promote": "The challenger replaces the champion" if theirs is not None else "The first model goes into service",
        "keep": "The champion stays in service, the challenger is not measurably better",
        "reject": "The challenger is rejected" + (", the champion stays in service" if theirs is not None else ""),
    }
    return f"{said.get(gate.verdict or '', 'The run is complete')}{figures}."


def failure(summary: Summary, records: Mapping[str, Mapping[str, Any]]) -> Failure | None:
    """What to tell first of a run that did not end well; None of one that did."""
    if summary.error is None:
        return None
    completed = [title_of(name) for name, step in summary.steps.items() if step.status == "done"]
    culprit = _culprit(summary, records)
    error = records.get(culprit, {}).get("error") or {} if culprit else {}
    return Failure(
        sentence=summary.error,
        completed=", ".join(completed) if completed else "nothing",
        log=f"steps/{culprit}.json" if culprit else None,
        way_out=_way_out(summary, error),
        trace=str(error.get("trace") or "")[-_LONGEST_TRACE:],
    )


def _culprit(summary: Summary, records: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The record of the step that ended the run: of several shards, the one that did not end well."""
    step = summary.error_step
    own = [name for name in records if step and (name == step or name.startswith(f"{step}-"))]
    return next((name for name in own if records[name].get("status") != "done"), own[0] if own else None)


def _way_out(summary: Summary, error: Mapping[str, Any]) -> str:
    again = "Start the run again: texts that are encoded stay encoded, and nothing that was published has changed."
    if summary.status == "killed":
        return f"{again} If it happens again at the same place, give the step more memory."
    if error.get("exit_code") == 2:
        return "Correct what the sentence names, then start the run again."
    if summary.status == "blocked":
        return {
            "ingest": "Look at the reasons below; repair the log, or allow a larger share of bad rows (max_bad_share).",
            "check_drift": "Look at the drift below. If the change is meant, start the run again with --force.",
            "deploy": "The champion goes on serving. Look at the smoke test, or the canary's figures, before the next run.",
        }.get(summary.error_step or "", again)
    return f"The step's record has the trace. {again}" if error.get("trace") else again
