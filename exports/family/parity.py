"""Parity: does an exported file compute what the PyTorch module computes?

Each precision has limits of its own (`PARITY_LIMITS`). Differences of logits are stated as shares of the logit range,
because sound float32 engines differ by 1e-6 on one network and by 5e-4 on another.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from device_profiles.engine import ModelInput, Precision
from factory_base.errors import ParityError
from factory_base.wording import counted

if TYPE_CHECKING:
    from torch import nn

    from supernet.tasks.task import Task

MIN_SPREAD = 1e-3
"""Logits are collapsed if their spread is below this fraction of their root mean square; parity on them would be
meaningless. A trained network spreads its logits by about their own size, a collapsed one by little more than
rounding."""

_CHANCE = 0.05
"""Disagreements are too many if a file that meets the limit would show as many with at most this probability."""


class Runnable(Protocol):
    """A loaded model that runs."""

    def run(self, batch: ModelInput) -> NDArray[np.float32]:
        """`(n, *input_shape) -> (n, classes)` for any n >= 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityLimits:
    """How far a file may be from its module.

    Attributes:
        max_share: The largest difference of a logit, as a share of the logit range; infinite if it does not count.
        min_agreement: The smallest fraction of images with the same answer, for classes the same top-1 class; 0 if it
            does not count.
        min_sqnr_db: The smallest signal-to-quantisation-noise ratio in decibels.
    """

    max_share: float
    min_agreement: float
    min_sqnr_db: float


