"""Decodes encoded images and pixel arrays to uint8 `(count, 3, size, size)`, in threads (Pillow releases the GIL).

A process that prepares training batches uses a single thread, since there are about as many such processes as cores.
"""

from __future__ import annotations

import io
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from factory_base.errors import DataError
from factory_base.processors import usable_cores
from factory_base.progress import Progress
from supernet.data.source_splits import SourceSplit, checked_labels
from supernet.data.types import Images, Rows

FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF")
"""Image formats that are decoded, by their names in Pillow."""

_CHUNK = 32  # images per task: enough that starting a task costs nothing beside the decoding
_MOST_THREADS = 32  # the limit that `ThreadPoolExecutor` itself has
_DAMAGED = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)
_ORIENTATION = 0x0112  # the EXIF tag


def decode(encoded: bytes | Path, size: int, name: str) -> Images:
    """Decode one image to RGB, upright and resized to a square: uint8 `(3, size, size)`.

    Only the first frame of an animation is used. A JPEG of more than four times the size is decoded at a half, a
    quarter or an eighth of its resolution, which is several times faster and leaves at least twice the size for the
    antialiasing filter.

    Args:
        encoded: The content of an image file, or its path.
        size: Height and width of the result in pixels.
        name: Name of the image in messages.

    Raises:
        DataError: The image is damaged or in none of `FORMATS`.
    """
    try:
        with Image.open(io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded, formats=FORMATS) as image:
            image.draft(None, (2 * size, 2 * size))
            return _square(image, size)
    except _DAMAGED as error:
        reason = "not an image" if isinstance(error, UnidentifiedImageError) else f"a damaged image ({error})"
        raise DataError(f"{name}: is {reason}; allowed: {', '.join(FORMATS)}; replace or remove it") from error


def decode_many(count: int, decode_one: Callable[[int], Images], size: int, progress: Progress) -> Images:
    """Call `decode_one(0)` to `decode_one(count - 1)` in threads and stack the results: uint8 `(count, 3, size, size)`.

    Args:
        count: Number of images.
        decode_one: Decodes the image of an index to `(3, size, size)`.
        size: Height and width in pixels.
        progress: Called with the number of decoded images.

    Raises:
        DataError: The first error of `decode_one` in the order of the images; or memory does not suffice.
    """
    images = allocate(count, size)

    def fill(start: int) -> None:
        for index in range(start, min(start + _CHUNK, count)):
            images[index] = decode_one(index)

    if multiprocessing.parent_process() is not None:
        for start in range(0, count, _CHUNK):
            fill(start)
        return images
    pool = ThreadPoolExecutor(max_workers=min(_MOST_THREADS, usable_cores()))
    try:
        futures = {start: pool.submit(fill, start) for start in range(0, count, _CHUNK)}
        for start, future in futures.items():
            future.result()
            progress(min(start + _CHUNK, count), count, "images")
    finally:
        pool.shutdown(cancel_futures=True)
    return images


def split_from_arrays(pixels: object, labels: object, class_count: int | None, where: str) -> SourceSplit:
    """A split of a source from NumPy arrays.

    Args:
        pixels: uint8, `(N, H, W)` for grey images, `(N, H, W, C)` or `(N, C, H, W)` with C of 1 or 3.
        labels: Integers, `(N,)` or `(N, 1)`.
        class_count: Number of classes, which all labels must be below; None if the largest label determines it.
        where: Name of the source in messages.

    Raises:
        DataError: The type, shape or range of an array is wrong.
    """
    if not isinstance(pixels, np.ndarray) or not isinstance(labels, np.ndarray):
        kinds = f"{type(pixels).__name__} and {type(labels).__name__}"
        raise DataError(f"{where}: images and labels are {kinds}, expected two NumPy arrays")
    channels_last = _channels_last(pixels, where)
    if len(pixels) != len(labels):
        raise DataError(f"{where}: {len(pixels)} images but {len(labels)} labels; expected one label per image")

    return SourceSplit(labels=checked_labels(labels, class_count, where), read=_ArrayReader(channels_last))


@dataclass(frozen=True, slots=True)
class _ArrayReader:
    """Reads uint8 pixels `(N, H, W)` or `(N, H, W, 3)`. See `supernet.data.types.Reader`."""

    pixels: Images

    def __call__(self, rows: Rows, size: int, progress: Progress) -> Images:
        def one(index: int) -> Images:
            return _square(Image.fromarray(np.ascontiguousarray(self.pixels[rows[index]])), size)

        return decode_many(len(rows), one, size, progress)


def _channels_last(pixels: NDArray[np.generic], where: str) -> Images:
    """`pixels` as `(N, H, W)` for one channel, else `(N, H, W, 3)`."""
    if pixels.dtype != np.uint8:
        raise DataError(f"{where}: images are {pixels.dtype}, expected uint8 (0 to 255); scale and convert them first")
    if pixels.ndim == 3 and all(pixels.shape):
        return pixels.view(np.uint8)
    last, first = (pixels.ndim == 4 and pixels.shape[axis] in (1, 3) for axis in (3, 1))
    if last == first or not all(pixels.shape):
        raise DataError(
            f"{where}: images have shape {pixels.shape}, expected (N, H, W), (N, H, W, C) or (N, C, H, W) with C 1 or 3"
        )
    ordered = pixels.view(np.uint8) if last else pixels.view(np.uint8).transpose(0, 2, 3, 1)
    return ordered[..., 0] if ordered.shape[3] == 1 else ordered


def _square(image: Image.Image, size: int) -> Images:
    if image.getexif().get(_ORIENTATION, 1) != 1:
        image = ImageOps.exif_transpose(image)
    rgb = _rgb(image)
    if rgb.size != (size, size):
        rgb = rgb.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(rgb, dtype=np.uint8).transpose(2, 0, 1)


def _rgb(image: Image.Image) -> Image.Image:
    """`image` as RGB: 16 bits are scaled to 8 (Pillow would clip them), and transparency is dropped."""
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image if image.mode == "RGB" else image.convert("RGB")


def allocate(count: int, size: int) -> Images:
    """An uninitialised array, uint8 `(count, 3, size, size)`. Raises `DataError` if memory does not suffice."""
    try:
        return np.empty((count, 3, size, size), dtype=np.uint8)
    except MemoryError as error:
        needed = count * 3 * size * size / 2**30
        raise DataError(
            f"{count} images of size {size} need {needed:.1f} GiB of memory; lower 'image_size' or set 'limit'"
        ) from error
