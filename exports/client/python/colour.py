"""From the pixel formats of cameras, files and screens to RGB, in integers, so that every port returns the same bytes.

`//` and `>>` round down, and `clamp` limits a value to 0 to 255.

* Gray: `R = G = B = Y`.
* RGB to gray, for models with one channel: the luma of BT.601, `Y = (19595 * R + 38470 * G + 7471 * B + 32768) >> 16`,
  as Pillow computes it. Gray stays as it is, since the factors sum to 2**16.
* With alpha (not multiplied into the colours), over an opaque background: `(c * a + b * (255 - a) + 127) // 255` for
  each channel `c` with its background `b`. This is the nearest byte: 255 is odd, so ties cannot occur. Values stay
  below 2**16.
* YUV 4:2:0 by BT.601: the pixel `(y, x)` takes the chroma sample `(y // 2, x // 2)` as it is. With `u = U - 128` and
  `v = V - 128`,

      full:     t = 65536 * Y + 32768                 limited:  t = 76309 * (Y - 16) + 32768
                R = clamp((t + 91881 * v) >> 16)                R = clamp((t + 104597 * v) >> 16)
                G = clamp((t - 22553 * u - 46802 * v) >> 16)    G = clamp((t - 25675 * u - 53279 * v) >> 16)
                B = clamp((t + 116130 * u) >> 16)               B = clamp((t + 132201 * u) >> 16)

  The factors are those of BT.601 in units of 2**-16, rounded to the nearest integer; limited range scales luma by
  255/219 and chroma by 255/224. Sums stay below 2**26 in magnitude, and `>>` of a negative sum rounds down.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

AlphaOrder = Literal["rgba", "bgra"]
YuvLayout = Literal["nv12", "nv21", "i420"]
YuvRange = Literal["full", "limited"]

FACTORS = {"full": (0, 65536, 91881, 22553, 46802, 116130), "limited": (16, 76309, 104597, 25675, 53279, 132201)}
"""Black, and the factors of luma, V in red, U in green, V in green, and U in blue."""


def gray_to_rgb(data: bytes, height: int, width: int) -> NDArray[np.uint8]:
    """RGB, uint8 `(height, width, 3)`, of gray pixels of one byte. Raises `ValueError` if `data` has another length."""
    return np.repeat(_bytes(data, height, width, height * width).reshape(height, width, 1), 3, axis=2)


def luma(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The gray image of an RGB image, uint8 `(height, width, 3)`, of the same shape: all channels are the luma."""
    gray = (image.astype(np.int32) @ np.array([19595, 38470, 7471], np.int32) + 32768) >> 16
    return np.repeat(gray.astype(np.uint8)[..., None], 3, axis=2)


def alpha_to_rgb(
    data: bytes, height: int, width: int, order: AlphaOrder = "rgba", background: tuple[int, int, int] = (255, 255, 255)
) -> NDArray[np.uint8]:
    """RGB, uint8 `(height, width, 3)`, of pixels of four bytes with straight alpha over a background.

    Args:
        data: The pixels, row by row, without padding.
        height: Their rows.
        width: Their columns.
        order: The order of the four bytes.
        background: Its colour in RGB, 0 to 255.

    Raises:
        ValueError: `data` has another length, or `background` is not a colour.
    """
    if any(not 0 <= value <= 255 for value in background):
        raise ValueError(f"the background is {background}, expected three values from 0 to 255")
    pixels = _bytes(data, height, width, 4 * height * width).reshape(height, width, 4).astype(np.int32)
    alpha = pixels[..., 3:]
    colours = pixels[..., :3] if order == "rgba" else pixels[..., 2::-1]
    mixed = (colours * alpha + np.array(background, np.int32) * (255 - alpha) + 127) // 255
    return np.asarray(mixed, dtype=np.uint8)


def yuv_to_rgb(data: bytes, height: int, width: int, layout: YuvLayout, levels: YuvRange) -> NDArray[np.uint8]:
    """RGB, uint8 `(height, width, 3)`, of an image in YUV 4:2:0, BT.601.

    Args:
        data: The plane Y, then chroma, all without padding: pairs U, V (`nv12`) or V, U (`nv21`), or the plane U and
            the plane V (`i420`). A chroma plane has half the rows and columns, rounded up.
        height: Rows of the plane Y.
        width: Its columns.
        layout: The order of the chroma.
        levels: `full` if Y, U and V are 0 to 255; `limited` if Y is 16 to 235, U and V are 16 to 240.

    Raises:
        ValueError: `data` has another length.
    """
    rows, columns = (height + 1) // 2, (width + 1) // 2
    samples = _bytes(data, height, width, height * width + 2 * rows * columns)
    luma, chroma = samples[: height * width].reshape(height, width, 1), samples[height * width :]
    if layout == "i420":
        planes = chroma.reshape(2, rows, columns)
    else:
        planes = np.moveaxis(chroma.reshape(rows, columns, 2), 2, 0)[:: 1 if layout == "nv12" else -1]
    u, v = (np.repeat(np.repeat(plane, 2, 0), 2, 1)[:height, :width].astype(np.int32) - 128 for plane in planes)
    black, of_luma, v_red, u_green, v_green, u_blue = FACTORS[levels]
    scaled = (luma.astype(np.int32) - black) * of_luma + 32768
    sums = scaled + np.stack([v_red * v, -u_green * u - v_green * v, u_blue * u], axis=2)
    return np.asarray(np.clip(sums >> 16, 0, 255), dtype=np.uint8)


def _bytes(data: bytes, height: int, width: int, expected: int) -> NDArray[np.uint8]:
    """The bytes as an array. Raises `ValueError` if they are not as many as expected."""
    if height < 1 or width < 1 or len(data) != expected:
        raise ValueError(f"{height} x {width} pixels need {expected} bytes, not {len(data)}")
    return np.frombuffer(data, np.uint8)
