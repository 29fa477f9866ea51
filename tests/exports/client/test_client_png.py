"""The decoder of PNG files of the client in Python."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from exports.client.python import images


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGB", "RGBA"])
@pytest.mark.parametrize("size", [(1, 1), (13, 7), (40, 33)])
def test_png_files_are_decoded_as_pillow_decodes_them(tmp_path, mode, size):
    smooth = np.add.outer(np.arange(size[1]) * 3, np.arange(size[0]) * 2)
    noise = np.random.default_rng(0).integers(0, 40, (size[1], size[0], 4))
    pixels = (smooth[:, :, None] + noise).astype(np.uint8)
    image = Image.fromarray(pixels, "RGBA").convert(mode)
    image.save(tmp_path / "image.png", bits=8)
    expected = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(images.decode_png((tmp_path / "image.png").read_bytes()), expected)


@pytest.mark.parametrize("kind", [0, 1, 2, 3, 4])
def test_every_line_filter_is_undone(kind):
    pixels = np.random.default_rng(kind).integers(0, 256, (5, 18)).astype(int)
    lines = b""
    for y in range(5):
        above = pixels[y - 1] if y else np.zeros(18, int)
        predicted = []
        for x in range(18):
            left, corner = (pixels[y, x - 3], above[x - 3]) if x >= 3 else (0, 0)
            paeth = min((left, above[x], corner), key=lambda v, e=left + above[x] - corner: abs(e - v))
            predicted.append((0, left, above[x], (left + above[x]) // 2, paeth)[kind])
        lines += bytes([kind]) + ((pixels[y] - np.array(predicted)) % 256).astype(np.uint8).tobytes()
    np.testing.assert_array_equal(images.unfilter(lines, 5, 18, 3), pixels)


def png(header, pixels, palette=None):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    colours = b"" if palette is None else chunk(b"PLTE", palette)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + colours + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


GOOD = struct.pack(">IIBBBBB", 2, 1, 8, 2, 0, 0, 0)
INDEXED = struct.pack(">IIBBBBB", 2, 1, 8, 3, 0, 0, 0)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"GIF89a", "not a PNG"),
        (b"\x89PNG\r\n\x1a\n", "8 bits a channel"),
        (png(GOOD, b"rubbish"), "cannot be unpacked"),
        (png(GOOD, zlib.compress(bytes(6))), "pixels are missing"),
        (png(GOOD, zlib.compress(b"\x07" + bytes(6))), "line filter 7"),
        (png(GOOD, zlib.compress(bytes(7)))[:-30] + b"x" * 30, "checksum"),
        (png(struct.pack(">IIBBBBB", 1 << 20, 1 << 20, 8, 2, 0, 0, 0), b""), "at most"),
        (png(struct.pack(">IIBBBBB", 1 << 24, 1, 8, 2, 0, 0, 0), b""), "16384 a side"),
        (png(GOOD + GOOD, b""), "8 bits a channel"),
        (png(struct.pack(">IIBBBBB", 2, 1, 8, 2, 0, 0, 1), b""), "not be interlaced"),
        (png(struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0), b""), "8 bits a channel"),
        (png(INDEXED, zlib.compress(b"\0\0\1"), b"RGBxy"), "palette lacks a colour"),
        (png(INDEXED, zlib.compress(bytes(3))), "palette lacks a colour"),
    ],
)
def test_another_or_a_damaged_image_is_refused(data, message):
    with pytest.raises(ValueError, match=message):
        images.decode_png(data)
