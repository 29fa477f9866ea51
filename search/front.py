"""The Pareto front of accuracy against latency, and the area that it dominates. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")

Place = tuple[float, float]
"""A latency, of which less is better, and an accuracy, of which more is better."""


def pareto_front(items: Iterable[T], place: Callable[[T], Place]) -> tuple[T, ...]:
    """Those of `items` to which no other is preferable, fastest first; of equal ones the first."""
    front: list[T] = []
    for item in sorted(items, key=lambda item: (place(item)[0], -place(item)[1])):
        if not front or place(item)[1] > place(front[-1])[1]:
            front.append(item)
    return tuple(front)


def hypervolume(places: Iterable[Place], reference: Place) -> float:
    """The area that `places` dominate up to the reference point, as a share of all that could be dominated.

    The whole area reaches from a latency of 0 and an accuracy of 1 to the reference point. Two areas can be compared
    only if they have the same reference point. A place that is slower or less accurate than it adds nothing.

    >>> from search.front import hypervolume
    >>> hypervolume([(2.0, 0.75), (3.0, 0.9), (3.5, 0.8)], reference=(4.0, 0.5))  # 2 x 0.25 and 1 x 0.15 of 4 x 0.5
    0.325

    Args:
        places: The places, dominated ones among them or not.
        reference: The reference point: a latency above 0 and an accuracy.

    Returns:
        The share, in [0, 1]; 0 if the accuracy of the reference point leaves nothing to reach.
    """
    slowest, worst = reference
    if slowest <= 0 or worst >= 1:
        return 0.0
    total, reached = 0.0, worst
    for latency, accuracy in pareto_front(places, lambda found: found):
        if latency < slowest and accuracy > reached:
            total += (slowest - latency) * (accuracy - reached)
            reached = accuracy
    return total / (slowest * (1 - worst))
