"""The orientation of a photo: how its file states it, and the pixels turned accordingly. Needs only NumPy.

Most decoders do not turn pixels (Pillow, OpenCV, Android's `BitmapFactory`); browsers do, so that a page must not do it
again. `orientation` reads hostile files, too: it returns 1 for whatever it does not understand, follows one offset,
and takes time at most in proportion to the file's size.

The rules, so that every port answers alike. A JPEG's segments are read up to the image data; fill bytes (0xFF) before
a marker are skipped. The first APP1 that starts with `Exif` and two zeros decides. Of a PNG the first chunk `eXIf`
decides, of a WebP the first chunk `EXIF`, which may start with `Exif` and two zeros. Checksums are not compared. In the
TIFF structure the first directory alone is read, as far as its entries lie inside; the first entry 0x0112 decides, if
it is one SHORT from 1 to 8.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

UPRIGHT = 1
"""The orientation of a file that states none."""
PREFIX = b"Exif\0\0"
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
ORIENTATION_TAG = 0x0112
SHORT = 3
ENTRY_BYTES = 12
"""A directory's entry: tag (2 bytes), type (2), count (4) and value (4)."""

ByteOrder = Literal["little", "big"]


def orientation(data: bytes) -> int:
    """The EXIF orientation, 1 to 8, that a JPEG, PNG or WebP file states; 1 if it states none that is valid."""
    if data.startswith(b"\xff\xd8"):
        return _tiff_orientation(_of_jpeg(data))
    if data.startswith(PNG_SIGNATURE):
        return _tiff_orientation(_of_chunks(data, len(PNG_SIGNATURE), "big"))
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _tiff_orientation(_of_chunks(data, 12, "little").removeprefix(PREFIX))
    return UPRIGHT


def upright(image: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """The image, uint8 `(height, width, channels)`, as a person sees it, from the pixels as they are stored.

    Args:
        image: The stored pixels.
        orientation: What the file states: 1 as stored, 2 mirrored left to right, 3 turned by 180 degrees, 4 mirrored
            top to bottom, 5 transposed, 6 to be turned clockwise by 90 degrees, 7 transposed along the other diagonal,
            8 to be turned counterclockwise by 90 degrees.

    Raises:
        ValueError: There is no such orientation.
    """
    if not 1 <= orientation <= 8:
        raise ValueError(f"the orientation is {orientation}, expected 1 to 8")
    turned = image.swapaxes(0, 1) if orientation >= 5 else image
    down = -1 if orientation in (3, 4, 7, 8) else 1
    along = -1 if orientation in (2, 3, 6, 7) else 1
    return np.ascontiguousarray(turned[::down, ::along])


def _of_jpeg(data: bytes) -> bytes:
    """The TIFF structure in a JPEG; empty if there is none before the image data."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker == 0x01 or 0xD0 <= marker <= 0xD7:  # markers without a length: TEM, RST
            at += 2
        else:
            length = int.from_bytes(data[at + 2 : at + 4])
            body = data[at + 4 : at + 2 + length]
            if marker in (0xD9, 0xDA):  # end, and start of the image data
                return b""
            if marker == 0xE1 and body.startswith(PREFIX):
                return body[len(PREFIX) :]
            at += 2 + length
    return b""


def _of_chunks(data: bytes, at: int, order: ByteOrder) -> bytes:
    """The TIFF structure in the chunks of a PNG (big-endian) or WebP (little-endian); empty if there is none."""
    png = order == "big"
    while at + 8 <= len(data):
        kind, length = (data[at + 4 : at + 8], data[at : at + 4]) if png else (data[at : at + 4], data[at + 4 : at + 8])
        size = int.from_bytes(length, order)
        if kind == (b"eXIf" if png else b"EXIF"):
            return data[at + 8 : at + 8 + size]
        if kind == b"IEND":
            return b""
        at += 8 + size + (4 if png else size % 2)  # a checksum, or a byte that makes the length even
    return b""


def _tiff_orientation(tiff: bytes) -> int:
    """The orientation in the first directory of a TIFF structure; 1 if it has no valid one."""
    order: ByteOrder = "little" if tiff.startswith(b"II*\0") else "big"
    if order == "big" and not tiff.startswith(b"MM\0*"):
        return UPRIGHT

    def number(at: int, size: int) -> int:
        return int.from_bytes(tiff[at : at + size], order)

    first = number(4, 4) + 2
    entries = min(number(first - 2, 2), (len(tiff) - first) // ENTRY_BYTES)
    for at in range(first, first + entries * ENTRY_BYTES, ENTRY_BYTES):
        if number(at, 2) == ORIENTATION_TAG:
            value = number(at + 8, 2)
            usable = number(at + 2, 2) == SHORT and number(at + 4, 4) == 1 and 1 <= value <= 8
            return value if usable else UPRIGHT
    return UPRIGHT
