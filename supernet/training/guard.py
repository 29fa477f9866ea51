"""What a training run that went astray looks like."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

_LEARNT = 0.1
_LOST = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """What was seen at one check. The smallest network's accuracy is None while it does not train."""

    step: int
    loss: float
    largest_accuracy: float | None
    smallest_accuracy: float | None


class AstrayError(Exception):
    """The run cannot go on from here; the message says what was seen and at which step."""


def chance_level(labels: Tensor) -> float:
    """The accuracy of always naming the most frequent class, in [0, 1]; `labels` int64 (n,)."""
    return float(labels.bincount().max()) / len(labels)


def check_finite(what: str, value: float, step: int, steps: int) -> None:
    """Raises `AstrayError` where `value` is no finite number."""
    if not math.isfinite(value):
        raise AstrayError(f"the {what} is {value} at step {step + 1} of {steps}")


def check_curve(curve: Sequence[CurvePoint], chance: float, steps: int) -> None:
    """Look at the last point of `curve` in the light of those before it.

    Raises:
        AstrayError: the mean loss since the point before is above twice the lowest so far (and at least 1 above it), or
            the largest network, once better than chance by a tenth of what there is to learn, is back at chance.
    """
    *earlier, last = curve
    if not earlier:
        return
    lowest = min(point.loss for point in earlier)
    if last.loss > max(2 * lowest, lowest + 1):
        raise AstrayError(f"the loss rose from {lowest:.3g} to {last.loss:.3g} before step {last.step} of {steps}")
    best = max(point.largest_accuracy or 0.0 for point in earlier)
    now = last.largest_accuracy
    if now is not None and best > chance + _LEARNT * (1 - chance) and now < chance + _LOST * (1 - chance):
        raise AstrayError(
            f"the held-out accuracy of the largest network fell from {best:.1%} to {now:.1%}, which is chance, "
            f"at step {last.step} of {steps}"
        )
