"""Builds the pages from the run's summary and records."""

from collections.abc import Mapping, Sequence
from typing import Any

from elec.runs.page.drift import drift_view
from elec.runs.page.pipeline import draw_pipeline
from elec.runs.page.render import render, web_link
from elec.runs.page.results import curve_charts, gaps, learning_charts, metric_rows, score_rows, student_rows
from elec.runs.page.story import badge, failure, headline
from elec.runs.summary import Summary

_SMOKE = {
    "golden": "golden records compared",
    "difference": "largest difference of a score",
    "ranked": "candidates ranked",
    "seconds": "seconds",
}


def build_page(summary: Summary, records: Mapping[str, Mapping[str, Any]], *, files: Sequence[str] = ()) -> str:
    """Builds a run's page.

    Args:
        summary: The run's summary.
        records: What its steps recorded, by name (`RunFolder.records()`); whatever is missing is left out of the page.
        files: What else of the run's folder is worth a link.

    Returns:
        One HTML document that needs nothing else.
    """
    facts = {name: record.get("facts") or {} for name, record in records.items()}
    evaluation = facts.get("evaluate", {})
    ingest = facts.get("ingest", {})
    shards = sum(1 for name in records if name.startswith("encode_text-"))
    notes = {"encode_text": f"{shards} shards"} if shards > 1 else {}
    return render(
        "index.html",
        summary=summary,
        files=files,
        badge=badge(summary),
        headline=headline(summary),
        failure=failure(summary, records),
        pipeline=draw_pipeline(summary, notes),
        metrics=metric_rows(evaluation.get("metrics") or {}, evaluation.get("student") or "vanilla"),
        students=student_rows(evaluation),
        gaps=gaps(evaluation),
        scores=score_rows(evaluation),
        curves=curve_charts(evaluation),
        learning=learning_charts(facts.get("distill", {}), facts.get("adapt_llm", {})),
        latency=evaluation.get("latency_ms"),
        label_rate=_label_rate(ingest.get("label_rate")),
        quarantine=sorted((ingest.get("quarantine") or {}).items(), key=lambda reason: -reason[1]),
        account=ingest.get("report") or {},
        drift=drift_view(facts.get("check_drift", {})),
        smoke=[(_SMOKE.get(name, name), value) for name, value in (facts.get("deploy", {}).get("smoke") or {}).items()],
        canary=facts.get("deploy", {}).get("canary"),
        bundle_link=web_link(summary.bundle),
        endpoint_link=web_link(summary.endpoint),
        step_files=[f"steps/{name}.json" for name in records],
    )


def results_page(facts: Mapping[str, Any]) -> str:
    """Builds the page of the evaluation alone.

    Args:
        facts: What the evaluation recorded: metrics, curves, differences, the gate's verdict.
    """
    gate = facts.get("gate") or {}
    return render(
        "results.html",
        gate=gate,
        metrics=metric_rows(facts.get("metrics") or {}, facts.get("student") or "vanilla"),
        students=student_rows(facts),
        gaps=gaps(facts),
        scores=score_rows(facts),
        curves=curve_charts(facts),
        learning=[],
        latency=facts.get("latency_ms"),
    )


def _label_rate(found: Any) -> Mapping[str, float]:
    """The label rate of each split, whether it was recorded so or as one figure."""
    if isinstance(found, Mapping):
        return found
    return {"train": float(found)} if found is not None else {}
