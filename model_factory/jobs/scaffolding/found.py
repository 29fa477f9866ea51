"""What a look at the user's data found out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

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
        source: The source that reads them.
        keys: Further keys of the section `data` that they need, such as names of columns.
        task: The task that the labels are for.
        train: Number of training examples, those that are held out included.
        test: Number of test examples of their own; None if there are none.
        counts: Name of each class or label -> its training examples; of each value -> None.
        sample: Sizes of images or lengths of texts.
        notes: What is unusual, a sentence each.
    """

    path: Path
    source: str
    keys: Mapping[str, Any] = field(default_factory=dict)
    task: TaskName = "classification"
    train: int
    test: int | None
    counts: Mapping[str, int | None]
    sample: ImageSample | TextSample
    notes: tuple[str, ...] = ()
