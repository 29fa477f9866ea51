"""Splits of a source whose examples are texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from factory_base.errors import ConfigError, DataError
from factory_base.progress import Progress
from supernet.data.source_splits import SourceSplit, TextReader, labels_of_kind
from supernet.data.types import Images, LabelKind, Labels, Rows, Weights


def text_split(read: TextReader, labels: Labels, weights: Weights | None = None) -> SourceSplit:
    """A split of texts that `read` reads."""
    return SourceSplit(labels=labels, read=_no_images, texts=read, weights=weights)


def split_from_texts(
    texts: Sequence[str], labels: object, class_count: int | None, where: str, kind: LabelKind = "class"
) -> SourceSplit:
    """A split of texts in memory.

    Args:
        texts: The texts.
        labels: Integers, `(count,)`; for other kinds of labels see `labels_of_kind`.
        class_count: Number of classes, which all labels must be below; None if the labels determine it.
        where: Name of the source in messages.
        kind: What the task learns.

    Raises:
        DataError: A text is none, or the labels are wrong.
    """
    wrong = next((i for i, text in enumerate(texts) if not isinstance(text, str)), None)
    if wrong is not None:
        raise DataError(f"{where}: text {wrong} is a {type(texts[wrong]).__name__}, expected a string")
    given = np.asarray(labels)
    if len(texts) != len(given):
        raise DataError(f"{where}: {len(texts)} texts but {len(given)} labels; expected one label per text")
    return text_split(_ListReader(tuple(texts)), labels_of_kind(given, kind, class_count, where))


@dataclass(frozen=True, slots=True)
class _ListReader:
    """Reads texts in memory. It can be pickled."""

    texts: tuple[str, ...]

    def __call__(self, rows: Rows) -> Sequence[str]:
        return [self.texts[row] for row in rows]


def _no_images(rows: Rows, size: int, progress: Progress) -> Images:  # noqa: ARG001 - the signature of `Reader`
    raise ConfigError("the data source has texts, but the task needs images; set 'task: text_classification'")
