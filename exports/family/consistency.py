"""How consistent the models of a family are: their accuracy per class, and the churn between neighbouring tiers.

Both follow from the published labels and predictions of the test images. Churn is the share of images for which the
model of a tier and that of the next lower tier of its platform give different answers (Milani Fard et al., Launch
and iterate: reducing prediction churn, NeurIPS 2016): what a user may notice whose device moves to another tier.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from exports.family.judge import Judge, Predictions
from exports.family.records import PPM, Churn, ClassQuality, Tier, WorstClass
from supernet.tasks.class_measures import FEWEST

MAX_LISTED = 100
"""Up to this number of classes the manifest lists all of them, which takes 10 bytes each for every model: 1 KiB, half
of what a model has without. What is left out follows from the files of predictions and labels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassAccuracy:
    """The accuracy on the test images of one class.

    Attributes:
        index: The class, as the index of its label.
        correct: The number of its images that are labelled correctly.
        images: The number of its images, at least 1.
    """

    index: int
    correct: int
    images: int

    @property
    def accuracy(self) -> float:
        """The fraction of correct predictions (the recall of the class), in [0, 1]."""
        return self.correct / self.images

    @property
    def has_few_images(self) -> bool:
        """Whether the images are too few for more than a rough figure."""
        return self.images < FEWEST


def class_accuracies(labels: NDArray[np.integer], predictions: NDArray[np.integer]) -> tuple[ClassAccuracy, ...]:
    """The accuracy of each class of which there is a test image, in the order of the labels.

    Args:
        labels: The classes of the test images, `(images,)`.
        predictions: The predicted classes of the same images, `(images,)`.
    """
    images = np.bincount(labels)
    correct = np.bincount(labels[predictions == labels], minlength=len(images))
    return tuple(
        ClassAccuracy(index=int(i), correct=int(correct[i]), images=int(images[i])) for i in np.flatnonzero(images)
    )


def worst_class(found: Sequence[ClassAccuracy]) -> ClassAccuracy:
    """The class of lowest accuracy; of equals the one with the most images, then the first."""
    return min(found, key=lambda c: (c.accuracy, -c.images, c.index))


def lowest_decile(found: Sequence[ClassAccuracy]) -> float:
    """The accuracy that one class in ten does not exceed: the nearest rank, for up to ten classes the worst class."""
    return sorted(c.accuracy for c in found)[math.ceil(len(found) / 10) - 1]


def class_quality(found: Sequence[ClassAccuracy], classes: int) -> ClassQuality:
    """What the manifest states on the accuracy per class of a model.

    Args:
        found: The classes of which there are test images.
        classes: The number of labels.
    """
    worst, correct = worst_class(found), {c.index: c.correct for c in found}
    return ClassQuality(
        worst=WorstClass(index=worst.index, value_ppm=round(worst.accuracy * PPM), images=worst.images),
        lowest_decile_ppm=round(lowest_decile(found) * PPM),
        correct=tuple(correct.get(index, 0) for index in range(classes)) if classes <= MAX_LISTED else None,
    )


def class_images(labels: NDArray[np.integer], classes: int) -> tuple[int, ...] | None:
    """The number of test images of each class; None if there are more classes than the manifest lists."""
    return tuple(np.bincount(labels, minlength=classes).tolist()) if classes <= MAX_LISTED else None


def churn_between(lower: str, judge: Judge, labels: Predictions, before: Predictions, after: Predictions) -> Churn:
    """The churn from the model of the tier `lower` to that of the next higher one.

    Args:
        lower: The id of the lower tier.
        judge: What the models learnt, and the metric that says which one is better.
        labels: The labels of the test images, at least one.
        before: The predictions of the model of the lower tier.
        after: The predictions of the model of the higher tier.
    """
    was, now = (judge.scores(predictions, labels) for predictions in (before, after))
    return Churn(
        against=lower,
        changed_ppm=_ppm(~judge.same(before, after)),
        gained_ppm=_ppm(now > was),
        lost_ppm=_ppm(now < was),
    )


def neighbours(tiers: Sequence[Tier]) -> Iterator[tuple[Tier, Tier]]:
    """Each pair of neighbouring tiers of one platform, the lower one first. The floor has no neighbours."""
    for platform in sorted({tier.platform for tier in tiers}):
        ranked = sorted((t for t in tiers if t.platform == platform and t.rank), key=lambda tier: tier.rank)
        yield from pairwise(ranked)


def _ppm(images: NDArray[np.bool_]) -> int:
    return round(int(images.sum()) * PPM / len(images))
