"""Quantiles of numbers that lie on disk in sorted runs, and the buckets of numbers: against DuckDB and a binary search."""

import math
import sys
from collections.abc import Sequence

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elec.features.bucket_search import bucket_of
from elec.features.order_statistics import OrderStatistics, SortedRuns

NUMBERS = st.lists(
    st.sampled_from([-0.0, 0.0, 1.0, -1.0, 0.1, 5e-324, -5e-324, sys.float_info.max, -sys.float_info.max])
    | st.integers(-9, 9).map(float)
    | st.floats(allow_nan=False, allow_infinity=False),
    max_size=60,
)


def statistics(runs: SortedRuns, parts: Sequence[Sequence[float]], name: str = "n") -> OrderStatistics:
    for part in parts:
        runs.add(name, *np.unique(np.array(part, np.float64) + 0.0, return_counts=True))
    return runs.of(name)


@given(parts=st.lists(NUMBERS, max_size=5), buckets=st.integers(2, 40))
@settings(max_examples=100, deadline=None)
def test_quantiles_are_those_of_duckdb(parts: list[list[float]], buckets: int) -> None:
    values = [value for part in parts for value in part]
    shares = [number / buckets for number in range(1, buckets)]
    with SortedRuns() as runs:
        found = statistics(runs, parts)
        assert found.count == len(values)
        assert (found.lowest, found.highest) == ((min(values), max(values)) if values else (None, None))
        quantiles = found.quantiles(shares).tolist()
    ((expected,),) = duckdb.execute(
        "SELECT quantile_disc(value, $shares) FROM (SELECT unnest($values::DOUBLE[]) AS value)",
        {"shares": shares, "values": values},
    ).fetchall()
    assert quantiles == (expected or [])


def test_runs_of_several_names_do_not_mix() -> None:
    draw = np.random.default_rng(0)
    with SortedRuns() as runs:
        for _ in range(20):
            statistics(runs, [draw.normal(size=1000)], "a")
            statistics(runs, [draw.normal(100, size=10)], "b")
        assert runs.of("a").count == 20_000
        assert runs.of("b").count == 200
        assert runs.of("b").lowest > 90  # type: ignore[operator]
        assert abs(float(runs.of("a").quantiles([0.5])[0])) < 0.05
        assert runs.of("c").lowest is None
        assert len(runs.of("c").quantiles([0.5])) == 0
        assert len(runs.of("a").quantiles([])) == 0


@given(edges=NUMBERS.map(lambda values: tuple(sorted({value + 0.0 for value in values}))), numbers=NUMBERS)
@settings(max_examples=100, deadline=None)
def test_a_bucket_is_what_a_binary_search_finds(edges: tuple[float, ...], numbers: list[float]) -> None:
    # More than are worth a table, the edges themselves and their neighbours among them.
    near = [math.nextafter(edge, to) for edge in edges for to in (-math.inf, math.inf)]
    number_N = np.resize(np.array([*numbers, *edges, *near, 0.0, -0.0, np.inf, -np.inf]), 5_000)
    expected = np.searchsorted(np.array(edges, np.float64), number_N, side="right")
    assert (bucket_of(edges, number_N) == expected).all()
    assert (bucket_of(edges, number_N[:10]) == expected[:10]).all()


@pytest.mark.parametrize("edges", [(), (0.0,), (1.0, 1.0000000001), tuple(np.linspace(-3, 3, 31)), tuple(range(1023))])
def test_buckets_of_edges_that_share_a_cell_or_of_none(edges: tuple[float, ...]) -> None:
    number_N = np.random.default_rng(0).normal(1, 2, 10_000)
    assert (bucket_of(edges, number_N) == np.searchsorted(np.array(edges, np.float64), number_N, side="right")).all()
