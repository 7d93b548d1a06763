"""Impressions without a click, for a log of clicks only: the clicks' own items, dealt to other users.

A window's clicks have users and items. `k` copies of its items are shuffled and dealt, `k` for every click, to the click's
user. So inside a window every item is clicked in exactly one of `k + 1` of its rows, and so is every user:

- Popularity says nothing, in no window, by construction, and a test item that training never saw is not a click more often
  than another. What is left to learn is which user goes with which item.
- Training knows nothing of later windows: its negatives are train items, as often as train clicked them. Drawn by the
  popularity in the whole log they would give away which items the test part holds.

With an exponent below 1 the items to deal are drawn instead, popular ones less often than they are clicked: then popularity
says something, as in a log whose items differ in their click-through rate.
"""

import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]

#: A swap that fails is tried again with other partners; a dense window may have a few rows for which none is found.
_ROUNDS = 200
_TRIES = 4096


def pool(items: Int64, negatives: int, exponent: float, draw: np.random.Generator) -> Int64:
    """What is dealt for a window's clicks.

    Args:
        items: int64 [N], of each click.
        negatives: k, for every click.
        exponent: Of an item's clicks in the window. 1: exactly `k` times its clicks. Below 1 popular items are shown less than
            they are clicked, so popularity says something, as it does in word2vec's 0.75 (Mikolov et al. 2013).
        draw: Random numbers.

    Returns:
        int64 [N * k].
    """
    if exponent == 1:
        return np.repeat(items, negatives)
    found, clicks = np.unique(items, return_counts=True)
    weight = clicks**exponent
    return draw.choice(found, len(items) * negatives, p=weight / weight.sum())


def deal(users: Int64, shown: Int64, owned: Int64, items_in_all: int, draw: np.random.Generator) -> Int64:
    """Deals a window's items to its users.

    Args:
        users: int64 [N], of each click.
        shown: int64 [N * k], the items to deal, from 0.
        owned: Codes `user * items_in_all + item` of the pairs that must not be dealt: what a user clicked up to the end of
            this window.
        items_in_all: More than the largest item.
        draw: Random numbers.

    Returns:
        int64 [N, k]: the items that each click's user did not click, all different for one user; -1 in the rare place for which
        no item could be found.
    """
    negatives = len(shown) // len(users)
    user_of = np.repeat(users, negatives)
    dealt = draw.permutation(shown)
    for _ in range(_ROUNDS):
        codes = user_of * items_in_all + dealt
        wrong = np.flatnonzero(_wrong(codes, owned))
        if not len(wrong):
            break
        # Several partners for each place, the more the fewer places are left.
        chosen = np.repeat(wrong, max(1, _TRIES // len(wrong)))
        partner = draw.integers(len(codes), size=len(chosen))
        there = user_of[chosen] * items_in_all + dealt[partner]
        back = user_of[partner] * items_in_all + dealt[chosen]
        fits = ~np.isin(np.concatenate([there, back]), np.concatenate([owned, codes])).reshape(2, -1).any(axis=0)
        # A place takes part in one swap a round only.
        fits &= ~np.isin(partner, wrong)
        chosen, partner = _once(*_once(chosen[fits], partner[fits])[::-1])[::-1]
        dealt[chosen], dealt[partner] = dealt[partner], dealt[chosen]
    dealt[_wrong(user_of * items_in_all + dealt, owned)] = -1
    return dealt.reshape(-1, negatives)


def _wrong(codes: Int64, owned: Int64) -> npt.NDArray[np.bool_]:
    """Pairs that the user owns, and all but the first of equal pairs."""
    repeated = np.ones(len(codes), dtype=bool)
    repeated[np.unique(codes, return_index=True)[1]] = False
    return repeated | np.isin(codes, owned)


def _once(first: Int64, second: Int64) -> tuple[Int64, Int64]:
    """Pairs whose first number has not been there before."""
    _, places = np.unique(first, return_index=True)
    return first[places], second[places]
