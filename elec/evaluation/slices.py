"""Metrics on parts of the rows: users and items that training never saw, items by frequency, users by history."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from elec.evaluation.metrics import Floats, Indices, Labels, auc, logloss, pcoc

Mask = npt.NDArray[np.bool_]

DECILES = 10
#: Upper ends of the groups of history length; longer ones are the last group.
HISTORY_ENDS = (0, 2, 5, 10, 20, 50)


class Slice(BaseModel):
    """Some of the rows.

    Attributes:
        name: Which.
        rows: How many.
        clicks: How many of them.
        interactions: Mean of what the slice is cut by (train rows of the item, train clicks of the user); None if by neither.
        auc: None unless both classes occur.
        logloss: None without rows.
        pcoc: None without a click.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    rows: int
    clicks: int
    interactions: float | None
    auc: float | None
    logloss: float | None
    pcoc: float | None


def slice_masks(
    user_rows_N: Indices, item_rows_N: Indices, user_clicks_N: Indices
) -> dict[str, tuple[Mask, npt.NDArray[Any] | None]]:
    """Cuts evaluation rows by what training knew of their user and item.

    Args:
        user_rows_N: Train rows of the row's user.
        item_rows_N: Train rows of the row's item.
        user_clicks_N: Train clicks of the row's user: the length of the history.

    Returns:
        By name: the rows, and what they were cut by. `item_decile_1` holds the rarest of the items that training saw; a decile
        is a tenth of those rows, and items of equal frequency stay together, so one may be larger than another, or missing.
    """
    seen_N = item_rows_N > 0
    slices: dict[str, tuple[Mask, npt.NDArray[Any] | None]] = {
        "unseen_user": (user_rows_N == 0, None),
        "seen_user": (user_rows_N > 0, None),
        "unseen_item": (~seen_N, item_rows_N),
        "seen_item": (seen_N, item_rows_N),
    }
    decile_N = _deciles(item_rows_N, seen_N)
    for decile in range(DECILES):
        slices[f"item_decile_{decile + 1}"] = (decile_N == decile, item_rows_N)
    group_N = np.searchsorted(np.asarray(HISTORY_ENDS), user_clicks_N, side="left")
    low = 0
    for group, end in enumerate([*HISTORY_ENDS, None]):
        name = f"history_{low}_or_more" if end is None else f"history_{low}" if low == end else f"history_{low}_to_{end}"
        slices[name] = (group_N == group, user_clicks_N)
        low = 0 if end is None else end + 1
    return slices


def measure_slices(
    label: Labels, probability: Floats, masks: Mapping[str, tuple[Mask, npt.NDArray[Any] | None]]
) -> tuple[Slice, ...]:
    """Measures predictions on each slice.

    Args:
        label: 0 or 1, one a row.
        probability: Between 0 and 1, one a row.
        masks: Of `slice_masks`.
    """
    found = []
    for name, (mask_N, cut_N) in masks.items():
        own_label, own_probability = label[mask_N], probability[mask_N]
        rows, clicks = len(own_label), int(np.count_nonzero(own_label))
        found.append(
            Slice(
                name=name,
                rows=rows,
                clicks=clicks,
                interactions=float(cut_N[mask_N].mean()) if cut_N is not None and rows else None,
                auc=auc(own_label, own_probability) if 0 < clicks < rows else None,
                logloss=logloss(own_label, own_probability) if rows else None,
                pcoc=pcoc(own_label, own_probability) if clicks else None,
            )
        )
    return tuple(found)


def counts_of(keys: npt.NDArray[Any], among: npt.NDArray[Any]) -> Indices:
    """How often each key occurs among others.

    Args:
        keys: N of them.
        among: M of them, of the same type.

    Returns:
        int64 [N].
    """
    if not len(among):
        return np.zeros(len(keys), np.int64)
    known, counts = np.unique(among, return_counts=True)
    place = np.searchsorted(known, keys).clip(max=len(known) - 1)
    return np.where(known[place] == keys, counts[place], 0).astype(np.int64)


def _deciles(count_N: Indices, counted_N: Mask) -> Indices:
    """A decile (0 is the lowest) of each counted row, equal counts together; -1 of the others."""
    decile_N = np.full(len(count_N), -1, np.int64)
    own = count_N[counted_N]
    rising = np.sort(own)
    # The middle of a run of ties decides where all of it goes.
    middle = (np.searchsorted(rising, own, side="left") + np.searchsorted(rising, own, side="right")) / 2
    decile_N[counted_N] = np.minimum(middle * DECILES / max(len(own), 1), DECILES - 1).astype(np.int64)
    return decile_N
