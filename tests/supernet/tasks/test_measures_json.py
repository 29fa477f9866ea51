"""Measures as JSON: with names, with the figures that follow from counts, and without values that JSON lacks."""

from __future__ import annotations

import json

import numpy as np
import pytest

from supernet.tasks.measures import class_measures, label_measures, predicted_class_measures, value_measures
from supernet.tasks.measures_json import measures_json

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
