"""Tests of differences against scipy and against Holm's own example."""

import numpy as np
import pytest
from scipy import stats

from elec.evaluation.significance import holm, paired_test, retention, spread


def test_spread_of_one_and_of_many() -> None:
    assert spread([0.5]).sd is None
    found = spread([1.0, 2.0, 4.0])
    assert (found.mean, found.sd, found.n) == (pytest.approx(7 / 3), pytest.approx(np.std([1, 2, 4], ddof=1)), 3)


def test_paired_test_equals_scipy() -> None:
    generator = np.random.default_rng(0)
    for n in (2, 5, 9):
        base = generator.normal(0.6, 0.01, n)
        better = base + generator.normal(0.004, 0.003, n)
        found, expected = paired_test(better, base), stats.ttest_rel(better, base)
        assert found.t == pytest.approx(expected.statistic)
        assert found.p == pytest.approx(expected.pvalue)
        assert found.difference == pytest.approx((better - base).mean())


def test_paired_test_without_spread() -> None:
    assert paired_test([0.5], [0.4]).p is None
    assert paired_test([0.5, 0.6], [0.5, 0.6]).p == 1.0
    assert paired_test([0.6, 0.7], [0.5, 0.6]).p == 0.0
    with pytest.raises(ValueError, match="not pairs"):
        paired_test([0.5], [0.4, 0.3])


def test_holm_steps_down() -> None:
    # By hand: .005*4, max(.01*3, .02), max(.03*2, .03), max(.04*1, .06).
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_counts_only_comparisons_that_there_are() -> None:
    assert holm([None, 0.02, None, 0.01]) == [None, pytest.approx(0.02), None, pytest.approx(0.02)]
    assert holm([None]) == [None]


def test_retention_needs_a_gain() -> None:
    assert retention(0.65, 0.60, 0.70) == pytest.approx(0.5)
    assert retention(0.59, 0.60, 0.70) == pytest.approx(-0.1)
    assert retention(0.65, 0.60, 0.60) is None
    assert retention(0.65, 0.60, 0.55) is None
