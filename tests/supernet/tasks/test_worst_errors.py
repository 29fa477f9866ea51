"""The worst errors are the most confident wrong predictions."""

from __future__ import annotations

import numpy as np

from supernet.tasks.worst_errors import WorstError, worst_errors

LABELS = np.array([0, 1, 2, 1, 0])
PREDICTED = np.array([0, 2, 1, 0, 1])
SURE = np.array([1.0, 0.5, 0.75, 0.25, 0.75])


def test_only_wrong_predictions_are_listed_the_most_confident_first_and_equals_in_order():
    assert [error.example for error in worst_errors(PREDICTED, LABELS, SURE, 10)] == [2, 4, 1, 3]


def test_as_many_as_asked_for_are_listed_with_label_prediction_and_confidence():
    assert worst_errors(PREDICTED, LABELS, SURE, 1) == (WorstError(example=2, label=2, predicted=1, confidence=0.75),)


def test_a_model_without_mistakes_has_none():
    assert worst_errors(LABELS, LABELS, SURE, 10) == ()
