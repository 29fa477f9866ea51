"""How much accuracy a file of another precision costs, on the same images as the float32 file."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exports.onnx.conversion import CheckImages, Drop
from exports.onnx.quantising.running import logits_of
from factory_base.intervals import Z95, paired_change


def scores_of(model: Any, check: CheckImages) -> NDArray[np.float64]:
    """The score of the network on each image, `(n,)`."""
    return check.scores(logits_of(model, check.inputs))


def paired_drop(reference: NDArray[np.float64], found: NDArray[np.float64]) -> Drop:
    """The drop of the mean from `reference` to `found`, the scores of two networks on the same images, `(n,)` each."""
    images, change = len(reference), found - reference
    if np.isin(reference, (0, 1)).all() and np.isin(found, (0, 1)).all():
        low, high = paired_change(int((change > 0).sum()), int((change < 0).sum()), images)
    else:  # the interval of a mean; one image more either way, as above, keeps its width above 0
        mean = change.sum() / (images + 2)
        half = Z95 * math.sqrt(max(0.0, ((change**2).sum() + 2) / (images + 2) - mean**2) / (images + 2))
        low, high = mean - half, mean + half
    return Drop(points=-100 * float(change.mean()), low=-100 * high, high=-100 * low, images=images)
