"""Small files that state an orientation, sound and hostile: they have no image, which its reader does not need."""

from __future__ import annotations

import struct
from collections.abc import Iterator

PREFIX = b"Exif\0\0"


def tiff(value: int, order: str = "<", *, tag: int = 0x0112, kind: int = 3, count: int = 1, before: int = 0) -> bytes:
    """A TIFF structure with an orientation, after `before` other entries."""
    others = struct.pack(order + "HHIHH", 0x0100, 3, 1, 7, 0) * before
    entry = struct.pack(order + "HHIHH", tag, kind, count, value, 0)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, before + 1)
    return head + others + entry + bytes(4)


def jpeg(*segments: tuple[int, bytes]) -> bytes:
    """A JPEG of segments, each a marker and its body, up to the image data."""
    parts = [bytes([0xFF, marker]) + struct.pack(">H", 2 + len(body)) + body for marker, body in segments]
    return b"\xff\xd8" + b"".join(parts) + b"\xff\xda\0\x02" + bytes(8)


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of chunks, whose checksums are zeros."""
    parts = [struct.pack(">I", len(body)) + kind + body + bytes(4) for kind, body in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def webp(*chunks: tuple[bytes, bytes]) -> bytes:
    """A WebP of chunks."""
    parts = [kind + struct.pack("<I", len(body)) + body + bytes(len(body) % 2) for kind, body in chunks]
    return b"RIFF" + struct.pack("<I", 4 + sum(map(len, parts))) + b"WEBP" + b"".join(parts)


def exif(data: bytes) -> tuple[int, bytes]:
    """The segment of a JPEG that holds a TIFF structure."""
    return 0xE1, PREFIX + data


def files() -> Iterator[tuple[str, bytes, int]]:
    """Each file with a name and the orientation that its reader must find."""
    yield from _sound()
    yield from _damaged_containers()
    yield from _damaged_structures()


def _sound() -> Iterator[tuple[str, bytes, int]]:
    for value in range(1, 9):
        yield f"JPEG with {value}", jpeg(exif(tiff(value, "<>"[value % 2]))), value
    yield "PNG with 6", png((b"IHDR", bytes(13)), (b"eXIf", tiff(6, ">"))), 6
    yield "PNG with 8 after the image", png((b"IHDR", bytes(13)), (b"IDAT", b"x"), (b"eXIf", tiff(8))), 8
    yield "WebP with 3", webp((b"VP8X", bytes(10)), (b"EXIF", tiff(3))), 3
    yield "WebP with 5, the prefix, and a chunk of odd size", webp((b"VP8 ", b"odd"), (b"EXIF", PREFIX + tiff(5))), 5
    yield "JPEG with other segments before", jpeg((0xE0, b"JFIF\0"), (0xE1, b"http://ns.adobe.com/"), exif(tiff(6))), 6
    sound = jpeg(exif(tiff(6)))
    yield "JPEG with fill bytes and markers without a length", b"\xff\xd8\xff\x01\xff\xd0\xff\xff\xff" + sound[3:], 6
    yield "JPEG with other entries before", jpeg(exif(tiff(7, before=9))), 7
    yield "JPEG with two structures", jpeg(exif(tiff(3)), exif(tiff(6))), 3
    twice = bytearray(tiff(6, before=1))
    twice[10:22] = struct.pack("<HHIHH", 0x0112, 3, 1, 2, 0)
    yield "JPEG with two entries", jpeg(exif(bytes(twice))), 2
    yield "JPEG without", jpeg((0xE0, b"JFIF\0")), 1


def _damaged_containers() -> Iterator[tuple[str, bytes, int]]:
    sound = jpeg(exif(tiff(6)))
    yield "nothing", b"", 1
    yield "another kind of file", b"GIF89a" + tiff(6), 1
    yield "a bare structure", tiff(6), 1
    yield "JPEG that ends at once", b"\xff\xd8", 1
    yield "JPEG of fill bytes alone", b"\xff\xd8" + b"\xff" * 300, 1
    yield "JPEG with a segment of length 0", b"\xff\xd8\xff\xe0\0\0" + sound[2:], 1
    yield "JPEG with a segment beyond its end", b"\xff\xd8\xff\xe0\xff\xff" + sound[2:], 1
    yield "JPEG with rubbish between segments", b"\xff\xd8\0" + sound[2:], 1
    yield "JPEG with a structure after the start of the image data", b"\xff\xd8\xff\xda\0\x02" + sound[2:], 1
    yield "JPEG that ends before", b"\xff\xd8\xff\xd9\0\x02" + sound[2:], 1
    yield "JPEG cut within the value", sound[: sound.index(PREFIX) + 6 + 8 + 2 + 9], 1
    yield "JPEG whose structure is longer than stated", sound[:4] + struct.pack(">H", 20) + sound[6:], 1
    yield "PNG with a chunk of 4 GB", png((b"IHDR", bytes(13))) + b"\xff\xff\xff\xffeXIg" + tiff(6), 1
    yield "PNG whose structure states 4 GB", png() + b"\xff\xff\xff\xffeXIf" + tiff(4), 4
    yield "PNG with a structure after its end", png((b"IEND", b""), (b"eXIf", tiff(6))), 1
    yield "WebP with a chunk of 4 GB", webp() + b"VP8 \xff\xff\xff\xff" + tiff(6), 1
    yield "WebP of empty chunks", webp(*[(b"XXXX", b"")] * 30), 1


def _damaged_structures() -> Iterator[tuple[str, bytes, int]]:
    for value in (0, 9, 0xFFFF):
        yield f"the value {value}", jpeg(exif(tiff(value))), 1
    yield "the type LONG", jpeg(exif(tiff(6, kind=4))), 1
    yield "two values", jpeg(exif(tiff(6, count=2))), 1
    yield "4 billion values", jpeg(exif(tiff(6, count=0xFFFFFFFF))), 1
    yield "another tag", jpeg(exif(tiff(6, tag=0x0113))), 1
    yield "mixed byte orders", jpeg(exif(b"MM\0*" + tiff(6)[4:])), 1
    yield "no TIFF", jpeg(exif(b"II+\0" + tiff(6)[4:])), 1
    yield "an empty structure", jpeg(exif(b"")), 1
    yield "the signature alone", jpeg(exif(b"MM\0*")), 1
    sound = tiff(6)
    for offset in (len(sound) - 1, len(sound), 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF):
        yield f"a directory at {offset}", jpeg(exif(sound[:4] + struct.pack("<I", offset) + sound[8:])), 1
    yield "a directory in its own head", jpeg(exif(sound[:4] + struct.pack("<I", 0) + sound[8:])), 1
    yield "65,535 entries of which one is there", jpeg(exif(sound[:8] + b"\xff\xff" + sound[10:])), 6
    yield "65,535 entries of which none is there", jpeg(exif(sound[:8] + b"\xff\xff")), 1
    itself = sound[:-4] + struct.pack("<I", 8)
    yield "a next directory that is this one", jpeg(exif(itself.replace(b"\x12\x01\x03", b"\x13\x01\x03"))), 1
