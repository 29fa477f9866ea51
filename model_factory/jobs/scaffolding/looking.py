"""Looks at a user's data: what source reads them, what their labels are for, and what is unusual about them.

The labels come from the same loaders that a build uses, so a config that is written loads, and what a build would
refuse is refused here with the same reason. Of the images only a bounded sample of headers is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from factory_base.errors import ConfigError, DataError, FactoryError
from factory_base.foreign import printable
from factory_base.wording import counted
from model_factory.jobs.scaffolding.found import Found, ImageSample, TaskName, TextSample
from model_factory.jobs.scaffolding.places import Place, find_place, image_files
from model_factory.jobs.scaffolding.sampling import evenly, image_sample, sample_of_sizes
from supernet.data.archive import Archive
from supernet.data.config import DataConfig
from supernet.data.source_splits import Source
from supernet.data.sources import load_source
from supernet.data.types import LabelKind

FEW = 20
"""Training examples below which a class is named as small: its recall cannot be told from chance."""
UNEVEN = 5
"""Ratio of the largest to the smallest class above which a task counts as imbalanced."""
_MANY_CLASSES = 100
_TASKS: dict[LabelKind, TaskName] = {"class": "classification", "classes": "multilabel", "values": "regression"}
_KINDS: tuple[LabelKind, ...] = ("class", "classes", "values")


def look(path: Path) -> Found:
    """Find out what the data at `path` are.

    Raises:
        ConfigError: There is nothing at `path`, or nothing that a source reads.
        DataError: The data are damaged, or cannot be learnt from, for example because there is one class only.
    """
    place = find_place(path)
    source, kind = _loaded(place)
    labels = source.train.labels
    counts = _counts(labels, source.class_names)
    if kind == "class":
        _check_classes(counts, place)
    sample = _sample(place)
    return Found(
        path=place.path,
        source=place.source,
        keys=place.keys,
        task=_TASKS[kind],
        train=len(labels),
        test=None if source.test is None else len(source.test.labels),
        counts=counts,
        sample=sample,
        notes=(*place.notes, *_notes(counts, sample, kind)),
    )


def _loaded(place: Place) -> tuple[Source, LabelKind]:
    """The labels, of the first kind that the data hold."""
    config = DataConfig.model_validate({"source": place.source, "path": str(place.path.resolve()), **place.keys})
    first: FactoryError | None = None
    for kind in place.kinds:
        try:
            return load_source(config, Path(), kind), kind
        except (ConfigError, DataError) as error:
            first = first or error
    raise first or ConfigError(f"{printable(str(place.path))}: holds no labels")


def _counts(labels: Any, names: tuple[str, ...]) -> Mapping[str, int | None]:
    if labels.ndim == 1:
        return dict(zip(names, np.bincount(labels, minlength=len(names)).tolist(), strict=True))
    if labels.dtype == np.uint8:
        return dict(zip(names, labels.sum(axis=0, dtype=np.int64).tolist(), strict=True))
    return dict.fromkeys(names)


def _check_classes(counts: Mapping[str, int | None], place: Place) -> None:
    if len(counts) < 2:
        raise DataError(
            f"{printable(str(place.path))}: holds one class only ({', '.join(map(printable, counts))}); a classifier "
            "needs at least 2: put the images of each class into a folder of its own, or name the folder above"
        )


def _sample(place: Place) -> ImageSample | TextSample:
    where = printable(str(place.path))
    if place.source == "npz":
        return _of_arrays(place.path)
    if place.source == "parquet":
        return image_sample(_parquet_images(place), where)
    files = list(image_files(place.path))
    return image_sample([(printable(str(file)), file) for file in evenly(files)], where)


def _of_arrays(path: Path) -> ImageSample:
    """The size of the images in an archive, all of which have the same."""
    archive = Archive.open(path)
    shape = next(shape for name in archive.names if len(shape := archive.shape(name)) in (3, 4))
    is_first = len(shape) == 4 and shape[1] in (1, 3) and shape[3] not in (1, 3)
    height, width = shape[2:4] if is_first else shape[1:3]
    is_grey = len(shape) == 3 or 1 in (shape[1] if is_first else shape[3],)
    return sample_of_sizes(np.array([[width, height]]), float(is_grey))


def _parquet_images(place: Place) -> list[tuple[str, bytes]]:
    """The first images of a Parquet file, of whose row groups only the first is read."""
    import pyarrow.parquet as pq

    from model_factory.jobs.scaffolding.sampling import SAMPLE

    path = place.path if place.path.is_file() else next(iter(sorted(place.path.rglob("*.parquet"))))
    with pq.ParquetFile(path) as file:
        batch = next(file.iter_batches(batch_size=SAMPLE, columns=[place.keys.get("image_column", "image")]))
    column = batch.column(0)
    column = column.field("bytes") if hasattr(column, "field") else column
    return [(f"{path}, row {row}", cell) for row, cell in enumerate(column.to_pylist()) if cell is not None]


def _notes(counts: Mapping[str, int | None], sample: ImageSample | TextSample, kind: LabelKind) -> tuple[str, ...]:
    known = {name: count for name, count in counts.items() if count is not None}
    notes = []
    small = [name for name, count in known.items() if count < FEW]
    if small:
        shown = ", ".join(f"{printable(name)} {known[name]}" for name in small[:5])
        more = f" and {len(small) - 5} more" if len(small) > 5 else ""
        notes.append(f"few examples: {shown}{more}; whether such a class is recognised cannot be measured reliably")
    if known and max(known.values()) > UNEVEN * max(1, min(known.values())):
        rarest, commonest = min(known, key=lambda n: known[n]), max(known, key=lambda n: known[n])
        notes.append(
            f"classes are imbalanced: {printable(commonest)} has {known[commonest]:,}, {printable(rarest)} "
            f"{known[rarest]:,}; look at the recall of each class, not at the accuracy alone"
        )
    if kind == "class" and len(known) > _MANY_CLASSES and all(name.lstrip("-").isdigit() for name in known):
        notes.append(f"the {len(known)} classes are numbers; if the labels measure something, set task: regression")
    if isinstance(sample, ImageSample) and sample.unreadable:
        notes.append(
            f"{counted(len(sample.unreadable), 'sampled image')} cannot be read, the first is {sample.unreadable[0]}; "
            "a build stops there: replace or remove such files"
        )
    return tuple(notes)
