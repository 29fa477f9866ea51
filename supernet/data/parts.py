"""A part of a data set before its images are decoded: labels first, so that splitting and limits cost no decoding."""

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
class Part:
    """Labels in memory, images on demand.

    Attributes:
        labels: `(count,)`.
        read: reads images.
        stream: `(rows, size)` -> the images of all rows, some MiB at a time, where that is faster than calls of `read`.
    """

    labels: Labels
    read: Reader
    stream: Callable[[Rows, int], Iterator[Images]] | None = None

    def chunks(self, rows: Rows, size: int) -> Iterator[Images]:
        """The images of `rows` in order, some MiB at a time. Raises `DataError`."""
        if self.stream is not None:
            return self.stream(rows, size)
        step = chunk_length(size)
        return (self.read(rows[start : start + step], size, silent) for start in range(0, len(rows), step))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Source:
    """What a loader finds. `test` is None where the source has no test data of its own."""

    train: Part
    test: Part | None
    class_names: tuple[str, ...]


def checked_labels(values: NDArray[Any], class_count: int | None, where: str) -> Labels:
    """`values` as int64 labels below `class_count` (None: below the number of values).

    Raises:
        DataError: no values, not integers, not one per image, or out of range.
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
    """Class names where the source has none: `0`, `1`, ... up to the largest label."""
    return tuple(str(label) for label in range(int(labels.max()) + 1))


def located(path: str, folder: Path) -> Path:
    """`path` of a config in `folder`, `~` expanded."""
    return folder / Path(path).expanduser()


def check_distinct(train: Iterable[Path], test: Iterable[Path]) -> None:
    """Refuse test data that is training data. Raises `ConfigError`, naming the file or folder."""
    seen = {path.resolve() for path in train}
    for path in test:
        if path.resolve() in seen:
            raise ConfigError(
                f"{path}: is both training and test data; without 'test_path' a part is set aside for testing"
            )
