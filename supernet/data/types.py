"""What a data set is: images of one square size, in memory or read on demand, labels, class names, disjoint parts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from factory_base.errors import DataError
from factory_base.progress import Progress, silent

Images = NDArray[np.uint8]
"""`(count, 3, size, size)`, red green blue, 0 to 255."""

Labels = NDArray[np.int64]
"""`(count,)`, the index of each image's class."""

Rows = NDArray[np.int64]
"""Indices of images, ascending, without repeats."""

Reader = Callable[[Rows, int, Progress], Images]
"""`(rows, size, progress) -> (len(rows), 3, size, size)`; raises `DataError` for a damaged image, naming it."""

_CHUNK_BYTES = 32 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OnDemandImages:
    """Images that are read whenever they are asked for, used like an array indexed along its first axis.

    Attributes:
        read: reads the source's images; can be pickled, so that other processes can read too.
        rows: which of them these are.
        size: of the images, in pixels.
    """

    read: Reader
    rows: Rows
    size: int

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """`(count, 3, size, size)`."""
        return (len(self.rows), 3, self.size, self.size)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, chosen: NDArray[np.int64] | list[int] | slice) -> Images:
        """Those at `chosen` places, in any order, repeats allowed. Raises `DataError`."""
        wanted = self.rows[chosen]
        rows, places = np.unique(wanted, return_inverse=True)
        images = self.read(rows, self.size, silent)
        return images if np.array_equal(rows, wanted) else images[places]


def chunks_of(images: Images | OnDemandImages) -> Iterator[Images]:
    """All images in order, some MiB at a time. Raises `DataError`."""
    step = chunk_length(images.shape[-1])
    return (images[start : start + step] for start in range(0, len(images), step))


def chunk_length(size: int) -> int:
    """How many images of `size` pixels to hold at a time."""
    return max(1, _CHUNK_BYTES // (3 * size * size))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelledImages:
    """Images and the class of each.

    Attributes:
        images: `(count, 3, size, size)` uint8, count above zero; an array, or what reads them when they are used.
        labels: `(count,)` int64, not negative.

    Raises:
        DataError: another type or shape, no image, or a negative label.
    """

    images: Images | OnDemandImages
    labels: Labels

    def __post_init__(self) -> None:
        images, labels = self.images, self.labels
        if not isinstance(images, OnDemandImages):
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
        """Lower-case hex SHA-256 of the shape, the pixels and the labels. Raises `DataError`."""
        content = ContentDigest(self.images.shape)
        for images in chunks_of(self.images):
            content.add(images)
        return content.finish(self.labels)


class ContentDigest:
    """The digest of labelled images of `shape`, from the images one chunk after the other."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._content = hashlib.sha256(repr(tuple(shape)).encode())

    def add(self, images: Images) -> None:
        """The next images."""
        self._content.update(np.ascontiguousarray(images).data)

    def finish(self, labels: Labels) -> str:
        """Lower-case hex SHA-256, once all images are added."""
        self._content.update(np.ascontiguousarray(labels, dtype="<i8").data)
        return self._content.hexdigest()


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
