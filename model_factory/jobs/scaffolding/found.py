"""What a look at the user's data found out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

FEW = 20
"""Training examples below which a class is named as small: its recall cannot be told from chance."""
UNEVEN = 5
"""Ratio of the largest to the smallest class above which a task counts as imbalanced."""

TaskName = Literal["classification", "multilabel", "regression", "text_classification"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSample:
    """The sizes of a sample of the images, from their headers; nothing is decoded for it.

    Attributes:
        count: Images in the sample.
        width: Median width in pixels, as the picture is seen.
        height: Median height, likewise.
        small_side: The tenth percentile of the shorter side.
        side: The median of the shorter side.
        largest_ratio: The 90th percentile of the longer over the shorter side.
        grey: Share of the images that are stored without colour, 0 to 1.
        unreadable: Names of images whose header cannot be read.
    """

    count: int
    width: int
    height: int
    small_side: int
    side: int
    largest_ratio: float
    grey: float
    unreadable: tuple[str, ...] = ()

    def describe(self) -> str:
        """What the width and the height are."""
        return "all of one array" if self.count == 1 else f"the median of {self.count} sampled"


@dataclass(frozen=True, slots=True, kw_only=True)
class TextSample:
    """The lengths of a sample of the texts.

    Attributes:
        count: Texts in the sample.
        words: Median number of words.
        long: The 95th percentile of the number of words.
        distinct: Number of different words in the sample, in lower case.
    """

    count: int
    words: int
    long: int
    distinct: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What the data are.

    Attributes:
        path: The location as the user gave it, perhaps with a folder in it that holds the classes.
        test_path: Where the test data are, if not below `path`.
        source: The source that reads them.
        keys: Further keys of the section `data` that they need, such as names of columns.
        task: The task that the labels are for.
        train: Number of training examples, those that are held out included.
        test: Number of test examples of their own; None if there are none.
        train_path: What holds a part of the training data and no test data; None if that is not known.
        counts: Name of each class or label -> its training examples; of each value -> None.
        small: Classes with too few examples to be split.
        sample: Sizes of images or lengths of texts.
        taken: What columns were taken for what, a line each.
        notes: What is unusual, a sentence each.
    """

    path: Path
    test_path: Path | None = None
    source: str
    keys: Mapping[str, Any] = field(default_factory=dict)
    task: TaskName = "classification"
    train: int
    test: int | None
    train_path: Path | None = None
    counts: Mapping[str, int | None]
    small: tuple[str, ...] = ()
    sample: ImageSample | TextSample
    taken: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_uneven(self) -> bool:
        """Whether each example has one class, and some classes are far rarer than others."""
        counts = [count for count in self.counts.values() if count is not None]
        has_one = self.task in ("classification", "text_classification")
        return has_one and max(counts) > UNEVEN * max(1, min(counts))
