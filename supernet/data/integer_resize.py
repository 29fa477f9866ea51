"""Crops and letterboxes pictures in integers, with the same result as the clients in an app.

`exports/client/python/preprocess.py` defines every step in integers and has a plain implementation for one image in an
app, which may use no library but NumPy. This is the fast one for a training run: the weights of a resized axis are a
sparse matrix, at most some entries per pixel. Both return the same bytes; the cases that hold all clients together
(`exports/client/vectors/preprocess.json`) hold this one, too.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Pixels = NDArray[np.uint8]
"""An image, `(height, width, channels)`."""

_STRIP = 1 << 22  # values that are resized at a time: 16 MiB as 32-bit integers, whatever the size of a picture


def crop(image: Pixels, height: int, width: int) -> Pixels:
    """The centre of an image, as large as possible, resized to `(height, width, channels)`."""
    h, w = image.shape[:2]
    tall, wide = same_proportions(h, w, height, width, covers=True)
    rows = _weights(h, tall, (tall - height) // 2, height)
    return _resampled(image, rows, _weights(w, wide, (wide - width) // 2, width))


def letterbox(image: Pixels, height: int, width: int, level: int) -> Pixels:
    """The whole image in the middle of `(height, width, channels)` of one grey level, 0 to 255."""
    h, w, channels = image.shape
    tall, wide = same_proportions(h, w, height, width, covers=False)
    top, left = (height - tall) // 2, (width - wide) // 2
    result = np.full((height, width, channels), level, dtype=np.uint8)
    inside = _resampled(image, _weights(h, tall, 0, tall), _weights(w, wide, 0, wide))
    result[top : top + tall, left : left + wide] = inside
    return result


def same_proportions(h: int, w: int, height: int, width: int, *, covers: bool) -> tuple[int, int]:
    """The height and width of an image of `h` by `w` that is resized to cover `height` by `width`, or to fit into it.

    One side fits exactly; the other one is rounded, halves up, and at least 1.
    """
    if (w * height >= width * h) == covers:
        return height, max(1, (2 * w * height + h) // (2 * h))
    return max(1, (2 * h * width + w) // (2 * w)), width


def _resampled(image: Pixels, rows: csr_matrix, columns: csr_matrix) -> Pixels:
    """First the columns, then the rows; every sum fits into 32 bits with a sign."""
    height, width, channels = image.shape
    across = np.empty((height, columns.shape[0] * channels), dtype=np.int32)
    step = max(1, _STRIP // (width * channels))
    for start in range(0, height, step):
        strip = image[start : start + step].transpose(1, 0, 2).astype(np.int32).reshape(width, -1)
        sums = (columns @ strip + 2**7) >> 8
        strip = sums.reshape(columns.shape[0], -1, channels).transpose(1, 0, 2)
        across[start : start + step] = strip.reshape(-1, across.shape[1])
    down = (rows @ across + 2**21) >> 22
    return np.asarray(down.reshape(rows.shape[0], columns.shape[0], channels), dtype=np.uint8)


@lru_cache(maxsize=256)  # photos come in a few sizes; a matrix takes some tens of kB
def _weights(old: int, new: int, first: int, count: int) -> csr_matrix:
    """The weights of one axis, int32 `(count, old)`: of an axis of `new` pixels, those from `first` on.

    They are a triangle around the centre of each new pixel that covers two pixels, old or new ones, whichever are
    larger, and sum to 2**15.
    """
    from scipy.sparse import csr_matrix

    reach = max(old, new)
    wanted = np.arange(first, first + count, dtype=np.int64)[:, None]
    # (2 j + 1) new lies less than 2 * reach from (2 i + 1) old for the pixels j of a band of this length.
    start = ((2 * wanted + 1) * old - 2 * reach - new) // (2 * new)
    places: NDArray[np.int64] = start + np.arange(2 * reach // new + 3, dtype=np.int64)
    distance = np.abs((2 * places + 1) * new - (2 * wanted + 1) * old)
    triangle = np.where((places >= 0) & (places < old), np.maximum(0, 2 * reach - distance), 0)
    sums = triangle.cumsum(axis=1)
    cuts = (sums * 2**15 + sums[:, -1:] // 2) // sums[:, -1:]
    weights: NDArray[Any] = np.diff(cuts, axis=1, prepend=0)
    row, column = np.nonzero(weights)
    entries = (weights[row, column].astype(np.int32), (row, places[row, column]))
    return csr_matrix(entries, shape=(count, old), dtype=np.int32)
