"""Whole pictures are read whatever their metadata, and damaged ones fail with one line."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from factory_base.errors import DataError
from supernet.data import decoding
from supernet.data.decoding import decode
from supernet.data.image_form import ImageForm
from supernet.data.images import decode_many

RED, BLUE = (255, 0, 0), (0, 0, 255)
EXIF = b"Exif\0\0"


def half_red(mode: str = "RGB") -> Image.Image:
    """Red above blue."""
    image = Image.new("RGB", (16, 16), RED)
    image.paste(BLUE, (0, 8, 16, 16))
    return image.convert(mode)


def ifd(*entries: tuple[int, int, int, bytes]) -> bytes:
    """EXIF, big-endian, of entries (tag, type, count, four bytes of value)."""
    rows = b"".join(struct.pack(">HHI", *entry[:3]) + entry[3].ljust(4, b"\0") for entry in entries)
    return EXIF + b"MM\0*" + struct.pack(">IH", 8, len(entries)) + rows + struct.pack(">I", 0)


def turned(value: int) -> tuple[int, int, int, bytes]:
    return (0x0112, 3, 1, struct.pack(">H", value))


def encoded(kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    half_red().save(stream, kind, **({"quality": 100, "subsampling": 0} if kind == "JPEG" else {}), **options)
    return stream.getvalue()


def top_is_red(data: bytes) -> bool:
    image = decode(data, ImageForm.square(8), "picture").astype(int)
    return bool(image[0, :3].mean() > 150 > image[0, 5:].mean())


ODD = {
    "maker as a rational": ifd((0x010F, 5, 1, struct.pack(">I", 200))),
    "resolution as text": ifd((0x011A, 2, 3, b"72\0")),
    "orientation as text": ifd((0x0112, 2, 3, b"6\0\0")),
    "orientation of 9": ifd(turned(9)),
    "cut short": EXIF + b"MM\0*",
    "no TIFF header": EXIF + bytes(30),
    "a loop of directories": EXIF + b"MM\0*" + struct.pack(">IHI", 8, 0, 8),
    "a value far outside": ifd((0x010F, 2, 2**31, struct.pack(">I", 2**31))),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("name", ODD)
def test_odd_exif_takes_no_picture_away(kind: str, name: str) -> None:
    assert top_is_red(encoded(kind, exif=ODD[name]))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_as_pillow_does(orientation: int) -> None:
    data = encoded("PNG", exif=ifd(turned(orientation)))
    from PIL import ImageOps

    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).resize((8, 8), Image.Resampling.BILINEAR)
    assert np.array_equal(decode(data, ImageForm.square(8), "picture"), np.asarray(expected).transpose(2, 0, 1))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_picture_with_an_odd_tag_is_still_turned() -> None:
    exif = ifd((0x010F, 5, 1, struct.pack(">I", 200)), turned(3))
    assert not top_is_red(encoded("JPEG", exif=exif))


def long_text(key: str, text: str) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_itxt(key, text, zip=True)
    return info


def test_long_texts_of_a_png_are_skipped_but_their_orientation_counts() -> None:
    assert top_is_red(encoded("PNG", pnginfo=long_text("Comment", "x" * 2_000_000)))
    xmp = '<x tiff:Orientation="3"/>' + "x" * 2_000_000
    assert not top_is_red(encoded("PNG", pnginfo=long_text("XML:com.adobe.xmp", xmp)))
    assert top_is_red(encoded("PNG", icc_profile=bytes(3_000_000)))


def test_a_damaged_text_of_a_png_is_skipped() -> None:
    data = encoded("PNG", pnginfo=long_text("Comment", "x" * 100))
    at = data.index(b"iTXt") + 20
    assert top_is_red(data[:at] + b"\xff\xff" + data[at + 2 :])


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_damaged_pixels_are_not_repaired(kind: str) -> None:
    data = encoded(kind, exif=ODD["cut short"])
    with pytest.raises(DataError, match=r"^picture: is a damaged image \("):
        decode(data[: len(data) * 2 // 3], ImageForm.square(8), "picture")


def test_more_pixels_than_are_decoded_are_said_so() -> None:
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks
    )
    with pytest.raises(DataError, match=r"^picture: has more pixels than the 178,956,970 that are decoded"):
        decode(data, ImageForm.square(8), "picture")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RecursionError("too\ndeep"), r"is a damaged image (too\ndeep)"),
        (struct.error("unpack requires"), "is a damaged image (unpack requires)"),
        (KeyError(), "is a damaged image (KeyError)"),
        (MemoryError(), "takes more memory than there is"),
    ],
)
def test_whatever_a_decoder_raises_is_one_line(monkeypatch: pytest.MonkeyPatch, error: Exception, message: str) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(decoding.Image, "open", fail)
    with pytest.raises(DataError) as caught:
        decode(b"anything", ImageForm.square(8), "picture")
    assert str(caught.value).startswith(f"picture: {message}")
    assert str(caught.value).isprintable()


def test_pillow_warns_of_nothing_that_is_handled() -> None:
    data = encoded("JPEG", exif=ifd((0x010F, 2, 2**31, struct.pack(">I", 2**31)), turned(3)))
    form = ImageForm.square(8)
    assert decode_many(1, lambda _: decode(data, form, "picture"), form, lambda *_: None).shape == (1, 3, 8, 8)
