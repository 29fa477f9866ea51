"""Images in one folder per class: `path/<class>/*.png`, or `path/train/<class>/...` and `path/test/<class>/...`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from factory_base.documents import nearest
from factory_base.errors import ConfigError, DataError
from factory_base.progress import Progress
from supernet.data.config import DataConfig
from supernet.data.images import decode, decode_many
from supernet.data.source_splits import Source, SourceSplit, check_distinct, located
from supernet.data.types import Images, Rows

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif")
"""File name extensions of images, in lower case."""

_OTHER_SPLITS = ("val", "valid", "validation", "dev")  # usual names of a third split, which might be meant as test data


def load_folder_source(config: DataConfig, folder: Path) -> Source:
    """The images in the folders that `config` names.

    Classes are the names of the folders, sorted. Hidden files are skipped; every other file in a class folder must be
    an image.

    Args:
        config: The `data` section, with source `folder`.
        folder: Folder of the config file.

    Raises:
        ConfigError: `path` or `test_path` is not a folder, or it is unclear which folder holds the test data.
        DataError: A class is empty, a file is not an image, or training and test classes differ.
    """
    train_root, test_root = _roots(config, folder)
    names = _class_names(train_root)
    test = None
    if test_root is not None:
        check_distinct([train_root], [test_root])
        _check_same_classes(names, _class_names(test_root), test_root)
        test = _source_split(test_root, names)
    return Source(train=_source_split(train_root, names), test=test, class_names=names)


def _roots(config: DataConfig, folder: Path) -> tuple[Path, Path | None]:
    root = _existing(located(config.path or "", folder), "path")
    test = _existing(located(config.test_path, folder), "test_path") if config.test_path else None
    split_folders = {path.name: path for path in _folders(root) if _folders(path)}
    if "train" not in split_folders:
        return root, _within(test, "test")
    others = [name for name in _OTHER_SPLITS if name in split_folders]
    if test is None and "test" not in split_folders and others:
        raise ConfigError(
            f"{root}: has 'train' and {others[0]!r} but no 'test'; state which is the test data: "
            f"path: {config.path}/train and test_path: {config.path}/{others[0]}"
        )
    return split_folders["train"], _within(test, "test") or split_folders.get("test")


def _within(root: Path | None, split: str) -> Path | None:
    """`root/split` if that holds class folders, else `root`."""
    inner = root / split if root else None
    return inner if inner and inner.is_dir() and _folders(inner) else root


def _existing(root: Path, key: str) -> Path:
    if root.is_dir():
        return root
    problem = "is a file, expected a folder of class folders" if root.exists() else "there is no such folder"
    raise ConfigError(f"{root}: {problem}; set '{key}' to the folder that holds one folder per class")


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _class_names(root: Path) -> tuple[str, ...]:
    stray = next((p for p in sorted(root.iterdir()) if p.is_file() and p.suffix.lower() in EXTENSIONS), None)
    if stray is not None:
        raise DataError(f"{stray}: is outside all class folders; move it into a folder named after its class")
    names = tuple(path.name for path in _folders(root))
    if not names:
        raise DataError(f"{root}: holds no class folders; expected {root}/<class>/<image>.png")
    return names


def _check_same_classes(train: tuple[str, ...], test: tuple[str, ...], root: Path) -> None:
    for name in test:
        if name not in train:
            raise DataError(f"{root}: class {name!r} is not in the training data; {nearest(name, train)}")
    for name in train:
        if name not in test:
            raise DataError(f"{root}: class {name!r} of the training data is missing; add a folder with its images")


def _source_split(root: Path, names: tuple[str, ...]) -> SourceSplit:
    files = [(label, path) for label, name in enumerate(names) for path in _images_in(root / name)]
    reader = _Reader(root, tuple(str(path.relative_to(root)) for _, path in files))
    return SourceSplit(labels=np.array([label for label, _ in files], dtype=np.int64), read=reader)


@dataclass(frozen=True, slots=True)
class _Reader:
    """Decodes image files. See `supernet.data.types.Reader`.

    Attributes:
        root: Folder of the split.
        names: Path of each image relative to `root`.
    """

    root: Path
    names: tuple[str, ...]

    def __call__(self, rows: Rows, size: int, progress: Progress) -> Images:
        def one(index: int) -> Images:
            path = self.root / self.names[rows[index]]
            return decode(path, size, str(path))

        return decode_many(len(rows), one, size, progress)


def _images_in(folder: Path) -> list[Path]:
    paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    if not paths:
        raise DataError(f"{folder}: this class folder is empty; add images or remove the folder")
    for path in paths:
        if path.suffix.lower() not in EXTENSIONS or path.is_dir():
            raise DataError(f"{path}: is not an image; a class folder holds only {' '.join(EXTENSIONS)}; remove it")
    return paths
