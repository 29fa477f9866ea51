"""From the pixels of an image to the input of a model. Needs only NumPy, so an app in Python can copy this file."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def model_input(
    image: NDArray[np.uint8], size: int, mean_ppm: Sequence[int], std_ppm: Sequence[int]
) -> NDArray[np.float32]:
    """The input of a model for an image: resize, divide by 255, normalise.

    The resizing is bilinear with half-pixel centres and without antialiasing, like PyTorch's
    `interpolate(mode="bilinear", align_corners=False)`.

    Args:
        image: An RGB image at the base size of the family (see `fit`), uint8 `(height, width, 3)`.
        size: The height and width of the model's input.
        mean_ppm: The mean per channel, in parts per million of full scale.
        std_ppm: The standard deviation per channel, in parts per million of full scale, above zero.

    Returns:
        The input, float32 `(3, size, size)`.
    """
    rows = _bilinear(image.shape[0], size)
    columns = _bilinear(image.shape[1], size)
    resized = np.einsum("ih,hwc,jw->cij", rows, image.astype(np.float64), columns, optimize=True)
    mean = np.asarray(mean_ppm, np.float64)[:, None, None] / 1e6
    std = np.asarray(std_ppm, np.float64)[:, None, None] / 1e6
    return np.ascontiguousarray((resized / 255.0 - mean) / std, dtype=np.float32)


def fit(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Resize uint8 `(h, w, 3)` to uint8 `(height, width, 3)`, bilinear with antialiasing, like Pillow."""
    rows = _antialiased(image.shape[0], height)
    columns = _antialiased(image.shape[1], width)
    across = np.clip(np.rint(np.einsum("hwc,jw->hjc", image, columns, optimize=True)), 0, 255)
    resized = np.clip(np.rint(np.einsum("ih,hjc->ijc", rows, across, optimize=True)), 0, 255)
    return np.asarray(resized, dtype=np.uint8)


def _bilinear(old: int, new: int) -> NDArray[np.float64]:
    """Weights `(new, old)` of bilinear interpolation: two neighbours each, clamped at the borders."""
    centres = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    low = np.floor(centres).astype(int)
    high = np.minimum(low + 1, old - 1)
    weights = np.zeros((new, old))
    np.add.at(weights, (np.arange(new), low), 1 - (centres - low))
    np.add.at(weights, (np.arange(new), high), centres - low)
    return weights


def _antialiased(old: int, new: int) -> NDArray[np.float64]:
    """Weights `(new, old)` of a triangle filter as wide as the scale, normalised at the borders."""
    scale = max(old / new, 1.0)
    centres = (np.arange(new) + 0.5) * old / new
    distance = np.abs((np.arange(old) + 0.5)[None, :] - centres[:, None]) / scale
    weights = np.clip(1 - distance, 0, None)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))
