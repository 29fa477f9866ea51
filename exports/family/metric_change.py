"""How much a metric changed between two models, with an interval."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exports.family.records import PPM, Quality
from factory_base.intervals import Z95, paired_change


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyChange:
    """New minus old accuracy, or another metric, on the same test images, with the interval of the paired difference.

    The interval is that of Agresti and Min (Statistics in Medicine 24, 2005): Wald's interval after adding 0.5 to each
    cell of the two-by-two table, which keeps its coverage if few predictions changed.

    Attributes:
        mean: The difference.
        low: The lower end of its interval.
        high: The upper end of its interval.
    """

    mean: float
    low: float
    high: float


def paired_difference(old: NDArray[Any], new: NDArray[Any], z: float = Z95) -> AccuracyChange:
    """The change of a metric from `old` to `new`, the score of each image, `(n,)`: of the accuracy 1 if it is correct.

    The interval is as sure as `z`, a quantile of the standard normal distribution, says; by default 95 %. Of scores
    that are not all 0 or 1, it is that of the mean of their differences, with two more that differ by 1 either way.
    """
    change, images = new.astype(np.float64) - old.astype(np.float64), len(old)
    if np.isin(old, (0, 1)).all() and np.isin(new, (0, 1)).all():
        gained, lost = int((change > 0).sum()), int((change < 0).sum())
        low, high = paired_change(gained, lost, images, z)
        return AccuracyChange(mean=(gained - lost) / images, low=low, high=high)
    total = images + 2
    centre = float(change.sum()) / total
    half = z * math.sqrt(max(0.0, (float((change**2).sum()) + 2) / total - centre**2) / total)
    return AccuracyChange(mean=float(change.mean()), low=centre - half, high=centre + half)


def unpaired_difference(old: Quality, new: Quality) -> AccuracyChange:
    """The change of accuracy as two manifests state it, with Newcombe's interval.

    The interval is that of method 10 in Statistics in Medicine 17 (1998), from the Wilson intervals of both accuracies.

    It is wider than that of a paired difference, since it does not know that both models saw the same images.
    """
    mean = new.value_ppm - old.value_ppm
    below = math.hypot(new.value_ppm - new.low_ppm, old.high_ppm - old.value_ppm)
    above = math.hypot(new.high_ppm - new.value_ppm, old.value_ppm - old.low_ppm)
    return AccuracyChange(mean=mean / PPM, low=(mean - below) / PPM, high=(mean + above) / PPM)
