"""What is known of a version in service: requests, errors, latencies, scores; and how two versions differ.

Figures come from a proxy that has seen the answers, or from what a server's `GET /metrics` counts. Both are counts that only
grow, so what happened in a window is the difference of two looks.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np

from elec.drift.psi import chance, psi

#: Bins of the comparison of scores, of equal share among the champion's.
_SCORE_BINS = 10


@dataclass(frozen=True)
class Counts:
    """A histogram.

    Attributes:
        edges: Upper edges of the bins, ascending; a value on an edge is below it.
        counts_B: int64, one more than there are edges: the last bin is open.
    """

    edges: tuple[float, ...] = ()
    counts_B: np.ndarray = field(default_factory=lambda: np.zeros(1, dtype=np.int64))

    @classmethod
    def from_cumulative(cls, cumulative: Sequence[tuple[float, float]]) -> Self:
        """From the number of values up to each edge, the last of them infinite, as Prometheus has it."""
        ordered = sorted(cumulative)
        counts = np.diff([count for _, count in ordered], prepend=0.0)
        return cls(tuple(edge for edge, _ in ordered[:-1]), np.maximum(counts, 0).astype(np.int64))

    @property
    def total(self) -> int:
        """All values."""
        return int(self.counts_B.sum())

    def on(self, edges: Sequence[float]) -> np.ndarray:
        """The counts [edges + 1] in fewer bins; the edges are some of its own."""
        last = np.searchsorted(self.edges, edges)
        cumulative = np.cumsum(self.counts_B)
        return np.diff([0, *cumulative[last], cumulative[-1]])

    def quantile(self, q: float) -> float:
        """The value that a share q of the values is below, by the line through its bin; not a number if there are none.

        Values above the last edge count as the last edge.
        """
        if not self.total or not self.edges:
            return math.nan
        cumulative = np.cumsum(self.counts_B)
        rank = min(max(q, 0.0), 1.0) * self.total
        bin_ = int(np.searchsorted(cumulative, rank))
        if bin_ >= len(self.edges):
            return self.edges[-1]
        low = self.edges[bin_ - 1] if bin_ else 0.0
        within = int(self.counts_B[bin_])
        below = int(cumulative[bin_]) - within
        return low + (self.edges[bin_] - low) * ((rank - below) / within if within else 0.0)

    def __add__(self, other: "Counts") -> "Counts":
        if self.edges == other.edges:
            return Counts(self.edges, self.counts_B + other.counts_B)
        if not self.total:
            return other
        if not other.total:
            return self
        edges = common_edges(self, other)
        return Counts(edges, self.on(edges) + other.on(edges))

    def __sub__(self, before: "Counts") -> "Counts":
        # A server that started anew counts from 0: what it has is what happened since.
        if self.edges != before.edges or (self.counts_B < before.counts_B).any():
            return self
        return Counts(self.edges, self.counts_B - before.counts_B)


@dataclass(frozen=True)
class Figures:
    """Of a version in a window of time.

    Attributes:
        requests: Requests for scores that it was given.
        errors: Those of them that it failed on: no answer, or a status of 500 and more.
        refused: Those of them that it refused as wrong: a status of 400 to 499, but 429.
        latency: Of the answers, in seconds.
        scores: Of its answers.
        alive: Whether it still runs.
    """

    requests: int = 0
    errors: int = 0
    refused: int = 0
    latency: Counts = Counts()
    scores: Counts = Counts()
    alive: bool = True

    @property
    def error_rate(self) -> float:
        """Share of requests that failed."""
        return self.errors / self.requests if self.requests else 0.0

    @property
    def refused_rate(self) -> float:
        """Share of requests that were refused."""
        return self.refused / self.requests if self.requests else 0.0

    def __add__(self, other: "Figures") -> "Figures":
        return Figures(
            requests=self.requests + other.requests,
            errors=self.errors + other.errors,
            refused=self.refused + other.refused,
            latency=self.latency + other.latency,
            scores=self.scores + other.scores,
            alive=self.alive and other.alive,
        )

    def __sub__(self, before: "Figures") -> "Figures":
        # As with the histograms: fewer than before are all of them new.
        anew = self.requests < before.requests
        return Figures(
            requests=self.requests - (0 if anew else before.requests),
            errors=self.errors - (0 if anew else before.errors),
            refused=self.refused - (0 if anew else before.refused),
            latency=self.latency - before.latency,
            scores=self.scores - before.scores,
            alive=self.alive,
        )


def common_edges(one: Counts, other: Counts) -> tuple[float, ...]:
    """The edges that both histograms have."""
    return tuple(sorted(set(one.edges) & set(other.edges)))


def score_drift(challenger: Figures, champion: Figures) -> tuple[float, float]:
    """The population stability index between the scores of two versions.

    The bins have equal shares of the champion's scores, as far as the histograms are fine enough for that.

    Returns:
        The index, and what chance alone would exceed once in a thousand times. The scores of one request go together, so
        for chance a request counts once, however many scores it has. Not a number if nothing can be compared.
    """
    edges = common_edges(challenger.scores, champion.scores)
    if not edges or not challenger.scores.total or not champion.scores.total:
        return math.nan, math.nan
    reference, current = champion.scores.on(edges), challenger.scores.on(edges)
    before = np.cumsum(reference) - reference
    bins = np.minimum(before * _SCORE_BINS // reference.sum(), _SCORE_BINS - 1)
    merged = [np.bincount(bins, weights=counts, minlength=_SCORE_BINS) for counts in (current, reference)]
    by_request = [
        np.ceil(counts * min(1.0, figures.requests / counts.sum())).astype(int).tolist()
        for counts, figures in zip(merged, (challenger, champion), strict=True)
    ]
    return psi(*(counts.tolist() for counts in merged)), chance(*by_request)
