"""From the pixels of an image to the input of a model. Needs only NumPy, so an app in Python can copy this file.

There are three versions. In version 2 a model takes bytes, and `resize` is all that an app computes: `fitted =
resize(image, height, width, antialias=True)` to the base size, then `resize(fitted, size, size)` to the model's input
size. Version 3 has `crop` or `letterbox` in place of the first `resize`. They are defined in integers, so that every
port returns the same bytes (`vectors/preprocess.json` of the clients has examples). In version 1 a model takes
floating-point numbers, which `fit` and `model_input` compute.

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

`crop` and `letterbox` resize an image of `h` x `w` with antialiasing, without changing its proportions, for the result
`H` x `W`. One side fits exactly, and the other is rounded, halves up:

    if w * H >= W * h (the image is at least as wide):  crop: by its height    letterbox: by its width
    otherwise:                                          crop: by its width     letterbox: by its height
    by the height:  H' = H,    W' = max(1, (2 * w * H + h) // (2 * h))
    by the width:   W' = W,    H' = max(1, (2 * h * W + w) // (2 * w))

`crop` takes `H` x `W` pixels from `H'` x `W'`, which is not smaller, from the row `(H' - H) // 2` and the column
`(W' - W) // 2` on. Only these pixels are computed: `W'` can be large. `letterbox` puts `H'` x `W'`, which is not
larger, on a plain colour, at the row `(H - H') // 2` and the column `(W - W') // 2`. For sides of at most 16,384 pixels
the products are below 2**30, `H'` and `W'` are at most 2**28, and step 1 stays below 2**53.
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
    return _resampled(images, rows, _integer_weights(images.shape[-2], width, antialias))


def crop(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """The centre of uint8 `(h, w, 3)`, as large as possible, resized to `(height, width, 3)`, as defined above."""
    h, w = image.shape[:2]
    tall, wide = _same_proportions(h, w, height, width, covers=True)
    rows = _integer_weights(h, tall, True, (tall - height) // 2, height)
    return _resampled(image, rows, _integer_weights(w, wide, True, (wide - width) // 2, width))


def letterbox(image: NDArray[np.uint8], height: int, width: int, colour: Sequence[int]) -> NDArray[np.uint8]:
    """The whole image, uint8 `(h, w, 3)`, in the middle of `(height, width, 3)` of a colour, as defined above.

    Args:
        image: The image.
        height: The height of the result.
        width: Its width.
        colour: The colour of what the image does not cover, in RGB, 0 to 255.
    """
    h, w = image.shape[:2]
    tall, wide = _same_proportions(h, w, height, width, covers=False)
    top, left = (height - tall) // 2, (width - wide) // 2
    result = np.full((height, width, 3), colour, np.uint8)
    result[top : top + tall, left : left + wide] = resize(image, tall, wide, antialias=True)
    return result


def _same_proportions(h: int, w: int, height: int, width: int, *, covers: bool) -> tuple[int, int]:
    """The size `(H', W')` of the definition, which covers `height` x `width` or fits into it."""
    if (w * height >= width * h) == covers:
        return height, max(1, (2 * w * height + h) // (2 * h))
    return max(1, (2 * h * width + w) // (2 * w)), width


def _resampled(images: NDArray[np.uint8], rows: NDArray[np.float64], columns: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Steps 2 and 3 of the definition."""
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


def _integer_weights(
    old: int, new: int, antialias: bool, first: int = 0, count: int | None = None
) -> NDArray[np.float64]:
    """The weights of step 1 of `resize`: integers, which sum to 2^15 for each new pixel.

    Args:
        old: The pixels of the image on this axis.
        new: The pixels of the resized image.
        antialias: Whether a new pixel averages all that it covers.
        first: The first new pixel that is wanted.
        count: How many are wanted; None means all.

    Returns:
        The weights, `(count, old)`.
    """
    reach = max(old, new) if antialias else new
    wanted = np.arange(first, first + (new if count is None else count))
    distance = np.abs((2 * np.arange(old) + 1) * new - (2 * wanted[:, None] + 1) * old)
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
