"""The embedded data set: 1,797 handwritten digits of 8x8 pixels (UCI ML Repository, as scikit-learn ships them)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from supernet.data.config import DataConfig
from supernet.data.images import array_part
from supernet.data.parts import Source, numbered_names


def load_digits_source(config: DataConfig, folder: Path) -> Source:  # noqa: ARG001 - the signature of all loaders
    """The digits, without test data of their own; 0..16 is spread over 0..255."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = np.round(digits.images * (255 / 16)).astype(np.uint8)
    part = array_part(pixels, digits.target, 10, "digits")
    return Source(train=part, test=None, class_names=numbered_names(part.labels))
