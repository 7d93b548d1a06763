"""The run's summary, made from what its steps recorded and nothing else; a run that died anywhere still has one."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel

from elec.runs.folder import RunFolder

#: The steps of a retraining run, in order.
STEPS = (
    "ingest",
    "check_drift",
    "build_features",
    "textify",
    "encode_text",
    "adapt_llm",
    "distill",
    "evaluate",
    "deploy",
)

StepStatus = Literal["done", "failed", "blocked", "killed", "skipped"]
RunStatus = Literal["done", "stopped", "failed", "blocked", "killed"]

# Of several shards (and of several steps that ended badly) the worst one counts.
_WORST_FIRST: tuple[StepStatus, ...] = ("failed", "blocked", "killed", "done", "skipped")
_METRICS = ("auc", "gauc", "logloss", "pcoc")


class Step(BaseModel):
    """A step: how long it took (wall clock, from first start to last end of its shards) and how it ended."""

    seconds: float = 0.0
    status: StepStatus = "skipped"


class Rows(BaseModel):
    """Where the log's rows went."""

    read: int | None = None
    quarantined: int | None = None
    train: int | None = None
    valid: int | None = None
    test: int | None = None


class Texts(BaseModel):
    """Distinct texts; how many of them the LLM read in this run, and how many vectors were there already."""

    unique: int | None = None
    encoded: int | None = None
    reused: int | None = None


class Figures(BaseModel):
    """A network's metrics on the test window."""

    auc: float | None = None
    gauc: float | None = None
    logloss: float | None = None
    pcoc: float | None = None


class Judgement(BaseModel):
    """A verdict and its reasons; no verdict if the step did not come to one."""

    verdict: str | None = None
    reasons: list[str] = []


class Summary(BaseModel):
    """What `summary.json` holds.

    Attributes:
        status: `done`; `stopped`: the drift check saw no need to retrain; `blocked`: a gate stopped the run on purpose;
            `failed`; `killed`: ended from outside while a step ran, or between two.
        error: One sentence, unless the run is done or stopped.
        error_step: The step that ended the run, if one did.
    """

    run_id: str
    dataset: str | None = None
    as_of: str | None = None
    code_version: str | None = None
    status: RunStatus
    error: str | None = None
    error_step: str | None = None
    steps: dict[str, Step]
    rows: Rows = Rows()
    texts: Texts = Texts()
    metrics: dict[str, Figures] = {}
    drift: Judgement = Judgement()
    gate: Judgement = Judgement()
    bundle: str | None = None
    endpoint: str | None = None


def summarise(run: RunFolder, *, failure: str = "", now: float | None = None) -> Summary:
    """Summarises a run that has ended.

    Args:
        run: The run's folder.
        failure: What the orchestrator says went wrong, for what no step could record.
        now: The end of steps that never recorded theirs, as a Unix time; the clock when left out.
    """
    records = run.records()
    shards = _by_step(records)
    names = [*STEPS, *(name for name in shards if name not in STEPS)]
    steps = {name: _step(shards.get(name, ()), time.time() if now is None else now) for name in names}
    if (records.get("check_drift", {}).get("facts") or {}).get("decision") == "block":
        # The check did its work to the end; what it says is that the run may not go on.
        steps["check_drift"].status = "blocked"
    facts = {
        name: records.get(name, {}).get("facts") or {} for name in ("ingest", "check_drift", "textify", "evaluate", "deploy")
    }
    encoded = [record.get("facts") or {} for record in shards.get("encode_text", ())]
    status, error, error_step = _ending(steps, shards, facts["check_drift"], facts["evaluate"], failure.strip())
    about = facts["ingest"].get("run") or {}
    return Summary(
        run_id=about.get("run_id") or run.uri.rstrip("/").rsplit("/", 1)[-1],
        dataset=about.get("dataset"),
        as_of=about.get("as_of"),
        code_version=about.get("code_version"),
        status=status,
        error=error,
        error_step=error_step,
        steps=steps,
        rows=Rows(**_some(facts["ingest"].get("rows"), Rows)),
        texts=Texts(
            unique=facts["textify"].get("unique"), encoded=_total(encoded, "encoded"), reused=_total(encoded, "reused")
        ),
        metrics={
            network: Figures(**{name: found.get(name) for name in _METRICS})
            for network, found in (facts["evaluate"].get("metrics") or {}).items()
        },
        drift=Judgement(**_some(facts["check_drift"], Judgement)),
        gate=Judgement(**_some(facts["evaluate"].get("gate"), Judgement)),
        bundle=facts["deploy"].get("bundle"),
        endpoint=facts["deploy"].get("endpoint"),
    )


