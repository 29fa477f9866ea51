"""The worst errors of a classifier: those of which it was most sure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstError:
    """A wrong prediction.

    Attributes:
        example: The place of the example in its split, counted from 0.
        label: The class of the example.
        predicted: The class that was predicted.
        confidence: The probability of the predicted class.
    """

    example: int
    label: int
    predicted: int
    confidence: float


def worst_errors(
    predictions: NDArray[np.integer[Any]],
    labels: NDArray[np.integer[Any]],
    confidences: NDArray[np.floating[Any]],
    most: int,
) -> tuple[WorstError, ...]:
    """The at most `most` wrong predictions of the highest confidence, the highest first.

    Args:
        predictions: The predicted classes, `(n,)`.
        labels: The classes of the examples, `(n,)`.
        confidences: The probabilities of the predicted classes, `(n,)`.
        most: The most errors to return.
    """
    wrong = np.flatnonzero(predictions != labels)
    order = wrong[np.argsort(-confidences[wrong], kind="stable")][:most]
    return tuple(
        WorstError(
            example=int(index), label=int(labels[index]), predicted=int(predictions[index]),
            confidence=float(confidences[index]),
        )
        for index in order
    )  # fmt: skip
