"""From the pixels of an image to the input of a model. Needs only NumPy, so an app in Python can copy this file.

There are two versions. In version 2 a model takes bytes, and `resize` is all that an app computes: `fitted =
resize(image, height, width, antialias=True)` to the base size, then `resize(fitted, size, size)` to the model's input
size. It is defined in integers, so that every port returns the same bytes (`preprocess_vectors.json` has examples). In
version 1 a model takes floating-point numbers, which `fit` and `model_input` compute.

The definition of `resize`, in integers; `//` rounds down. Both axes are resized alike, and one after the other:

1. Pixel `j` of `old` contributes to pixel `i` of `new` with the weight `w[i][j]`. Let `reach = max(old, new)` with
   antialiasing, otherwise `reach = new`, and

       t[i][j] = max(0, 2 * reach - abs((2 * j + 1) * new - (2 * i + 1) * old))
       T[i] = sum of t[i][j] over j,    S[i][j] = t[i][0] + ... + t[i][j],    S[i][-1] = 0
       w[i][j] = (S[i][j] * 2**15 + T[i] // 2) // T[i] - (S[i][j - 1] * 2**15 + T[i] // 2) // T[i]

   This is a triangle around the centre of the pixel, by half-pixel centres: as wide as two old pixels, or two new
   ones if antialiasing and those are wider. Pixels outside the image have no weight. The weights of each `i` sum to
   2**15.
2. Columns first: `h[y][i] = (sum of w[i][x] * p[y][x] over x + 2**7) // 2**8`, an integer from 0 to 255 * 2**7.
3. Then rows: `q[i][x] = (sum of w[i][y] * h[y][x] over y + 2**21) // 2**22`, a byte.

For images of at most 16,384 pixels a side, every value in steps 2 and 3 fits into 32 bits with a sign, and every value
in step 1 is below 2**53, so JavaScript's numbers hold it; its `Math.floor(a / b)` is exact there. Without antialiasing
at most two weights per pixel are not zero. An image that has the new size already stays as it is.
"""

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


def resize(images: NDArray[np.uint8], height: int, width: int, *, antialias: bool = False) -> NDArray[np.uint8]:
    """Resize uint8 `(..., h, w, channels)` to uint8 `(..., height, width, channels)`, bilinear, as defined above.

    With `antialias` the result is within one level of Pillow's, without it within one of PyTorch's.
    """
    if images.shape[-3:-1] == (height, width):
        return images.copy()
    rows = _integer_weights(images.shape[-3], height, antialias)
    columns = _integer_weights(images.shape[-2], width, antialias)
    # Products of matrices of floating-point numbers are fast, and exact here: the integers of step 2 are below 2^24,
    # which float32 holds, and those of step 3 below 2^53.
    across = np.tensordot(images.astype(np.float32), columns.astype(np.float32), (-2, -1))
    across = np.floor((across + np.float32(2**7)) / np.float32(2**8)).astype(np.float64)  # (..., h, channels, width)
    resized = np.floor((np.tensordot(across, rows, (-3, -1)) + 2**21) / 2**22)  # (..., channels, width, height)
    return np.ascontiguousarray(np.swapaxes(resized, -3, -1), dtype=np.uint8)


def fit(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Resize uint8 `(h, w, 3)` to uint8 `(height, width, 3)`, bilinear with antialiasing, like Pillow."""
    rows = _antialiased(image.shape[0], height)
    columns = _antialiased(image.shape[1], width)
    across = np.clip(np.rint(np.einsum("hwc,jw->hjc", image, columns, optimize=True)), 0, 255)
    resized = np.clip(np.rint(np.einsum("ih,hjc->ijc", rows, across, optimize=True)), 0, 255)
    return np.asarray(resized, dtype=np.uint8)


def _integer_weights(old: int, new: int, antialias: bool) -> NDArray[np.float64]:
    """The weights `(new, old)` of step 1 of `resize`: integers, which sum to 2^15 for each new pixel."""
    reach = max(old, new) if antialias else new
    distance = np.abs((2 * np.arange(old) + 1) * new - (2 * np.arange(new)[:, None] + 1) * old)
    sums = np.maximum(0, 2 * reach - distance).cumsum(axis=1)
    total = sums[:, -1:]
    cuts = (sums * 2**15 + total // 2) // total
    return np.asarray(np.diff(cuts, axis=1, prepend=0), dtype=np.float64)


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