def _by_step(records: Mapping[str, dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Records by step; the shards of a step (`encode_text-0`, `encode_text-1`) together."""
    found: dict[str, list[dict[str, Any]]] = {}
    for name, record in records.items():
        step, _, shard = name.rpartition("-")
        found.setdefault(step if step and shard.isdigit() else name, []).append(record)
    return found


def _step(records: Sequence[Mapping[str, Any]], now: float) -> Step:
    if not records:
        return Step()
    # Who still says "running" when the run has ended was killed, and lasted until now at most.
    ends = [now if record["status"] == "running" else record["started"] + record["seconds"] for record in records]
    statuses: list[StepStatus] = ["killed" if record["status"] == "running" else record["status"] for record in records]
    seconds = max(0.0, max(ends) - min(record["started"] for record in records))
    return Step(seconds=round(seconds, 3), status=min(statuses, key=_WORST_FIRST.index))


def _ending(
    steps: Mapping[str, Step],
    shards: Mapping[str, Sequence[Mapping[str, Any]]],
    drift: Mapping[str, Any],
    evaluation: Mapping[str, Any],
    failure: str,
) -> tuple[RunStatus, str | None, str | None]:
    """How the run ended, the error's sentence, and the step that it comes from."""
    for status in ("failed", "blocked"):
        for name, step in steps.items():
            if step.status == status:
                errors = [record.get("error") or {} for record in shards[name] if record["status"] == status]
                return status, _sentence(name, errors[0]) if errors else _drift_sentence(drift), name
    for name, step in steps.items():
        if step.status == "killed":
            said = f" ({failure})" if failure else ""
            return "killed", f"{name} was killed before it could finish{said}: out of memory, a lost machine or a signal.", name
    if failure:
        return "failed", failure, None
    if drift.get("decision") == "stop":
        return "stopped", None, None
    if steps["deploy"].status == "done":
        return "done", None, None
    if steps["evaluate"].status == "done" and (evaluation.get("gate") or {}).get("verdict") != "promote":
        return "done", None, None
    last = [name for name, step in steps.items() if step.status == "done"]
    after = f"after {last[-1]}" if last else "before its first step began"
    return "killed", f"The run ended {after}; what was to follow never started.", None


def _sentence(step: str, error: Mapping[str, Any]) -> str:
    message, kind = str(error.get("message") or ""), str(error.get("kind") or "an error")
    # An expected error speaks for itself; of an unexpected one, where and what it was is told too.
    if not error.get("trace"):
        return message or f"{step} failed."
    return f"{step} failed with {kind}: {message}" if message != kind else f"{step} failed with {kind}."


def _drift_sentence(drift: Mapping[str, Any]) -> str:
    first, *others = drift.get("reasons") or ["no reason was given."]
    more = f" (one reason of {1 + len(others)})" if others else ""
    return f"The drift check blocked the run{more}: {first}"


def _some(found: Mapping[str, Any] | None, kind: type[BaseModel]) -> dict[str, Any]:
    return {name: value for name, value in (found or {}).items() if name in kind.model_fields and value is not None}


def _total(facts: Sequence[Mapping[str, Any]], name: str) -> int | None:
    values = [found[name] for found in facts if found.get(name) is not None]
    return sum(values) if values else None
