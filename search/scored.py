"""Scored subnets as values. Imports neither torch nor optuna nor numpy, for a finished build is read without them."""

from __future__ import annotations

import math
import re
import sys
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Self

from supernet.space import SubnetConfig

_OF_FILE: Final = " file"
"""What the variant of a score ends with if it is that of an exported file."""
_GRADED: Final = "x"
"""What results begin with that are numbers, not bits."""
_DIGITS: Final = 8
"""Hexadecimal digits of a number: a float32, the highest byte first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A subnet, and its score on each of the first held-out images: mostly whether it labels the image correctly.

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
            highest of the `images` bits; 1 means that the image is labelled correctly. Where scores are numbers, `x`
            and 8 hexadecimal digits for each image: a float32, the highest byte first.
        variant: What was scored: a precision, in which PyTorch ran or imitated the subnet, or the exported file of
            that precision, as in `int8 file`.

    Raises:
        ValueError: `correct` does not hold `images` bits or finite numbers.
    """

    subnet: SubnetConfig
    images: int
    correct: str = field(repr=False)
    variant: str = "fp32"

    def __post_init__(self) -> None:
        if self.is_graded:
            if len(self.correct) != 1 + _DIGITS * self.images or not all(map(math.isfinite, self.scores)):
                raise ValueError(f"correct {self.correct!r:.60} does not hold {self.images} finite numbers")
            return
        digits = -(-self.images // 4)
        if self.images < 1 or not re.fullmatch(f"[0-9a-f]{{{digits}}}", self.correct) or self._bits >> self.images:
            raise ValueError(f"correct {self.correct!r} is not a hexadecimal number of {self.images} bits")

    @classmethod
    def of(cls, subnet: SubnetConfig, results: Iterable[float], variant: str = "fp32") -> Self:
        """Scored with these results, one per image and in their order. Raises `ValueError` if there are none."""
        scores = [float(result) for result in results]
        if all(score in (0.0, 1.0) for score in scores):
            bits = "".join("1" if score else "0" for score in scores)
            correct = _hexadecimal(int(bits or "0", 2), len(bits))
        else:
            correct = _numbers(scores)
        return cls(subnet=subnet, images=len(scores), correct=correct, variant=variant)

    @classmethod
    def of_file(cls, subnet: SubnetConfig, results: Iterable[float], precision: str) -> Self:
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
    def is_graded(self) -> bool:
        """Whether scores are numbers; else each is a bit."""
        return self.correct.startswith(_GRADED)

    @property
    def scores(self) -> Sequence[float]:
        """The score of each image; 1 or 0 where only correct labels count."""
        if not self.is_graded:
            return [float(digit) for digit in f"{self._bits:0{self.images}b}"]
        numbers = array("f", bytes.fromhex(self.correct[1:]))
        if sys.byteorder == "little":
            numbers.byteswap()
        return numbers

    @property
    def accuracy(self) -> float:
        """The mean score: the share of correct images, in [0, 1], or the metric that the scores belong to."""
        return self._sums()[0] / self.images

    @property
    def std(self) -> float:
        """The standard error of `accuracy`, computed with one score of 1 and one of 0 more.

        So it is never 0, not even if all images are correct (the "plus two" part of Agresti and Coull, 1998).
        """
        total, squares = self._sums()
        images = self.images + 2
        # The variance times images^2: in this form it is the same for a share and for its complement.
        spread = images * (squares + 1) - (total + 1) ** 2
        return math.sqrt(spread / images**3)

    def first(self, images: int) -> Scored:
        """The same on the first `images` images only.

        Raises:
            ValueError: It was scored on fewer, or `images` is less than 1.
        """
        if not 1 <= images <= self.images:
            raise ValueError(f"{images} of {self.images} images; expected 1 to {self.images}")
        if self.is_graded:
            correct = self.correct[: 1 + _DIGITS * images]
        else:
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
        if self.is_graded or more.is_graded:
            added = list(more.scores)[more.images - new :]
            correct = _numbers([*self.scores, *added])
            return Scored(subnet=self.subnet, images=self.images + new, correct=correct, variant=self.variant)
        bits, images = self._bits << new | more._bits & (1 << new) - 1, self.images + new
        return Scored(subnet=self.subnet, images=images, correct=_hexadecimal(bits, images), variant=self.variant)

    @property
    def _bits(self) -> int:
        return int(self.correct, 16)

    def _sums(self) -> tuple[float, float]:
        """The sum of the scores, and that of their squares."""
        if not self.is_graded:
            count = self._bits.bit_count()
            return count, count
        return math.fsum(self.scores), math.fsum(score * score for score in self.scores)


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
    total = squares = 0.0
    images = 0
    for a, b in pairs:
        shared = min(a.images, b.images)
        one, other = _difference_sums(a.first(shared), b.first(shared))
        total, squares, images = total + one, squares + other, images + shared
    variance = (squares + 2) / (images + 2) - (total / (images + 2)) ** 2
    return total / images, math.sqrt(variance / (images + 2))


def _difference_sums(a: Scored, b: Scored) -> tuple[float, float]:
    """The sum of the differences of scores on the same images, and that of their squares."""
    if a.is_graded or b.is_graded:
        differences = [x - y for x, y in zip(a.scores, b.scores, strict=True)]
        return math.fsum(differences), math.fsum(d * d for d in differences)
    only_a, only_b = (a._bits & ~b._bits).bit_count(), (b._bits & ~a._bits).bit_count()
    return only_a - only_b, only_a + only_b


def _hexadecimal(bits: int, images: int) -> str:
    return f"{bits:0{-(-images // 4)}x}"


def _numbers(scores: Iterable[float]) -> str:
    numbers = array("f", scores)
    if sys.byteorder == "little":
        numbers.byteswap()
    return _GRADED + numbers.tobytes().hex()
