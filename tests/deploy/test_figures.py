import math
from pathlib import Path

import numpy as np
import pytest

from elec.deploy.figures import Counts, Figures, common_edges, score_drift
from elec.deploy.scrape import parse_metrics
from elec.serving.manifest import read_manifest
from elec.serving.telemetry.metrics import SCORE_EDGES, Metrics

EDGES = tuple(float(edge) for edge in np.linspace(0.01, 1.0, 100))


def counted(values: np.ndarray, edges: tuple[float, ...] = EDGES) -> Counts:
    counts = np.bincount(np.searchsorted(edges, values), minlength=len(edges) + 1)
    return Counts(edges, counts)


def test_quantiles_are_those_of_the_values_to_a_bin() -> None:
    values = np.random.default_rng(1).beta(2, 8, 50_000)
    counts = counted(values)
    for q in (0.01, 0.1, 0.5, 0.9, 0.99):
        assert counts.quantile(q) == pytest.approx(np.quantile(values, q), abs=0.01)
    assert math.isnan(Counts(EDGES, np.zeros(101, dtype=np.int64)).quantile(0.5))
    assert math.isnan(Counts().quantile(0.5))
    assert counted(np.full(5, 3.0)).quantile(0.5) == 1.0, "above the last edge"


def test_windows_are_differences_and_a_server_that_began_anew_counts_from_nothing() -> None:
    first, second = counted(np.full(3, 0.2)), counted(np.full(8, 0.2))
    assert (second - first).total == 5
    assert (first - second).total == 3
    before, now = Figures(requests=10, errors=2, latency=second), Figures(requests=4, errors=1, latency=first)
    since = now - before
    assert (since.requests, since.errors, since.latency.total) == (4, 1, 3)
    both = before + now
    assert (both.requests, both.errors, both.latency.total) == (14, 3, 11)


def test_histograms_of_different_bins_meet_at_the_edges_that_both_have() -> None:
    values = np.random.default_rng(2).random(1000)
    fine, coarse = counted(values), counted(values, (0.25, 0.5, 0.75))
    assert common_edges(fine, coarse) == (0.25, 0.5, 0.75)
    np.testing.assert_array_equal(fine.on((0.25, 0.5, 0.75)), coarse.counts_B)
    assert (fine + coarse).total == 2000
    assert (Counts() + fine).edges == fine.edges


def figures(scores: np.ndarray, requests: int) -> Figures:
    return Figures(requests=requests, scores=counted(scores))


def test_score_drift_sees_a_shift_and_not_chance() -> None:
    draw = np.random.default_rng(3)
    champion = figures(draw.beta(2, 8, 100_000), 1000)
    same, by_chance = score_drift(figures(draw.beta(2, 8, 20_000), 200), champion)
    assert same < 0.01 < by_chance
    moved, by_chance = score_drift(figures(draw.beta(4, 8, 20_000), 200), champion)
    assert moved > 0.5 > by_chance
    nothing, _ = score_drift(Figures(), champion)
    assert math.isnan(nothing)


def test_small_rates_are_told_apart() -> None:
    """Click-through rates live far below the middle: bins of equal width would hold all of them at once."""
    draw = np.random.default_rng(4)
    champion = Figures(requests=1000, scores=counted(draw.beta(2, 200, 100_000), SCORE_EDGES))
    challenger = Figures(requests=1000, scores=counted(draw.beta(2, 100, 100_000), SCORE_EDGES))
    assert score_drift(challenger, champion)[0] > 0.25


def test_what_a_server_counts_is_read_as_it_was_counted(made: Path) -> None:
    manifest = read_manifest(made / "bundle")
    metrics = Metrics()
    metrics.set_bundle(manifest, "float32")
    for route, status in (("/rank", 200), ("/rank", 503), ("/v2/models/elec/infer", 422), ("/rank", 429), ("/metrics", 500)):
        metrics.observe_request(route, status, 0.004)
    metrics.observe_scores(np.full(7, 0.03, dtype=np.float32))
    found = parse_metrics(metrics.render().decode(), manifest.bundle_id)
    assert (found.requests, found.errors, found.refused) == (4, 1, 1)
    assert (found.latency.total, found.scores.total) == (4, 7)
    assert 0.003 < found.latency.quantile(0.5) <= 0.005
    assert parse_metrics(metrics.render().decode(), "another").scores.total == 0
