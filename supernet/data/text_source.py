"""What a source of texts gives, before they are turned into tokens. See `supernet.data.source_splits` for images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from factory_base.errors import DataError
from supernet.data.source_splits import labels_of_kind
from supernet.data.types import Groups, LabelKind, Labels, Rows, Weights


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TextSplit:
    """A split of a source of texts.

    Attributes:
        texts: The texts.
        labels: The label of each text, of any kind.
        weights: How much each text counts in training; None if all count alike.
        groups: Texts with the same number belong to one split; None if each may be in any.
    """

    texts: Sequence[str]
    labels: Labels
    weights: Weights | None = None
    groups: Groups | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TextSource:
    """A source of texts; the attributes are those of `supernet.data.source_splits.Source`."""

    train: TextSplit
    test: TextSplit | None
    class_names: tuple[str, ...]
    heldout: Rows | None = None
    group_names: Sequence[str] = ()
    notes: tuple[str, ...] = ()


def split_from_texts(texts: object, labels: object, class_count: int | None, where: str, kind: LabelKind) -> TextSplit:
    """A split of texts in memory.

    Args:
        texts: A list or tuple of strings.
        labels: Integers, `(count,)`; for other kinds of labels see `labels_of_kind`.
        class_count: Number of classes, which all labels must be below; None if the labels determine it.
        where: Name of the source in messages.
        kind: What the task learns.

    Raises:
        DataError: A text is not a string, or the labels are wrong.
    """
    if not isinstance(texts, list | tuple):
        raise DataError(f"{where}: texts are a {type(texts).__name__}, expected a list of strings")
    wrong = next((i for i, text in enumerate(texts) if not isinstance(text, str)), None)
    if wrong is not None:
        raise DataError(f"{where}: text {wrong} is a {type(texts[wrong]).__name__}, expected a string")
    given = np.asarray(labels)
    if len(texts) != len(given):
        raise DataError(f"{where}: {len(texts)} texts but {len(given)} labels; expected one label per text")
    return TextSplit(texts=texts, labels=labels_of_kind(given, kind, class_count, where))
