"""Classes with too few images to be split: refused, left out, or merged into one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from factory_base.errors import ConfigError, DataError
from factory_base.foreign import printable
from factory_base.progress import Progress
from factory_base.wording import counted
from supernet.data.class_names import composed
from supernet.data.config import DataConfig
from supernet.data.image_form import ImageForm
from supernet.data.source_splits import Source, SourceSplit
from supernet.data.splitting import FEWEST, FEWEST_WITH_TEST_DATA
from supernet.data.types import Images, LabelKind, Reader, Rows


def settle_small_classes(source: Source, config: DataConfig, kind: LabelKind) -> Source:
    """`source` without the classes that are too small, as `config.small_classes` says, and a line that names them.

    A class is small if it has fewer training images than `config.class_minimum`, or than the splits need.

    Args:
        source: The data.
        config: The `data` section.
        kind: The kind of labels.

    Raises:
        ConfigError: Labels are not classes, or a class that is not small already has the name of the merged one.
        DataError: A class is smaller than `class_minimum`, and small classes are errors.
    """
    if config.small_classes == "error" and config.class_minimum is None:
        return source  # splitting refuses classes that it cannot split
    if kind != "class":
        raise ConfigError("data.small_classes and data.class_minimum are for one class per image; remove them")
    fewest = FEWEST if source.test is None else FEWEST_WITH_TEST_DATA
    least = max(fewest, config.class_minimum or 0)
    counts = np.bincount(source.train.labels, minlength=len(source.class_names))
    small = np.flatnonzero(counts < least).tolist()
    if not small:
        return source
    listed = ", ".join(f"{printable(source.class_names[label])} ({counts[label]})" for label in small)
    found = f"{counted(len(small), 'class', 'classes')} with fewer than {least} training images"
    if config.small_classes == "error":
        raise DataError(f"data: {found}: {listed}; add images, or set data.small_classes to drop or merge")
    if config.small_classes == "drop":
        settled = _dropped(source, small)
        return replace(settled, notes=(*source.notes, f"data: left out {found}: {listed}"))
    settled = _merged(source, small, config.merged_class)
    return replace(settled, notes=(*source.notes, f"data: merged {found} into {config.merged_class!r}: {listed}"))


def _dropped(source: Source, small: Sequence[int]) -> Source:
    kept = [label for label in range(len(source.class_names)) if label not in set(small)]
    new_labels = np.full(len(source.class_names), -1, dtype=np.int64)
    new_labels[kept] = np.arange(len(kept))

    def without(split: SourceSplit) -> SourceSplit:
        labels = new_labels[split.labels]
        rows = np.flatnonzero(labels >= 0)
        return replace(_rows_of(split, rows), labels=labels[rows])

    return _with_classes(source, without, [source.class_names[label] for label in kept])


def _merged(source: Source, small: Sequence[int], name: str) -> Source:
    others = [label for label in range(len(source.class_names)) if label not in set(small)]
    names = [source.class_names[label] for label in others]
    if composed(name) in map(composed, names):
        raise ConfigError(f"data: a class is called {name!r} already; set data.merged_class to another name")
    new_labels = np.full(len(source.class_names), len(names), dtype=np.int64)
    new_labels[others] = np.arange(len(names))
    return _with_classes(source, lambda split: replace(split, labels=new_labels[split.labels]), [*names, name])


def _with_classes(source: Source, change: Callable[[SourceSplit], SourceSplit], names: Sequence[str]) -> Source:
    test = None if source.test is None else change(source.test)
    return replace(source, train=change(source.train), test=test, class_names=tuple(names))


def _rows_of(split: SourceSplit, rows: Rows) -> SourceSplit:
    """The examples of `split` at `rows`."""
    stream, at_depth = split.stream, split.at_depth

    def streamed(chosen: Rows, form: ImageForm) -> Iterator[Images]:
        return (stream or split.chunks)(rows[chosen], form)

    return replace(
        split,
        labels=split.labels[rows],
        read=_ReaderOfRows(read=split.read, rows=rows),
        weights=None if split.weights is None else split.weights[rows],
        groups=None if split.groups is None else split.groups[rows],
        stream=None if stream is None else streamed,
        at_depth=None if at_depth is None else lambda depth: _rows_of(at_depth(depth), rows),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _ReaderOfRows:
    """Reads some rows of a source as if it had no others. See `supernet.data.types.Reader`."""

    read: Reader
    rows: Rows

    def __call__(self, rows: Rows, form: ImageForm, progress: Progress) -> Images:
        return self.read(self.rows[rows], form, progress)
