"""Caches decoded images in memory, in files or not at all, and computes their statistics and digests in one pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Literal

import numpy as np
from pydantic import TypeAdapter, ValidationError

from factory_base.errors import DataError
from factory_base.progress import Progress, silent
from supernet.data.config import DataConfig
from supernet.data.decoding import DEPTHS, UnknownDepthError, depth_for
from supernet.data.image_cache import ImageCache
from supernet.data.image_form import ImageForm
from supernet.data.source_splits import SourceSplit
from supernet.data.types import (
    ContentDigest,
    Images,
    LabelledImages,
    Labels,
    OnDemandImages,
    Rows,
    Weights,
    chunks_of,
)

Channels = tuple[float, ...]
"""One number for each channel: of red, green and blue, or of grey."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Selection:
    """The images of one split of the data set: `rows` of a `split` of the source."""

    split: SourceSplit
    rows: Rows

    @property
    def labels(self) -> Labels:
        """The labels of these images."""
        return self.split.labels[self.rows]

    @property
    def weights(self) -> Weights | None:
        """The weights of these images; None if all count alike."""
        return None if self.split.weights is None else self.split.weights[self.rows]

    def at_depth(self, depth: int) -> Selection:
        """The same images, with those of 16 bits scaled by the `depth` bits that they use."""
        scaled = self.split.at_depth
        return self if scaled is None else replace(self, split=scaled(depth))


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The results of one pass over all images.

    Attributes:
        mean: Mean of each channel over the split `train`; see `ChannelCounts.mean_and_std`.
        std: Standard deviation of each channel over the split `train`.
        digests: Name of each split -> SHA-256 of its content; see `ContentDigest`.
        depth: Number of bits that the images of 16 bits in the data set use; None if there is no such image.
    """

    mean: Channels
    std: Channels
    digests: dict[str, str]
    depth: int | None = None


_FACTS = TypeAdapter(Facts)


class ChannelCounts:
    """A histogram of the 256 levels of each channel.

    Integer counts make the statistics identical on every machine and for every order of the images.
    """

    def __init__(self, channels: int) -> None:
        self._counts = np.zeros((channels, 256), dtype=np.int64)

    def add(self, images: Images) -> None:
        """Count the pixels of `images`, uint8 `(count, channels, height, width)`."""
        for channel, counts in enumerate(self._counts):
            counts += np.bincount(images[:, channel].ravel(), minlength=256)

    def mean_and_std(self) -> tuple[Channels, Channels]:
        """Mean and population standard deviation of each channel, as fractions of 255 rounded to 6 decimals.

        Six decimals are far finer than one level (1/255), and short in files that people read. The standard deviation
        is at least one level, so that a constant channel can be divided by it.

        Raises:
            DataError: All channels are constant.
        """
        levels = np.arange(256)
        total = int(self._counts[0].sum())
        means, deviations = [], []
        for row in self._counts:
            first, second = int(row @ levels), int(row @ levels**2)
            means.append(round(first / total / 255, 6))
            deviations.append(((second * total - first**2) ** 0.5) / total / 255)
        if not any(deviations):
            raise DataError("all training images have one and the same colour; check the images of the source")
        return tuple(means), tuple(round(max(deviation, 1 / 255), 6) for deviation in deviations)


def cache_images(
    selections: Mapping[str, Selection], config: DataConfig, cache: ImageCache | None, progress: Progress = silent
) -> tuple[dict[str, LabelledImages], Facts]:
    """The images of all splits, cached as `config.cache` says, and their facts.

    Neither result depends on how images are cached.

    Args:
        selections: Name of each split -> its images; `train` is one of the names.
        config: The `data` section.
        cache: Where decoded images may be written; None if there is no such place.
        progress: Called with the number of decoded images.

    Raises:
        DataError: An image is damaged, or all training images have one colour.
        DiskError: The cache cannot be written.
    """
    try:
        return _cached(selections, config, cache, progress, None)
    except UnknownDepthError:  # only a data set with images of 16 bits pays for finding out how many they use
        depth = used_depth(selection.split for selection in selections.values())
        return _cached(_at_depth(selections, depth), config, cache, progress, depth)


def used_depth(splits: Iterable[SourceSplit]) -> int:
    """How many bits the images of 16 bits in `splits` use: one number for all, and for any choice of their rows.

    Raises:
        DataError: A file cannot be read.
    """
    largest = 0
    for split in {id(split): split for split in splits}.values():
        for found in split.largest_samples() if split.largest_samples else ():
            largest = max(largest, found)
            if depth_for(largest) == DEPTHS[-1]:
                return DEPTHS[-1]
    return depth_for(largest)


def _at_depth(selections: Mapping[str, Selection], depth: int) -> dict[str, Selection]:
    return {name: selection.at_depth(depth) for name, selection in selections.items()}


def _cached(
    selections: Mapping[str, Selection],
    config: DataConfig,
    cache: ImageCache | None,
    progress: Progress,
    depth: int | None,
) -> tuple[dict[str, LabelledImages], Facts]:
    """See `cache_images`; images of 16 bits are read if `depth`, or an earlier pass, says how many bits they use."""
    chosen = choose_cache(selections, config, cache)
    total = sum(len(selection.rows) for selection in selections.values())
    image_pass = _ImagePass(config.form, total, progress, depth)
    if chosen == "memory":
        return image_pass.in_memory(selections)
    if cache is None:
        return image_pass.on_demand(selections, None)
    with cache.locked():
        known = _known_facts(cache, selections)
        if known and known.depth is not None:
            selections = _at_depth(selections, known.depth)
        if chosen == "disk":
            return image_pass.on_disk(selections, cache, known)
        images, facts = image_pass.on_demand(selections, known)
        if known is None:
            cache.write_facts(asdict(facts))
        return images, facts


def choose_cache(
    selections: Mapping[str, Selection], config: DataConfig, cache: ImageCache | None
) -> Literal["memory", "disk", "none"]:
    """`config.cache` with `auto` resolved. Raises `DataError` if it is `disk` and `cache` is None."""
    if config.cache == "disk" and cache is None:
        raise DataError("'cache: disk' needs a run folder to write to; set data.cache to memory or none")
    if config.cache != "auto":
        return config.cache
    needed = sum(len(selection.rows) for selection in selections.values()) * config.form.image_bytes
    if needed <= config.memory_limit:
        return "memory"
    if cache is None:
        return "none"
    stored = all(cache.reader(name, len(selection.rows), config.form) for name, selection in selections.items())
    return "disk" if stored or cache.has_room(needed) else "none"


def _known_facts(cache: ImageCache, selections: Mapping[str, Selection]) -> Facts | None:
    """The facts of an earlier pass; None if the cache holds none for these splits, or they are damaged."""
    found = cache.read_facts()
    try:
        if found is None or set(found["digests"]) != set(selections):
            return None
        return _FACTS.validate_python(found)
    except (KeyError, TypeError, ValidationError):
        return None


class _ImagePass:
    """One pass over the images of all splits that computes the facts and reports progress."""

    def __init__(self, form: ImageForm, total: int, progress: Progress, depth: int | None) -> None:
        self._form, self._total, self._progress, self._depth = form, total, progress, depth
        self._done = 0
        self._counts = ChannelCounts(form.channels)
        self._digests: dict[str, str] = {}

    def in_memory(self, selections: Mapping[str, Selection]) -> tuple[dict[str, LabelledImages], Facts]:
        """Decode all images into memory."""
        splits = {}
        for name, selection in selections.items():
            images = selection.split.read(selection.rows, self._form, self._report)
            splits[name] = LabelledImages(images=images, labels=selection.labels, weights=selection.weights)
            self._done += len(images)
            _exhaust(self._measured(name, splits[name], chunks_of(images)))
        return splits, self._facts()

    def on_demand(
        self, selections: Mapping[str, Selection], known: Facts | None
    ) -> tuple[dict[str, LabelledImages], Facts]:
        """Cache nothing. Images are read only if the facts are not known yet."""
        splits = {name: self._read_on_demand(selection) for name, selection in selections.items()}
        if known is None:
            for name, selection in selections.items():
                _exhaust(self._measured(name, splits[name], self._decoded(selection)))
        return splits, known or self._facts()

    def on_disk(
        self, selections: Mapping[str, Selection], cache: ImageCache, known: Facts | None
    ) -> tuple[dict[str, LabelledImages], Facts]:
        """Decode the images into files, except for splits whose facts and files exist already."""
        splits = {}
        for name, selection in selections.items():
            reader = cache.reader(name, len(selection.rows), self._form) if known else None
            if reader is None:
                measured = self._measured(name, self._read_on_demand(selection), self._decoded(selection))
                reader = cache.write_images(name, measured)
            rows = np.arange(len(selection.rows), dtype=np.int64)
            images = OnDemandImages(read=reader, rows=rows, form=self._form)
            splits[name] = LabelledImages(images=images, labels=selection.labels, weights=selection.weights)
        if known is None:
            known = self._facts()
            cache.write_facts(asdict(known))
        return splits, known

    def _read_on_demand(self, selection: Selection) -> LabelledImages:
        images = OnDemandImages(read=selection.split.read, rows=selection.rows, form=self._form)
        return LabelledImages(images=images, labels=selection.labels, weights=selection.weights)

    def _decoded(self, selection: Selection) -> Iterator[Images]:
        """The images of `selection` chunk by chunk; reports progress."""
        for images in selection.split.chunks(selection.rows, self._form):
            self._done += len(images)
            self._progress(self._done, self._total, "images")
            yield images

    def _measured(self, name: str, split: LabelledImages, chunks: Iterable[Images]) -> Iterator[Images]:
        """Pass on `chunks`, all images of `split` in order, and add them to the facts."""
        digest = ContentDigest(split.images.shape)
        for images in chunks:
            digest.add(images)
            if name == "train":
                self._counts.add(images)
            yield images
        self._digests[name] = digest.finish(split.labels, split.weights)

    def _report(self, done: int, total: int, detail: str = "") -> None:  # noqa: ARG002 - the total is of all splits
        self._progress(self._done + done, self._total, detail)

    def _facts(self) -> Facts:
        mean, std = self._counts.mean_and_std()
        return Facts(mean=mean, std=std, digests=self._digests, depth=self._depth)


def _exhaust(chunks: Iterator[Images]) -> None:
    for _ in chunks:
        pass