PARITY_LIMITS: Final[Mapping[Precision, ParityLimits]] = {
    "fp32": ParityLimits(max_share=1e-3, min_agreement=0.999, min_sqnr_db=-math.inf),
    "fp16": ParityLimits(max_share=1e-2, min_agreement=0.995, min_sqnr_db=-math.inf),
    "int8_weights": ParityLimits(max_share=math.inf, min_agreement=0.97, min_sqnr_db=20.0),
    "int8": ParityLimits(max_share=math.inf, min_agreement=0.85, min_sqnr_db=10.0),
}
"""The limits of float formats are on the difference. Those of integers only tell a file that computes something else
from a coarse one, because how much accuracy it may cost is a limit of its own. Files of five networks for CIFAR-10, on
1,000 held-out images each, have: fp16 differences of 6e-4 of the range; int8_weights 38 to 41 dB and an agreement of
99.4 to 99.8 %; int8 30 to 32 dB and 98.4 to 99.4 %. Other quantisers made sound files of 12 dB that agree for 96 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """How close the outputs of a file are to those of its module.

    Attributes:
        max_abs_difference: The largest absolute difference of an output.
        logit_range: The largest output of the module over all images, minus the smallest.
        disagreements: The number of images with another answer: for classes another top-1 class.
        near_ties: The number of images whose answer the largest difference can have changed: for classes those whose
            two largest logits of the module are closer than twice that.
        images: The number of images that were compared.
        logit_spread: The standard deviation of the module's logits over the images, averaged over the classes.
        sqnr_db: The signal-to-quantisation-noise ratio in decibels: the power of the module's logits, minus their mean
            over the images, divided by the power of the difference. Infinite if there is no difference.
    """

    max_abs_difference: float
    logit_range: float
    disagreements: int
    near_ties: int
    images: int
    logit_spread: float
    sqnr_db: float

    @property
    def max_share(self) -> float:
        """The largest difference as a share of the logit range."""
        return self.max_abs_difference / self.logit_range

    @property
    def top1_agreement(self) -> float:
        """The fraction of images with the same answer."""
        return 1 - self.disagreements / self.images


def check_parity(
    module: nn.Module, session: Runnable, images: ModelInput, precision: Precision = "fp32", *,
    task: Task | None = None, batch: int = 32,
) -> Parity:  # fmt: skip
    """Run both on `images` and compare the outputs.

    Args:
        module: The network, in evaluation mode.
        session: The exported file, loaded in its engine.
        images: Model inputs `(n, *input_shape)`, n >= 2.
        precision: The precision of the file, whose limits are in `PARITY_LIMITS`.
        task: What the network learnt; None for classes.
        batch: The number of images per call.

    Raises:
        ParityError: There are fewer than 2 images, the logits are collapsed or not finite, or a limit is not met.
        EngineError: The engine fails.
    """
    return check_logits(module_logits(module, images, batch), session, images, precision, task=task, batch=batch)


def check_logits(
    reference: NDArray[np.float64], session: Runnable, images: ModelInput, precision: Precision, *,
    task: Task | None = None, batch: int = 32,
) -> Parity:  # fmt: skip
    """As `check_parity`, given the logits `reference` of the module, `(n, classes)`."""
    if len(images) < 2:
        raise ParityError(f"parity needs at least 2 images, got {len(images)}; pass more")
    found = np.concatenate([session.run(images[i : i + batch]) for i in range(0, len(images), batch)])
    parity = compare_logits(reference, found.astype(np.float64), task)
    limits = PARITY_LIMITS[precision]
    if task is not None and task.labels == "values":  # any rounding changes a value; the other limits say by how much
        limits = replace(limits, min_agreement=0.0)
    faults = parity_faults(parity, limits)
    if faults:
        raise ParityError(f"the exported file ({precision}) differs from the module: {'; '.join(faults)}")
    return parity


def parity_faults(parity: Parity, limits: ParityLimits) -> tuple[str, ...]:
    """One phrase for each limit that is not met.

    A few images cannot show an agreement of 99.9 %: one disagreement among 128 is 99.2 %. So disagreements are too many
    if a file that agrees on exactly the smallest fraction would rarely show as many (`_CHANCE`).
    """
    faults = []
    if parity.max_share > limits.max_share:
        faults.append(f"largest difference {parity.max_share:.1e} of the logit range (at most {limits.max_share:g})")
    if parity.sqnr_db < limits.min_sqnr_db:
        faults.append(f"SQNR {parity.sqnr_db:.1f} dB (at least {limits.min_sqnr_db:g})")
    if limits.min_agreement and parity.disagreements > _disagreements_allowed(parity.images, 1 - limits.min_agreement):
        faults.append(
            f"another answer for {parity.disagreements} of {counted(parity.images, 'image')} (the same for at "
            f"least {limits.min_agreement:.1%}, as far as so many can show it)"
        )
    return tuple(faults)


def _disagreements_allowed(images: int, rate: float) -> int:
    """The most disagreements that are not shown to exceed `rate`: more have a binomial probability below `_CHANCE`."""
    below = 0.0
    for count in range(images):
        ways = math.lgamma(images + 1) - math.lgamma(count + 1) - math.lgamma(images - count + 1)
        below += math.exp(ways + count * math.log(rate) + (images - count) * math.log1p(-rate))
        if 1 - below < _CHANCE:
            return count
    return images


def compare_logits(reference: NDArray[np.float64], found: NDArray[np.float64], task: Task | None = None) -> Parity:
    """Compare the outputs `found` with `reference`, both `(n, labels)`, without a limit on the difference.

    The answers are those of `task`; None stands for classes.

    Raises:
        ParityError: The shapes differ, a logit is not finite, or the reference is collapsed.
    """
    if reference.shape != found.shape:
        raise ParityError(f"the exported file returns logits {found.shape}, the module {reference.shape}")
    for who, values in (("the module", reference), ("the exported file", found)):
        if not np.isfinite(values).all():
            raise ParityError(f"{who} returns logits that are not finite; train again, or lower the learning rate")
    spread = float(reference.std(axis=0).mean())
    if spread <= MIN_SPREAD * math.sqrt(float(np.mean(reference**2))):
        raise ParityError(
            f"the logits are collapsed (spread {spread:.1e} over {len(reference)} images): the module returns the same "
            "for every image, so parity is meaningless; train it and recalibrate its batch normalisation first"
        )
    noise = float(np.mean((found - reference) ** 2))
    signal = float(np.mean((reference - reference.mean(axis=0)) ** 2))
    largest = float(np.abs(found - reference).max())
    return Parity(
        max_abs_difference=largest,
        logit_range=float(reference.max() - reference.min()),
        disagreements=int((~_same(reference, found, task)).sum()),
        near_ties=int(_near_ties(reference, largest, task).sum()),
        images=len(reference),
        logit_spread=spread,
        sqnr_db=10 * math.log10(signal / noise) if noise > 0 else math.inf,
    )


def _same(a: NDArray[np.float64], b: NDArray[np.float64], task: Task | None) -> NDArray[np.bool_]:
    return np.asarray(a.argmax(axis=1) == b.argmax(axis=1)) if task is None else task.same(a, b)


def _near_ties(reference: NDArray[np.float64], largest: float, task: Task | None) -> NDArray[np.bool_]:
    """Whether differences of at most `largest` can change the answer, `(n,)`."""
    if task is None or task.labels == "class":
        return np.asarray(_margins(reference) <= 2 * largest)
    return ~(task.same(reference, reference + largest) & task.same(reference, reference - largest))


def _margins(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """`(n, classes) -> (n,)`: the largest logit minus the second largest; infinite if there is only one class."""
    if logits.shape[1] < 2:
        return np.full(len(logits), np.inf)
    two = np.partition(logits, -2, axis=1)[:, -2:]
    return np.asarray(two[:, 1] - two[:, 0])


def module_logits(module: nn.Module, images: ModelInput, batch: int = 32) -> NDArray[np.float64]:
    """The logits of a module for model inputs: `(n, *input_shape) -> (n, classes)`."""
    import torch

    with torch.inference_mode():
        parts = [module(torch.from_numpy(images[i : i + batch])).numpy() for i in range(0, len(images), batch)]
    return np.concatenate(parts).astype(np.float64)
