"""What a data set is, once it is in memory: images of one square size, labels, class names, disjoint parts."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model_factory.base.errors import DataError

Images = NDArray[np.uint8]
"""`(count, 3, size, size)`, red green blue, 0 to 255."""

Labels = NDArray[np.int64]
"""`(count,)`, the index of each image's class."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelledImages:
    """Images and the class of each.

    Attributes:
        images: `(count, 3, size, size)` uint8, count above zero.
        labels: `(count,)` int64, not negative.

    Raises:
        DataError: another type or shape, no image, or a negative label.
    """

    images: Images
    labels: Labels

    def __post_init__(self) -> None:
        images, labels = self.images, self.labels
        _check_array("images", images, np.uint8, 4)
        _check_array("labels", labels, np.int64, 1)
        if images.shape[1] != 3 or images.shape[2] != images.shape[3] or not images.shape[2]:
            raise DataError(f"images have shape {images.shape}, expected (count, 3, size, size)")
        if len(images) != len(labels) or not len(images):
            raise DataError(
                f"{len(images)} images and {len(labels)} labels; expected one label per image, at least one"
            )
        if labels.min() < 0:
            raise DataError(f"label {labels.min()} is negative; labels count from 0")

    def __len__(self) -> int:
        return len(self.labels)

    def digest(self) -> str:
        """Lower-case hex SHA-256 of the shape, the pixels and the labels."""
        content = hashlib.sha256(repr(self.images.shape).encode())
        content.update(np.ascontiguousarray(self.images).data)
        content.update(np.ascontiguousarray(self.labels, dtype="<i8").data)
        return content.hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RawDataset:
    """What a callable source returns: both parts with the same classes.

    Raises:
        DataError: a label without a class name.
    """

    train: LabelledImages
    test: LabelledImages
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        for name, part in (("train", self.train), ("test", self.test)):
            _check_range(name, part, self.class_names)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Splits:
    """Three disjoint parts of a data set. `train` fits, `heldout` steers the search, `test` only judges.

    Attributes:
        train: what weights and BN statistics see.
        heldout: taken from the training data, stratified; what accuracy predictors and the search see.
        test: never seen before the final figures.
        class_names: by label.
        mean: of each channel over `train`, as a fraction of full scale (255), 6 decimals.
        std: likewise; a constant channel counts as one grey level, so it can be divided by.
        digest: SHA-256 of the content of all parts and the class names.
        test_digest: SHA-256 of the content of `test` and the class names.

    Raises:
        DataError: a label without a class name.
    """

    train: LabelledImages
    heldout: LabelledImages
    test: LabelledImages
    class_names: tuple[str, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    digest: str
    test_digest: str

    def __post_init__(self) -> None:
        for name, part in (("train", self.train), ("heldout", self.heldout), ("test", self.test)):
            _check_range(name, part, self.class_names)


def _check_array(name: str, array: object, dtype: type[np.generic], rank: int) -> None:
    if not isinstance(array, np.ndarray):
        raise DataError(f"{name} are a {type(array).__name__}, expected a NumPy array of {dtype.__name__}")
    if array.dtype != dtype or array.ndim != rank:
        raise DataError(f"{name} are {array.dtype} of shape {array.shape}, expected {dtype.__name__} with {rank} axes")


def _check_range(name: str, part: LabelledImages, class_names: tuple[str, ...]) -> None:
    if part.labels.max() >= len(class_names):
        raise DataError(
            f"{name} has label {part.labels.max()}, but there are {len(class_names)} class names (labels count from 0)"
        )
