"""How far stated probabilities are from the shares that come true: expected calibration error and its diagram."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_BINS = 15
"""The number of bins of equal width in Guo et al., "On calibration of modern neural networks" (ICML 2017)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReliabilityBin:
    """The examples whose stated probability lies in one bin.

    Attributes:
        low: Lower end of the bin, which does not belong to it.
        high: Upper end of the bin, which belongs to it.
        examples: The number of examples, at least 1.
        confidence: Their mean stated probability.
        accuracy: The share of them for which what was stated is true.
    """

    low: float
    high: float
    examples: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How well stated probabilities agree with what comes true.

    Attributes:
        error: The expected calibration error: the mean over the examples of the difference between confidence and
            accuracy in the bin of the example, 0 to 1.
        noise: What `error` would be on average, on as many examples, if every stated probability were exact. The
            error is never 0, because the share in a bin is subject to chance.
        confidence: The mean stated probability.
        bins: The bins that have examples, the lowest first.
    """

    error: float
    noise: float
    confidence: float
    bins: tuple[ReliabilityBin, ...]


def calibration(confidences: NDArray[np.floating[Any]], correct: NDArray[np.bool_]) -> Calibration:
    """The expected calibration error over 15 bins of equal width.

    Args:
        confidences: The stated probability of each prediction, in [0, 1], `(n,)`, at least one.
        correct: Whether the prediction is true, `(n,)`.
    """
    confidences = np.asarray(confidences, dtype=np.float64)
    places = np.clip(np.ceil(confidences * _BINS).astype(np.int64) - 1, 0, _BINS - 1)
    counts = np.bincount(places, minlength=_BINS)
    stated = np.bincount(places, weights=confidences, minlength=_BINS)
    true = np.bincount(places, weights=correct, minlength=_BINS)
    variance = np.bincount(places, weights=confidences * (1 - confidences), minlength=_BINS)
    # A normal variable around 0 with standard deviation s has the mean absolute value s * sqrt(2 / pi).
    noise = math.sqrt(2 / math.pi) * float(np.sqrt(np.maximum(variance, 0)).sum())
    return Calibration(
        error=float(np.abs(true - stated).sum()) / len(confidences),
        noise=noise / len(confidences),
        confidence=float(confidences.mean()),
        bins=tuple(
            ReliabilityBin(
                low=place / _BINS, high=(place + 1) / _BINS, examples=int(counts[place]),
                confidence=float(stated[place] / counts[place]), accuracy=float(true[place] / counts[place]),
            )
            for place in np.flatnonzero(counts).tolist()
        ),
    )  # fmt: skip
