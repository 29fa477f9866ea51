"""Confidence intervals of shares, such as accuracies. Imports nothing but the standard library."""

from __future__ import annotations

import math
from typing import Final

Z95: Final = 1.959963984540054
"""The 97.5 % quantile of the standard normal distribution, for two-sided 95 % intervals."""


def wilson(correct: int, images: int, z: float = Z95) -> tuple[float, float]:
    """The score interval of the fraction `correct / images` (Wilson, JASA 22, 1927).

    Args:
        correct: Number of successes.
        images: Number of trials, at least 1.
        z: How sure the interval is, as a quantile of the standard normal distribution; by default 95 %.
    """
    fraction, z2 = correct / images, z**2 / images
    centre = fraction + z2 / 2
    half = z * math.sqrt(fraction * (1 - fraction) / images + z2 / (4 * images))
    return max(0.0, (centre - half) / (1 + z2)), min(1.0, (centre + half) / (1 + z2))


def paired_change(gained: int, lost: int, images: int, z: float = Z95) -> tuple[float, float]:
    """The interval of the change of a share between two outcomes for the same images (Bonett and Price, 2012).

    Args:
        gained: The number of images with the second outcome alone.
        lost: The number of images with the first outcome alone.
        images: The number of all images.
        z: How sure the interval is, as a quantile of the standard normal distribution; by default 95 %.
    """
    total, change = images + 2, gained - lost
    half = z * math.sqrt(gained + lost + 1 - change**2 / total) / total
    return change / total - half, change / total + half


def is_at_chance(correct: int, images: int, chance: float) -> bool:
    """Whether `correct` of `images` does not differ from guessing, which is right with probability `chance`.

    It does not if the lower end of the 95 % interval is not above `chance`.
    """
    return wilson(correct, images)[0] <= chance
