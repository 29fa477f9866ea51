"""Reads past odd metadata of image files: how a picture is turned, and its bytes without whatever else it carries."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from PIL import Image

_ORIENTATION = 0x0112  # the EXIF tag
_BYTE_ORDERS: Final[dict[bytes, Literal["little", "big"]]] = {b"II*\0": "little", b"MM\0*": "big"}
_INTEGER_BYTES: Final = {3: 2, 4: 4}  # EXIF types of unsigned integers
_XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([1-8])')
_MOST_XMP = 2**20  # bytes of XMP that are searched: cameras write the orientation near the start
_XMP_KEYWORD = b"XML:com.adobe.xmp\0"
PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
"""The first bytes of a PNG file."""
_PNG_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")


@dataclass(frozen=True, slots=True, kw_only=True)
class BarePicture:
    """An image file without metadata.

    Attributes:
        encoded: The file without the parts that do not shape its pixels.
        orientation: The EXIF orientation that the metadata state, 1 to 8; 1 if they state none.
    """

    encoded: bytes
    orientation: int


def orientation_of(image: Image.Image) -> int:
    """The EXIF orientation of an opened image, 1 to 8; 1, as stored, if its metadata state none."""
    try:
        found = _valid(image.getexif().get(_ORIENTATION))
    except Exception:  # Pillow raises a dozen kinds of errors for metadata that break their format
        found = 1
    exif = image.info.get("exif")
    return _in_exif(exif) if found == 1 and isinstance(exif, bytes) else found


def without_metadata(encoded: bytes) -> BarePicture | None:
    """A PNG file without its metadata, of which Pillow refuses long or damaged texts and profiles; else None."""
    if not encoded.startswith(PNG_SIGNATURE):
        return None
    kept, exif, xmp = [PNG_SIGNATURE], b"", b""
    for kind, start, stop in _png_chunks(encoded):
        if kind in _PNG_PIXELS:
            kept.append(encoded[start:stop])
        elif kind == b"eXIf":
            exif = encoded[start + 8 : stop - 4]
        elif kind == b"iTXt" and encoded.startswith(_XMP_KEYWORD, start + 8):
            xmp = _png_text(encoded[start + 8 : stop - 4])
    return BarePicture(encoded=b"".join(kept), orientation=_orientation(exif, xmp))


def _png_chunks(encoded: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of each chunk."""
    start = len(PNG_SIGNATURE)
    while start + 12 <= len(encoded):
        stop = start + 12 + int.from_bytes(encoded[start : start + 4], "big")
        yield encoded[start + 4 : start + 8], start, stop
        start = stop


def _png_text(content: bytes) -> bytes:
    """The text of an iTXt chunk after keyword, compression flag and method, language and translated keyword."""
    is_compressed = content[len(_XMP_KEYWORD) : len(_XMP_KEYWORD) + 1] == b"\1"
    parts = content[len(_XMP_KEYWORD) + 2 :].split(b"\0", 2)
    text = parts[2] if len(parts) == 3 else b""
    try:
        return zlib.decompressobj().decompress(text, _MOST_XMP) if is_compressed else text[:_MOST_XMP]
    except zlib.error:
        return b""


def _orientation(exif: bytes, xmp: bytes) -> int:
    found, stated = _in_exif(exif), _XMP_ORIENTATION.search(xmp)
    return int(stated[1]) if found == 1 and stated else found


def _in_exif(exif: bytes) -> int:
    """The orientation in the first directory of EXIF, whatever its other entries hold."""
    content = exif.removeprefix(b"Exif\0\0")
    order = _BYTE_ORDERS.get(content[:4])
    if order is None:
        return 1
    start = int.from_bytes(content[4:8], order)
    count = int.from_bytes(content[start : start + 2], order)
    for at in range(start + 2, min(start + 2 + 12 * count, len(content) - 11), 12):
        tag, kind = (int.from_bytes(content[at + i : at + i + 2], order) for i in (0, 2))
        if tag == _ORIENTATION and kind in _INTEGER_BYTES:
            return _valid(int.from_bytes(content[at + 8 : at + 8 + _INTEGER_BYTES[kind]], order))
    return 1


def _valid(value: object) -> int:
    return value if isinstance(value, int) and 1 <= value <= 8 else 1
