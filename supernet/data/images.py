"""Reads many encoded images or pixel arrays as uint8 `(count, *form.shape)`, in threads (Pillow releases the GIL).

A process that prepares training batches uses a single thread, since there are about as many such processes as cores.
"""

from __future__ import annotations

import multiprocessing
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from factory_base.errors import DataError
from factory_base.processors import usable_cores
from factory_base.progress import Progress
from supernet.data.decoding import fitted
from supernet.data.image_form import ImageForm
from supernet.data.source_splits import SourceSplit, labels_of_kind
from supernet.data.types import Images, LabelKind, Rows

_CHUNK = 32  # images per task: enough that starting a task costs nothing beside the decoding
_MOST_THREADS = 32  # the limit that `ThreadPoolExecutor` itself has


def decode_many(count: int, decode_one: Callable[[int], Images], form: ImageForm, progress: Progress) -> Images:
    """Call `decode_one(0)` to `decode_one(count - 1)` in threads and stack the results: uint8 `(count, *form.shape)`.

    Args:
        count: Number of images.
        decode_one: Decodes the image of an index to `form.shape`.
        form: Size and channels of the results.
        progress: Called with the number of decoded images.

    Raises:
        DataError: The first error of `decode_one` in the order of the images; or memory does not suffice.
    """
    images = allocate(count, form)

    def fill(start: int) -> None:
        for index in range(start, min(start + _CHUNK, count)):
            images[index] = decode_one(index)

    with _no_warnings_of_pillow():
        for start in _in_threads(fill, range(0, count, _CHUNK)):
            progress(min(start + _CHUNK, count), count, "images")
    return images


def largest_of(indices: range, sample_of: Callable[[int], int]) -> int:
    """The largest of the results of `sample_of` for `indices`, computed in threads; 0 for none."""
    largest = np.zeros(len(indices), dtype=np.int64)

    def fill(start: int) -> None:
        for place in range(start, min(start + _CHUNK, len(indices))):
            largest[place] = sample_of(indices[place])

    with _no_warnings_of_pillow():
        for _ in _in_threads(fill, range(0, len(indices), _CHUNK)):
            pass
    return int(largest.max(initial=0))


def _in_threads(fill: Callable[[int], None], starts: range) -> Iterator[int]:
    """Call `fill` for all `starts`, in threads unless this is a process that prepares batches; yield each one done."""
    if multiprocessing.parent_process() is not None:
        for start in starts:
            fill(start)
            yield start
        return
    pool = ThreadPoolExecutor(max_workers=min(_MOST_THREADS, usable_cores()))
    try:
        futures = {start: pool.submit(fill, start) for start in starts}
        for start, future in futures.items():
            future.result()
            yield start
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _no_warnings_of_pillow() -> Iterator[None]:
    """Pillow warns of odd metadata and of large pictures, which `decode` handles."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def split_from_arrays(
    pixels: object, labels: object, class_count: int | None, where: str, kind: LabelKind = "class"
) -> SourceSplit:
    """A split of a source from NumPy arrays.

    Args:
        pixels: uint8, `(N, H, W)` for grey images, `(N, H, W, C)` or `(N, C, H, W)` with C of 1 or 3.
        labels: Integers, `(N,)` or `(N, 1)`; for other kinds of labels see `labels_of_kind`.
        class_count: Number of classes, which all labels must be below; None if the labels determine it.
        where: Name of the source in messages.
        kind: What the task learns.

    Raises:
        DataError: The type, shape or range of an array is wrong.
    """
    if not isinstance(pixels, np.ndarray) or not isinstance(labels, np.ndarray):
        kinds = f"{type(pixels).__name__} and {type(labels).__name__}"
        raise DataError(f"{where}: images and labels are {kinds}, expected two NumPy arrays")
    channels_last = _channels_last(pixels, where)
    if len(pixels) != len(labels):
        raise DataError(f"{where}: {len(pixels)} images but {len(labels)} labels; expected one label per image")

    return SourceSplit(labels=labels_of_kind(labels, kind, class_count, where), read=_ArrayReader(channels_last))


@dataclass(frozen=True, slots=True)
class _ArrayReader:
    """Reads uint8 pixels `(N, H, W)` or `(N, H, W, 3)`. See `supernet.data.types.Reader`."""

    pixels: Images

    def __call__(self, rows: Rows, form: ImageForm, progress: Progress) -> Images:
        def one(index: int) -> Images:
            return fitted(Image.fromarray(np.ascontiguousarray(self.pixels[rows[index]])), form)

        return decode_many(len(rows), one, form, progress)


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


def allocate(count: int, form: ImageForm) -> Images:
    """An uninitialised array, uint8 `(count, *form.shape)`. Raises `DataError` if memory does not suffice."""
    try:
        return np.empty((count, *form.shape), dtype=np.uint8)
    except MemoryError as error:
        needed, pixels = count * form.image_bytes / 2**30, f"{form.width} x {form.height} pixels"
        raise DataError(
            f"{count} images of {pixels} need {needed:.1f} GiB of memory; lower 'image_size' or set 'limit'"
        ) from error
