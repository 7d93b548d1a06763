import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elec.drift.psi import chance, psi

counts = st.integers(min_value=0, max_value=10**9)
pairs = st.integers(min_value=1, max_value=40).flatmap(
    lambda bins: st.tuples(st.lists(counts, min_size=bins, max_size=bins), st.lists(counts, min_size=bins, max_size=bins))
)


@given(pairs)
def test_never_negative_and_symmetric(pair):
    p, q = pair
    assert psi(p, q) >= 0
    assert psi(p, q) == psi(q, p)


@given(st.lists(counts, min_size=1, max_size=40))
def test_zero_for_equal_histograms(p):
    assert psi(p, p) == 0


def test_the_textbook_value():
    # (0.6 - 0.5) ln(0.6 / 0.5) + (0.4 - 0.5) ln(0.4 / 0.5)
    assert psi([60, 40], [50, 50]) == pytest.approx(0.1 * np.log(1.2) + 0.1 * np.log(1.25))


def test_empty_bins_stay_finite():
    assert 10 < psi([100, 0], [0, 100]) < 20


def test_other_bins_are_refused():
    with pytest.raises(ValueError, match="2 and 3 bins"):
        psi([1, 2], [1, 2, 3])


def test_chance_is_the_level_that_unchanged_data_rarely_exceeds():
    random = np.random.default_rng(0)
    shares = random.dirichlet(np.ones(20) * 5)
    trials = [(random.multinomial(800, shares), random.multinomial(500, shares)) for _ in range(2000)]
    above = np.mean([psi(a, b) > chance(a.tolist(), b.tolist()) for a, b in trials])
    assert above < 0.004
    # and it is not so lax that it never speaks
    typical = np.mean([psi(a, b) for a, b in trials])
    assert typical < chance(*(side.tolist() for side in trials[0])) < 4 * typical
