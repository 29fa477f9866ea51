"""The splits that a source provides, before images are decoded: `limit` and splitting need only the labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factory_base.errors import ConfigError, DataError
from factory_base.progress import silent
from supernet.data.types import Images, Labels, Reader, Rows, chunk_length


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SourceSplit:
    """A split of a source: labels in memory, images on demand.

    Attributes:
        labels: Class of each image, `(count,)`.
        read: Reads images.
        stream: `(rows, size)` -> the images of `rows` in order, in chunks of some MiB; None if calls of `read` are as
            fast.
    """

    labels: Labels
    read: Reader
    stream: Callable[[Rows, int], Iterator[Images]] | None = None

    def chunks(self, rows: Rows, size: int) -> Iterator[Images]:
        """The images of `rows` in order, in chunks of some MiB. Raises `DataError`."""
        if self.stream is not None:
            return self.stream(rows, size)
        step = chunk_length(size)
        return (self.read(rows[start : start + step], size, silent) for start in range(0, len(rows), step))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Source:
    """What a loader returns. `test` is None if the source has no test data of its own."""

    train: SourceSplit
    test: SourceSplit | None
    class_names: tuple[str, ...]


def checked_labels(values: NDArray[Any], class_count: int | None, where: str) -> Labels:
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
        raise DataError(
            f"{where}: label {values[wrong[0]]} of image {wrong[0]} is out of range; labels count from 0 and {known}"
        )
    return values.astype(np.int64)


def numbered_names(labels: Labels) -> tuple[str, ...]:
    """Class names for a source without any: `0`, `1`, ... up to the largest label."""
    return tuple(str(label) for label in range(int(labels.max()) + 1))


def located(path: str, folder: Path) -> Path:
    """`path` of a config in `folder`, with `~` expanded; an absolute path stays as it is."""
    return folder / Path(path).expanduser()


def check_distinct(train: Iterable[Path], test: Iterable[Path]) -> None:
    """Refuse test data that is also training data. Raises `ConfigError`, which names the file or folder."""
    seen = {path.resolve() for path in train}
    for path in test:
        if path.resolve() in seen:
            raise ConfigError(
                f"{path}: is both training and test data; remove 'test_path' to set part of the training data aside"
            )
