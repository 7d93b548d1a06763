"""Dealt negatives: nobody is shown what is his, and popularity says nothing."""

import numpy as np
import pytest

from benchmarks.evidence.negatives import deal, pool

ITEMS = 60


def window(seed: int = 0, clicks: int = 900) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Users and items of clicks, each pair once and some items far more popular than others; their codes."""
    draw = np.random.default_rng(seed)
    weight = 1 / np.arange(10, ITEMS + 10)
    users, items = draw.integers(0, 600, clicks), draw.choice(ITEMS, clicks, p=weight / weight.sum())
    codes = np.unique(users * ITEMS + items)
    return codes // ITEMS, codes % ITEMS, codes


def test_every_item_is_shown_k_times_as_often_as_it_was_clicked_and_never_to_its_owner() -> None:
    users, items, codes = window()
    dealt = deal(users, pool(items, 3, 1.0, np.random.default_rng(1)), codes, ITEMS, np.random.default_rng(1))
    assert dealt.shape == (len(users), 3)
    assert (dealt >= 0).all()
    np.testing.assert_array_equal(np.bincount(dealt.ravel(), minlength=ITEMS), 3 * np.bincount(items, minlength=ITEMS))
    shown = np.repeat(users, 3) * ITEMS + dealt.ravel()
    assert not np.isin(shown, codes).any()
    assert len(np.unique(shown)) == len(shown)


def test_fresh_for_every_seed_and_equal_for_the_same() -> None:
    users, items, codes = window()
    first, again, other = (
        deal(users, pool(items, 3, 1.0, np.random.default_rng(s)), codes, ITEMS, np.random.default_rng(s)) for s in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.5


@pytest.mark.parametrize("exponent", [0.0, 0.5])
def test_below_1_popular_items_are_shown_less_often(exponent: float) -> None:
    _, items, _ = window(clicks=3000)
    clicks = np.bincount(items, minlength=ITEMS)
    shown = np.bincount(pool(items, 4, exponent, np.random.default_rng(0)), minlength=ITEMS)
    assert shown.sum() == 4 * len(items)
    popular = clicks > np.median(clicks)
    expected = (clicks[popular] ** exponent).sum() / (clicks[clicks > 0] ** exponent).sum()
    assert abs(shown[popular].sum() / shown.sum() - expected) < 0.03


def test_what_cannot_be_dealt_stays_open() -> None:
    # Both users own both items: there is nothing to deal.
    users, items = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    draw = np.random.default_rng(0)
    assert (deal(users, pool(items, 2, 1.0, draw), users * 2 + items, 2, draw) == -1).all()
