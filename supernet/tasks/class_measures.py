"""What the predictions of a classifier are worth: per class, over all classes, and as probabilities."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from factory_base.errors import DataError
from supernet.tasks.calibration_error import Calibration, calibration
from supernet.tasks.estimates import Estimate, check_examples, share

FEWEST: Final = 20
"""With fewer examples of a class, the 95 % interval of a recall of one half is wider than 40 points."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassMeasure:
    """The predictions for one class.

    Attributes:
        support: The number of examples of the class.
        predicted: The number of examples that were predicted to be of the class.
        correct: The number of examples that are, and were predicted to be, of the class.
    """

    support: int
    predicted: int
    correct: int

    @property
    def recall(self) -> Estimate | None:
        """The share of the examples of the class that were predicted to be; None without examples of the class."""
        return share(self.correct, self.support) if self.support else None

    @property
    def precision(self) -> Estimate | None:
        """The share of the predictions of the class that are true; None if it was never predicted."""
        return share(self.correct, self.predicted) if self.predicted else None

    @property
    def f1(self) -> float | None:
        """The harmonic mean of precision and recall; None for a class that has neither examples nor predictions."""
        total = self.support + self.predicted
        return 2 * self.correct / total if total else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusion:
    """How often examples of one class were predicted to be of one, the same or another.

    Attributes:
        label: The class of the examples, counted from 0.
        predicted: The class that was predicted.
        examples: The number of examples, at least 1.
    """

    label: int
    predicted: int
    examples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassMeasures:
    """The measures of predictions of one class per example.

    Attributes:
        examples: The number of examples.
        classes: The measures of every class, in the order of the classes.
        confusions: The cells of the confusion matrix that are not 0, by label, then by prediction.
        calibration: How well the probability of the predicted class is stated; None if no probabilities were given.
        kind: The kind of labels, which distinguishes these measures from those of other tasks in a file.
    """

    examples: int
    classes: tuple[ClassMeasure, ...]
    confusions: tuple[Confusion, ...]
    calibration: Calibration | None = None
    kind: Literal["class"] = "class"

    @property
    def correct(self) -> int:
        """The number of correct predictions."""
        return sum(one.correct for one in self.classes)

    @property
    def accuracy(self) -> Estimate:
        """The share of correct predictions."""
        return share(self.correct, self.examples)

    @property
    def balanced_accuracy(self) -> Estimate:
        """The mean recall of the classes that have examples, so that each counts the same however many it has.

        The interval combines those of the recalls by the squares of their half widths (MOVER, Zou and Donner,
        Statistics in Medicine 27, 2008).
        """
        recalls = [one.recall for one in self.classes if one.recall is not None]
        value = sum(recall.value for recall in recalls) / len(recalls)
        below = math.sqrt(sum((recall.value - recall.low) ** 2 for recall in recalls)) / len(recalls)
        above = math.sqrt(sum((recall.high - recall.value) ** 2 for recall in recalls)) / len(recalls)
        return Estimate(value=value, low=max(0.0, value - below), high=min(1.0, value + above))

    @property
    def macro_f1(self) -> float:
        """The mean F1 of the classes that have examples or predictions."""
        scores = [one.f1 for one in self.classes if one.f1 is not None]
        return sum(scores) / len(scores)

    @property
    def majority_class(self) -> int:
        """The class with the most examples; the first if several have."""
        return max(range(len(self.classes)), key=lambda index: self.classes[index].support)

    @property
    def majority(self) -> float:
        """The accuracy of always answering the most frequent class, which needs no model."""
        return self.classes[self.majority_class].support / self.examples

    @property
    def beats_majority(self) -> bool:
        """Whether the whole interval of the accuracy lies above `majority`."""
        return self.accuracy.low > self.majority

    @property
    def never_predicted(self) -> tuple[int, ...]:
        """The classes that have examples, none of which, nor any other, was predicted to be of the class."""
        return tuple(index for index, one in enumerate(self.classes) if one.support and not one.predicted)

    def scarce(self, fewest: int) -> tuple[int, ...]:
        """The classes that have fewer than `fewest` examples, those without any included."""
        return tuple(index for index, one in enumerate(self.classes) if one.support < fewest)

    def matrix(self) -> NDArray[np.int64]:
        """The confusion matrix, `(classes, classes)`: a row per label, a column per prediction."""
        matrix = np.zeros((len(self.classes), len(self.classes)), np.int64)
        for cell in self.confusions:
            matrix[cell.label, cell.predicted] = cell.examples
        return matrix

    def most_confused(self, pairs: int) -> tuple[Confusion, ...]:
        """The at most `pairs` wrong cells of the confusion matrix that hold the most examples, the largest first."""
        wrong = (cell for cell in self.confusions if cell.label != cell.predicted)
        return tuple(sorted(wrong, key=lambda cell: (-cell.examples, cell.label, cell.predicted))[:pairs])


def class_measures(outputs: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]]) -> ClassMeasures:
    """The measures of logits, whose largest is the prediction and whose softmax are the probabilities.

    Args:
        outputs: The logits, `(n, classes)`, finite, of at least one example.
        labels: The classes of the examples, `(n,)`, counted from 0.

    Raises:
        DataError: There are no examples, not as many labels as outputs, no such class, or values that are not finite.
    """
    check_examples(outputs, labels)
    predictions = outputs.argmax(axis=1).astype(np.int64)
    return predicted_class_measures(predictions, labels, outputs.shape[1], confidences(outputs))


def predicted_class_measures(
    predictions: NDArray[np.integer[Any]],
    labels: NDArray[np.integer[Any]],
    classes: int,
    confidences: NDArray[np.floating[Any]] | None = None,
) -> ClassMeasures:
    """The measures of predictions that were made before.

    Args:
        predictions: The predicted classes, `(n,)`, counted from 0, at least one.
        labels: The classes of the examples, `(n,)`, counted from 0.
        classes: The number of classes.
        confidences: The probabilities of the predicted classes, in [0, 1], `(n,)`; None if they are not known.

    Raises:
        DataError: There are no examples, not as many labels as predictions, or no such class.
    """
    check_examples(predictions, labels)
    for name, values in (("prediction", predictions), ("label", labels)):
        if int(values.min()) < 0 or int(values.max()) >= classes:
            wrong = int(values.min()) if int(values.min()) < 0 else int(values.max())
            raise DataError(f"a {name} is {wrong}, but the {classes:,} classes are counted from 0 to {classes - 1}")
    predictions, labels = predictions.astype(np.int64), labels.astype(np.int64)
    correct = predictions == labels
    cells, counts = np.unique(labels * classes + predictions, return_counts=True)
    support, predicted, hits = (
        np.bincount(values, minlength=classes).tolist() for values in (labels, predictions, labels[correct])
    )
    return ClassMeasures(
        examples=len(labels),
        classes=tuple(
            ClassMeasure(support=support[index], predicted=predicted[index], correct=hits[index])
            for index in range(classes)
        ),
        confusions=tuple(
            Confusion(label=cell // classes, predicted=cell % classes, examples=count)
            for cell, count in zip(cells.tolist(), counts.tolist(), strict=True)
        ),
        calibration=None if confidences is None else calibration(confidences, correct),
    )


def confidences(outputs: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """The softmax probability of the largest of the logits `(n, classes)`: float32 `(n,)`."""
    values = np.asarray(outputs, dtype=np.float64)
    return np.asarray(1 / np.exp(values - values.max(axis=1, keepdims=True)).sum(axis=1), dtype=np.float32)
