"""Measures of predicted classes, checked by hand and against scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from pydantic import TypeAdapter
from sklearn import metrics

from factory_base.errors import DataError
from factory_base.intervals import wilson
from supernet.tasks.calibration_error import calibration
from supernet.tasks.class_measures import confidences
from supernet.tasks.measures import Measures, class_measures, predicted_class_measures

LABELS = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1, 2])
PREDICTED = np.array([0, 0, 0, 0, 0, 1, 1, 1, 0, 1])


@pytest.fixture
def found():
    return predicted_class_measures(PREDICTED, LABELS, classes=4)


def test_each_class_counts_its_examples_its_predictions_and_its_hits(found):
    counts = [(one.support, one.predicted, one.correct) for one in found.classes]
    assert counts == [(6, 6, 5), (3, 4, 2), (1, 0, 0), (0, 0, 0)]


def test_recall_and_precision_have_wilson_intervals_and_f1_is_their_harmonic_mean(found):
    recall, precision = found.classes[1].recall, found.classes[1].precision
    assert (recall.value, recall.low, recall.high) == (2 / 3, *wilson(2, 3))
    assert (precision.value, precision.low, precision.high) == (2 / 4, *wilson(2, 4))
    assert found.classes[1].f1 == pytest.approx(2 / (3 / 2 + 4 / 2))


def test_what_cannot_be_known_of_a_class_is_none(found):
    assert found.classes[2].precision is None
    assert found.classes[2].f1 == 0
    assert (found.classes[3].recall, found.classes[3].precision, found.classes[3].f1) == (None, None, None)


def test_figures_over_all_classes_are_those_of_a_calculation_by_hand(found):
    assert found.accuracy.value == 7 / 10
    assert found.balanced_accuracy.value == pytest.approx((5 / 6 + 2 / 3 + 0) / 3)
    assert found.macro_f1 == pytest.approx((10 / 12 + 4 / 7 + 0) / 3)
    assert (found.majority_class, found.majority, found.beats_majority) == (0, 6 / 10, False)
    assert (found.never_predicted, found.scarce(3)) == ((2,), (2, 3))


def test_the_confusion_matrix_has_a_row_per_label_and_its_largest_wrong_cells_come_first(found):
    assert found.matrix().tolist() == [[5, 1, 0, 0], [1, 2, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]
    assert [(cell.label, cell.predicted) for cell in found.most_confused(2)] == [(0, 1), (1, 0)]


@pytest.mark.parametrize("classes", [2, 7, 40])
def test_all_figures_are_those_of_scikit_learn(classes):
    generator = np.random.default_rng(classes)
    labels = generator.integers(0, classes, 300)
    predicted = np.where(generator.random(300) < 0.6, labels, generator.integers(0, classes, 300))
    found = predicted_class_measures(predicted, labels, classes)
    assert found.balanced_accuracy.value == pytest.approx(metrics.balanced_accuracy_score(labels, predicted))
    assert found.macro_f1 == pytest.approx(metrics.f1_score(labels, predicted, average="macro"))
    np.testing.assert_array_equal(found.matrix(), metrics.confusion_matrix(labels, predicted, labels=range(classes)))
    recalls = [one.recall.value for one in found.classes]
    assert recalls == pytest.approx(metrics.recall_score(labels, predicted, average=None))


def test_the_interval_of_the_balanced_accuracy_holds_the_truth_in_about_95_of_100_samples():
    generator, truth = np.random.default_rng(0), np.array([0.95, 0.7, 0.4])
    labels, inside = np.repeat([0, 1, 2], [200, 40, 12]), 0
    for _ in range(400):
        hits = generator.random(len(labels)) < truth[labels]
        interval = predicted_class_measures(np.where(hits, labels, (labels + 1) % 3), labels, 3).balanced_accuracy
        inside += interval.low <= truth.mean() <= interval.high
    assert 0.92 <= inside / 400 <= 0.99


def test_a_model_that_answers_only_the_majority_does_not_beat_it_and_a_good_one_does():
    labels = np.repeat([0, 1], [60, 40])
    assert not predicted_class_measures(np.zeros(100, int), labels, 2).beats_majority
    assert predicted_class_measures(labels, labels, 2).beats_majority


def test_calibration_error_is_the_mean_gap_of_the_bins_weighted_by_their_examples():
    stated = np.array([0.95, 0.95, 0.95, 0.95, 0.61, 0.61])
    found = calibration(stated, np.array([True, True, True, False, True, False]))
    assert [(one.examples, one.accuracy) for one in found.bins] == [(2, 0.5), (4, 0.75)]
    assert found.error == pytest.approx((4 * 0.20 + 2 * 0.11) / 6)
    by_chance = math.sqrt(4 * 0.95 * 0.05) + math.sqrt(2 * 0.61 * 0.39)
    assert found.noise == pytest.approx(math.sqrt(2 / math.pi) * by_chance / 6)


def test_a_stated_probability_at_the_edge_of_two_bins_belongs_to_the_lower():
    found = calibration(np.array([3 / 15, 1.0]), np.array([True, True]))
    assert [(one.low, one.high) for one in found.bins] == [(2 / 15, 3 / 15), (14 / 15, 1.0)]


def test_the_error_of_exact_probabilities_is_the_noise_that_is_stated_beside_it():
    generator = np.random.default_rng(1)
    errors, noises = [], []
    for _ in range(60):
        stated = generator.uniform(0.3, 1.0, 500)
        found = calibration(stated, generator.random(500) < stated)
        errors.append(found.error)
        noises.append(found.noise)
    assert np.mean(errors) == pytest.approx(np.mean(noises), rel=0.1)


def test_confidences_are_those_of_the_softmax_even_for_huge_logits():
    logits = np.array([[0.0, math.log(3.0)], [5000.0, 0.0]], np.float32)
    np.testing.assert_allclose(confidences(logits), [0.75, 1.0], rtol=1e-6)


def test_measures_of_logits_are_those_of_their_largest_with_its_probability():
    logits = np.array([[0.0, math.log(3.0)], [math.log(4.0), 0.0]])
    found = class_measures(logits, np.array([1, 1]))
    assert (found.correct, found.calibration.confidence) == (1, pytest.approx((0.75 + 0.8) / 2))


def test_measures_survive_a_file():
    adapter = TypeAdapter(Measures)
    found = class_measures(np.eye(3), np.array([0, 1, 1]))
    assert adapter.validate_json(adapter.dump_json(found)) == found


@pytest.mark.parametrize(
    ("outputs", "labels", "message"),
    [
        (np.zeros((0, 2)), np.zeros(0, int), "cannot measure 0 outputs"),
        (np.zeros((3, 2)), np.zeros(2, int), "3 outputs against 2 labels"),
        (np.zeros((1, 2)), np.array([2]), "a label is 2, but the 2 classes are counted from 0 to 1"),
        (np.array([[0.0, np.nan]]), np.array([0]), "1 of the 2 values of the outputs are NaN"),
    ],
)
def test_what_cannot_be_measured_is_refused(outputs, labels, message):
    with pytest.raises(DataError, match=message):
        class_measures(outputs, labels)
