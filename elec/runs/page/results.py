"""The results of a run as the pages show them: metrics, differences, curves. Whatever is missing is left out."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from elec.runs.page.charts import Chart, Series, line_chart

#: The networks in the order of the page, with what each is.
NETWORKS = {
    "vanilla": "the student: tabular columns only, serves online",
    "gain": "the teacher: the same columns and the M-LLM",
    "plain": "the student's network without a teacher",
    "champion": "in service until now",
}
#: What each student reads.
STUDENTS = {
    "vanilla": "tabular columns only",
    "semantic_ids": "and the item's semantic ids, a table in the bundle",
    "vectors": "and text vectors of user and item, looked up in Feast",
}
_METRICS = ("auc", "gauc", "logloss", "pcoc")


@dataclass(frozen=True)
class MetricRow:
    """A network's metrics, and which of them are the best of all networks."""

    network: str
    about: str
    values: Mapping[str, float | None]
    best: frozenset[str]


@dataclass(frozen=True)
class StudentRow:
    """A student on the test window, the validation AUC that decides between the students, and what a request costs.

    Times are milliseconds for `candidates` candidates; `lookup` is the part that text vectors take to look up.
    """

    name: str
    about: str
    valid_auc: float | None
    auc: float | None
    logloss: float | None
    pcoc: float | None
    latency: float | None
    lookup: float | None
    candidates: int | None
    chosen: bool
    why: str


@dataclass(frozen=True)
class Gap:
    """A difference with its interval, placed on a line that has 0 in the middle (percent of its width)."""

    title: str
    metric: str
    estimate: float
    low: float
    high: float
    sure: bool
    at: float
    start: float
    width: float


@dataclass(frozen=True)
class ScoreRow:
    """What a network predicts: mean and range of its scores, beside the observed click rate."""

    network: str
    predicted: float
    observed: float
    lowest: float
    middle: float
    highest: float


def student_rows(facts: Mapping[str, Any]) -> list[StudentRow]:
    """The students side by side; none if there was no choice."""
    students = facts.get("students") or {}
    if len(students) < 2:
        return []
    rows = []
    for name, found in students.items():
        valid, test, latency = (found.get(part) or {} for part in ("valid", "test", "latency"))
        rows.append(
            StudentRow(
                name=name,
                about=STUDENTS.get(name, ""),
                valid_auc=_number(valid.get("auc")),
                auc=_number(test.get("auc")),
                logloss=_number(test.get("logloss")),
                pcoc=_number(test.get("pcoc")),
                latency=_number(latency.get("p50_ms")),
                lookup=_number(latency.get("lookup_p50_ms")),
                candidates=latency.get("candidates"),
                chosen=name == facts.get("student"),
                why=str(found.get("why") or ""),
            )
        )
    return rows


def metric_rows(metrics: Mapping[str, Mapping[str, Any]], student: str = "vanilla") -> list[MetricRow]:
    """The metrics table: known networks first, in order.

    Args:
        metrics: By network.
        student: What the network that serves reads; its teacher and its rival read the same.
    """
    names = [*(name for name in NETWORKS if name in metrics), *(name for name in metrics if name not in NETWORKS)]
    values = {name: {metric: _number(metrics[name].get(metric)) for metric in _METRICS} for name in names}
    best: dict[str, set[str]] = {name: set() for name in names}
    for metric in _METRICS:
        # Compared as they are shown: two networks that read the same are equally good.
        digits = 3 if metric == "pcoc" else 4
        costs = {name: _cost(metric, round(value, digits)) for name in names if (value := values[name][metric]) is not None}
        for name, cost in costs.items():
            if len(costs) > 1 and cost == min(costs.values()):
                best[name].add(metric)
    about = NETWORKS if student == "vanilla" else NETWORKS | {"vanilla": f"the student: tabular columns {STUDENTS[student]}"}
    return [MetricRow(name, about.get(name, ""), values[name], frozenset(best[name])) for name in names]


def gaps(facts: Mapping[str, Any]) -> list[Gap]:
    """The differences with their intervals: against the champion, and against the network without a teacher."""
    found: list[tuple[str, str, float, float, float]] = []
    for key, against in (("difference", "champion"), ("against_plain", "plain")):
        for metric, name in (("auc", "AUC"), ("logloss", "LogLoss")):
            interval = (facts.get(key) or {}).get(metric) or {}
            estimate, low, high = (_number(interval.get(part)) for part in ("estimate", "low", "high"))
            if estimate is not None and low is not None and high is not None:
                found.append((f"vanilla over {against}", name, estimate, low, high))
    largest = {"AUC": 0.0, "LogLoss": 0.0}
    for _, name, *parts in found:
        largest[name] = max(largest[name], *(abs(part) for part in parts))
    return [_gap(title, name, estimate, low, high, 1.1 * largest[name] or 1.0) for title, name, estimate, low, high in found]


