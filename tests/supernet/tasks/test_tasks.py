"""The tasks keep the rules of all tasks, and each its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, f1_score, r2_score

from factory_base.errors import DataError
from supernet.tasks import TASKS, Classification, Multilabel, Regression, Task, make_task
from supernet.tasks.config import TASK_NAMES, MultilabelConfig, RegressionConfig
from supernet.tasks.conformance import TaskConformance
from supernet.tasks.text_classification import text_classification

CLASSES = np.array([0, 1, 2, 1, 1, 1, 2, 1])
SETS = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1], [1, 0, 1], [0, 0, 0], [1, 0, 0]], dtype=np.uint8)
VALUES = np.array([[1.0, 200.0], [2.0, 100.0], [4.0, 150.0], [8.0, 120.0], [3.0, 90.0], [5.0, 60.0]], dtype=np.float32)
REGRESSION = Regression.of(("width", "weight"), VALUES)


class TestClassification(TaskConformance):
    def task(self) -> Task:
        return Classification(names=("cat", "dog", "cow"))

    def labels(self) -> np.ndarray:
        return CLASSES

    def perfect(self) -> np.ndarray:
        return 9 * np.eye(3)[CLASSES]


class TestTextClassification(TestClassification):
    def task(self) -> Task:
        return text_classification(("bad", "good", "so-so"))

    def test_its_networks_take_tokens(self) -> None:
        assert self.task().inputs == "tokens"


class TestMultilabel(TaskConformance):
    def task(self) -> Task:
        return Multilabel(names=("sea", "sky", "sun"), threshold=0.4)

    def labels(self) -> np.ndarray:
        return SETS

    def perfect(self) -> np.ndarray:
        return 9.0 * SETS - 4


class TestRegression(TaskConformance):
    def task(self) -> Task:
        return REGRESSION

    def labels(self) -> np.ndarray:
        return VALUES

    def perfect(self) -> np.ndarray:
        return (VALUES.astype(np.float64) - REGRESSION.mean) / REGRESSION.std


def test_every_name_in_a_config_has_a_task() -> None:
    assert tuple(TASKS) == TASK_NAMES
    assert all(entry.config().name == name for name, entry in TASKS.items())


def test_balanced_accuracy_is_the_mean_of_the_accuracies_of_the_classes() -> None:
    outputs = np.random.default_rng(0).normal(size=(len(CLASSES), 3))
    task = Classification(names=("a", "b", "c"))
    found = task.scores(outputs, CLASSES, "balanced_accuracy", CLASSES).mean()
    assert found == pytest.approx(balanced_accuracy_score(CLASSES, outputs.argmax(axis=1)))
    assert task.baseline(CLASSES, "accuracy") == 5 / 8
    assert task.baseline(CLASSES, "balanced_accuracy") == pytest.approx(1 / 3)


def test_f1_is_that_of_the_classes_of_each_example() -> None:
    task = Multilabel(names=("a", "b", "c"))
    outputs = np.random.default_rng(1).normal(size=SETS.shape)
    expected = f1_score(SETS, task.predictions(outputs), average="samples", zero_division=1.0)
    assert task.scores(outputs, SETS, "f1", SETS).mean() == pytest.approx(expected)


def test_the_threshold_is_a_probability() -> None:
    outputs = np.log(np.array([[0.39, 0.41, 0.9]]) / (1 - np.array([[0.39, 0.41, 0.9]])))
    assert make_task(MultilabelConfig(threshold=0.4), ("a", "b", "c"), SETS).predictions(outputs).tolist() == [
        [0, 1, 1]
    ]


def test_r2_is_the_explained_share_of_the_variance() -> None:
    outputs = np.random.default_rng(2).normal(size=VALUES.shape)
    found = REGRESSION.scores(outputs, VALUES, "r2", VALUES).mean()
    assert found == pytest.approx(r2_score(VALUES, REGRESSION.predictions(outputs)))


def test_predictions_are_in_the_unit_of_the_labels() -> None:
    assert np.allclose(REGRESSION.predictions(np.zeros((1, 2))), VALUES.mean(axis=0))
    published = REGRESSION.published()
    assert published.offset == REGRESSION.mean
    assert published.scale == REGRESSION.std


def test_a_value_that_never_changes_is_refused() -> None:
    labels = np.array([[1.0, 3.0], [1.0, 4.0]], dtype=np.float32)
    with pytest.raises(DataError, match="the value 'width' is the same in all training labels; leave it out"):
        make_task(RegressionConfig(), ("width", "weight"), labels)


def test_label_smoothing_moves_the_best_outputs_towards_each_other() -> None:
    sure = torch.tensor([[9.0, -9.0, -9.0]])
    label = torch.tensor([[1, 0, 0]], dtype=torch.uint8)
    task = Multilabel(names=("a", "b", "c"))
    assert task.loss(sure, label, smoothing=0.2) > task.loss(sure / 4, label, smoothing=0.2)
    assert task.loss(sure, label) < task.loss(sure / 4, label)
