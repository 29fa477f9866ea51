"""The samples of images with 16 bits per sample, of which Pillow alone gives the upper half."""

from __future__ import annotations

import io
import sys
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from supernet.data.formats import UnfitError, is_tiff
from supernet.data.metadata import PNG_SIGNATURE

# Pillow decodes colour of 16 bits from the upper byte of each sample. Decoded as if the bytes were in the other order,
# it gives the lower bytes. Grey with alpha has no such second form, but its four bytes per pixel can be read as RGBA.
_OTHER = "B" if sys.byteorder == "little" else "L"  # the order that is not the one of this machine, which libtiff uses
_LOWER_BYTES: Final = {
    "LA;16B": "RGBA",
    **{f"{mode};16B": f"{mode};16L" for mode in ("RGB", "RGBA", "RGBX")},
    **{f"{mode};16L": f"{mode};16B" for mode in ("RGB", "RGBA", "RGBX")},
    **{f"{mode};16N": f"{mode};16{_OTHER}" for mode in ("RGB", "RGBA", "RGBX")},
}
_BITS, _PHOTOMETRIC, _PLANES = 258, 262, 284  # TIFF tags
_SEPARATE_PLANES = 2
_WHITE_IS_ZERO = 0


def has_sixteen_bits(encoded: bytes) -> bool:
    """Whether an image file has 16 bits per sample; of the formats that are decoded, only PNG and TIFF can."""
    if is_tiff(encoded):
        try:
            with Image.open(io.BytesIO(encoded), formats=("TIFF",)) as image:
                bits = image.tag_v2.get(_BITS, (1,))  # type: ignore[attr-defined] # of TIFF images only
        except Exception:  # decoding the image will say what is wrong
            return False
        return bool(max(bits if isinstance(bits, tuple) else (bits,)) == 16)
    return encoded.startswith(PNG_SIGNATURE) and encoded[12:16] == b"IHDR" and encoded[24:25] == b"\x10"


def samples_of(encoded: bytes) -> NDArray[np.int64]:
    """The samples of an image of 16 bits: `(H, W)` for grey, `(H, W, 3)` for colour; alpha is dropped.

    Raises:
        UnfitError: It is a TIFF that stores them in a way that is not decoded.
        Exception: Whatever a damaged file leads Pillow to.
    """
    with Image.open(io.BytesIO(encoded), formats=("PNG", "TIFF")) as image:
        _check_planes(image)
        stored = [_raw_mode(tile[3]) for tile in image.tile]
        is_inverted = is_tiff(encoded) and image.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO  # type: ignore[attr-defined]
        upper = np.asarray(image).astype(np.int64)
    if stored[0] not in _LOWER_BYTES:
        if upper.ndim > 2:
            raise UnfitError(f"is a TIFF of 16 bits in a form that is not decoded ({stored[0]}); convert it to RGB")
        return 0xFFFF - upper if is_inverted else upper
    with Image.open(io.BytesIO(encoded), formats=("PNG", "TIFF")) as image:
        image.tile = [_in_other_order(tile) for tile in image.tile]
        lower = np.asarray(image).astype(np.int64)
    if stored[0] == "LA;16B":
        return lower[..., 0] << 8 | lower[..., 1]
    return (upper << 8 | lower)[..., :3]


def _check_planes(image: Image.Image) -> None:
    tags = getattr(image, "tag_v2", {})
    if image.mode in ("RGB", "RGBA") and tags.get(_PLANES) == _SEPARATE_PLANES:
        raise UnfitError("is a TIFF of 16 bits that stores its colours in separate planes; convert it")


def _raw_mode(arguments: Any) -> str:
    """The mode in which a tile is stored, from the arguments of its decoder."""
    return str(arguments if isinstance(arguments, str) else arguments[0])


def _in_other_order(tile: Any) -> Any:
    """A tile whose samples are decoded as if their bytes were in the other order."""
    old = tile[3]
    new = _LOWER_BYTES[old] if isinstance(old, str) else (_LOWER_BYTES[old[0]], *old[1:])
    return tile._replace(args=new) if hasattr(tile, "_replace") else (*tile[:3], new)  # plain tuples in Pillow 10
