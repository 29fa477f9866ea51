"""NumPy archives with `images` and `labels`, or `x_train`, `y_train`, `x_test`, `y_test`; `class_names` is optional."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from factory_base.documents import nearest
from factory_base.errors import ConfigError, DataError
from factory_base.foreign import printable
from supernet.data.archive import Archive
from supernet.data.class_names import checked_class_names, same_class_names
from supernet.data.config import DataConfig
from supernet.data.images import split_from_arrays
from supernet.data.source_splits import Source, SourceSplit, check_distinct, located, names_of
from supernet.data.split_names import SplitName, listed, split_of_name, split_of_word, taken_note, words_of
from supernet.data.types import LabelKind

_WORDS: Final = {"images": ("x", "images"), "labels": ("y", "labels")}
_CLASS_NAMES = "class_names"
_USUAL: Final[dict[SplitName | None, tuple[str, str]]] = {
    "train": ("x_train", "y_train"),
    "test": ("x_test", "y_test"),
    None: ("images", "labels"),
}
"""Names of images and labels by split, which are taken if several names would do, and are named in messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pair:
    """The arrays of one split in one archive."""

    archive: Archive
    images: str
    labels: str

    def split(self, names: tuple[str, ...] | None, kind: LabelKind) -> SourceSplit:
        """Unpack the arrays; `names` are those of the classes or values if they are known."""
        where = f"{_shown(self.archive)} ({self.images}, {self.labels})"
        count = None if names is None else len(names)
        return split_from_arrays(self.archive.read(self.images), self.archive.read(self.labels), count, where, kind)

    def describe(self, split: SourceSplit) -> str:
        """What the split was taken from, for people."""
        return f"{len(split.labels)} images in {_shown(self.archive)} ({self.images}, {self.labels})"


def load_npz_source(config: DataConfig, folder: Path, kind: LabelKind) -> Source:
    """The images in the archives that `config` names. Only the arrays in use are unpacked.

    The words in the names of arrays state what they hold and for which split: `x_train` and `y_train`, `test_images`
    and `test_labels`, or `images` and `labels` for all; see `supernet.data.split_names`.

    Args:
        config: The `data` section, with source `npz`. The arrays are as `split_from_arrays` takes them.
        folder: Folder of the config file.
        kind: The kind of labels that the task learns.

    Raises:
        ConfigError: A file is missing.
        DataError: A file is not an archive, lacks an array or holds pickled objects, an array has the wrong type or
            shape, two classes have one name, or the class names of training and test data differ.
    """
    archive = _opened(config.path or "", folder, "path")
    found = _by_split(archive)
    train_pair = _pair(archive, found, ("train", None))
    written = _class_names(archive)
    train = train_pair.split(written, kind)
    names = written or names_of(train.labels, _shown(archive))
    test_pair = _test_pair(config, folder, archive, found)
    if test_pair is None:
        note = taken_note(train_pair.describe(train), None, _unused(train_pair))
        return Source(train=train, test=None, class_names=names, notes=(note,))
    test_names = _class_names(test_pair.archive)
    if test_names is not None and not same_class_names(test_names, names):
        raise DataError(
            f"{_shown(test_pair.archive)}: 'class_names' differ from those of the training data ({listed(names)})"
        )
    test = test_pair.split(names, kind)
    note = taken_note(train_pair.describe(train), test_pair.describe(test), _unused(train_pair, test_pair))
    return Source(train=train, test=test, class_names=names, notes=(note,))


_Names = dict[SplitName | None, dict[str, list[str]]]
"""Split -> `images` and `labels` -> the names of arrays that hold them by their words."""


def _by_split(archive: Archive) -> _Names:
    found: _Names = {}
    for name in archive.names:
        words = [word for word in words_of(name) if split_of_word(word) is None]
        kind = next((kind for kind, known in _WORDS.items() if len(words) == 1 and words[0] in known), None)
        if kind is not None:
            split = split_of_name(name, f"{_shown(archive)}: array {name!r}")
            found.setdefault(split, {"images": [], "labels": []})[kind].append(name)
    return found


def _pair(archive: Archive, found: _Names, splits: tuple[SplitName | None, ...]) -> _Pair:
    """The arrays of the first of `splits` for which `archive` has images and labels."""
    for split in splits:
        names = found.get(split, {})
        if names.get("images") and names.get("labels"):
            images, labels = (_one(archive, names[kind], _USUAL[split]) for kind in ("images", "labels"))
            return _Pair(archive=archive, images=images, labels=labels)
    wanted = " or ".join("{!r} with {!r}".format(*_USUAL[split]) for split in splits)
    raise DataError(
        f"{_shown(archive)}: lacks {wanted}; it holds {listed(archive.names) or 'nothing'}; "
        f"{nearest(_USUAL[splits[0]][0], archive.names)}"
    )


def _one(archive: Archive, names: list[str], usual: tuple[str, str]) -> str:
    chosen = next((name for name in names if name in usual), names[0] if len(names) == 1 else None)
    if chosen is None:
        raise DataError(
            f"{_shown(archive)}: holds {listed(names)}; keep only one of them, or name it {' or '.join(usual)}"
        )
    return chosen


def _test_pair(config: DataConfig, folder: Path, archive: Archive, found: _Names) -> _Pair | None:
    if config.test_path:
        other = _opened(config.test_path, folder, "test_path")
        check_distinct([archive.path], [other.path])
        return _pair(other, _by_split(other), ("test", None))
    return _pair(archive, found, ("test",)) if "test" in found else None


def _unused(*pairs: _Pair) -> list[str]:
    """Names of the arrays of the archives that are not used."""
    held = {(pair.archive.path, name): name for pair in pairs for name in pair.archive.names}
    used = {(pair.archive.path, name) for pair in pairs for name in (pair.images, pair.labels, _CLASS_NAMES)}
    return [name for key, name in held.items() if key not in used]


def _class_names(archive: Archive) -> tuple[str, ...] | None:
    if _CLASS_NAMES not in archive.names:
        return None
    names = archive.read(_CLASS_NAMES)
    if names.ndim != 1 or names.dtype.kind != "U":
        raise DataError(
            f"{_shown(archive)}: 'class_names' is {names.dtype} of shape {names.shape}, expected distinct strings"
        )
    return checked_class_names([str(name) for name in names], _shown(archive))


def _opened(named: str, folder: Path, key: str) -> Archive:
    path = located(named, folder)
    if not path.exists():
        raise ConfigError(f"{printable(str(path))}: there is no such file; set '{key}' to a NumPy archive (.npz)")
    return Archive.open(path)


def _shown(archive: Archive) -> str:
    return printable(str(archive.path))
