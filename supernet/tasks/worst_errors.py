"""The worst errors of a model: those of which a classifier was most sure, and the numbers that are furthest off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstError:
    """A wrong answer.

    Attributes:
        example: The place of the example in its split, counted from 0.
        confidence: The probability that the model gave what is wrong about its answer; None for numbers.
    """

    example: int
    confidence: float | None


def worst_errors(
    predictions: NDArray[Any], labels: NDArray[Any], confidences: NDArray[np.floating[Any]] | None, most: int
) -> tuple[WorstError, ...] | None:
    """The at most `most` worst errors, the worst first; None if it is not known how sure the model was.

    Of classes, these are the wrong predictions of the highest confidence. Of several labels per example, those with the
    most confident label that is wrongly given, or wrongly left out. Of numbers, the largest errors, each measured in
    standard deviations of the labels.

    Args:
        predictions: The answers, as labels, see `supernet.data.types.Labels`; classes may be of any integer type.
        labels: The labels of the same examples.
        confidences: The probability of each predicted class `(n,)`, or of each label `(n, labels)`; None if they are
            not known, or for numbers.
        most: The most errors to return.
    """
    if labels.dtype.kind == "f":
        deviations = np.maximum(labels.std(axis=0, dtype=np.float64), np.finfo(np.float32).tiny)
        badness = np.abs((predictions.astype(np.float64) - labels) / deviations).max(axis=1)
        return tuple(WorstError(example=row, confidence=None) for row in _largest(badness, badness > 0, most))
    if confidences is None:
        return None
    wrong, sure = predictions != labels, confidences.astype(np.float64)
    if labels.ndim > 1:
        sure = np.where(wrong, np.where(predictions == 1, sure, 1 - sure), 0.0).max(axis=1)
        wrong = wrong.any(axis=1)
    return tuple(WorstError(example=row, confidence=float(sure[row])) for row in _largest(sure, wrong, most))


def _largest(badness: NDArray[np.float64], wrong: NDArray[np.bool_], most: int) -> list[int]:
    """The rows of wrong answers, the worst first, and equals in order."""
    rows = np.flatnonzero(wrong)
    found: list[int] = rows[np.argsort(-badness[rows], kind="stable")][:most].tolist()
    return found
