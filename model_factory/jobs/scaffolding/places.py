"""Finds what at a path holds the data, and which source reads it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from factory_base.errors import ConfigError
from factory_base.foreign import printable
from factory_base.wording import counted
from supernet.data.folder import EXTENSIONS
from supernet.data.split_names import listed, split_of_name
from supernet.data.types import LabelKind

_DEPTH = 3
"""Folders around the classes that are entered, as archives make them: `photos/photos/<class>`."""
_MOST_FILES = 1_000_000
"""Names of images that are listed for the sample; a listing of as many takes some seconds."""
_MOST_ENTRIES = 10_000
"""Entries of the top folder that are looked at: more classes than anybody sorts into folders."""
_ARCHIVES = (".zip", ".gz", ".tgz", ".7z", ".rar", ".bz2", ".xz")
_READABLE = "a folder of class folders, .npz, .parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Data that a source reads.

    Attributes:
        path: What the config names in `data.path`.
        source: The source.
        keys: Further keys of the section `data`.
        kinds: The kinds of labels that the data may hold, the likeliest first.
        notes: What was taken for what.
    """

    path: Path
    source: str
    keys: Mapping[str, Any] = field(default_factory=dict)
    kinds: tuple[LabelKind, ...] = ("class",)
    notes: tuple[str, ...] = ()


def find_place(path: Path) -> Place:
    """What at `path` holds the data.

    Raises:
        ConfigError: There is nothing at `path`, or nothing that a source reads; the message says what was found.
    """
    path = path.expanduser()
    shown = printable(str(path))
    if not path.exists():
        raise ConfigError(f"{shown}: there is no such file or folder; name your data with --data")
    return _in_folder(path, path, 0) if path.is_dir() else _of_file(path)


def image_files(root: Path) -> Iterator[Path]:
    """The images below `root`, at most `_MOST_FILES`; hidden files and folders are skipped."""
    found = 0
    for folder, folders, names in os.walk(root, followlinks=True):
        folders[:] = sorted(name for name in folders if name[0] != ".")
        for name in sorted(names):
            if name.lower().endswith(EXTENSIONS) and name[0] != ".":
                yield Path(folder, name)
                found += 1
                if found == _MOST_FILES:
                    return


def _of_file(path: Path) -> Place:
    suffix, shown = path.suffix.lower(), printable(str(path))
    if suffix == ".npz":
        return Place(path=path, source="npz", kinds=("class", "classes", "values"))
    if suffix == ".parquet":
        return Place(path=path, source="parquet")
    if suffix in EXTENSIONS:
        raise ConfigError(f"{shown}: is a single image; name the folder that holds one folder of images per class")
    if suffix in _ARCHIVES:
        raise ConfigError(f"{shown}: is a packed archive; unpack it, and name the folder")
    raise ConfigError(f"{shown}: is not data that can be read; allowed: {_READABLE}")


def _in_folder(path: Path, top: Path, depth: int) -> Place:
    try:
        entries = sorted(entry for entry in path.iterdir() if entry.name[0] not in "._")[:_MOST_ENTRIES]
    except OSError as error:
        raise ConfigError(f"{printable(str(path))}: cannot be read ({error.strerror})") from error
    folders = [entry for entry in entries if entry.is_dir()]
    files = [entry for entry in entries if entry.is_file()]
    images = [file for file in files if file.suffix.lower() in EXTENSIONS]
    if any(file.suffix.lower() == ".parquet" for file in files) or any(map(_holds_parquet, folders)):
        return Place(path=path, source="parquet")
    archives = [file for file in files if file.suffix.lower() == ".npz"]
    if len(archives) == 1 and not folders:
        return _of_file(archives[0])
    if len(folders) == 1 and not images and depth < _DEPTH and not _is_class(folders[0]):
        return _in_folder(folders[0], top, depth + 1)
    if not any(map(_is_class, folders)) and not any(_has_classes(folder) for folder in folders):
        raise ConfigError(_complaint(path, folders, files, images))
    notes = () if path == top else (f"the classes are in the folder {printable(str(path.relative_to(top)))}",)
    return Place(path=path, source="folder", notes=notes)


def _holds_parquet(folder: Path) -> bool:
    return next(folder.glob("*.parquet"), None) is not None


def _is_class(folder: Path) -> bool:
    """Whether a folder holds images of its own."""
    with os.scandir(folder) as entries:
        return any(entry.name.lower().endswith(EXTENSIONS) and entry.name[0] not in "._" for entry in entries)


def _has_classes(folder: Path) -> bool:
    """Whether a folder is named after a split and holds class folders."""
    return split_of_name(folder.name, str(folder)) is not None and any(map(_is_class, _inner(folder)))


def _inner(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and entry.name[0] not in "._")


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
