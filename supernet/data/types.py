"""The types of an image data set: square images of one size, in memory or on demand, labels, and disjoint splits."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from factory_base.errors import DataError
from factory_base.progress import Progress, silent

Images = NDArray[np.uint8]
"""`(count, 3, size, size)`, red, green and blue from 0 to 255."""

Labels = NDArray[np.int64]
"""Index of each image's class, `(count,)`."""

Rows = NDArray[np.int64]
"""Indices of images, `(count,)`, ascending and distinct."""

Reader = Callable[[Rows, int, Progress], Images]
"""`(rows, size, progress) -> (len(rows), 3, size, size)`; raises `DataError`, which names the damaged image."""

_CHUNK_BYTES = 32 * 2**20  # decoded images held at a time: many images, but little memory beside a training run


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OnDemandImages:
    """Images that are read on every access, indexed like an array along its first axis.

    Attributes:
        read: Reads the source's images. It can be pickled, so that other processes can read too.
        rows: Rows of the source's images to which these images belong.
        size: Height and width of the images in pixels.
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
        """The images at `chosen`, in any order, repeats allowed. Raises `DataError`."""
        wanted = self.rows[chosen]
        rows, places = np.unique(wanted, return_inverse=True)
        images = self.read(rows, self.size, silent)
        return images if np.array_equal(rows, wanted) else images[places]


def chunks_of(images: Images | OnDemandImages) -> Iterator[Images]:
    """All images in order, in chunks of some MiB. Raises `DataError`."""
    step = chunk_length(images.shape[-1])
    return (images[start : start + step] for start in range(0, len(images), step))


def chunk_length(size: int) -> int:
    """How many images of `size` by `size` pixels to hold at a time, at least 1."""
    return max(1, _CHUNK_BYTES // (3 * size * size))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelledImages:
    """Images and their labels.

    Attributes:
        images: uint8 `(count, 3, size, size)` with a count above 0; an array, or read on demand.
        labels: int64 `(count,)`, from 0.

    Raises:
        DataError: A type or shape is wrong, there is no image, or a label is negative.
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
    """Computes the digest of labelled images of `shape` chunk by chunk."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._content = hashlib.sha256(repr(tuple(shape)).encode())

    def add(self, images: Images) -> None:
        """Add the next images."""
        self._content.update(np.ascontiguousarray(images).data)

    def finish(self, labels: Labels) -> str:
        """Lower-case hex SHA-256, after all images have been added."""
        self._content.update(np.ascontiguousarray(labels, dtype="<i8").data)
        return self._content.hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RawDataset:
    """What a callable source returns: a train split and a test split with the same classes.

    Raises:
        DataError: A label has no class name.
    """

    train: LabelledImages
    test: LabelledImages
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        for name, split in (("train", self.train), ("test", self.test)):
            _check_range(name, split, self.class_names)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Splits:
    """The three disjoint splits of a data set: `train` fits weights, `heldout` guides the search, `test` only judges.

    Attributes:
        train: Training images, for weights and BN statistics.
        heldout: Held-out images, a stratified draw from the training data, for accuracy predictors and the search.
        test: Test images, used for the final accuracies only.
        class_names: Name of each class, indexed by label.
        mean: Mean of each channel over `train`, as a fraction of full scale (255), rounded to 6 decimals.
        std: Standard deviation of each channel over `train`, likewise, at least that of one grey level (1/255).
        digest: SHA-256 of the content of all splits and of the class names.
        test_digest: SHA-256 of the content of `test` and of the class names.
        notes: Lines for people that say what was taken for what.

    Raises:
        DataError: A label has no class name.
    """

    train: LabelledImages
    heldout: LabelledImages
    test: LabelledImages
    class_names: tuple[str, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    digest: str
    test_digest: str
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, split in (("train", self.train), ("heldout", self.heldout), ("test", self.test)):
            _check_range(name, split, self.class_names)


def _check_array(name: str, array: object, dtype: type[np.generic], rank: int) -> None:
    if not isinstance(array, np.ndarray):
        raise DataError(f"{name} are a {type(array).__name__}, expected a NumPy array of {dtype.__name__}")
    if array.dtype != dtype or array.ndim != rank:
        raise DataError(f"{name} are {array.dtype} of shape {array.shape}, expected {dtype.__name__} with {rank} axes")


def _check_range(name: str, split: LabelledImages, class_names: tuple[str, ...]) -> None:
    if split.labels.max() >= len(class_names):
        raise DataError(
            f"{name} has label {split.labels.max()}, but there are {len(class_names)} class names (labels count from 0)"
        )
