"""The drift check as the pages show it, from the facts that the step recorded."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_TITLES = {
    "ok": "No drift",
    "warn": "Drift to watch",
    "retrain": "Drift: retraining is due",
    "block": "Blocked",
    "first": "First run",
}
_ORDER = {"warn": 1, "retrain": 2, "block": 3}
_DEFAULT_LIMITS = {"warn": 0.1, "retrain": 0.25}


@dataclass(frozen=True)
class FieldRow:
    """A field: its PSI, as a bar in percent of the scale's width."""

    name: str
    kind: str
    psi: float | None
    bar: float
    missing_change: float | None
    known: float | None
    verdict: str


@dataclass(frozen=True)
class Pair:
    """A figure of both windows."""

    title: str
    reference: float | None
    current: float | None
    share: bool


@dataclass(frozen=True)
class DriftView:
    """What is shown of a drift check."""

    verdict: str
    title: str
    reasons: tuple[str, ...]
    fields: tuple[FieldRow, ...]
    pairs: tuple[Pair, ...]
    ticks: tuple[tuple[float, str], ...]
    report: str | None


def drift_view(facts: Mapping[str, Any]) -> DriftView | None:
    """Lays out a drift check.

    Args:
        facts: A `DriftVerdict` as JSON values, and optionally `report`, the name of Evidently's report in the run's folder.

    Returns:
        The view, or None if there is no verdict.
    """
    verdict = facts.get("verdict")
    if not verdict:
        return None
    limits = {**_DEFAULT_LIMITS, **(facts.get("limits") or {})}
    # Twice the limit that matters most: what is beyond fills the bar.
    scale = 2 * limits["retrain"]
    rows = [_row(name, field, scale) for name, field in (facts.get("fields") or {}).items()]
    # What asks for something comes first; keys, whose PSI says little, come last.
    rows.sort(key=lambda row: (_ORDER.get(row.verdict, 0), row.kind != "key", row.psi or 0.0), reverse=True)
    pairs = [
        Pair(title, found.get("reference"), found.get("current"), share)
        for title, key, share in (
            ("Label rate", "label_rate", True),
            ("Rows", "rows", False),
            ("Rows a day", "rows_a_day", False),
        )
        if (found := facts.get(key))
    ]
    return DriftView(
        verdict=verdict,
        title=_TITLES.get(verdict, verdict),
        reasons=tuple(facts.get("reasons") or ()),
        fields=tuple(rows),
        pairs=tuple(pairs),
        ticks=tuple((round(100 * limits[name] / scale, 2), name) for name in ("warn", "retrain")),
        report=facts.get("report"),
    )


def _row(name: str, field: Mapping[str, Any], scale: float) -> FieldRow:
    psi = field.get("psi")
    return FieldRow(
        name=name,
        kind=field.get("kind") or "",
        psi=psi,
        bar=0.0 if psi is None else round(min(100.0, 100 * psi / scale), 2),
        missing_change=field.get("missing_change"),
        known=field.get("known"),
        verdict=field.get("verdict") or "ok",
    )
