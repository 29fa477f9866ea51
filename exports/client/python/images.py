"""Decodes PNG files without any library but NumPy."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

PALETTE = 3
"""PNG's colour type of pixels that are indices of a palette."""
CHANNELS = {0: 1, 2: 3, PALETTE: 1, 4: 2, 6: 4}
"""Channels of the PNG colour types: gray, RGB, indices of a palette, gray with alpha, RGB with alpha."""
MAX_PIXELS = 1 << 24
"""16 megapixels, 64 MiB as RGBA: a damaged header must not fill the memory."""
MAX_IMAGE_SIDE = 1 << 14
"""Resizing takes memory in proportion to a side, too: a line of 16 million pixels would need gigabytes."""


def decode_png(data: bytes) -> NDArray[np.uint8]:
    """The RGB pixels of a PNG (ISO/IEC 15948) of 8 bits a channel without interlacing, uint8 `(height, width, 3)`.

    It may be gray, RGB, either with alpha, or have a palette. Transparency is ignored.

    Raises:
        ValueError: The file is of another kind or damaged.
    """
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        raise ValueError("the image is not a PNG; convert it")
    header, palette, packed = png_chunks(data)
    width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", header)
    if depth != 8 or colour not in CHANNELS or interlace:
        raise ValueError("the PNG must have 8 bits a channel and not be interlaced; convert it")
    if not 0 < width * height <= MAX_PIXELS or max(width, height) > MAX_IMAGE_SIDE:
        raise ValueError(
            f"the PNG has {width} x {height} pixels, expected at most {MAX_PIXELS} in all and {MAX_IMAGE_SIDE} a side"
        )
    row = width * CHANNELS[colour]
    try:
        raw = zlib.decompressobj().decompress(packed, height * (row + 1))
    except zlib.error as error:
        raise ValueError("the PNG is damaged: its pixels cannot be unpacked") from error
    if len(raw) != height * (row + 1):
        raise ValueError("the PNG is damaged: pixels are missing")
    pixels = unfilter(raw, height, row, CHANNELS[colour]).reshape(height, width, CHANNELS[colour])
    if colour == PALETTE:
        return palette_colours(pixels[:, :, 0], palette)
    return np.ascontiguousarray(pixels[:, :, :3]) if pixels.shape[2] > 2 else np.repeat(pixels[:, :, :1], 3, axis=2)


def palette_colours(indices: NDArray[np.uint8], palette: bytes) -> NDArray[np.uint8]:
    """The RGB pixels, uint8 `(height, width, 3)`, of indices of a palette. Raises `ValueError` if it is too short."""
    colours = np.frombuffer(palette, np.uint8, len(palette) // 3 * 3).reshape(-1, 3)
    if indices.max() >= len(colours):
        raise ValueError("the PNG is damaged: its palette lacks a colour")
    return colours[indices]


def png_chunks(data: bytes) -> tuple[bytes, bytes, bytes]:
    """The header of a PNG, 13 bytes (zeros if it has none), its palette (empty if it has none), its packed pixels.

    Raises:
        ValueError: A checksum does not match.
    """
    header, palette, packed, at = bytes(13), b"", list[bytes](), 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        body = data[at + 4 : at + 8 + length]
        if data[at + 8 + length : at + 12 + length] != struct.pack(">I", zlib.crc32(body)):
            raise ValueError("the PNG is damaged: a checksum does not match")
        if body[:4] == b"IHDR" and length == len(header):
            header = body[4:]
        elif body[:4] == b"PLTE":
            palette = body[4:]
        elif body[:4] == b"IDAT":
            packed.append(body[4:])
        at += 12 + length
    return header, palette, b"".join(packed)


def unfilter(raw: bytes, height: int, row: int, step: int) -> NDArray[np.uint8]:
    """Undo PNG's line filters: uint8 `(height, row)`; a line has `row` bytes, a pixel `step`."""
    above = bytearray(row)
    lines = bytearray()
    for y in range(height):
        kind, line = raw[y * (row + 1)], bytearray(raw[y * (row + 1) + 1 : (y + 1) * (row + 1)])
        if kind > 4:
            raise ValueError(f"the PNG is damaged: line filter {kind} does not exist")
        for x in range(row if kind else 0):
            left = line[x - step] if x >= step else 0
            corner = above[x - step] if x >= step else 0
            line[x] = (line[x] + predict(kind, left, above[x], corner)) & 255
        lines += line
        above = line
    return np.frombuffer(bytes(lines), np.uint8).reshape(height, row)


def predict(kind: int, left: int, up: int, corner: int) -> int:
    """The value that PNG's line filter `kind` (1 to 4: left, up, average, Paeth) predicts for a byte."""
    if kind < 4:
        return (left, up, (left + up) // 2)[kind - 1]
    estimate = left + up - corner
    return min((left, up, corner), key=lambda value: abs(estimate - value))
