"""How to recognise a training run that diverged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

_LEARNT, _LOST = 0.1, 0.02
"""Shares of the way from chance to perfect accuracy: a network above the first has learnt something, one below the
second is back at chance. They are far enough apart that the noise of a small held-out set does not bridge the gap."""
_LOSS_FACTOR, _LOSS_RISE = 2, 1
"""A loss diverged if it is above this many times the lowest and this much (in nats) above it: small losses may double
by chance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """The result of one check.

    Attributes:
        step: Number of finished steps.
        loss: Mean loss of the largest network since the check before.
        largest_accuracy: Held-out accuracy of the largest network, in [0, 1].
        smallest_accuracy: Held-out accuracy of the smallest network, in [0, 1]; None while it is not trained.
    """

    step: int
    loss: float
    largest_accuracy: float | None
    smallest_accuracy: float | None


class DivergenceError(Exception):
    """The run diverged and cannot continue from here. The message says what was observed, and at which step."""


def chance_level(labels: Tensor) -> float:
    """The accuracy of always predicting the most frequent class, in [0, 1], given labels: int64 (n,)."""
    return float(labels.bincount().max()) / len(labels)


def check_finite(what: str, value: float, step: int, steps: int) -> None:
    """Raise `DivergenceError` if `value` is not finite."""
    if not math.isfinite(value):
        raise DivergenceError(f"the {what} is {value} at step {step + 1} of {steps}")


def check_curve(curve: Sequence[CurvePoint], chance: float, steps: int) -> None:
    """Compare the last point of `curve` with the points before it.

    Args:
        curve: Results of all checks so far, at least one.
        chance: Accuracy at chance level, see `chance_level`.
        steps: Number of steps of the whole run, for the message.

    Raises:
        DivergenceError: The loss is above twice the lowest and above the lowest by more than 1, or the largest network
            is back at chance after it had learnt something.
    """
    *earlier, last = curve
    if not earlier:
        return
    lowest = min(point.loss for point in earlier)
    if last.loss > max(_LOSS_FACTOR * lowest, lowest + _LOSS_RISE):
        raise DivergenceError(f"the loss rose from {lowest:.3g} to {last.loss:.3g} before step {last.step} of {steps}")
    best = max(point.largest_accuracy or 0.0 for point in earlier)
    now = last.largest_accuracy
    if now is not None and best > chance + _LEARNT * (1 - chance) and now < chance + _LOST * (1 - chance):
        raise DivergenceError(
            f"the held-out accuracy of the largest network fell from {best:.1%} to {now:.1%}, which is chance, "
            f"at step {last.step} of {steps}"
        )
