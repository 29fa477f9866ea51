"""Images in one folder per class: `path/<class>/*.png`, or `path/train/<class>/...` and `path/test/<class>/...`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from factory_base.documents import nearest
from factory_base.errors import ConfigError, DataError, ForeignError
from factory_base.foreign import printable, read_regular
from factory_base.progress import Progress
from supernet.data.class_names import checked_class_names, composed
from supernet.data.config import DataConfig
from supernet.data.decoding import decode, largest_sample
from supernet.data.formats import EXTENSIONS
from supernet.data.ignoring import Ignoring
from supernet.data.image_form import ImageForm
from supernet.data.images import decode_many, largest_of
from supernet.data.source_splits import Source, SourceSplit, check_distinct, gives_one_class, located
from supernet.data.split_names import SplitName, split_of_name, taken_note
from supernet.data.types import Groups, Images, LabelKind, Labels, Rows, Weights

_MOST_BYTES = 2**30  # of one image file: more than 178 million pixels of 16 bits take, and Pillow decodes no more
_SCAN = 1024  # images whose largest sample is computed at a time: enough to keep all threads busy


def load_folder_source(config: DataConfig, folder: Path, kind: LabelKind) -> Source:
    """The images in the folders that `config` names.

    Classes are the names of the folders, sorted. Files that systems leave behind and those that match a pattern of
    `ignore` are skipped; every other file in a class folder must be an image. Links to files and folders are followed.
    Subfolders that hold class folders and are named after a split (`train`, `Test`, `cars_train`; see
    `supernet.data.split_names`) are the splits.

    Args:
        config: The `data` section, with source `folder`.
        folder: Folder of the config file.
        kind: The kind of labels that the task learns.

    Raises:
        ConfigError: The task learns something else than one class, `path` or `test_path` is not a folder, or it is
            unclear which folder holds the test data.
        DataError: A class is empty, a file is not an image, or training and test classes differ.
    """
    gives_one_class(kind, "folder")
    root = _existing(located(config.path or "", folder), "path")
    test_path = _existing(located(config.test_path, folder), "test_path") if config.test_path else None
    ignoring = Ignoring([path for path in (root, test_path) if path], config.ignore)
    listing = _Listing(ignoring)
    train_root, test_root = _roots(config, root, test_path, listing)
    folders = listing.class_folders(train_root)
    names = checked_class_names([path.name for path in folders], printable(str(train_root)))
    train, test = _source_split(train_root, folders, listing), None
    if test_root is not None:
        check_distinct([train_root], [test_root])
        found = _same_classes(names, listing.class_folders(test_root), test_root)
        test = _source_split(test_root, found, listing)
    test_data = _described(test_root, test) if test_root and test else None
    note = taken_note(_described(train_root, train), test_data, listing.unused(root, train_root, test_root))
    return Source(train=train, test=test, class_names=names, notes=(note, ignoring.note()))


def _described(root: Path, split: SourceSplit) -> str:
    return f"{len(split.labels)} images in {printable(str(root))}"


def _roots(config: DataConfig, root: Path, test: Path | None, listing: _Listing) -> tuple[Path, Path | None]:
    """The folders that hold the class folders of the training data and of the test data, if there are any."""
    explicit = listing.within(test) if test else None
    found = listing.split_folders(root)
    if "train" not in found:
        return root, explicit
    other = found.get("validation")
    if explicit is None and "test" not in found and other:
        raise ConfigError(
            f"{root}: has {found['train'].name!r} and {other.name!r} but no folder of test data; state which is the "
            f"test data: path: {config.path}/{found['train'].name} and test_path: {config.path}/{other.name}"
        )
    return found["train"], explicit or found.get("test")


def _existing(root: Path, key: str) -> Path:
    if root.is_dir():
        return root
    problem = "is a file, expected a folder of class folders" if root.exists() else "there is no such folder"
    raise ConfigError(f"{root}: {problem}; set '{key}' to the folder that holds one folder per class")


class _Listing:
    """What lies in folders, without what is ignored."""

    def __init__(self, ignoring: Ignoring) -> None:
        self._ignoring = ignoring

    def entries(self, folder: Path) -> list[Path]:
        """Files and folders, sorted."""
        return [path for path in sorted(folder.iterdir()) if not self._ignoring.ignores(path)]

    def folders(self, root: Path) -> list[Path]:
        """The folders in a folder, sorted."""
        return [path for path in self.entries(root) if path.is_dir()]

    def split_folders(self, root: Path) -> dict[SplitName, Path]:
        """The folders in `root` that hold class folders and are named after a split."""
        found: dict[SplitName, Path] = {}
        for path in self.folders(root):
            split = split_of_name(path.name, str(path)) if self.folders(path) else None
            if split and split in found:
                raise ConfigError(
                    f"{root}: {found[split].name!r} and {path.name!r} are both named after the {split} split; "
                    "set 'path' to the folder of the training data, and 'test_path' to that of the test data"
                )
            if split:
                found[split] = path
        return found

    def within(self, root: Path) -> Path:
        """The folder of test data in `root`, else `root` itself."""
        return self.split_folders(root).get("test", root)

    def unused(self, root: Path, train: Path, test: Path | None) -> list[str]:
        """Names of what lies beside the split folders in `root`."""
        if train == root:
            return []
        used = {train.name, *([test.name] if test and test.parent == root else [])}
        return [printable(path.name) for path in self.entries(root) if path.name not in used]

    def class_folders(self, root: Path) -> list[Path]:
        """The folders in `root`, at least one, with no image beside them."""
        entries = self.entries(root)
        stray = next((path for path in entries if path.suffix.lower() in EXTENSIONS and not path.is_dir()), None)
        if stray is not None:
            raise DataError(f"{stray}: is outside all class folders; move it into a folder named after its class")
        found = [path for path in entries if path.is_dir()]
        if not found:
            raise DataError(f"{root}: holds no class folders; expected {root}/<class>/<image>.png")
        return found

    def images(self, folder: Path) -> list[Path]:
        """The images in a class folder, at least one, sorted by name."""
        with os.scandir(folder) as entries:
            kept = [entry for entry in entries if not self._ignoring.ignores(folder / entry.name)]
        found = sorted(kept, key=lambda entry: entry.name)
        if not found:
            raise DataError(f"{folder}: this class folder is empty; add images or remove the folder")
        for entry in found:
            if entry.is_dir():
                raise DataError(
                    f"{printable(entry.path)}: is a folder in a class folder; expected <class>/<image>.png; if it is a "
                    "class, set 'path', and 'test_path' for the test data, to the folder above it"
                )
            if not entry.is_file() or not entry.name.lower().endswith(EXTENSIONS):
                what = "an image" if entry.is_file() else "a regular file, or a link to one"
                raise DataError(
                    f"{printable(entry.path)}: is not {what}; a class folder holds only {' '.join(EXTENSIONS)}; remove "
                    "it, or name it in data.ignore"
                )
        return [folder / entry.name for entry in found]


def _same_classes(train: Sequence[str], test: Sequence[Path], root: Path) -> list[Path]:
    """The folders of the test data in the order of the classes, whose accents may be stored in another way."""
    folders = {composed(path.name): path for path in test}
    checked_class_names([path.name for path in test], printable(str(root)))
    known = [composed(name) for name in train]
    for name in folders:
        if name not in known:
            raise DataError(f"{root}: class {name!r} is not in the training data; {nearest(name, known)}")
    for name in known:
        if name not in folders:
            raise DataError(f"{root}: class {name!r} of the training data is missing; add a folder with its images")
    return [folders[name] for name in known]


def _source_split(root: Path, classes: Sequence[Path], listing: _Listing) -> SourceSplit:
    files = [(label, path) for label, folder in enumerate(classes) for path in listing.images(folder)]
    names = tuple(str(path.relative_to(root)) for _, path in files)
    labels = np.array([label for label, _ in files], dtype=np.int64)
    return split_of_files(FileReader(root=root, names=names), labels)


def split_of_files(
    reader: FileReader, labels: Labels, weights: Weights | None = None, groups: Groups | None = None
) -> SourceSplit:
    """The images that `reader` reads, with their labels; see `SourceSplit`."""
    return SourceSplit(
        labels=labels,
        read=reader,
        weights=weights,
        groups=groups,
        largest_samples=reader.largest_samples,
        at_depth=lambda depth: split_of_files(replace(reader, depth=depth), labels, weights, groups),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class FileReader:
    """Decodes image files. See `supernet.data.types.Reader`.

    Attributes:
        root: Folder of the split.
        names: Path of each image relative to `root`.
        depth: Number of bits that images of 16 bits use; None if it is not known.
    """

    root: Path
    names: Sequence[str]
    depth: int | None = None

    def __call__(self, rows: Rows, form: ImageForm, progress: Progress) -> Images:
        """The images at `rows`. Raises `DataError`."""

        def one(index: int) -> Images:
            path = self.root / self.names[rows[index]]
            return decode(_content(path), form, printable(str(path)), self.depth)

        return decode_many(len(rows), one, form, progress)

    def largest_samples(self) -> Iterator[int]:
        """See `SourceSplit.largest_samples`."""

        def one(index: int) -> int:
            return largest_sample(_content(self.root / self.names[index]))

        for start in range(0, len(self.names), _SCAN):
            yield largest_of(range(start, min(start + _SCAN, len(self.names))), one)


def _content(path: Path) -> bytes:
    try:
        return read_regular(path, _MOST_BYTES)
    except ForeignError as error:
        raise DataError(str(error)) from error
