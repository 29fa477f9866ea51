"""How much accuracy a file of another precision costs, on the same images as the float32 file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exports.onnx.conversion import Check, Drop
from exports.onnx.onnx_file import read_onnx
from exports.onnx.quantising.running import logits_of
from factory_base.intervals import paired_change


def file_drop(source: Path, path: Path, check: Check) -> Drop:
    """The drop of the file at `path` against the float32 file `source`, both run in ONNX Runtime with one thread.

    Raises:
        EngineError: One of them is not an ONNX file.
    """
    return paired_drop(labelled_correctly(read_onnx(source), check), labelled_correctly(read_onnx(path), check))


def labelled_correctly(model: Any, check: Check) -> NDArray[np.bool_]:
    """Whether the network labels each image correctly, `(n,)`."""
    return np.asarray(logits_of(model, check.inputs).argmax(axis=1) == check.labels)


def paired_drop(reference: NDArray[np.bool_], found: NDArray[np.bool_]) -> Drop:
    """The drop from `reference` to `found`, each bool `(n,)`: whether an image is labelled correctly."""
    gained, lost, images = int((found & ~reference).sum()), int((reference & ~found).sum()), len(reference)
    low, high = paired_change(gained, lost, images)
    return Drop(points=100 * (lost - gained) / images, low=-100 * high, high=-100 * low, images=images)
