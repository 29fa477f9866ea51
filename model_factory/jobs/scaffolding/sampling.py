"""Reads the headers of a bounded sample of images, and counts the words of a sample of texts."""

from __future__ import annotations

import io
import tarfile
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from factory_base.errors import DataError
from model_factory.jobs.scaffolding.found import ImageSample, TextSample
from supernet.data.formats import EXTENSIONS
from supernet.data.metadata import orientation_of

SAMPLE = 200
"""Images or texts that are looked at: shares of a sample of 200 are within 7 points of the truth (95 %)."""
_MOST_SECONDS = 20
"""Of looking at them, for disks and networks that are slow to open files."""
_TURNED = (5, 6, 7, 8)  # EXIF orientations that exchange width and height
_GREY_MODES = ("1", "L", "LA", "I", "I;16", "I;16B", "F")

T = TypeVar("T")


def evenly(items: Sequence[T], count: int = SAMPLE) -> list[T]:
    """At most `count` of the `items`, spread evenly over all."""
    if len(items) <= count:
        return list(items)
    return [items[int(place)] for place in np.linspace(0, len(items) - 1, count)]


def image_sample(images: Iterable[tuple[str, Path | bytes]], where: str) -> ImageSample:
    """The sizes of images, from their headers.

    Args:
        images: Name, and file or encoded bytes of each.
        where: Name of the data, for messages.

    Raises:
        DataError: None of them is readable.
    """
    sizes: list[tuple[int, int]] = []
    unreadable: list[str] = []
    grey = 0
    deadline = time.monotonic() + _MOST_SECONDS
    for name, image in images:
        if sizes and time.monotonic() > deadline:
            break
        try:
            width, height, is_grey = _header(image)
        except Exception:  # decoders raise whatever a damaged file leads them to
            unreadable.append(name)
            continue
        sizes.append((width, height))
        grey += is_grey
    if not sizes:
        tried = f"none of {len(unreadable)} sampled images can be read, the first is {unreadable[0]}"
        raise DataError(f"{where}: {tried if unreadable else 'no images were found'}")
    return sample_of_sizes(np.array(sizes), grey / len(sizes), tuple(unreadable))


def sample_of_sizes(sizes: NDArray[np.int64], grey: float, unreadable: tuple[str, ...] = ()) -> ImageSample:
    """A sample with the given widths and heights, `(count, 2)`."""
    short, long = sizes.min(axis=1), sizes.max(axis=1)
    width, height = np.median(sizes, axis=0)
    return ImageSample(
        count=len(sizes),
        width=int(width),
        height=int(height),
        small_side=int(np.percentile(short, 10)),
        side=int(np.median(short)),
        largest_ratio=float(np.percentile(long / short, 90)),
        grey=grey,
        unreadable=unreadable,
    )


def tar_images(path: Path) -> Iterator[tuple[str, bytes]]:
    """The first images in a tar archive. Raises `DataError` if it is none."""
    try:
        with tarfile.open(path, "r:") as archive:
            members = (member for member in archive if member.isfile() and member.name.lower().endswith(EXTENSIONS))
            for member in islice(members, SAMPLE):
                content = archive.extractfile(member)
                yield f"{path}, {member.name}", b"" if content is None else content.read()
    except (tarfile.TarError, OSError) as error:
        raise DataError(f"{path}: is not a readable tar archive ({error}); write it again") from error


def text_sample(texts: Iterable[str], where: str) -> TextSample:
    """The lengths of texts. Raises `DataError` if there are none."""
    words = [text.lower().split() for text in texts]
    if not words:
        raise DataError(f"{where}: no texts were found")
    lengths = [len(found) for found in words]
    return TextSample(
        count=len(words),
        words=int(np.median(lengths)),
        long=int(np.percentile(lengths, 95)),
        distinct=len({word for found in words for word in found}),
    )


def _header(image: Path | bytes) -> tuple[int, int, bool]:
    """Width and height as the picture is seen, and whether it is stored without colour."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        with Image.open(io.BytesIO(image) if isinstance(image, bytes) else image) as opened:
            width, height = opened.size
            if orientation_of(opened) in _TURNED:
                width, height = height, width
            return width, height, opened.mode in _GREY_MODES
