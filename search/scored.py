"""Scored subnets as values. Imports neither torch nor optuna nor numpy, for a finished build is read without them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Self

from supernet.space import SubnetConfig

_OF_FILE: Final = " file"
"""What the variant of a score ends with if it is that of an exported file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A subnet, and which of the first held-out images it labels correctly.

    All subnets of a run are scored on the same images in the same order, so two of them can be compared image by image.

    >>> from search import Scored, paired_difference
    >>> from supernet import Choice, SearchSpace
    >>> space = SearchSpace((Choice(name="width", options=(8, 16)),))
    >>> small = Scored.of(space.smallest, [True, False, True, False, False, False])
    >>> large = Scored.of(space.largest, [True, True, True, False])
    >>> small.correct, small.accuracy == 2 / 6, small.first(4).accuracy
    ('28', True, 0.5)
    >>> paired_difference(large, small)[0]  # on the four images that both have
    0.25

    Attributes:
        subnet: The subnet.
        images: Number of images that it was scored on, at least 1.
        correct: A bit for each image, as a hexadecimal number of ceil(images / 4) digits. The first image is the
            highest of the `images` bits; 1 means that the image is labelled correctly.
        variant: What was scored: a precision, in which PyTorch ran or imitated the subnet, or the exported file of
            that precision, as in `int8 file`.

    Raises:
        ValueError: `correct` does not hold `images` bits.
    """

    subnet: SubnetConfig
    images: int
    correct: str = field(repr=False)
    variant: str = "fp32"

    def __post_init__(self) -> None:
        digits = -(-self.images // 4)
        if self.images < 1 or not re.fullmatch(f"[0-9a-f]{{{digits}}}", self.correct) or self._bits >> self.images:
            raise ValueError(f"correct {self.correct!r} is not a hexadecimal number of {self.images} bits")

    @classmethod
    def of(cls, subnet: SubnetConfig, results: Iterable[bool], variant: str = "fp32") -> Self:
        """Scored with these results, one per image and in their order. Raises `ValueError` if there are none."""
        bits = "".join("1" if result else "0" for result in results)
        return cls(
            subnet=subnet, images=len(bits), correct=_hexadecimal(int(bits or "0", 2), len(bits)), variant=variant
        )

    @classmethod
    def of_file(cls, subnet: SubnetConfig, results: Iterable[bool], precision: str) -> Self:
        """As `of`, for the results of the exported file in this precision."""
        return cls.of(subnet, results, precision + _OF_FILE)

    @property
    def precision(self) -> str:
        """The precision of what was scored."""
        return self.variant.removesuffix(_OF_FILE)

    @property
    def is_of_file(self) -> bool:
        """Whether the exported file was scored, in its engine."""
        return self.variant.endswith(_OF_FILE)

    @property
    def accuracy(self) -> float:
        """The share of correct images, in [0, 1]."""
        return self._bits.bit_count() / self.images

    @property
    def std(self) -> float:
        """The binomial standard error of `accuracy`, computed with one success and one failure more.

        So it is never 0, not even if all images are correct (the "plus two" part of Agresti and Coull, 1998).
        """
        right, images = self._bits.bit_count() + 1, self.images + 2
        return math.sqrt(right * (images - right) / images**3)

    def first(self, images: int) -> Scored:
        """The same on the first `images` images only.

        Raises:
            ValueError: It was scored on fewer, or `images` is less than 1.
        """
        if not 1 <= images <= self.images:
            raise ValueError(f"{images} of {self.images} images; expected 1 to {self.images}")
        correct = _hexadecimal(self._bits >> (self.images - images), images)
        return Scored(subnet=self.subnet, images=images, correct=correct, variant=self.variant)

    def extended(self, start: int, more: Scored) -> Scored:
        """These results, and those of `more` for the images that follow them.

        Args:
            start: The image, counted from 0, that is the first of `more`.
            more: Results of the same subnet. Those for images that this value covers are ignored.

        Raises:
            ValueError: `more` begins after the end, so that images between would have no result.
        """
        if start > self.images:
            raise ValueError(f"results from image {start} do not follow {self.images} images")
        new = max(0, start + more.images - self.images)
        bits, images = self._bits << new | more._bits & (1 << new) - 1, self.images + new
        return Scored(subnet=self.subnet, images=images, correct=_hexadecimal(bits, images), variant=self.variant)

    @property
    def _bits(self) -> int:
        return int(self.correct, 16)


def paired_difference(a: Scored, b: Scored) -> tuple[float, float]:
    """How much more accurate `a` is than `b` on the images that both were scored on, the first ones of each.

    Images on which both are right or both are wrong tell nothing about the difference, so its standard error is mostly
    far below that of either accuracy.

    Returns:
        The difference of accuracy, in [-1, 1], and its standard error. The latter is computed with one image more that
        only `a` labels correctly and one that only `b` does, so it is never 0.
    """
    return pooled_difference([(a, b)])


def pooled_difference(pairs: Sequence[tuple[Scored, Scored]]) -> tuple[float, float]:
    """As `paired_difference`, over the images of several pairs together, as if all of them were different images."""
    only_a = only_b = images = 0
    for a, b in pairs:
        shared = min(a.images, b.images)
        bits_a, bits_b = a.first(shared)._bits, b.first(shared)._bits
        only_a, only_b = only_a + (bits_a & ~bits_b).bit_count(), only_b + (bits_b & ~bits_a).bit_count()
        images += shared
    mean = (only_a - only_b) / (images + 2)
    variance = (only_a + only_b + 2) / (images + 2) - mean**2
    return (only_a - only_b) / images, math.sqrt(variance / (images + 2))


def _hexadecimal(bits: int, images: int) -> str:
    return f"{bits:0{-(-images // 4)}x}"
