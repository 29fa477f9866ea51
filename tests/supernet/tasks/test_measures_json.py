"""Measures as JSON: with names, with the figures that follow from counts, and without values that JSON lacks."""

from __future__ import annotations

import json

import numpy as np
import pytest

from supernet.tasks.measures import (
    class_measures,
    label_measures,
    predicted_class_measures,
    predicted_measures,
    value_measures,
)
from supernet.tasks.measures_json import measures_json, measures_summary

NAMES = ("cat", "dog")


def test_classes_have_names_recalls_and_the_confusions_between_them():
    found = measures_json(predicted_class_measures(np.array([0, 0, 0]), np.array([0, 0, 1]), 2), NAMES)
    assert found["majority"] == {"class": "cat", "accuracy": pytest.approx(2 / 3)}
    assert (found["beats_majority"], found["never_predicted"], found["calibration"]) == (False, ["dog"], None)
    assert found["classes"][1]["recall"]["value"] == 0
    assert found["classes"][1]["precision"] is None
    assert {"label": "dog", "predicted": "cat", "examples": 1} in found["confusions"]


def test_labels_have_their_average_precision():
    found = measures_json(label_measures(np.array([[2.0, -1.0]]), np.array([[1, 0]]), np.full(2, 0.5)), NAMES)
    assert [one["average_precision"] for one in found["labels"]] == [1.0, None]
    assert (found["exact_match"]["value"], found["labels"][0]["name"]) == (1.0, "cat")


def test_values_have_their_errors_and_baselines():
    found = measures_json(value_measures(np.array([[1.0], [2.0]]), np.array([[1.0], [3.0]])), ("age",))
    assert (found["values"][0]["name"], found["values"][0]["mae"]["value"]) == ("age", 0.5)
    assert found["values"][0]["baseline_mae"] == 1.0


@pytest.mark.parametrize(
    "measures",
    [
        class_measures(np.eye(2), np.array([1, 0])),
        label_measures(np.eye(2), np.zeros((2, 2), int), np.full(2, 0.5)),
        value_measures(np.zeros((2, 2)), np.ones((2, 2))),
    ],
)
def test_every_figure_is_one_that_json_has(measures):
    assert json.loads(json.dumps(measures_json(measures, NAMES), allow_nan=False))["kind"] == measures.kind


def test_the_summary_of_classes_holds_what_one_number_can_say():
    found = class_measures(np.log(np.array([[0.75, 0.25], [0.75, 0.25]])), np.array([0, 1]))
    assert measures_summary(found) == {
        "balanced_accuracy": 0.5,
        "macro_f1": pytest.approx(1 / 3),
        "majority_accuracy": 0.5,
        "calibration_error": pytest.approx(0.25),
    }


def test_the_summary_leaves_out_what_is_not_known():
    classes = predicted_class_measures(np.array([0]), np.array([0]), 2)
    labels = predicted_measures(np.array([[1, 0]], np.uint8), np.array([[1, 0]], np.uint8), 2)
    values = predicted_measures(np.zeros((2, 1), np.float32), np.zeros((2, 1), np.float32), 1)
    assert "calibration_error" not in measures_summary(classes)
    assert not {"calibration_error", "mean_average_precision"} & set(measures_summary(labels))
    assert measures_summary(values) == {}


def test_measures_of_predictions_are_those_of_the_outputs_whatever_the_kind():
    logits, labels = np.array([[2.0, -1.0], [1.0, 3.0]]), np.array([[1, 0], [1, 1]], np.uint8)
    whole = label_measures(logits, labels, np.full(2, 0.5))
    stated = 1 / (1 + np.exp(-logits))
    assert predicted_measures((logits >= 0).astype(np.uint8), labels, 2, stated) == whole
    values = np.array([[1.0], [2.0]], np.float32)
    assert predicted_measures(values, values + 1, 1) == value_measures(values, values + 1)
