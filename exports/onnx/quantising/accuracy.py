"""How much accuracy a file of another precision costs, on the same images as the float32 file."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from exports.onnx.conversion import CheckImages, Drop
from exports.onnx.quantising.running import logits_of
from factory_base.intervals import paired_change


def labelled_correctly(model: Any, check: CheckImages) -> NDArray[np.bool_]:
    """Whether the network labels each image correctly, `(n,)`."""
    return np.asarray(logits_of(model, check.inputs).argmax(axis=1) == check.labels)


def paired_drop(reference: NDArray[np.bool_], found: NDArray[np.bool_]) -> Drop:
    """The drop from `reference` to `found`, each bool `(n,)`: whether an image is labelled correctly."""
    gained, lost, images = int((found & ~reference).sum()), int((reference & ~found).sum()), len(reference)
    low, high = paired_change(gained, lost, images)
    return Drop(points=100 * (lost - gained) / images, low=-100 * high, high=-100 * low, images=images)
