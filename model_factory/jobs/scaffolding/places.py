"""Finds what at a path holds the data, and which source reads it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from factory_base.errors import ConfigError
from factory_base.foreign import printable
from factory_base.wording import counted
from model_factory.jobs.scaffolding.columns import Columns, guess_columns
from supernet.data.formats import EXTENSIONS
from supernet.data.ignoring import is_dropping
from supernet.data.split_names import SplitName, listed, split_of_name
from supernet.data.table.reading import SUFFIXES
from supernet.data.types import LabelKind

_DEPTH = 3
"""Folders around the classes that are entered, as archives make them: `photos/photos/<class>`."""
_MOST_FILES = 1_000_000
"""Names of images that are listed for the sample; a listing of as many takes some seconds."""
_MOST_ENTRIES = 10_000
"""Entries of the top folder that are looked at: more classes than anybody sorts into folders."""
_ARCHIVES = (".zip", ".gz", ".tgz", ".7z", ".rar", ".bz2", ".xz")
_SHARD = ".tar"
_READABLE = f"a folder of class folders, a table ({' '.join(SUFFIXES)}), {_SHARD}, .npz"
_ALL_KINDS: tuple[LabelKind, ...] = ("class", "classes", "values")
_FEWEST_CLASSES = 2
"""Class folders from which a table that lies beside them is taken for a description of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Data that a source reads.

    Attributes:
        path: What the config names in `data.path`.
        test_path: What the config names in `data.test_path`; None if there are no test data beside `path`.
        source: The source.
        keys: Further keys of the section `data`.
        kinds: The kinds of labels that the data may hold, the likeliest first.
        columns: What the columns of a table hold; None if it is not a table.
        notes: What was taken for what.
    """

    path: Path
    test_path: Path | None = None
    source: str
    keys: Mapping[str, Any] = field(default_factory=dict)
    kinds: tuple[LabelKind, ...] = ("class",)
    columns: Columns | None = None
    notes: tuple[str, ...] = ()


def find_place(path: Path, labels: Sequence[str] = ()) -> Place:
    """What at `path` holds the data.

    Args:
        path: A file or a folder.
        labels: The columns of labels of a table, if the user named them.

    Raises:
        ConfigError: There is nothing at `path`, or nothing that a source reads; the message says what was found.
    """
    path = path.expanduser()
    shown = printable(str(path))
    if not path.exists():
        raise ConfigError(f"{shown}: there is no such file or folder; name your data with --data")
    place = _in_folder(path, path, 0, labels) if path.is_dir() else _of_file(path, labels)
    if labels and place.columns is None:
        raise ConfigError(f"{shown}: is not a table, so --label names no column of it; remove --label")
    return place


def image_files(root: Path) -> Iterator[Path]:
    """The images below `root`, at most `_MOST_FILES`; hidden files and what systems leave behind are skipped."""
    found = 0
    for folder, folders, names in os.walk(root, followlinks=True):
        folders[:] = sorted(name for name in folders if not _is_skipped(name))
        for name in sorted(names):
            if name.lower().endswith(EXTENSIONS) and not _is_skipped(name):
                yield Path(folder, name)
                found += 1
                if found == _MOST_FILES:
                    return


def _of_file(path: Path, labels: Sequence[str]) -> Place:
    suffix, shown = path.suffix.lower(), printable(str(path))
    if suffix == ".npz":
        return Place(path=path, source="npz", kinds=_ALL_KINDS)
    if suffix == _SHARD:
        return Place(path=path, source="webdataset", kinds=_ALL_KINDS)
    if suffix in SUFFIXES:
        return _of_table(path, path, labels)
    if suffix in EXTENSIONS:
        raise ConfigError(f"{shown}: is a single image; name the folder that holds one folder of images per class")
    if suffix in _ARCHIVES:
        raise ConfigError(f"{shown}: is a packed archive; unpack it, and name the folder")
    raise ConfigError(f"{shown}: is not data that can be read; allowed: {_READABLE}")


def _of_table(path: Path, first: Path, labels: Sequence[str]) -> Place:
    """The table in the file or the files of the folder `path`, one of which is `first`."""
    columns = guess_columns(first, labels)
    source = "parquet" if columns.in_cells else "table"
    return Place(path=path, source=source, keys=columns.keys, kinds=columns.kinds, columns=columns)


def _in_folder(path: Path, top: Path, depth: int, labels: Sequence[str]) -> Place:
    try:
        entries = sorted(entry for entry in path.iterdir() if not _is_skipped(entry.name))[:_MOST_ENTRIES]
    except OSError as error:
        raise ConfigError(f"{printable(str(path))}: cannot be read ({error.strerror})") from error
    folders = [entry for entry in entries if entry.is_dir()]
    files = [entry for entry in entries if entry.is_file()]
    images = [file for file in files if file.suffix.lower() in EXTENSIONS]
    has_classes = any(map(_has_classes, folders)) or sum(map(_is_class, folders)) >= _FEWEST_CLASSES
    tables = [file for file in files if file.suffix.lower() in SUFFIXES]
    if tables and not has_classes:
        return _of_table(tables[0] if len(tables) == 1 else path, tables[0], labels)
    if not has_classes and any(file.suffix.lower() == _SHARD for file in files):
        return Place(path=path, source="webdataset", kinds=_ALL_KINDS)
    shards = next((shard for folder in folders for shard in sorted(folder.glob("*.parquet"))), None)
    if shards is not None:
        return _of_table(path, shards, labels)
    archives = [file for file in files if file.suffix.lower() == ".npz"]
    if len(archives) == 1 and not folders:
        return _of_file(archives[0], labels)
    if len(folders) == 1 and not images and depth < _DEPTH and not _is_class(folders[0]):
        return _in_folder(folders[0], top, depth + 1, labels)
    if not has_classes and not any(map(_is_class, folders)):
        raise ConfigError(_complaint(path, folders, files, images))
    notes = [f"the classes are in the folder {printable(str(path.relative_to(top)))}"] if path != top else []
    splits = {split: folder for folder in folders if (split := _split(folder))}
    if {"train", "validation"} <= set(splits) and "test" not in splits:
        notes.append(
            f"{printable(splits['validation'].name)} is taken for the test data, as there are no others; held-out "
            f"images are drawn from {printable(splits['train'].name)}"
        )
        return Place(path=splits["train"], test_path=splits["validation"], source="folder", notes=tuple(notes))
    if tables:
        notes.append(
            f"{printable(tables[0].name)} is not used; to take it in place of the folders, name it with --data"
        )
    return Place(path=path, source="folder", notes=tuple(notes))


def _is_skipped(name: str) -> bool:
    """Whether a file or folder is no part of the data: it is hidden, or something that systems leave behind."""
    return name.startswith(".") or is_dropping(name)


def _is_class(folder: Path) -> bool:
    """Whether a folder holds images of its own."""
    with os.scandir(folder) as entries:
        return any(entry.name.lower().endswith(EXTENSIONS) and not _is_skipped(entry.name) for entry in entries)


def _has_classes(folder: Path) -> bool:
    """Whether a folder is named after a split and holds class folders."""
    return _split(folder) is not None


def _split(folder: Path) -> SplitName | None:
    """The split that a folder of class folders is named after."""
    return split_of_name(folder.name, str(folder)) if any(map(_is_class, _inner(folder))) else None


def _inner(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not _is_skipped(entry.name))


def _complaint(path: Path, folders: list[Path], files: list[Path], images: list[Path]) -> str:
    shown = printable(str(path))
    if not folders and not files:
        return f"{shown}: is empty; put the images of each class into a folder of its own there"
    if images and not folders:
        return (
            f"{shown}: holds {counted(len(images), 'image')} but no class folders; put the images of each class into a "
            "folder of its own, or name a table of paths and labels"
        )
    nested = next((inner for folder in folders for inner in _inner(folder) if _is_class(inner)), None)
    if nested is not None:
        return (
            f"{shown}: the images are one folder deeper than the classes ({printable(str(nested.relative_to(path)))}); "
            "put the images of a class directly into its folder, or name the folder whose folders are the classes"
        )
    names = listed([printable(entry.name) for entry in (*folders, *files)])
    return f"{shown}: holds no class folders of images and nothing else that is read ({names}); allowed: {_READABLE}"
