"""Classes with too few examples to be split: refused, left out, or merged into one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from factory_base.errors import ConfigError, DataError
from factory_base.foreign import printable
from factory_base.progress import Progress
from factory_base.wording import counted
from supernet.data.class_names import composed
from supernet.data.config import DataConfig
from supernet.data.image_form import ImageForm
from supernet.data.source_splits import Source, SourceSplit
from supernet.data.text_source import TextSource, TextSplit
from supernet.data.types import Images, LabelKind, Labels, Reader, Rows

AnySource = TypeVar("AnySource", Source, TextSource)
AnySplit = TypeVar("AnySplit", SourceSplit, TextSplit)


def settle_small_classes(source: AnySource, config: DataConfig, kind: LabelKind) -> AnySource:
    """`source` without the classes that are too small, as `config.small_classes` says, and a line that names them.

    A class is small if it has fewer training examples than `config.class_minimum`, or than the splits need: one for
    each split that is drawn from them, and one to train with.

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
        raise ConfigError("data.small_classes and data.class_minimum are for one class per example; remove them")
    drawn = (source.test is None) + (source.heldout is None)
    least = max(1 + drawn, config.class_minimum or 0)
    counts = np.bincount(_training_labels(source), minlength=len(source.class_names))
    small = np.flatnonzero(counts < least).tolist()
    if not small:
        return source
    listed = ", ".join(f"{printable(source.class_names[label])} ({counts[label]})" for label in small)
    found = f"{counted(len(small), 'class', 'classes')} with fewer than {least} training examples"
    if config.small_classes == "error":
        raise DataError(f"data: {found}: {listed}; add examples, or set data.small_classes to drop or merge")
    if config.small_classes == "drop":
        settled, done = _dropped(source, small), f"left out {found}"
    else:
        settled, done = _merged(source, small, config.merged_class), f"merged {found} into {config.merged_class!r}"
    return replace(settled, notes=(*source.notes, f"data: {done}: {listed}"))


def _training_labels(source: Source | TextSource) -> Labels:
    """The labels of the training data that the source itself does not hold out."""
    labels = source.train.labels
    return labels if source.heldout is None else np.delete(labels, source.heldout)


def _dropped(source: AnySource, small: Sequence[int]) -> AnySource:
    gone = set(small)
    kept = [label for label in range(len(source.class_names)) if label not in gone]
    new_labels = np.full(len(source.class_names), -1, dtype=np.int64)
    new_labels[kept] = np.arange(len(kept))

    def rows_of(split: SourceSplit | TextSplit) -> Rows:
        return np.flatnonzero(new_labels[split.labels] >= 0)

    def without(split: Any) -> Any:
        return _relabelled(_rows_of(split, rows_of(split)), new_labels)

    left = rows_of(source.train)
    heldout = None if source.heldout is None else np.flatnonzero(np.isin(left, source.heldout))
    names: list[str] = [source.class_names[label] for label in kept]
    return replace(_with_classes(source, without, names), heldout=heldout)


def _merged(source: AnySource, small: Sequence[int], name: str) -> AnySource:
    gone = set(small)
    others = [label for label in range(len(source.class_names)) if label not in gone]
    names: list[str] = [source.class_names[label] for label in others]
    if composed(name) in map(composed, names):
        raise ConfigError(f"data: a class is called {name!r} already; set data.merged_class to another name")
    new_labels = np.full(len(source.class_names), len(names), dtype=np.int64)
    new_labels[others] = np.arange(len(names))
    return _with_classes(source, lambda split: _relabelled(split, new_labels), [*names, name])


def _with_classes(source: AnySource, change: Callable[[Any], Any], names: Sequence[str]) -> AnySource:
    test = None if source.test is None else change(source.test)
    return replace(source, train=change(source.train), test=test, class_names=tuple(names))


def _relabelled(split: AnySplit, new_labels: Labels) -> AnySplit:
    """`split` with new labels, also where it is made anew for images of 16 bits."""
    changed = replace(split, labels=new_labels[split.labels])
    if isinstance(changed, SourceSplit) and (at_depth := changed.at_depth) is not None:
        return replace(changed, at_depth=lambda depth: replace(at_depth(depth), labels=changed.labels))
    return changed


def _rows_of(split: AnySplit, rows: Rows) -> AnySplit:
    """The examples of `split` at `rows`."""
    chosen: dict[str, Any] = {
        name: None if (values := getattr(split, name)) is None else values[rows]
        for name in ("labels", "weights", "groups")
    }
    if isinstance(split, TextSplit):
        return replace(split, **chosen, texts=[split.texts[row] for row in rows])
    stream, at_depth = split.stream, split.at_depth

    def streamed(wanted: Rows, form: ImageForm) -> Iterator[Images]:
        return split.chunks(rows[wanted], form)

    return replace(
        split,
        **chosen,
        read=_ReaderOfRows(read=split.read, rows=rows),
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
