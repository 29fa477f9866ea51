"""Decodes one image file to RGB: upright, square, and 8 bits per sample."""

from __future__ import annotations

import io
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from factory_base.errors import DataError
from factory_base.foreign import printable
from supernet.data.metadata import has_sixteen_bits, orientation_of, without_metadata
from supernet.data.types import Images

FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF")
"""Image formats that are decoded, by their names in Pillow."""

DEPTHS: Final = (8, 10, 12, 14, 16)
"""Numbers of bits that images of 16 bits per sample may use: those of cameras, scanners and X-ray detectors."""

_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what makes the picture upright."""

# Pillow decodes colour of 16 bits from the upper byte of each sample. Decoded as if the bytes were in the other order,
# it gives the lower bytes. Grey with alpha has no such second form, but its four bytes per pixel can be read as RGBA.
_LOWER_BYTES: Final = {"RGB;16B": "RGB;16L", "RGBA;16B": "RGBA;16L", "LA;16B": "RGBA"}


class UnknownDepthError(DataError):
    """An image has 16 bits per sample, and it is not known how many of them the data set uses."""


def decode(encoded: bytes, size: int, name: str, depth: int | None = 16) -> Images:
    """Decode one image to RGB, upright and resized to a square: uint8 `(3, size, size)`.

    Only the first frame of an animation is used, and transparency is dropped. A JPEG of more than four times the size
    is decoded at a half, a quarter or an eighth of its resolution, which is several times faster and leaves at least
    twice the size for the antialiasing filter. Metadata that break their format take no picture away.

    Args:
        encoded: The content of an image file.
        size: Height and width of the result in pixels.
        name: Name of the image in messages.
        depth: Number of bits that images of 16 bits per sample use: the upper 8 of them are taken. None if it is not
            known.

    Raises:
        DataError: The image is damaged, too large, or in none of `FORMATS`.
        UnknownDepthError: The image has 16 bits and `depth` is None.
    """
    is_deep = has_sixteen_bits(encoded)
    if is_deep and depth is None:
        raise UnknownDepthError(f"{name}: has 16 bits per sample, but was read with others that have 8; try again")
    shift = (depth or 16) - 8 if is_deep else 0
    try:
        return _decoded(encoded, size, shift)
    except Exception as error:  # decoders raise whatever a damaged file leads them to
        bare = without_metadata(encoded)
        try:
            if bare is not None:
                return _decoded(bare.encoded, size, shift, bare.orientation)
        except Exception:  # the pixels are damaged too: the first error says how
            pass
        raise DataError(f"{name}: {_complaint(error)}") from error


def largest_sample(encoded: bytes) -> int:
    """The largest sample of an image of 16 bits, alpha aside; 0 if the image has fewer, or cannot be decoded."""
    if not has_sixteen_bits(encoded):
        return 0
    bare = without_metadata(encoded)
    try:
        return 0 if bare is None else int(_samples(bare.encoded).max())
    except Exception:  # if the image is used, `decode` says what is wrong
        return 0


def depth_for(largest: int) -> int:
    """The number of bits, one of `DEPTHS`, that a data set uses whose largest sample is `largest`."""
    return next((depth for depth in DEPTHS if largest < 1 << depth), DEPTHS[-1])


def square(image: Image.Image, size: int) -> Images:
    """`image` as RGB of `size` by `size` pixels: uint8 `(3, size, size)`."""
    rgb = _rgb(image)
    if rgb.size != (size, size):
        rgb = rgb.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(rgb, dtype=np.uint8).transpose(2, 0, 1)


def _decoded(encoded: bytes, size: int, shift: int, orientation: int | None = None) -> Images:
    with Image.open(io.BytesIO(encoded), formats=FORMATS) as opened:
        opened.draft(None, (2 * size, 2 * size))
        turn = _TURNS.get(orientation_of(opened) if orientation is None else orientation)
        image: Image.Image = opened
        if has_sixteen_bits(encoded):
            image = Image.fromarray((_samples(encoded) >> shift).clip(0, 255).astype(np.uint8))
        return square(image if turn is None else image.transpose(turn), size)


def _samples(encoded: bytes) -> NDArray[np.int64]:
    """The samples of an image of 16 bits: `(H, W)` for grey, `(H, W, 3)` for colour; alpha is dropped."""
    with Image.open(io.BytesIO(encoded), formats=FORMATS) as image:
        stored = image.tile[0]
        upper = np.asarray(image).astype(np.int64)
    if stored[3] not in _LOWER_BYTES:
        return upper
    with Image.open(io.BytesIO(encoded), formats=FORMATS) as image:
        image.tile = [(*stored[:3], _LOWER_BYTES[stored[3]])]  # type: ignore[list-item] # a plain tuple for Pillow 10
        lower = np.asarray(image).astype(np.int64)
    if stored[3] == "LA;16B":
        return lower[..., 0] << 8 | lower[..., 1]
    return (upper << 8 | lower)[..., :3]


def _rgb(image: Image.Image) -> Image.Image:
    """`image` as RGB, without transparency."""
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image if image.mode == "RGB" else image.convert("RGB")


def _complaint(error: Exception) -> str:
    """What is wrong with an image, and what to do."""
    if isinstance(error, UnidentifiedImageError):
        return f"is not an image; allowed: {', '.join(FORMATS)}; replace or remove it"
    if isinstance(error, Image.DecompressionBombError):
        return f"has more pixels than the {2 * (Image.MAX_IMAGE_PIXELS or 0):,} that are decoded; scale it down"
    if isinstance(error, MemoryError):
        return "takes more memory than there is; scale it down, or free memory"
    reason = printable(str(error)) or type(error).__name__
    return f"is a damaged image ({reason}); allowed: {', '.join(FORMATS)}; replace or remove it"