def score_rows(facts: Mapping[str, Any]) -> list[ScoreRow]:
    """What the networks predict, from their reliability bins (equally many rows each)."""
    rows = []
    for network, curve in _by_network(facts.get("reliability")):
        predicted, observed, weights = _reliability(curve)
        total = sum(weights)
        if total:
            rows.append(
                ScoreRow(
                    network=network,
                    predicted=sum(p * w for p, w in zip(predicted, weights, strict=True)) / total,
                    observed=sum(o * w for o, w in zip(observed, weights, strict=True)) / total,
                    lowest=predicted[0],
                    middle=predicted[len(predicted) // 2],
                    highest=predicted[-1],
                )
            )
    return rows


def curve_charts(facts: Mapping[str, Any]) -> list[Chart]:
    """ROC and reliability of all networks."""
    roc = [
        Series(network, _points(curve, "fpr", "tpr"))
        for network, curve in _by_network(facts.get("roc"))
        if isinstance(curve, Mapping)
    ]
    reliability = [
        Series(network, list(zip(*_reliability(curve)[:2], strict=True)), dots=True)
        for network, curve in _by_network(facts.get("reliability"))
    ]
    largest = max((value for one in reliability for point in one.points for value in point), default=1.0)
    charts = [
        line_chart("ROC", roc, x_label="false positive rate", y_label="true positive rate", square=(0.0, 1.0)),
        line_chart(
            "Reliability",
            reliability,
            x_label="predicted click rate",
            y_label="observed click rate",
            square=(0.0, min(1.0, largest * 1.05) or 1.0),
        ),
    ]
    return [chart for chart in charts if chart is not None]


def learning_charts(distill: Mapping[str, Any], adapt: Mapping[str, Any]) -> list[Chart]:
    """Learning curves: of the distillation by network, and of the M-LLM's added layers."""
    best = distill.get("best_epochs") or {}
    networks = [
        Series(network, _points_of(epochs, "valid_logloss"), marked=best.get(network))
        for network, epochs in _by_network(distill.get("curves"))
    ]
    curve = adapt.get("curve") or ()
    llm = [
        Series("valid", _points_of(curve, "valid_logloss"), marked=adapt.get("best_epoch")),
        Series("train", _points_of(curve, "train_loss")),
    ]
    charts = [
        line_chart("Distillation", networks, x_label="epoch", y_label="validation LogLoss", whole_x=True),
        line_chart("M-LLM adaptation", llm, x_label="epoch", y_label="LogLoss", whole_x=True),
    ]
    return [chart for chart in charts if chart is not None]


def _gap(title: str, metric: str, estimate: float, low: float, high: float, scale: float) -> Gap:
    """Places an interval on a line from -scale to +scale."""
    return Gap(
        title=title,
        metric=metric,
        estimate=estimate,
        low=low,
        high=high,
        sure=low > 0 or high < 0,
        at=round(50 + 50 * estimate / scale, 2),
        start=round(50 + 50 * low / scale, 2),
        width=round(50 * (high - low) / scale, 2),
    )


def _cost(metric: str, value: float) -> float:
    """How far from good a metric is: PCOC is best at 1, LogLoss at 0, the others at 1."""
    return {"logloss": value, "pcoc": round(abs(value - 1), 6)}.get(metric, -value)


def _by_network(found: Any) -> list[tuple[str, Any]]:
    found = found if isinstance(found, Mapping) else {}
    return [(name, found[name]) for name in (*NETWORKS, *(name for name in found if name not in NETWORKS)) if found.get(name)]


def _points(curve: Mapping[str, Any], x: str, y: str) -> list[tuple[float, float]]:
    pairs = zip(curve.get(x) or (), curve.get(y) or (), strict=False)
    return [(float(a), float(b)) for a, b in pairs if a is not None and b is not None]


def _points_of(epochs: Sequence[Mapping[str, Any]], name: str) -> list[tuple[float, float]]:
    return [(float(epoch["epoch"]), float(epoch[name])) for epoch in epochs if epoch.get(name) is not None]


def _reliability(curve: Mapping[str, Any]) -> tuple[list[float], list[float], list[float]]:
    points = _points(curve, "predicted", "observed")
    weights = [float(value) for value in curve.get("rows") or curve.get("count") or [1.0] * len(points)]
    return [p for p, _ in points], [o for _, o in points], weights[: len(points)]


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
