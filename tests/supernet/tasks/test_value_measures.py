"""Measures of predicted numbers, checked by hand and against scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from pydantic import TypeAdapter
from sklearn import metrics

from factory_base.errors import DataError
from factory_base.intervals import Z95
from supernet.tasks.measures import Measures, value_measures


def column(*values: float) -> np.ndarray:
    return np.array(values)[:, None]


def test_errors_are_those_of_a_calculation_by_hand():
    (found,) = value_measures(column(1, 2, 3, 6), column(1, 1, 3, 3)).values
    assert (found.mae.value, found.rmse.value) == (1.0, pytest.approx(math.sqrt(10 / 4)))
    assert found.r2.value == pytest.approx(1 - 10 / 4)
    assert (found.baseline_mae, found.baseline_rmse) == (1.0, 1.0)


def test_the_interval_of_a_mean_is_the_normal_one():
    (found,) = value_measures(column(1, 2, 3, 6), column(1, 1, 3, 3)).values
    half = Z95 * math.sqrt(2) / math.sqrt(4)  # errors 0, 1, 0, 3 around their mean 1: variance 6 / 3
    assert (found.mae.low, found.mae.high) == (pytest.approx(1 - half), pytest.approx(1 + half))


def test_all_figures_are_those_of_scikit_learn_column_by_column():
    generator = np.random.default_rng(2)
    labels = generator.normal(size=(150, 3))
    predicted = labels + generator.normal(size=(150, 3)) * [0.1, 0.5, 2.0]
    found = value_measures(predicted, labels)
    for index, one in enumerate(found.values):
        assert one.mae.value == pytest.approx(metrics.mean_absolute_error(labels[:, index], predicted[:, index]))
        assert one.rmse.value**2 == pytest.approx(metrics.mean_squared_error(labels[:, index], predicted[:, index]))
    assert found.r2 == pytest.approx(metrics.r2_score(labels, predicted))


def test_the_interval_of_the_explained_variance_holds_the_truth_in_about_95_of_100_samples():
    generator, inside = np.random.default_rng(3), 0
    for _ in range(400):
        labels = generator.normal(size=(120, 1))
        (found,) = value_measures(labels + 0.5 * generator.normal(size=(120, 1)), labels).values
        inside += found.r2.low <= 1 - 0.25 <= found.r2.high
    assert 0.90 <= inside / 400 <= 0.98


def test_answering_the_mean_does_not_beat_it_and_a_good_prediction_does():
    labels = column(*np.linspace(0, 1, 50))
    assert not value_measures(np.full((50, 1), 0.5), labels).values[0].beats_mean
    assert value_measures(labels + 0.01, labels).values[0].beats_mean


def test_labels_that_are_all_equal_have_no_variance_to_explain():
    found = value_measures(column(1, 2), column(3, 3))
    assert (found.values[0].r2, found.r2, found.values[0].beats_mean) == (None, None, False)


def test_a_single_example_says_nothing_about_its_error():
    with pytest.raises(DataError, match="measured on 1 example; test on more"):
        value_measures(column(1), column(2))


def test_the_measures_survive_a_file():
    adapter = TypeAdapter(Measures)
    found = value_measures(column(1, 2, 3), column(1, 2, 4))
    assert adapter.validate_json(adapter.dump_json(found)) == found


def test_nan_targets_and_other_shapes_are_refused():
    with pytest.raises(DataError, match="1 of the 2 values of the labels are NaN or infinite"):
        value_measures(column(1, 2), column(1, math.nan))
    with pytest.raises(DataError, match="must have one shape"):
        value_measures(np.zeros((2, 2)), column(1, 2))
