"""Looks at a user's data: what source reads them, what their labels are for, and what is unusual about them.

The labels come from the same loaders that a build uses, so a config that is written loads, and what a build would
refuse is refused here with the same reason. Of the images only a bounded sample of headers is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from factory_base.errors import ConfigError, DataError, FactoryError
from factory_base.foreign import printable
from factory_base.wording import counted
from model_factory.jobs.scaffolding.columns import first_cells, table_files
from model_factory.jobs.scaffolding.found import FEW, UNEVEN, Found, ImageSample, TaskName, TextSample
from model_factory.jobs.scaffolding.places import Place, find_place, image_files
from model_factory.jobs.scaffolding.sampling import (
    SAMPLE,
    evenly,
    image_sample,
    sample_of_sizes,
    tar_images,
    text_sample,
)
from supernet.data.archive import Archive
from supernet.data.config import DataConfig
from supernet.data.shards import find_shards
from supernet.data.source_splits import Source
from supernet.data.sources import load_source, load_text_source
from supernet.data.split_names import listed, split_of_name
from supernet.data.table.reading import SUFFIXES, TableFile
from supernet.data.table.source import table_image_files
from supernet.data.text_source import TextSource
from supernet.data.types import LabelKind

_MANY_CLASSES = 100
_TEXTS = 2000
"""Texts whose words are counted."""
_TASKS: dict[LabelKind, TaskName] = {"class": "classification", "classes": "multilabel", "values": "regression"}
_KINDS: tuple[LabelKind, ...] = ("class", "classes", "values")


def look(path: Path, labels: Sequence[str] = ()) -> Found:
    """Find out what the data at `path` are.

    Args:
        path: A file or a folder.
        labels: The columns of labels of a table, if the user named them.

    Raises:
        ConfigError: There is nothing at `path`, or nothing that a source reads.
        DataError: The data are damaged, or cannot be learnt from, for example because there is one class only.
    """
    place = find_place(path, labels)
    source, kind = _loaded(place)
    counts = _counts(source.train.labels, source.class_names)
    small = _small_classes(counts, place, has_test=source.test is not None) if kind == "class" else ()
    sample = _sample(place)
    described = () if place.columns is None else (place.columns.describe(),)
    return Found(
        path=place.path,
        test_path=place.test_path,
        source=place.source,
        keys=place.keys,
        task="text_classification" if isinstance(sample, TextSample) else _TASKS[kind],
        train=len(source.train.labels),
        test=None if source.test is None else len(source.test.labels),
        train_path=None if source.test is None else _train_path(place),
        counts=counts,
        small=small,
        sample=sample,
        taken=described,
        notes=(*place.notes, *_notes(counts, sample, kind)),
    )


def _loaded(place: Place) -> tuple[Source | TextSource, LabelKind]:
    """The labels, of the first kind that the data hold."""
    config = _config(place)
    first: FactoryError | None = None
    for kind in place.kinds:
        try:
            return (load_text_source if config.text_column else load_source)(config, Path(), kind), kind
        except (ConfigError, DataError) as error:
            first = first or error
    raise first or ConfigError(f"{printable(str(place.path))}: holds no labels")


def _config(place: Place) -> DataConfig:
    paths = {"path": str(place.path.resolve())}
    if place.test_path is not None:
        paths["test_path"] = str(place.test_path.resolve())
    return DataConfig.model_validate({"source": place.source, **paths, **place.keys})


def _counts(labels: Any, names: tuple[str, ...]) -> Mapping[str, int | None]:
    if labels.ndim == 1:
        return dict(zip(names, np.bincount(labels, minlength=len(names)).tolist(), strict=True))
    if labels.dtype == np.uint8:
        return dict(zip(names, labels.sum(axis=0, dtype=np.int64).tolist(), strict=True))
    return dict.fromkeys(names)


def _small_classes(counts: Mapping[str, int | None], place: Place, *, has_test: bool) -> tuple[str, ...]:
    """The classes that cannot be split. Raises `DataError` if fewer than two others are left."""
    shown = printable(str(place.path))
    if len(counts) < 2:
        raise DataError(
            f"{shown}: holds one class only ({', '.join(map(printable, counts))}); a classifier needs at least 2: put "
            "the images of each class into a folder of its own, or name the folder above"
        )
    needed = 2 if has_test else 3  # one example for each split that is drawn from the training data
    small = tuple(name for name, count in counts.items() if count is not None and count < needed)
    if len(counts) - len(small) < 2:
        raise DataError(
            f"{shown}: {listed([printable(name) for name in small])} with fewer than {needed} examples cannot be "
            "split, and fewer than 2 other classes are left; add examples"
        )
    return small


def _train_path(place: Place) -> Path | None:
    """A path that holds training data and no test data."""
    if place.test_path is not None:
        return place.path
    if place.source == "folder":
        folders = [path for path in sorted(place.path.iterdir()) if path.is_dir()]
        return next((path for path in folders if split_of_name(path.name, str(path)) == "train"), None)
    is_split = place.source == "webdataset" or (place.columns is not None and "split_column" not in place.keys)
    return _shards(place)[0] if is_split else None


def _shards(place: Place) -> Sequence[Path]:
    """The files with training data."""
    suffixes = (".tar",) if place.source == "webdataset" else SUFFIXES
    return find_shards(_config(place), Path(), suffixes).train


def _sample(place: Place) -> ImageSample | TextSample:
    where = printable(str(place.path))
    if place.source == "npz":
        return _of_arrays(place.path)
    if place.source == "webdataset":
        return image_sample(tar_images(_shards(place)[0]), where)
    if place.columns is not None and (place.columns.in_cells or place.columns.is_text):
        cells = _cells(place)
        return text_sample(cells, where) if place.columns.is_text else image_sample(_images(cells, where), where)
    if place.columns is None:
        files = list(image_files(place.path))
    else:
        files = [file for _, file in table_image_files(_config(place), Path())]
    return image_sample([(printable(str(file)), file) for file in evenly(files)], where)


def _of_arrays(path: Path) -> ImageSample:
    """The size of the images in an archive, all of which have the same."""
    archive = Archive.open(path)
    shape = next(shape for name in archive.names if len(shape := archive.shape(name)) in (3, 4))
    is_first = len(shape) == 4 and shape[1] in (1, 3) and shape[3] not in (1, 3)
    height, width = shape[2:4] if is_first else shape[1:3]
    is_grey = len(shape) == 3 or 1 in (shape[1] if is_first else shape[3],)
    return sample_of_sizes(np.array([[width, height]]), float(is_grey))


def _cells(place: Place) -> list[Any]:
    """The texts or encoded images in the first rows of a table."""
    key = "text_column" if "text_column" in place.keys else "image_column"
    first = place.path if place.path.is_file() else table_files(place.path)[0]
    header = place.keys.get("columns")
    file = TableFile(path=first, format=SUFFIXES[first.suffix.lower()], header=tuple(header) if header else None)
    return first_cells(file, [place.keys[key]], SAMPLE if key == "image_column" else _TEXTS)[place.keys[key]]


def _images(cells: Sequence[Any], where: str) -> list[tuple[str, bytes]]:
    """Name and bytes of the images in cells, which are bytes or structs of them."""
    encoded = [cell.get("bytes") if isinstance(cell, dict) else cell for cell in cells]
    return [(f"{where}, row {row}", image) for row, image in enumerate(encoded) if image is not None]


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
