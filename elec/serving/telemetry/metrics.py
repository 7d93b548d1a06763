"""What a server counts, in the form that Prometheus scrapes at `GET /metrics`.

Requests only add to numbers that are kept here, under one lock; names and text are made when somebody scrapes.

| name | labels | what |
|---|---|---|
| `elec_requests_total` | route, status | answered requests |
| `elec_request_seconds` | route | histogram, from the first byte read to the answer |
| `elec_errors_total` | kind | failed requests, and what else went wrong: the `champion` cannot be read, a `bundle` is refused |
| `elec_refused_total` | reason | requests that were turned away: the queue is full, the time is over, the server drains |
| `elec_part_seconds` | part | histogram of `look_up`, `encode`, `model`, `http` |
| `elec_in_flight` | | requests in the house |
| `elec_item_cache_hits_total`, `elec_item_cache_misses_total` | | items answered from the cache, or not |
| `elec_unknown_total` | entity | users and items that the feature store does not know |
| `elec_degraded_total` | | rankings without the feature store |
| `elec_scores` | bundle | histogram of scores, of the bundle that serves and the one before |
| `elec_bundle_info` | bundle, code, precision | 1 for the bundle that serves |
| `elec_bundle_since_timestamp_seconds` | | when it began to |
| `elec_swaps_total` | | changes of the bundle |
| `elec_prediction_log_*` | | rows written, dropped and refused; files and bytes on disk |
| `process_*` | | memory, CPU, file descriptors |
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from elec.serving.manifest import Manifest
from elec.serving.telemetry.histogram import Histogram

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric

    from elec.serving.telemetry.prediction_log import LogFigures

#: Seconds, from 0.05 ms.
LATENCY_EDGES = (
    *(5e-5, 1e-4, 1.5e-4, 2e-4, 3e-4, 5e-4, 7.5e-4, 1e-3, 1.5e-3, 2e-3, 3e-3, 5e-3, 7.5e-3),
    *(1e-2, 1.5e-2, 2e-2, 3e-2, 5e-2, 7.5e-2, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0),
)
#: Click-through rates are small, so the bins are finer near 0.
SCORE_EDGES = (
    *(0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075),
    *(0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.975, 1.0),
)
PARTS = ("look_up", "encode", "model", "http")
NO_PARTS: Mapping[str, float] = MappingProxyType({})

#: Of `render`.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# Routes and kinds are the code's own words; should a client's ever get here, they cannot fill the memory.
_MOST_LABELS = 64
_OTHER = "other"


class Metrics:
    """Counts what a server does; every method may be called from any thread.

    Args:
        in_flight: Gives the number of requests in the house when it is asked for.
    """

    #: Of `render`.
    content_type = CONTENT_TYPE

    def __init__(self, in_flight: Callable[[], int] | None = None) -> None:
        self._lock = threading.Lock()
        self._in_flight = in_flight
        self._prediction_log: Callable[[], LogFigures] | None = None
        self._requests: Counter[tuple[str, int]] = Counter()
        self._seconds: dict[str, Histogram] = {}
        self._parts = {part: Histogram(LATENCY_EDGES) for part in PARTS}
        self._errors: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()
        self._kept = self._looked_up = self._unknown_users = self._unknown_items = self._degraded = 0
        self._swaps = 0
        self._bundle: tuple[str, str, str] | None = None
        self._since = 0.0
        # By bundle, the oldest first: of the one that serves and the one before.
        self._scores: dict[str, Histogram] = {}
        self._registry: CollectorRegistry | None = None

    def watch_in_flight(self, count: Callable[[], int]) -> None:
        """Takes where the number of requests in the house is read at every scrape."""
        self._in_flight = count

    def watch_prediction_log(self, figures: "Callable[[], LogFigures]") -> None:
        """Takes where the prediction log's figures are read at every scrape: `PredictionLog.figures`."""
        self._prediction_log = figures

    def observe_request(self, route: str, status: int, seconds: float, parts: Mapping[str, float] = NO_PARTS) -> None:
        """Counts an answered request.

        Args:
            route: The route's own path, not what the client wrote.
            status: Of the answer.
            seconds: All of its time.
            parts: Where it went: seconds by part, any of `PARTS`; `http` is the time that none of the others had.
        """
        with self._lock:
            if route not in self._seconds:
                route = route if len(self._seconds) < _MOST_LABELS else _OTHER
                self._seconds.setdefault(route, Histogram(LATENCY_EDGES))
            self._requests[route, status] += 1
            self._seconds[route].add(seconds)
            for part, taken in parts.items():
                self._parts[part].add(taken)

    def observe_rank(self, kept: int, asked: int, unknown_user: bool, unknown_items: int, degraded: bool) -> None:
        """Counts what a ranking found.

        Args:
            kept: Items that were answered from the cache.
            asked: Items of the request.
            unknown_user: Whether the feature store does not know the user.
            unknown_items: Items that it does not know.
            degraded: Whether it was ranked without the feature store.
        """
        with self._lock:
            self._kept += kept
            self._looked_up += asked - kept
            self._unknown_users += bool(unknown_user)
            self._unknown_items += unknown_items
            self._degraded += bool(degraded)

    def observe_scores(self, scores_N: np.ndarray, bundle: str = "") -> None:
        """Counts N scores; one that is no number is an error of the kind `score_not_finite`.

        Args:
            scores_N: Probabilities.
            bundle: The id of the bundle that they are of, where that need not be the one that serves now.
        """
        # A sum costs less than a look at every score, and says the same.
        lost = 0
        if not np.isfinite(scores_N.sum()):
            finite_N = np.isfinite(scores_N)
            lost = len(scores_N) - int(finite_N.sum())
            scores_N = scores_N[finite_N]
        with self._lock:
            if lost:
                self._errors["score_not_finite"] += lost
            of = bundle or (self._bundle[0] if self._bundle is not None else "")
            histogram = self._scores.get(of)
            if histogram is not None:
                histogram.add_all(scores_N)

    def set_bundle(self, manifest: Manifest, precision: str) -> None:
        """Takes the bundle that serves from now on; another one than before is counted as a swap.

        Args:
            manifest: Of the bundle.
            precision: Of its network.
        """
        serves = (manifest.bundle_id, manifest.code_version, precision)
        with self._lock:
            if serves == self._bundle:
                return
            self._swaps += self._bundle is not None
            self._bundle = serves
            self._since = time.time()
            # One that comes back goes on counting, as the newer of the two.
            counted = self._scores.pop(serves[0]) if serves[0] in self._scores else Histogram(SCORE_EDGES)
            self._scores[serves[0]] = counted
            while len(self._scores) > 2:
                del self._scores[next(iter(self._scores))]

    def error(self, kind: str) -> None:
        """Counts an error; `kind` is a word of the code's own, nothing that a client sent."""
        with self._lock:
            self._errors[kind if kind in self._errors or len(self._errors) < _MOST_LABELS else _OTHER] += 1

    def refused(self, reason: str) -> None:
        """Counts a request that was turned away; `reason` is a word of the code's own, such as `queue`."""
        with self._lock:
            self._refused[reason if reason in self._refused or len(self._refused) < _MOST_LABELS else _OTHER] += 1

    def render(self) -> bytes:
        """All figures in Prometheus' text format."""
        # A server that nobody scrapes does not pay for the import, nor does one that starts.
        from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

        if self._registry is None:
            self._registry = CollectorRegistry()
            self._registry.register(self)
            ProcessCollector(registry=self._registry)
        return generate_latest(self._registry)

    def collect(self) -> "Iterable[Metric]":
        """What Prometheus' client asks a collector for."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        def counter(name: str, text: str, counts: Mapping[tuple[Any, ...], float], labels: tuple[str, ...] = ()) -> "Metric":
            family = CounterMetricFamily(name, text, labels=labels)
            for values, count in counts.items():
                family.add_metric([str(value) for value in values], count)
            return family

        def histogram(name: str, text: str, by: Mapping[str, Histogram], label: str) -> "Metric":
            family = HistogramMetricFamily(name, text, labels=[label])
            for value, counted in by.items():
                family.add_metric([value], *counted.cumulative())
            return family

        with self._lock:
            found: list[Metric] = [
                counter("elec_requests", "Answered requests.", dict(self._requests), ("route", "status")),
                histogram("elec_request_seconds", "Time of a request.", self._seconds, "route"),
                counter("elec_errors", "Errors by kind.", {(kind,): n for kind, n in self._errors.items()}, ("kind",)),
                counter("elec_refused", "Turned away.", {(reason,): n for reason, n in self._refused.items()}, ("reason",)),
                histogram("elec_part_seconds", "Where a request's time goes.", self._parts, "part"),
                counter("elec_item_cache_hits", "Items answered from the cache.", {(): self._kept}),
                counter("elec_item_cache_misses", "Items that were looked up.", {(): self._looked_up}),
                counter(
                    "elec_unknown",
                    "Keys that the feature store does not know.",
                    {("user",): self._unknown_users, ("item",): self._unknown_items},
                    ("entity",),
                ),
                counter("elec_degraded", "Rankings without the feature store.", {(): self._degraded}),
                histogram("elec_scores", "Scores of the bundle that serves and the one before.", self._scores, "bundle"),
                counter("elec_swaps", "Changes of the bundle.", {(): self._swaps}),
            ]
            bundle, since = self._bundle, self._since
        if bundle is not None:
            info = GaugeMetricFamily("elec_bundle_info", "The bundle that serves.", labels=("bundle", "code", "precision"))
            info.add_metric(bundle, 1)
            found += [info, GaugeMetricFamily("elec_bundle_since_timestamp_seconds", "When it began to serve.", value=since)]
        if self._in_flight is not None:
            found.append(GaugeMetricFamily("elec_in_flight", "Requests in the house.", value=self._in_flight()))
        if self._prediction_log is not None:
            figures = self._prediction_log()
            found += [
                counter("elec_prediction_log_rows", "Rows written.", {(): figures.rows}),
                counter("elec_prediction_log_dropped", "Rows that were not written.", {(): figures.dropped}),
                GaugeMetricFamily("elec_prediction_log_files", "Files on disk.", value=figures.files),
                GaugeMetricFamily("elec_prediction_log_bytes", "Bytes on disk.", value=figures.bytes),
            ]
        return found
