"""What predictions of numbers are worth: errors in the unit of the labels, and the share of variance explained."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from factory_base.errors import DataError
from factory_base.intervals import Z95
from supernet.tasks.estimates import Estimate, check_examples


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueMeasure:
    """The predictions of one value. All intervals are normal ones around means over the examples.

    Attributes:
        mae: The mean absolute error, in the unit of the labels.
        rmse: The root of the mean squared error, in the unit of the labels; its interval is that of the mean squared
            error.
        r2: The share of the variance of the labels that the predictions explain: 0 for always answering the mean of
            these labels, below 0 for less; None if all labels are equal. Its interval is that of a ratio of two means
            (delta method).
        baseline_mae: The mean absolute error of always answering the median of these labels.
        baseline_rmse: The root of the mean squared error of always answering their mean.
    """

    mae: Estimate
    rmse: Estimate
    r2: Estimate | None
    baseline_mae: float
    baseline_rmse: float

    @property
    def beats_mean(self) -> bool:
        """Whether the whole interval of `r2` lies above 0, which always answering the mean reaches."""
        return self.r2 is not None and self.r2.low > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueMeasures:
    """The measures of predictions of one or more numbers per example.

    Attributes:
        examples: The number of examples.
        values: The measures of every value, in the order of the columns.
        kind: The kind of labels, which distinguishes these measures from those of other tasks in a file.
    """

    examples: int
    values: tuple[ValueMeasure, ...]
    kind: Literal["values"] = "values"

    @property
    def r2(self) -> float | None:
        """The mean share of variance explained, over the values whose labels are not all equal; None without any."""
        found = [one.r2.value for one in self.values if one.r2 is not None]
        return sum(found) / len(found) if found else None


def value_measures(predictions: NDArray[np.floating[Any]], labels: NDArray[np.floating[Any]]) -> ValueMeasures:
    """The measures of predicted numbers.

    Args:
        predictions: The predictions in the unit of the labels, `(n, values)`, finite, of at least two examples.
        labels: The true numbers, `(n, values)`, finite.

    Raises:
        DataError: There are fewer examples, the shapes differ, or values are not finite.
    """
    check_examples(predictions, labels)
    if len(labels) < 2:
        raise DataError("cannot tell how sure an error is that was measured on 1 example; test on more")
    if predictions.shape != labels.shape or labels.ndim != 2:
        raise DataError(f"predictions {predictions.shape} and labels {labels.shape} must have one shape (n, values)")
    columns = zip(predictions.T.astype(np.float64), labels.T.astype(np.float64), strict=True)
    return ValueMeasures(examples=len(labels), values=tuple(_value_measure(*column) for column in columns))


def _value_measure(predictions: NDArray[np.float64], labels: NDArray[np.float64]) -> ValueMeasure:
    errors = predictions - labels
    squared = mean_estimate(errors**2)
    around = (labels - labels.mean()) ** 2
    return ValueMeasure(
        mae=mean_estimate(np.abs(errors)),
        rmse=Estimate(
            value=math.sqrt(squared.value), low=math.sqrt(max(0.0, squared.low)), high=math.sqrt(squared.high)
        ),
        r2=_explained(errors**2, around) if labels.min() < labels.max() else None,
        baseline_mae=float(np.abs(labels - np.median(labels)).mean()),
        baseline_rmse=math.sqrt(float(around.mean())),
    )


def mean_estimate(values: NDArray[np.float64]) -> Estimate:
    """The mean of `values` `(n,)`, at least two, with its normal interval."""
    mean, half = float(values.mean()), _half_width(values)
    return Estimate(value=mean, low=mean - half, high=mean + half)


def _explained(squared: NDArray[np.float64], around: NDArray[np.float64]) -> Estimate:
    ratio = float(squared.mean() / around.mean())
    half = _half_width((squared - ratio * around) / around.mean())
    return Estimate(value=1 - ratio, low=1 - ratio - half, high=min(1.0, 1 - ratio + half))


def _half_width(values: NDArray[np.float64]) -> float:
    return Z95 * float(values.std(ddof=1)) / math.sqrt(len(values))
