"""Decodes one image file: upright, in the form of the data set, and 8 bits per sample."""

from __future__ import annotations

import io
from typing import Final

import numpy as np
from PIL import Image, UnidentifiedImageError

from factory_base.errors import DataError
from factory_base.foreign import printable
from supernet.data.deep_samples import has_sixteen_bits, samples_of
from supernet.data.formats import FORMATS, TIFF_KINDS, UnfitError, check_kind, formats_for, is_tiff
from supernet.data.image_form import BORDER, ImageForm
from supernet.data.integer_resize import crop, letterbox
from supernet.data.metadata import orientation_of, without_metadata
from supernet.data.types import Images

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


class UnknownDepthError(DataError):
    """An image has 16 bits per sample, and it is not known how many of them the data set uses."""


def decode(encoded: bytes, form: ImageForm, name: str, depth: int | None = 16) -> Images:
    """Decode one image, upright and fitted: uint8, of the shape of `form`.

    Only the first frame of an animation is used, and transparency is dropped. A JPEG of more than four times the size
    is decoded at a half, a quarter or an eighth of its resolution, which is several times faster and leaves at least
    twice the size for the antialiasing filter. Metadata that break their format take no picture away.

    Args:
        encoded: The content of an image file.
        form: Size, channels and fitting of the result.
        name: Name of the image in messages.
        depth: Number of bits that images of 16 bits per sample use: the upper 8 of them are taken. None if it is not
            known.

    Raises:
        DataError: The image is damaged, too large, in none of `FORMATS`, or of a kind that is not decoded.
        UnknownDepthError: The image has 16 bits and `depth` is None.
    """
    is_deep = has_sixteen_bits(encoded)
    if is_deep and depth is None:
        raise UnknownDepthError(f"{name}: has 16 bits per sample, but was read with others that have 8; try again")
    shift = (depth or 16) - 8 if is_deep else 0
    try:
        return _decoded(encoded, form, shift)
    except UnfitError as error:
        raise DataError(f"{name}: {error}") from error
    except Exception as error:  # decoders raise whatever a damaged file leads them to
        bare = without_metadata(encoded)
        try:
            if bare is not None:
                return _decoded(bare.encoded, form, shift, bare.orientation)
        except Exception:  # the pixels are damaged too: the first error says how
            pass
        raise DataError(f"{name}: {_complaint(error, encoded)}") from error


def largest_sample(encoded: bytes) -> int:
    """The largest sample of an image of 16 bits, alpha aside; 0 if the image has fewer, or cannot be decoded."""
    if not has_sixteen_bits(encoded):
        return 0
    bare = without_metadata(encoded)
    try:
        return int(samples_of(encoded if bare is None else bare.encoded).max())
    except Exception:  # if the image is used, `decode` says what is wrong
        return 0


def depth_for(largest: int) -> int:
    """The number of bits, one of `DEPTHS`, that a data set uses whose largest sample is `largest`."""
    return next((depth for depth in DEPTHS if largest < 1 << depth), DEPTHS[-1])


def fitted(image: Image.Image, form: ImageForm) -> Images:
    """`image` in the size and channels of `form`: uint8, of its shape.

    `squash` resizes with Pillow, whose result is within one level of the one that apps compute. `crop` and `letterbox`
    give the same bytes as in apps.
    """
    rgb = _rgb(image)
    picture = rgb if form.channels == 3 or rgb.mode == "L" else rgb.convert("L")
    if picture.size != form.size and form.fitting == "squash":
        picture = picture.resize(form.size, Image.Resampling.BILINEAR)
    pixels = np.asarray(picture, dtype=np.uint8).reshape(picture.height, picture.width, form.channels)
    if picture.size != form.size:
        if form.fitting == "crop":
            pixels = crop(pixels, form.height, form.width)
        else:
            pixels = letterbox(pixels, form.height, form.width, BORDER)
    return pixels.transpose(2, 0, 1)


def _decoded(encoded: bytes, form: ImageForm, shift: int, orientation: int | None = None) -> Images:
    with Image.open(io.BytesIO(encoded), formats=formats_for(encoded)) as opened:
        check_kind(opened)
        least = 2 * max(form.size)
        opened.draft(None, (least, least))
        turn = _TURNS.get(orientation_of(opened) if orientation is None else orientation)
        image: Image.Image = opened
        if has_sixteen_bits(encoded):
            image = Image.fromarray((samples_of(encoded) >> shift).clip(0, 255).astype(np.uint8))
        return fitted(image if turn is None else image.transpose(turn), form)


def _rgb(image: Image.Image) -> Image.Image:
    """`image` as RGB, without transparency."""
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image if image.mode == "RGB" else image.convert("RGB")


def _complaint(error: Exception, encoded: bytes) -> str:
    """What is wrong with an image, and what to do."""
    if isinstance(error, UnidentifiedImageError):
        if is_tiff(encoded):
            return f"is a TIFF of a kind that is not decoded; {TIFF_KINDS}; convert it"
        return f"is not an image; allowed: {', '.join(FORMATS)}; replace or remove it"
    if isinstance(error, Image.DecompressionBombError):
        return f"has more pixels than the {2 * (Image.MAX_IMAGE_PIXELS or 0):,} that are decoded; scale it down"
    if isinstance(error, MemoryError):
        return "takes more memory than there is; scale it down, or free memory"
    reason = printable(str(error)) or type(error).__name__
    return f"is a damaged image ({reason}); allowed: {', '.join(FORMATS)}; replace or remove it"
