"""How many training images recalibration needs: so many that more would not change the predictions."""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
from torch import Tensor

from factory_base.progress import Progress, silent
from supernet.data.examples import ExampleInputs, Examples
from supernet.evaluation.evaluation import batch_norms, logits, recalibrate
from supernet.sharing.supernet import Supernet
from supernet.space import SubnetConfig

_FIRST = 500
"""The smallest number of images to try. It is doubled from there."""
_PROBES = 500
"""Images whose predictions are compared: enough to estimate a mean movement of about a percent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How many training images recalibration needs, and why.

    Attributes:
        images: Number of images; 0 if no network has batch normalisation.
        movements: For each number tried except the first, that number and the movement since the number before it.
        settled: Whether the last movement was within the tolerance.
    """

    images: int
    movements: tuple[tuple[int, float], ...] = ()
    settled: bool = False

    def describe(self) -> str:
        """One line for people."""
        if not self.images:
            return "no recalibration: no network has batch normalisation"
        text = f"recalibration on {self.images} training images"
        if not self.movements:
            return text
        moved = ", ".join(f"{movement:.2%} at {images}" for images, movement in self.movements)
        return f"{text}: predictions moved by {moved}" + ("" if self.settled else "; not settled at the limit")


def choose_calibration(
    supernet: Supernet,
    examples: Examples,
    *,
    limit: int,
    tolerance: float,
    seed: int,
    progress: Progress = silent,
) -> Calibration:
    """The first of 500, 1000, 2000, ... images at which the predictions no longer move.

    The smallest, the largest and a random subnet are recalibrated on growing numbers of training images. Each time they
    predict the class probabilities of 500 other training images. The movement is the mean total variation distance
    between the old and the new probabilities (half the sum of their absolute differences), for the subnet that moves
    most. The expected change of an accuracy is at most the movement.

    Args:
        supernet: The trained supernet.
        examples: The training examples, used without augmentation.
        limit: Largest number of images.
        tolerance: Largest movement, in [0, 1]. With 0 nothing is tried and the result is `limit`.
        seed: Seed of the order of the images, as for `seeded_rows`, and of the random subnet.
        progress: Called for each number of images that is tried.

    Raises:
        SpaceError: A layer cannot be recalibrated.
        DataError: An example cannot be read.
    """
    space = supernet.model_space.space
    subnets = dict.fromkeys([space.smallest, space.largest, space.sample(random.Random(seed))])
    if not any(batch_norms(supernet.extract(subnet)) for subnet in subnets):
        return Calibration(images=0)
    sizes = _sizes(min(limit, len(examples)))
    if not tolerance or len(sizes) == 1:
        return Calibration(images=sizes[-1])
    movements: list[tuple[int, float]] = []
    before: list[Tensor] = []
    for done, size in enumerate(sizes):
        progress(done, len(sizes), f"{size} images")
        found = [_probabilities(supernet, subnet, examples, size, seed) for subnet in subnets]
        if before:
            movements.append((size, max(_movement(*pair) for pair in zip(before, found, strict=True))))
            if movements[-1][1] <= tolerance:
                return Calibration(images=size, movements=tuple(movements), settled=True)
        before = found
    return Calibration(images=sizes[-1], movements=tuple(movements))


def seeded_rows(examples: int, count: int, seed: int) -> Tensor:
    """A seeded draw of `count` out of `examples` examples: int64 (count,), the start of every larger draw."""
    return _order(examples, seed)[:count]


def _order(examples: int, seed: int) -> Tensor:
    return torch.randperm(examples, generator=torch.Generator().manual_seed(seed))


def _sizes(limit: int) -> list[int]:
    """500, 1000, 2000, ... up to `limit`, which is always the last."""
    sizes = [min(_FIRST, limit)]
    while sizes[-1] < limit:
        sizes.append(min(2 * sizes[-1], limit))
    return sizes


def _probabilities(supernet: Supernet, subnet: SubnetConfig, examples: Examples, size: int, seed: int) -> Tensor:
    """Class probabilities (500, classes) of the last images in the seeded order, after recalibration on the first."""
    shape = supernet.model_space.input_shape(subnet)
    module = supernet.extract(subnet)
    recalibrate(module, ExampleInputs(examples, shape, seeded_rows(len(examples), size, seed)))
    probes = _order(len(examples), seed)[-_PROBES:]
    return logits(module, ExampleInputs(examples, shape, probes)).softmax(1)


def _movement(before: Tensor, after: Tensor) -> float:
    return float((after - before).abs().sum(1).mean() / 2)
