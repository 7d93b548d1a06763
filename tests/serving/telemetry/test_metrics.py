"""What `GET /metrics` says, read by Prometheus' own parser."""

import math
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from elec.serving.manifest import Manifest
from elec.serving.telemetry.histogram import Histogram
from elec.serving.telemetry.metrics import LATENCY_EDGES, SCORE_EDGES, Metrics
from tests.serving.described import describe


@pytest.fixture
def manifest() -> Manifest:
    return describe()


def samples(metrics: Metrics) -> dict[str, float]:
    """All samples, by name and labels as Prometheus writes them."""
    return {
        sample.name + "".join(f" {name}={value}" for name, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
    }


def test_requests_errors_and_times(manifest: Manifest) -> None:
    metrics = Metrics(in_flight=lambda: 3)
    metrics.set_bundle(manifest, "float32")
    parts = {"look_up": 0.001, "encode": 0.0002, "model": 0.0001, "http": 0.0003}
    metrics.observe_request("/rank", 200, 0.0021, parts)
    metrics.observe_request("/rank", 200, 0.0004)
    metrics.observe_request("/rank", 503, 2.0)
    metrics.error("feature_store")
    metrics.refused("queue")
    found = samples(metrics)
    assert found["elec_requests_total route=/rank status=200"] == 2
    assert found["elec_requests_total route=/rank status=503"] == 1
    assert found["elec_request_seconds_count route=/rank"] == 3
    assert found["elec_request_seconds_sum route=/rank"] == pytest.approx(2.0025)
    assert found["elec_request_seconds_bucket le=0.0005 route=/rank"] == 1
    assert found["elec_request_seconds_bucket le=+Inf route=/rank"] == 3
    assert found["elec_part_seconds_sum part=look_up"] == pytest.approx(0.001)
    assert {part: found[f"elec_part_seconds_count part={part}"] for part in ("look_up", "encode", "model", "http")} == {
        "look_up": 1,
        "encode": 1,
        "model": 1,
        "http": 1,
    }
    assert found["elec_errors_total kind=feature_store"] == 1
    assert found["elec_refused_total reason=queue"] == 1
    assert found["elec_in_flight"] == 3
    assert found["process_resident_memory_bytes"] > 1e6


def test_rankings() -> None:
    metrics = Metrics()
    metrics.observe_rank(kept=60, asked=100, unknown_user=True, unknown_items=7, degraded=False)
    metrics.observe_rank(kept=0, asked=10, unknown_user=False, unknown_items=0, degraded=True)
    found = samples(metrics)
    assert found["elec_item_cache_hits_total"] == 60
    assert found["elec_item_cache_misses_total"] == 50
    assert found["elec_unknown_total entity=user"] == 1
    assert found["elec_unknown_total entity=item"] == 7
    assert found["elec_degraded_total"] == 1


def test_a_swap_keeps_the_scores_of_two_bundles() -> None:
    metrics = Metrics()
    first, second, third = map(describe, range(3))
    metrics.set_bundle(first, "float32")
    metrics.observe_scores(np.array([0.2, 0.7], dtype=np.float32))
    metrics.set_bundle(first, "float32")
    metrics.set_bundle(second, "int8")
    metrics.observe_scores(np.array([0.5], dtype=np.float32))
    # An answer that began before the swap is of the old bundle.
    metrics.observe_scores(np.array([0.1], dtype=np.float32), first.bundle_id)
    found = samples(metrics)
    assert found["elec_swaps_total"] == 1
    assert found[f"elec_scores_count bundle={first.bundle_id}"] == 3
    assert found[f"elec_scores_count bundle={second.bundle_id}"] == 1
    assert found[f"elec_bundle_info bundle={second.bundle_id} code=abc precision=int8"] == 1
    assert [name for name in found if name.startswith("elec_bundle_info")] == [
        f"elec_bundle_info bundle={second.bundle_id} code=abc precision=int8"
    ]
    assert found["elec_bundle_since_timestamp_seconds"] == pytest.approx(time.time(), abs=60)
    metrics.set_bundle(third, "float32")
    metrics.set_bundle(second, "float32")
    found = samples(metrics)
    assert found["elec_swaps_total"] == 3
    assert f"elec_scores_count bundle={first.bundle_id}" not in found
    assert found[f"elec_scores_count bundle={second.bundle_id}"] == 1


def test_a_score_that_is_no_number_is_an_error(manifest: Manifest) -> None:
    metrics = Metrics()
    metrics.set_bundle(manifest, "float32")
    metrics.observe_scores(np.array([0.2, math.nan, math.inf, 0.4], dtype=np.float32))
    metrics.observe_scores(np.zeros(0, dtype=np.float32))
    found = samples(metrics)
    assert found["elec_errors_total kind=score_not_finite"] == 2
    assert found[f"elec_scores_count bundle={manifest.bundle_id}"] == 2
    assert found[f"elec_scores_sum bundle={manifest.bundle_id}"] == pytest.approx(0.6)


def test_what_a_client_makes_up_cannot_fill_the_memory() -> None:
    metrics = Metrics()
    for number in range(1000):
        metrics.observe_request(f"/{number}", 404, 0.001)
        metrics.error(f"kind {number}")
        metrics.refused(f"reason {number}")
    found = samples(metrics)
    assert found["elec_requests_total route=other status=404"] == 1000 - 64
    assert found["elec_errors_total kind=other"] == 1000 - 64
    assert len([name for name in found if name.startswith("elec_requests_total")]) == 65


def test_labels_are_escaped() -> None:
    metrics = Metrics()
    metrics.set_bundle(describe(code_version='a"b\\c\nd'), "float32")
    assert any('code=a"b\\c\nd' in name for name in samples(metrics))


@given(st.lists(st.floats(0, 1, width=32) | st.sampled_from(SCORE_EDGES), max_size=60))
def test_a_histogram_counts_as_prometheus_defines_it(values: list[float]) -> None:
    at_once, one_by_one = Histogram(SCORE_EDGES), Histogram(SCORE_EDGES)
    at_once.add_all(np.array(values, dtype=np.float64))
    for value in values:
        one_by_one.add(value)
    buckets, total = at_once.cumulative()
    assert dict(buckets) == {
        **{str(edge): sum(value <= edge for value in values) for edge in SCORE_EDGES},
        "+Inf": len(values),
    }
    assert total == pytest.approx(sum(values))
    assert one_by_one.cumulative()[0] == buckets


def test_edges_ascend() -> None:
    for edges in (LATENCY_EDGES, SCORE_EDGES):
        assert list(edges) == sorted(set(edges))


def test_threads_lose_no_count(manifest: Manifest) -> None:
    metrics = Metrics()
    metrics.set_bundle(manifest, "float32")
    scores = np.full(10, 0.3, dtype=np.float32)

    def work(_: int) -> None:
        for _ in range(500):
            metrics.observe_request("/rank", 200, 0.001)
            metrics.observe_scores(scores)

    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            metrics.render()
        list(pool.map(work, range(8)))
    found = samples(metrics)
    assert found["elec_requests_total route=/rank status=200"] == 4000
    assert found[f"elec_scores_count bundle={manifest.bundle_id}"] == 40_000


def test_a_request_pays_little(manifest: Manifest) -> None:
    metrics = Metrics()
    metrics.set_bundle(manifest, "float32")
    scores = np.random.default_rng(0).random(100, dtype=np.float32)
    parts = {"look_up": 0.001, "encode": 0.0002, "model": 0.0001, "http": 0.0003}

    def seconds() -> float:
        start = time.thread_time()
        for _ in range(1000):
            metrics.observe_request("/rank", 200, 0.002, parts)
            metrics.observe_rank(90, 100, False, 1, False)
            metrics.observe_scores(scores)
        return (time.thread_time() - start) / 1000

    # 6 microseconds on an idle machine; here others may be at work.
    assert min(seconds() for _ in range(10)) < 100e-6


def test_prometheus_is_imported_by_the_first_scrape_only() -> None:
    script = """
import sys
from elec.serving.telemetry.metrics import Metrics
metrics = Metrics()
assert "prometheus_client" not in sys.modules
metrics.render()
"""
    subprocess.run([sys.executable, "-c", script], check=True)
