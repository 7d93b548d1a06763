"""Calibration measures against loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elec.evaluation.calibration import (
    expected_calibration_error,
    field_ece,
    field_rce,
    normalised_entropy,
    relative_information_gain,
)

ROWS = st.lists(
    st.tuples(st.integers(0, 1), st.sampled_from([0.01, 0.1, 0.25, 0.5, 0.9]), st.integers(-3, 4)), min_size=1, max_size=60
)


def columns(rows: list[tuple[int, float, int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    label, score, value = zip(*rows, strict=True)
    return np.array(label, np.int8), np.array(score), np.array(value, np.int64)


@settings(max_examples=100, deadline=None)
@given(ROWS)
def test_field_errors_equal_the_papers_sums(rows: list[tuple[int, float, int]]) -> None:
    label, probability, value = columns(rows)
    absolute = relative = 0.0
    for one in np.unique(value):
        mine = value == one
        gap = abs(float((label[mine] - probability[mine]).sum()))
        absolute += gap
        relative += mine.sum() * gap / float((label[mine] + 0.01).sum())
    assert field_ece(label, probability, value) == pytest.approx(absolute / len(label), abs=1e-12)
    assert field_rce(label, probability, value) == pytest.approx(relative / len(label), abs=1e-9)


def test_one_value_for_all_rows_is_the_gap_of_the_means() -> None:
    label, probability = np.array([0, 1, 1, 0]), np.array([0.1, 0.2, 0.3, 0.4])
    assert field_ece(label, probability, np.zeros(4, np.int64)) == pytest.approx(0.25)


def test_ece_over_bins_of_equal_mass() -> None:
    generator = np.random.default_rng(1)
    probability = generator.permutation(np.linspace(0.001, 0.999, 4000))
    label = (generator.random(4000) < probability**2).astype(np.int8)
    order = np.argsort(probability)
    expected = np.mean([abs(label[part].mean() - probability[part].mean()) for part in np.split(order, 20)])
    assert expected_calibration_error(label, probability) == pytest.approx(expected, abs=1e-12)


def test_ece_keeps_equal_predictions_together() -> None:
    label = np.array([0, 1] * 50)
    assert expected_calibration_error(label, np.full(100, 0.5)) == pytest.approx(0.0)
    assert expected_calibration_error(label, np.full(100, 0.8)) == pytest.approx(0.3)


def test_entropy_of_the_mean_prediction_is_one() -> None:
    label = np.array([1, 0, 0, 0])
    assert normalised_entropy(label, np.full(4, 0.25)) == pytest.approx(1.0)
    assert relative_information_gain(label, np.full(4, 0.25)) == pytest.approx(0.0)
    assert relative_information_gain(label, np.array([0.9, 0.1, 0.1, 0.1])) > 0.5


def test_one_class_or_no_rows_is_not_a_number() -> None:
    assert np.isnan(normalised_entropy(np.ones(3, np.int8), np.full(3, 0.5)))
    nothing = np.zeros(0)
    assert np.isnan(expected_calibration_error(nothing.astype(np.int8), nothing))
    assert np.isnan(field_ece(nothing.astype(np.int8), nothing, nothing.astype(np.int64)))
    assert np.isfinite(field_rce(np.zeros(3, np.int8), np.full(3, 0.5), np.arange(3)))
