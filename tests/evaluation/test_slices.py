"""Slices of evaluation rows."""

import numpy as np
import pytest

from elec.evaluation import auc
from elec.evaluation.slices import counts_of, measure_slices, slice_masks


def test_counts_of_keys_among_others() -> None:
    found = counts_of(np.array(["a", "z", "b", "a", "0"]), np.array(["b", "a", "a", "c"]))
    assert found.tolist() == [2, 0, 1, 2, 0]
    assert counts_of(np.array(["a"]), np.array([], "U1")).tolist() == [0]


def test_every_row_is_in_one_decile_or_has_an_unseen_item() -> None:
    generator = np.random.default_rng(0)
    items = generator.geometric(0.05, 5000) - 1
    masks = slice_masks(np.ones(5000, np.int64), items, np.zeros(5000, np.int64))
    deciles = np.stack([masks[f"item_decile_{number}"][0] for number in range(1, 11)])
    assert (deciles.sum(axis=0) == (items > 0)).all()
    means = [items[decile].mean() for decile in deciles if decile.any()]
    assert means == sorted(means)
    for count in np.unique(items[items > 0]):
        assert len(np.flatnonzero(deciles[:, items == count].any(axis=1))) == 1


def test_deciles_of_distinct_counts_are_tenths() -> None:
    masks = slice_masks(np.ones(200, np.int64), np.arange(1, 201), np.zeros(200, np.int64))
    assert [int(masks[f"item_decile_{number}"][0].sum()) for number in range(1, 11)] == [20] * 10


def test_history_groups_cover_all_rows_once() -> None:
    clicks = np.array([0, 1, 2, 3, 5, 6, 10, 11, 20, 21, 50, 51, 900])
    masks = slice_masks(np.ones(13, np.int64), np.ones(13, np.int64), clicks)
    groups = {name: mask for name, (mask, _) in masks.items() if name.startswith("history")}
    assert {name: int(mask.sum()) for name, mask in groups.items()} == {
        "history_0": 1,
        "history_1_to_2": 2,
        "history_3_to_5": 2,
        "history_6_to_10": 2,
        "history_11_to_20": 2,
        "history_21_to_50": 2,
        "history_51_or_more": 2,
    }


def test_a_slice_is_measured_on_its_own_rows_and_says_none_where_nothing_is_defined() -> None:
    label = np.array([0, 1, 1, 0, 1, 1])
    score = np.array([0.2, 0.9, 0.1, 0.3, 0.5, 0.6])
    seen = np.array([3, 3, 3, 3, 0, 0])
    found = {part.name: part for part in measure_slices(label, score, slice_masks(seen, seen, seen))}
    assert found["seen_item"].auc == pytest.approx(auc(label[:4], score[:4]))
    assert (found["unseen_item"].auc, found["unseen_item"].rows, found["unseen_item"].interactions) == (None, 2, 0.0)
    assert found["unseen_item"].pcoc == pytest.approx(0.55)
    empty = found["history_51_or_more"]
    assert (empty.rows, empty.auc, empty.logloss, empty.pcoc, empty.interactions) == (0, None, None, None, None)
