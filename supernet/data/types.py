"""The types of a data set: images of one form, in memory or on demand, or texts as tokens; labels and splits."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from factory_base.errors import DataError
from factory_base.progress import Progress, silent
from supernet.data.image_form import ImageForm
from supernet.data.tokenizer import Tokenizer

Images = NDArray[np.uint8]
"""`(count, channels, height, width)`, 0 to 255; the channels are red, green and blue, or a single one is grey."""

LabelKind = Literal["class", "classes", "values"]
"""What a label is: the index of one class, a set of classes, or numbers."""

Labels = NDArray[Any]
"""The label of each example: int64 `(count,)`, the index of its class; uint8 `(count, classes)`, 1 for each of its
classes and 0 for the others; or float32 `(count, values)`, finite numbers."""

Weights = NDArray[np.float32]
"""How much each training example counts, `(count,)`, above 0."""

Groups = NDArray[np.int64]
"""A number for each example, `(count,)`: those with the same number belong to one split."""

Rows = NDArray[np.int64]
"""Indices of images, `(count,)`, ascending and distinct."""

Reader = Callable[[Rows, ImageForm, Progress], Images]
"""`(rows, form, progress) -> (len(rows), *form.shape)`; raises `DataError`, which names the damaged image."""

_CHUNK_BYTES = 32 * 2**20  # decoded images held at a time: many images, but little memory beside a training run


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OnDemandImages:
    """Images that are read on every access, indexed like an array along its first axis.

    Attributes:
        read: Reads the source's images. It can be pickled, so that other processes can read too.
        rows: Rows of the source's images to which these images belong.
        form: Size and channels of the images.
    """

    read: Reader
    rows: Rows
    form: ImageForm

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """`(count, channels, height, width)`."""
        return (len(self.rows), *self.form.shape)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, chosen: NDArray[np.int64] | list[int] | slice) -> Images:
        """The images at `chosen`, in any order, repeats allowed. Raises `DataError`."""
        wanted = self.rows[chosen]
        rows, places = np.unique(wanted, return_inverse=True)
        images = self.read(rows, self.form, silent)
        return images if np.array_equal(rows, wanted) else images[places]


def chunks_of(images: Images | OnDemandImages) -> Iterator[Images]:
    """All images in order, in chunks of some MiB. Raises `DataError`."""
    step = _images_in_a_chunk(math.prod(images.shape[1:]))
    return (images[start : start + step] for start in range(0, len(images), step))


def chunk_length(form: ImageForm) -> int:
    """How many images to hold at a time, at least 1."""
    return _images_in_a_chunk(form.image_bytes)


def _images_in_a_chunk(image_bytes: int) -> int:
    return max(1, _CHUNK_BYTES // image_bytes)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelledImages:
    """Images and their labels.

    Attributes:
        images: uint8 `(count, channels, height, width)` with a count above 0 and 1 or 3 channels; an array, or read
            on demand.
        labels: The labels, of any kind.
        weights: How much each image counts in training; None if all count alike.

    Raises:
        DataError: A type or shape is wrong, there is no image, or a label or weight is out of range.
    """

    images: Images | OnDemandImages
    labels: Labels
    weights: Weights | None = None

    def __post_init__(self) -> None:
        images, labels = self.images, self.labels
        if not isinstance(images, OnDemandImages):
            _check_array("images", images, np.uint8, 4)
        label_kind(labels)
        if images.shape[1] not in (1, 3) or not images.shape[2] or not images.shape[3]:
            raise DataError(f"images have shape {images.shape}, expected (count, 1 or 3 channels, height, width)")
        if len(images) != len(labels) or not len(images):
            raise DataError(
                f"{len(images)} images and {len(labels)} labels; expected one label per image, at least one"
            )
        if self.weights is not None:
            check_weights(self.weights, len(labels))

    def __len__(self) -> int:
        return len(self.labels)

    def digest(self) -> str:
        """Lower-case hex SHA-256 of the shape, the pixels, the labels and the weights. Raises `DataError`."""
        content = ContentDigest(self.images.shape)
        for images in chunks_of(self.images):
            content.add(images)
        return content.finish(self.labels, self.weights)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelledTexts:
    """Texts as tokens, and their labels.

    Attributes:
        tokens: int64 `(count, length)` with a count above 0, padded at the end.
        labels: The labels, of any kind.
        padding: The token after the end of a text.
        unknown: The token of what has no token of its own; None if everything has one.
        weights: How much each text counts in training; None if all count alike.

    Raises:
        DataError: A type or shape is wrong, there is no text, or a label or weight is out of range.
    """

    tokens: NDArray[np.int64]
    labels: Labels
    padding: int = 0
    unknown: int | None = 1
    weights: Weights | None = None

    def __post_init__(self) -> None:
        tokens, labels = self.tokens, self.labels
        _check_array("tokens", tokens, np.int64, 2)
        label_kind(labels)
        if len(tokens) != len(labels) or not len(tokens):
            raise DataError(f"{len(tokens)} texts and {len(labels)} labels; expected one label per text, at least one")
        if self.weights is not None:
            check_weights(self.weights, len(labels))

    def __len__(self) -> int:
        return len(self.labels)


Labelled = LabelledImages | LabelledTexts
"""One split of a data set."""


class ContentDigest:
    """Computes the digest of labelled images of `shape` chunk by chunk."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._content = hashlib.sha256(repr(tuple(shape)).encode())

    def add(self, images: Images) -> None:
        """Add the next images."""
        self._content.update(np.ascontiguousarray(images).data)

    def finish(self, labels: Labels, weights: Weights | None = None) -> str:
        """Lower-case hex SHA-256, after all images have been added."""
        if labels.ndim > 1:  # classes alone have no header, as in data sets that knew nothing else
            self._content.update(f"{labels.dtype} {labels.shape}".encode())
        self._content.update(np.ascontiguousarray(labels.astype(labels.dtype.newbyteorder("<"))).data)
        if weights is not None:
            self._content.update(b"weights" + np.ascontiguousarray(weights.astype("<f4")).tobytes())
        return self._content.hexdigest()


