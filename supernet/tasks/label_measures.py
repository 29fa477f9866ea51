"""What predictions of any number of labels per example are worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from factory_base.errors import DataError
from supernet.tasks.calibration_error import Calibration, calibration
from supernet.tasks.estimates import Estimate, check_examples, share


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelMeasure:
    """The predictions of one label.

    Attributes:
        support: The number of examples that have the label.
        predicted: The number of examples for which it was predicted.
        correct: The number of examples that have it and for which it was predicted.
        average_precision: The mean precision over the examples that have the label, where the precision of an example
            is that of predicting the label for all examples of no lower score; None if no example has the label, or no
            scores were given.
    """

    support: int
    predicted: int
    correct: int
    average_precision: float | None

    @property
    def recall(self) -> Estimate | None:
        """The share of the examples with the label for which it was predicted; None if no example has it."""
        return share(self.correct, self.support) if self.support else None

    @property
    def precision(self) -> Estimate | None:
        """The share of the predictions of the label that are true; None if it was never predicted."""
        return share(self.correct, self.predicted) if self.predicted else None

    @property
    def f1(self) -> float | None:
        """The harmonic mean of precision and recall; None if the label neither occurs nor was predicted."""
        total = self.support + self.predicted
        return 2 * self.correct / total if total else None


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelMeasures:
    """The measures of predictions of any number of labels per example.

    Attributes:
        examples: The number of examples.
        labels: The measures of every label, in the order of the labels.
        exact: The number of examples for which exactly the labels that they have were predicted.
        example_f1: The mean over the examples of the F1 of their labels; 1 for one that has none and gets none.
        majority_exact: The number of examples that have the most frequent set of labels.
        calibration: How well the probabilities of all labels are stated; None if no probabilities were given.
        kind: The kind of labels, which distinguishes these measures from those of other tasks in a file.
    """

    examples: int
    labels: tuple[LabelMeasure, ...]
    exact: int
    example_f1: float
    majority_exact: int
    calibration: Calibration | None = None
    kind: Literal["classes"] = "classes"

    @property
    def exact_match(self) -> Estimate:
        """The share of the examples for which exactly the labels that they have were predicted."""
        return share(self.exact, self.examples)

    @property
    def macro_f1(self) -> float:
        """The mean F1 of the labels that occur or were predicted; 0 if there are none."""
        scores = [one.f1 for one in self.labels if one.f1 is not None]
        return sum(scores) / len(scores) if scores else 0.0

    @property
    def micro_f1(self) -> float:
        """The F1 of all predictions of all labels taken together; 0 if there are none."""
        total = sum(one.support + one.predicted for one in self.labels)
        return 2 * sum(one.correct for one in self.labels) / total if total else 0.0

    @property
    def mean_average_precision(self) -> float | None:
        """The mean average precision of the labels that occur; None if none does."""
        scores = [one.average_precision for one in self.labels if one.average_precision is not None]
        return sum(scores) / len(scores) if scores else None

    @property
    def never_predicted(self) -> tuple[int, ...]:
        """The labels that occur and were predicted for no example."""
        return tuple(index for index, one in enumerate(self.labels) if one.support and not one.predicted)

    def scarce(self, fewest: int) -> tuple[int, ...]:
        """The labels that fewer than `fewest` examples have, those that none has included."""
        return tuple(index for index, one in enumerate(self.labels) if one.support < fewest)


def label_measures(
    outputs: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]], thresholds: NDArray[np.floating[Any]]
) -> LabelMeasures:
    """The measures of logits, whose sigmoids are the probabilities of the labels.

    Args:
        outputs: The logits, `(n, labels)`, finite, of at least one example.
        labels: Whether each example has each label, 0 or 1, `(n, labels)`.
        thresholds: The probability from which on each label is predicted, `(labels,)`.

    Raises:
        DataError: There are no examples, the shapes do not fit, or values are not finite, or labels not 0 or 1.
    """
    check_examples(outputs, labels)
    if outputs.shape != labels.shape or thresholds.shape != outputs.shape[1:]:
        raise DataError(f"outputs {outputs.shape}, labels {labels.shape} and thresholds {thresholds.shape} do not fit")
    stated = probabilities(outputs)
    return predicted_label_measures(stated >= thresholds, labels, stated)


def predicted_label_measures(
    predictions: NDArray[Any], labels: NDArray[np.integer[Any]], stated: NDArray[np.floating[Any]] | None = None
) -> LabelMeasures:
    """The measures of predictions that were made before.

    Args:
        predictions: Whether each label was predicted for each example, 0 or 1, `(n, labels)`, of at least one example.
        labels: Whether each example has each label, 0 or 1, `(n, labels)`.
        stated: The probability of each label, in [0, 1], `(n, labels)`; None if they are not known.

    Raises:
        DataError: There are no examples, the shapes differ, or labels are not 0 or 1.
    """
    check_examples(predictions, labels)
    if predictions.shape != labels.shape or labels.ndim != 2:
        raise DataError(f"predictions {predictions.shape} and labels {labels.shape} must have one shape (n, labels)")
    if not np.isin(labels, (0, 1)).all():
        raise DataError(f"a label is {labels[~np.isin(labels, (0, 1))][0]}; each must be 0 or 1")
    has, given = labels == 1, predictions == 1
    both = has & given
    totals = has.sum(axis=1) + given.sum(axis=1)
    return LabelMeasures(
        examples=len(labels),
        labels=tuple(
            LabelMeasure(
                support=int(has[:, index].sum()), predicted=int(given[:, index].sum()),
                correct=int(both[:, index].sum()),
                average_precision=None if stated is None else average_precision(stated[:, index], has[:, index]),
            )
            for index in range(labels.shape[1])
        ),
        exact=int((has == given).all(axis=1).sum()),
        example_f1=float(np.where(totals > 0, 2 * both.sum(axis=1) / np.maximum(totals, 1), 1.0).mean()),
        majority_exact=int(np.unique(has, axis=0, return_counts=True)[1].max()),
        calibration=None if stated is None else calibration(stated.ravel(), has.ravel()),
    )  # fmt: skip


def average_precision(scores: NDArray[np.floating[Any]], positive: NDArray[np.bool_]) -> float | None:
    """The area under the steps of precision against recall; examples of equal score count as one step.

    Args:
        scores: A score of each example that is higher the more likely it is positive, `(n,)`.
        positive: Whether the example is positive, `(n,)`.

    Returns:
        The average precision in [0, 1]; None if no example is positive.
    """
    if not positive.any():
        return None
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)  # the last example of each score
    hits = np.cumsum(positive[order])[last]
    recalls = np.diff(hits, prepend=0) / positive.sum()
    return float((recalls * hits / (last + 1)).sum())


def probabilities(outputs: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """The sigmoids of logits, float64 of the same shape; computed so that no exponential overflows."""
    values = np.asarray(outputs, dtype=np.float64)
    small = np.exp(-np.abs(values))
    return np.asarray(np.where(values >= 0, 1.0, small) / (1 + small))
