"""How to recognise a training run that diverged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from factory_base.intervals import wilson

_LEARNT, _LOST = 0.1, 0.02
"""Shares of the way from chance to perfect accuracy: a network above the first has learnt something, one below the
second is back at chance."""
_SURE = 3.0
"""An accuracy fell if its interval and that of the best one do not overlap at three standard deviations each. The best
is the luckiest of many checks, and a roll-back that is not needed costs more than a late one."""
FEW_IMAGES = 100
"""With fewer held-out images, an accuracy is uncertain by more than 0.1 (two standard deviations at 0.5)."""
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
    """The run diverged and cannot continue from here. The message says what was observed, and at which step.

    Args:
        observed: The message.
        check: What may be wrong if a lower learning rate does not help, as something to check.
    """

    def __init__(self, observed: str, check: str = "the data") -> None:
        super().__init__(observed)
        self.check = check


def check_finite(what: str, value: float, step: int, steps: int) -> None:
    """Raise `DivergenceError` if `value` is not finite."""
    if not math.isfinite(value):
        raise DivergenceError(f"the {what} is {value} at step {step + 1} of {steps}")


def check_curve(curve: Sequence[CurvePoint], chance: float, steps: int, images: int | None = None) -> None:
    """Compare the last point of `curve` with the points before it.

    Args:
        curve: Results of all checks so far, at least one.
        chance: What a constant answer reaches, see `Task.baseline`.
        steps: Number of steps of the whole run, for the message.
        images: Number of held-out images behind each accuracy; None if the accuracies are exact.

    Raises:
        DivergenceError: The loss is above twice the lowest and above the lowest by more than 1, or the largest network
            is back at chance after it had learnt something, and not only by the chance of few images.
    """
    *earlier, last = curve
    if not earlier:
        return
    if has_risen(curve):
        lowest = min(point.loss for point in earlier)
        raise DivergenceError(f"the loss rose from {lowest:.3g} to {last.loss:.3g} before step {last.step} of {steps}")
    best = max(point.largest_accuracy or 0.0 for point in earlier)
    now = last.largest_accuracy
    if now is not None and _is_lost(best, now, chance, images):
        of = "" if images is None else f" of {images:,} images"
        few = "" if images is None or images >= FEW_IMAGES else f", of which {images} are few: data.heldout_fraction"
        raise DivergenceError(
            f"the held-out accuracy fell from {best:.1%} to {now:.1%}{of}, which is chance, "
            f"at step {last.step} of {steps}",
            f"the held-out images and their labels{few}",
        )


def has_risen(curve: Sequence[CurvePoint]) -> bool:
    """Whether the last loss of `curve` is above twice the lowest before it, and above that by more than 1."""
    *earlier, last = curve
    lowest = min((point.loss for point in earlier), default=math.inf)
    return last.loss > max(_LOSS_FACTOR * lowest, lowest + _LOSS_RISE)


def _is_lost(best: float, now: float, chance: float, images: int | None) -> bool:
    """Whether the accuracy fell from above chance, `best`, to chance, `now`, by more than the noise of `images`."""
    if best <= chance + _LEARNT * (1 - chance) or now >= chance + _LOST * (1 - chance):
        return False
    if images is None:
        return True
    # Other metrics than accuracies may be below 0 or, on some images, above 1.
    counts = [round(min(1.0, max(0.0, value)) * images) for value in (best, now)]
    least, most = wilson(counts[0], images, _SURE)[0], wilson(counts[1], images, _SURE)[1]
    return least > max(most, chance)
