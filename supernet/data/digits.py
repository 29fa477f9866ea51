"""The embedded data set: 1,797 handwritten digits of 8x8 pixels (UCI ML Repository, included in scikit-learn)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from supernet.data.config import DataConfig
from supernet.data.images import split_from_arrays
from supernet.data.source_splits import Source, gives_one_class, numbered_names
from supernet.data.types import LabelKind


def load_digits_source(config: DataConfig, folder: Path, kind: LabelKind) -> Source:  # noqa: ARG001 - as all loaders
    """The digits, with levels 0..16 scaled to 0..255. The source has no test split of its own."""
    from sklearn.datasets import load_digits

    gives_one_class(kind, "digits")

    digits = load_digits()
    pixels = np.round(digits.images * (255 / 16)).astype(np.uint8)
    train = split_from_arrays(pixels, digits.target, 10, "digits")  # ten classes
    return Source(train=train, test=None, class_names=numbered_names(train.labels, "digits"))
