"""Measures of any number of labels per example, checked by hand and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import TypeAdapter
from sklearn import metrics

from factory_base.errors import DataError
from supernet.tasks.label_measures import average_precision, probabilities
from supernet.tasks.measures import Measures, label_measures

HALF = np.full(3, 0.5)


@pytest.fixture
def found():
    logits = np.array([[2.0, -1.0, -3.0], [1.0, 1.0, -3.0], [-1.0, -2.0, -3.0], [-1.0, 2.0, -3.0]])
    return label_measures(logits, np.array([[1, 0, 0], [0, 1, 0], [0, 0, 0], [1, 1, 1]]), HALF)


def test_each_label_counts_its_examples_its_predictions_and_its_hits(found):
    assert [(one.support, one.predicted, one.correct) for one in found.labels] == [(2, 2, 1), (2, 2, 2), (1, 0, 0)]
    assert found.labels[2].precision is None
    assert (found.never_predicted, found.scarce(2)) == ((2,), (2,))


def test_figures_over_all_labels_are_those_of_a_calculation_by_hand(found):
    assert (found.exact, found.exact_match.value, found.majority_exact) == (2, 0.5, 1)
    assert found.example_f1 == pytest.approx((1 + 2 / 3 + 1 + 2 / 4) / 4)
    assert found.macro_f1 == pytest.approx((2 / 4 + 1 + 0) / 3)
    assert found.micro_f1 == pytest.approx(2 * 3 / (5 + 4))


def test_all_figures_are_those_of_scikit_learn():
    generator = np.random.default_rng(5)
    logits, labels = generator.normal(size=(200, 3)).round(1), generator.integers(0, 2, (200, 3))
    found, given = label_measures(logits, labels, HALF), probabilities(logits) >= 0.5
    assert found.macro_f1 == pytest.approx(metrics.f1_score(labels, given, average="macro"))
    assert found.micro_f1 == pytest.approx(metrics.f1_score(labels, given, average="micro"))
    assert found.example_f1 == pytest.approx(metrics.f1_score(labels, given, average="samples", zero_division=1.0))
    assert found.mean_average_precision == pytest.approx(metrics.average_precision_score(labels, logits))
    assert found.exact_match.value == metrics.accuracy_score(labels, given)


def test_a_label_is_predicted_from_its_threshold_on():
    logits, labels = np.array([[0.0, 0.0]]), np.array([[1, 1]])
    counts = [one.predicted for one in label_measures(logits, labels, np.array([0.5, 0.51])).labels]
    assert counts == [1, 0]


def test_a_label_that_no_example_has_has_no_average_precision():
    assert average_precision(np.array([0.1, 0.2]), np.array([False, False])) is None
    assert label_measures(np.zeros((2, 1)), np.zeros((2, 1), int), np.array([0.9])).mean_average_precision is None


def test_examples_of_equal_score_count_as_one_step_of_the_precision():
    assert average_precision(np.array([1.0, 1.0, 0.0]), np.array([True, False, False])) == 0.5


def test_sigmoids_of_huge_logits_do_not_overflow():
    np.testing.assert_allclose(probabilities(np.array([-5000.0, 0.0, 5000.0])), [0.0, 0.5, 1.0])


def test_the_measures_survive_a_file(found):
    adapter = TypeAdapter(Measures)
    assert adapter.validate_json(adapter.dump_json(found)) == found


def test_labels_other_than_0_and_1_and_shapes_that_do_not_fit_are_refused():
    with pytest.raises(DataError, match="a label is 2; each must be 0 or 1"):
        label_measures(np.zeros((1, 2)), np.array([[0, 2]]), np.full(2, 0.5))
    with pytest.raises(DataError, match="do not fit"):
        label_measures(np.zeros((1, 2)), np.array([[0]]), np.full(2, 0.5))
