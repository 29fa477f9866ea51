"""The formats of image files that are decoded, and which kinds of each."""

from __future__ import annotations

from typing import Final

from PIL import Image

FORMATS: Final = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF", "HEIF")
"""Image formats that are decoded, by their names in Pillow; HEIF (HEIC) only with the extra `heic`."""

EXTENSIONS: Final = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".heic", ".heif")
"""File name extensions of images, in lower case."""

TIFF_KINDS: Final = "allowed: one page in grey, in colour or with a palette, 1, 8 or 16 bits per sample"
"""The kinds of TIFF files that are decoded, for messages."""

_TIFF_SIGNATURES = (b"II*\0", b"MM\0*")
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "I;16", "I;16B", "I;16L")
_SUBFILE_TYPE = 254  # the TIFF tag whose lowest bit marks a reduced copy of another page
_PAGE_LIMIT = 32  # pages that are looked at: a file of one page has a few reduced copies at most


class UnfitError(Exception):
    """A picture is of a kind that is not decoded; the message says of which, and what to do."""


def is_tiff(encoded: bytes) -> bool:
    """Whether a file is a TIFF by its first bytes."""
    return encoded.startswith(_TIFF_SIGNATURES)


def formats_for(encoded: bytes) -> tuple[str, ...]:
    """The formats to try for a file. Raises `UnfitError` for HEIC without the extra that decodes it."""
    if encoded[4:8] != b"ftyp" or encoded[8:12] not in _HEIF_BRANDS:
        return FORMATS[:-1]
    try:
        from pillow_heif import register_heif_opener
    except ImportError as error:
        raise UnfitError(
            "is a HEIC picture, which needs the extra 'heic': pip install -e '.[heic]'; or convert it"
        ) from error
    register_heif_opener()
    return FORMATS[-1:]


def check_kind(opened: Image.Image) -> None:
    """Raise `UnfitError` for an opened TIFF of several pages, or with samples whose range is not known."""
    if opened.format != "TIFF":
        return
    if opened.mode not in _MODES:
        raise UnfitError(f"is a TIFF of mode {opened.mode} (32 bits or floating point); {TIFF_KINDS}; convert it")
    if _has_pages(opened):
        raise UnfitError(
            "is a TIFF of several pages, and it is not known which one the label is for; write each page to a file of "
            "its own"
        )


def _has_pages(opened: Image.Image) -> bool:
    """Whether a TIFF has a second page that is more than a reduced copy of the first one."""
    for index in range(1, _PAGE_LIMIT):
        try:
            opened.seek(index)
        except EOFError:
            break
        if not opened.tag_v2.get(_SUBFILE_TYPE, 0) & 1:  # type: ignore[attr-defined] # of TIFF images only
            return True
    opened.seek(0)
    return False