def label_kind(labels: Labels) -> LabelKind:
    """What kind of labels these are. Raises `DataError` if they are of none, or one is out of range."""
    if not isinstance(labels, np.ndarray):
        raise DataError(f"labels are a {type(labels).__name__}, expected a NumPy array")
    form = (labels.dtype.type, labels.ndim)
    if form == (np.int64, 1):
        if len(labels) and labels.min() < 0:
            raise DataError(f"label {labels.min()} is negative; labels count from 0")
        return "class"
    if form == (np.uint8, 2):
        if len(labels) and labels.max() > 1:
            raise DataError(f"a label of several classes has the value {labels.max()}, expected 0 or 1")
        return "classes"
    if form == (np.float32, 2):
        if not np.isfinite(labels).all():
            row = int(np.flatnonzero(~np.isfinite(labels).all(axis=1))[0])
            raise DataError(f"the label of example {row} is {labels[row].tolist()}, expected finite numbers")
        return "values"
    raise DataError(
        f"labels are {labels.dtype} of shape {labels.shape}, expected int64 (count,), uint8 (count, classes) or "
        "float32 (count, values)"
    )


def check_weights(weights: Weights, count: int) -> None:
    """Raise `DataError` unless these are `count` finite weights above 0."""
    if not isinstance(weights, np.ndarray) or weights.dtype != np.float32 or weights.shape != (count,):
        raise DataError(f"weights are not float32 ({count},), one for each example")
    wrong = np.flatnonzero(~(np.isfinite(weights) & (weights > 0)))
    if len(wrong):
        raise DataError(f"the weight of example {wrong[0]} is {weights[wrong[0]]}, expected a finite number above 0")


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
        train: Training images or texts, for weights and BN statistics.
        heldout: Held-out ones, a stratified draw from the training data, for accuracy predictors and the search.
        test: Test images or texts, used for the final accuracies only.
        class_names: Name of each class, indexed by label; for numbers, the name of each.
        mean: What is subtracted from each channel, as a fraction of full scale (255): its mean over `train`, rounded to
            6 decimals, unless `data.normalize` says otherwise; empty for texts.
        std: By what each channel is divided, likewise: its standard deviation over `train`, at least that of one grey
            level (1/255).
        digest: SHA-256 of the content of all splits and of the class names.
        test_digest: SHA-256 of the content of `test` and of the class names.
        notes: Lines for people that say what was taken for what.
        tokenizer: What made the tokens of texts; None for images.

    Raises:
        DataError: A label has no class name.
    """

    train: Labelled
    heldout: Labelled
    test: Labelled
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    digest: str
    test_digest: str
    notes: tuple[str, ...] = ()
    tokenizer: Tokenizer | None = None

    def __post_init__(self) -> None:
        for name, split in (("train", self.train), ("heldout", self.heldout), ("test", self.test)):
            _check_range(name, split, self.class_names)


def _check_array(name: str, array: object, dtype: type[np.generic], rank: int) -> None:
    if not isinstance(array, np.ndarray):
        raise DataError(f"{name} are a {type(array).__name__}, expected a NumPy array of {dtype.__name__}")
    if array.dtype != dtype or array.ndim != rank:
        raise DataError(f"{name} are {array.dtype} of shape {array.shape}, expected {dtype.__name__} with {rank} axes")


def _check_range(name: str, split: Labelled, class_names: tuple[str, ...]) -> None:
    if split.labels.ndim > 1:
        if split.labels.shape[1] != len(class_names):
            raise DataError(
                f"{name} has labels of {split.labels.shape[1]} parts, but there are {len(class_names)} names"
            )
        return
    if split.labels.max() >= len(class_names):
        raise DataError(
            f"{name} has label {split.labels.max()}, but there are {len(class_names)} class names (labels count from 0)"
        )
