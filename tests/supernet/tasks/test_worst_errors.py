"""The worst errors are the most confident wrong answers, and the numbers that are furthest off."""

from __future__ import annotations

import numpy as np

from supernet.tasks.worst_errors import WorstError, worst_errors

LABELS = np.array([0, 1, 2, 1, 0])
PREDICTED = np.array([0, 2, 1, 0, 1])
SURE = np.array([1.0, 0.5, 0.75, 0.25, 0.75])


def test_only_wrong_predictions_are_listed_the_most_confident_first_and_equals_in_order():
    assert [error.example for error in worst_errors(PREDICTED, LABELS, SURE, 10)] == [2, 4, 1, 3]


def test_as_many_as_asked_for_are_listed_with_their_confidence():
    assert worst_errors(PREDICTED, LABELS, SURE, 1) == (WorstError(example=2, confidence=0.75),)


def test_a_model_without_mistakes_has_none():
    assert worst_errors(LABELS, LABELS, SURE, 10) == ()


def test_without_confidences_the_worst_are_not_known():
    assert worst_errors(PREDICTED, LABELS, None, 10) is None


def test_of_labels_the_surest_wrong_one_counts_given_or_left_out():
    labels = np.array([[1, 0], [1, 0], [0, 1]], np.uint8)
    predicted = np.array([[1, 1], [0, 0], [0, 1]], np.uint8)
    stated = np.array([[0.99, 0.75], [0.125, 0.0], [0.0, 0.99]])
    found = worst_errors(predicted, labels, stated, 10)
    assert found == (WorstError(example=1, confidence=0.875), WorstError(example=0, confidence=0.75))


def test_of_numbers_the_largest_error_in_standard_deviations_counts():
    labels = np.array([[0.0, 0.0], [2.0, 2000.0], [0.0, 0.0]], np.float32)
    found = worst_errors(labels + np.array([[0, 100], [1, 0], [0, 0]], np.float32), labels, None, 10)
    assert [error.example for error in found] == [1, 0]
