"""The splits that a source provides, before images are decoded: `limit` and splitting need only the labels."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from factory_base.errors import ConfigError, DataError
from factory_base.progress import silent
from supernet.data.image_form import ImageForm
from supernet.data.types import (
    Groups,
    Images,
    LabelKind,
    Labels,
    Reader,
    Rows,
    Weights,
    chunk_length,
    label_kind,
)

_BRACES: Final = re.compile(r"\{([^{}]*(?:,|\.\.)[^{}]*)\}")
_MOST_FILES = 1_000_000  # of a data set: more is a slip of the keyboard


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SourceSplit:
    """A split of a source: labels in memory, images on demand.

    Attributes:
        labels: Label of each image, of any kind.
        read: Reads images.
        weights: How much each image counts in training; None if all count alike.
        groups: Images with the same number belong to one split; None if each may be in any.
        stream: `(rows, form)` -> the images of `rows` in order, in chunks of some MiB; None if calls of `read` are as
            fast.
        largest_samples: Yields the largest sample of all images of 16 bits, part by part, and 0 for parts without any;
            None if the source has no image files.
        at_depth: Number of bits that images of 16 bits use -> this split with images scaled by that; None if the source
            has no image files. Without it, reading an image of 16 bits raises `UnknownDepthError`.
    """

    labels: Labels
    read: Reader
    weights: Weights | None = None
    groups: Groups | None = None
    stream: Callable[[Rows, ImageForm], Iterator[Images]] | None = None
    largest_samples: Callable[[], Iterator[int]] | None = None
    at_depth: Callable[[int], SourceSplit] | None = None

    def chunks(self, rows: Rows, form: ImageForm) -> Iterator[Images]:
        """The images of `rows` in order, in chunks of some MiB. Raises `DataError`."""
        if self.stream is not None:
            return self.stream(rows, form)
        step = chunk_length(form)
        return (self.read(rows[start : start + step], form, silent) for start in range(0, len(rows), step))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Source:
    """What a loader returns.

    Attributes:
        train: The training data.
        test: The test data; None if the source has none of its own.
        class_names: Name of each class, indexed by label; for numbers, the name of each.
        heldout: The rows of the training data that the source itself holds out; None if it leaves that draw open.
        group_names: Name of each group, for messages; empty if there are no groups.
        notes: Lines for people that say what was taken for what.
    """

    train: SourceSplit
    test: SourceSplit | None
    class_names: tuple[str, ...]
    heldout: Rows | None = None
    group_names: Sequence[str] = ()
    notes: tuple[str, ...] = ()


def checked_labels(values: NDArray[Any], class_count: int | None, where: str) -> NDArray[np.int64]:
    """`values`, `(count,)` or `(count, 1)`, as int64 labels `(count,)`.

    Args:
        values: Integers from 0.
        class_count: Labels must be below it; None for below `count`, since more classes than images are an error.
        where: Name of the source in messages.

    Raises:
        DataError: There are no values, they are not integers or not one per image, or one is out of range.
    """
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1 or not np.issubdtype(values.dtype, np.integer):
        raise DataError(f"{where}: labels are {values.dtype} of shape {values.shape}, expected one integer per image")
    if not len(values):
        raise DataError(f"{where}: holds no images; at least 2 per class are needed")
    limit = len(values) if class_count is None else class_count
    wrong = np.flatnonzero((values < 0) | (values >= limit))
    if len(wrong):
        known = f"there are {limit} classes" if class_count is not None else f"there are only {limit} images"
        hint = ""
        if values.min() == 1 and values.max() == class_count:
            hint = f"; these run from 1 to {class_count}, so subtract 1 from each"
        raise DataError(
            f"{where}: label {values[wrong[0]]} of image {wrong[0]} is out of range; labels count from 0 and {known}"
            f"{hint}"
        )
    return values.astype(np.int64)


def labels_of_kind(values: NDArray[Any], kind: LabelKind, class_count: int | None, where: str) -> Labels:
    """`values` of an array as labels of `kind`.

    Args:
        values: For one class, as `checked_labels` takes them; for several, integers or booleans of 0 and 1 `(count,
            classes)`; for numbers, `(count,)` or `(count, values)`.
        kind: What the task learns.
        class_count: Number of classes or values; None if `values` determines it.
        where: Name of the source in messages.

    Raises:
        DataError: The values are of another kind, or one is out of range.
    """
    if kind == "class":
        return checked_labels(values, class_count, where)
    if not len(values):
        raise DataError(f"{where}: holds no images")
    if kind == "values" and values.ndim == 1:
        values = values[:, None]
    numeric = np.issubdtype(values.dtype, np.number) or values.dtype == np.bool_
    if values.ndim != 2 or not numeric or (class_count is not None and values.shape[1] != class_count):
        parts = "classes" if kind == "classes" else "values"
        count = parts if class_count is None else f"{class_count} {parts}"
        raise DataError(
            f"{where}: labels are {values.dtype} of shape {values.shape}, expected numbers (images, {count})"
        )
    if kind == "classes" and not np.isin(values, (0, 1)).all():
        row = int(np.flatnonzero(~np.isin(values, (0, 1)).all(axis=1))[0])
        raise DataError(
            f"{where}: the labels of image {row} are {values[row].tolist()}, expected 0 or 1 for each class"
        )
    labels: Labels = values.astype(np.uint8 if kind == "classes" else np.float32)
    try:
        label_kind(labels)
    except DataError as error:
        raise DataError(f"{where}: {error}") from error
    return labels


def names_of(labels: Labels, where: str) -> tuple[str, ...]:
    """The names of classes or values for a source without any: `0`, `1`, ...; see `numbered_names`."""
    return numbered_names(labels, where) if labels.ndim == 1 else tuple(str(part) for part in range(labels.shape[1]))


def gives_one_class(kind: LabelKind, source: str) -> None:
    """Raise `ConfigError` unless `kind` is one class, which is all that `source` gives."""
    if kind != "class":
        wanted = "several classes per image" if kind == "classes" else "numbers"
        raise ConfigError(
            f"data.source {source!r} gives one class per image, but the task needs {wanted}; use source table, npz or "
            "'package.module:callable'"
        )


def numbered_names(labels: Labels, where: str) -> tuple[str, ...]:
    """Class names for a source without any: `0`, `1`, ... up to the largest label.

    Raises:
        DataError: A number below the largest label is the label of no image.
    """
    present = np.unique(labels)
    missing = np.setdiff1d(np.arange(present[-1] + 1), present)
    if len(missing):
        found = f"{where}: labels run from {present[0]} to {present[-1]}"
        if present[0] == len(missing):
            raise DataError(f"{found}, but count from 0: subtract {present[0]} from each label")
        raise DataError(f"{found}, but no image has label {missing[0]}; number the classes from 0 without gaps")
    return tuple(str(label) for label in range(int(present[-1]) + 1))


def located(path: str, folder: Path) -> Path:
    """`path` of a config in `folder`, with `~` expanded; an absolute path stays as it is."""
    return folder / Path(path).expanduser()


def expanded(path: Path) -> list[Path] | None:
    """The paths that a path with braces names; None for one without braces, or one that exists as it is written.

    As a shell does: `shard-{0000..0009}.tar` names ten paths, `{a,b}.tar` two. They need not exist.

    Raises:
        ConfigError: The braces do not hold two numbers, the first of which is not above the second, or names.
    """
    found = _BRACES.search(str(path))
    if found is None or path.exists():
        return None
    parts = found[1].split(",")
    first, dots, last = found[1].partition("..")
    if dots:
        if not (first.isascii() and first.isdigit() and last.isascii() and last.isdigit() and int(first) <= int(last)):
            raise ConfigError(f"{path}: {found[0]!r} is not a range of numbers; write it as in {{0000..0009}}")
        if int(last) - int(first) >= _MOST_FILES:
            raise ConfigError(f"{path}: {found[0]!r} names more than {_MOST_FILES:,} files")
        parts = [str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)]
    names = [Path(str(path)[: found.start()] + part + str(path)[found.end() :]) for part in parts]
    return [one for name in names for one in expanded(name) or [name]]


def wildcards(path: Path) -> tuple[Path, str] | None:
    """The fixed part and the pattern of a path with wildcards (`*`, `?`, `[...]`); None for a path without any.

    A part that exists as it is written is not a pattern: a folder may be named `photos [old]`.
    """
    for i, part in enumerate(path.parts):
        if any(c in part for c in "*?[") and not Path(*path.parts[: i + 1]).exists():
            return Path(*path.parts[:i]), "/".join(path.parts[i:])
    return None


def fixed_part(path: Path) -> Path:
    """The part of a path before its wildcards: the folder below which its files lie."""
    wild = wildcards(path)
    return wild[0] if wild else path


def check_distinct(train: Iterable[Path], test: Iterable[Path]) -> None:
    """Refuse test data that is also training data. Raises `ConfigError`, which names the file or folder."""
    seen = {path.resolve() for path in train}
    for path in test:
        if path.resolve() in seen:
            raise ConfigError(
                f"{path}: is both training and test data; remove 'test_path' to set part of the training data aside"
            )
