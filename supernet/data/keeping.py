"""Where decoded images live: in memory, in files, or nowhere; and the one pass over them that finds their facts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

from factory_base.errors import DataError
from factory_base.progress import Progress, silent
from supernet.data.config import DataConfig
from supernet.data.parts import Part
from supernet.data.shelf import Shelf
from supernet.data.types import ContentDigest, Images, LabelledImages, OnDemandImages, Rows, chunks_of

Channels = tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Selection:
    """Those `rows` of a source's `part` that make one part of the splits."""

    part: Part
    rows: Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a pass over all images finds.

    Attributes:
        mean: of each channel of `train`; see `ChannelCounts`.
        std: likewise.
        digests: of the content of each part, by name.
    """

    mean: Channels
    std: Channels
    digests: dict[str, str]


class ChannelCounts:
    """How often each level occurs in each channel.

    Counted in integers, so that the figures are the same on every machine and for every order.
    """

    def __init__(self) -> None:
        self._counts = np.zeros((3, 256), dtype=np.int64)

    def add(self, images: Images) -> None:
        """Count `(count, 3, size, size)`."""
        for channel in range(3):
            self._counts[channel] += np.bincount(images[:, channel].ravel(), minlength=256)

    def mean_and_std(self) -> tuple[Channels, Channels]:
        """Mean and population standard deviation of each channel, as fractions of 255, 6 decimals.

        A constant channel has the deviation of one grey level, so it can be divided by.

        Raises:
            DataError: all pixels of all images are equal.
        """
        levels = np.arange(256)
        total = int(self._counts[0].sum())
        means, deviations = [], []
        for row in self._counts:
            first, second = int(row @ levels), int(row @ levels**2)
            means.append(round(first / total / 255, 6))
            deviations.append(((second * total - first**2) ** 0.5) / total / 255)
        if not any(deviations):
            raise DataError("all training images are one and the same colour; check the images that the source gives")
        floored = [round(max(deviation, 1 / 255), 6) for deviation in deviations]
        return (means[0], means[1], means[2]), (floored[0], floored[1], floored[2])


def keep(
    parts: Mapping[str, Selection], config: DataConfig, shelf: Shelf | None, progress: Progress = silent
) -> tuple[dict[str, LabelledImages], Facts]:
    """The images of all parts, kept as `config.cache` says, and their facts.

    Both are the same for every way of keeping.

    Args:
        parts: by name, `train` among them.
        config: of the data.
        shelf: where files may be kept; None keeps none.
        progress: told of images that are decoded.

    Raises:
        DataError: a damaged image, or images of one colour.
        DiskError: files cannot be written.
    """
    way = choose_cache(parts, config, shelf)
    total = sum(len(selection.rows) for selection in parts.values())
    passage = _Passage(config.image_size, total, progress)
    if way == "memory":
        return passage.in_memory(parts)
    if shelf is None:
        return passage.surveyed(parts, None)
    with shelf.locked():
        known = _known_facts(shelf, parts)
        if way == "disk":
            return passage.on_disk(parts, shelf, known)
        images, facts = passage.surveyed(parts, known)
        if known is None:
            shelf.keep_facts(asdict(facts))
        return images, facts


def choose_cache(
    parts: Mapping[str, Selection], config: DataConfig, shelf: Shelf | None
) -> Literal["memory", "disk", "none"]:
    """What `config.cache` comes to. Raises `DataError` where `disk` is wanted and there is no shelf."""
    if config.cache == "disk" and shelf is None:
        raise DataError("'cache: disk' needs a run folder to write to; set data.cache to memory or none")
    if config.cache != "auto":
        return config.cache
    size = config.image_size
    needed = sum(len(selection.rows) for selection in parts.values()) * 3 * size * size
    if needed <= config.memory_limit:
        return "memory"
    if shelf is None:
        return "none"
    stored = all(shelf.reader(name, len(selection.rows), size) for name, selection in parts.items())
    return "disk" if stored or shelf.has_room(needed) else "none"


def _known_facts(shelf: Shelf, parts: Mapping[str, Selection]) -> Facts | None:
    found = shelf.facts()
    try:
        if found is None or set(found["digests"]) != set(parts):
            return None
        return Facts(mean=tuple(found["mean"]), std=tuple(found["std"]), digests=found["digests"])
    except (KeyError, TypeError):
        return None


class _Passage:
    """One pass over all images: counts, digests, and tells how far it is."""

    def __init__(self, size: int, total: int, progress: Progress) -> None:
        self._size, self._total, self._progress = size, total, progress
        self._done = 0
        self._counts = ChannelCounts()
        self._digests: dict[str, str] = {}

    def in_memory(self, parts: Mapping[str, Selection]) -> tuple[dict[str, LabelledImages], Facts]:
        kept = {}
        for name, selection in parts.items():
            images = selection.part.read(selection.rows, self._size, self._told)
            kept[name] = LabelledImages(images=images, labels=selection.part.labels[selection.rows])
            self._done += len(images)
            _exhaust(self._noted(name, kept[name], chunks_of(images)))
        return kept, self._facts()

    def surveyed(self, parts: Mapping[str, Selection], known: Facts | None) -> tuple[dict[str, LabelledImages], Facts]:
        """Nothing is kept; where the facts are known, nothing is read."""
        kept = {name: self._on_demand(selection) for name, selection in parts.items()}
        if known is None:
            for name, selection in parts.items():
                _exhaust(self._noted(name, kept[name], self._counted(selection)))
        return kept, known or self._facts()

    def on_disk(
        self, parts: Mapping[str, Selection], shelf: Shelf, known: Facts | None
    ) -> tuple[dict[str, LabelledImages], Facts]:
        kept = {}
        for name, selection in parts.items():
            reader = shelf.reader(name, len(selection.rows), self._size) if known else None
            if reader is None:
                noted = self._noted(name, self._on_demand(selection), self._counted(selection))
                reader = shelf.keep_images(name, noted)
            rows = np.arange(len(selection.rows), dtype=np.int64)
            images = OnDemandImages(read=reader, rows=rows, size=self._size)
            kept[name] = LabelledImages(images=images, labels=selection.part.labels[selection.rows])
        if known is None:
            known = self._facts()
            shelf.keep_facts(asdict(known))
        return kept, known

    def _on_demand(self, selection: Selection) -> LabelledImages:
        images = OnDemandImages(read=selection.part.read, rows=selection.rows, size=self._size)
        return LabelledImages(images=images, labels=selection.part.labels[selection.rows])

    def _counted(self, selection: Selection) -> Iterator[Images]:
        for images in selection.part.chunks(selection.rows, self._size):
            self._done += len(images)
            self._progress(self._done, self._total, "images")
            yield images

    def _noted(self, name: str, part: LabelledImages, chunks: Iterable[Images]) -> Iterator[Images]:
        """`chunks`, which are all images of `part`, as they go by."""
        digest = ContentDigest(part.images.shape)
        for images in chunks:
            digest.add(images)
            if name == "train":
                self._counts.add(images)
            yield images
        self._digests[name] = digest.finish(part.labels)

    def _told(self, done: int, total: int, detail: str = "") -> None:  # noqa: ARG002 - the total is that of all parts
        self._progress(self._done + done, self._total, detail)

    def _facts(self) -> Facts:
        mean, std = self._counts.mean_and_std()
        return Facts(mean=mean, std=std, digests=self._digests)


def _exhaust(chunks: Iterator[Images]) -> None:
    for _ in chunks:
        pass
