"""Finds the files that a config names by a file, a folder or a glob, and which are training and test data."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from factory_base.errors import ConfigError
from factory_base.foreign import printable
from factory_base.wording import counted
from supernet.data.config import DataConfig
from supernet.data.ignoring import Ignoring
from supernet.data.source_splits import expanded, fixed_part, located, wildcards
from supernet.data.split_names import SplitName, paths_by_split, pattern_for

FOLDER_DEPTH = 3
"""Folders below that of a data set in which its files are looked for: a split, a part of it, and one to spare."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shards:
    """The files of a data set.

    Attributes:
        root: The folder that names are shown from.
        train: The training data, sorted, at least one.
        test: The test data, sorted; empty if there is none.
        unused: Names of files that lie there too and are not read, with the reason.
        note: A line that says what was ignored; empty if nothing is to be said.
    """

    root: Path
    train: tuple[Path, ...]
    test: tuple[Path, ...]
    unused: tuple[str, ...]
    note: str = ""

    def shown(self, path: Path) -> Path:
        """The name of a file from `root`."""
        return _shown(path, self.root)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """The files of one path of the config, by the split that they name.

    Attributes:
        path: The path as the config states it.
        root: The fixed part of the path.
        by_split: The files; under None if names do not matter or state no split.
        is_folder: Whether the path is a folder, of which no file was named by hand.
        unread: Files in subfolders of a folder that has files of its own.
    """

    path: str
    root: Path
    by_split: dict[SplitName | None, list[Path]]
    is_folder: bool
    unread: tuple[Path, ...] = ()

    def named_by_hand(self) -> list[Path] | None:
        """The files if the path itself tells which are meant: one file, or a glob or folder without several splits."""
        if None in self.by_split:
            return self.by_split[None]
        return None if self.is_folder or len(self.by_split) > 1 else next(iter(self.by_split.values()))

    def splits(self) -> str:
        """The splits, for messages."""
        return ", ".join(str(split) for split in self.by_split)


def find_shards(config: DataConfig, folder: Path, suffixes: Collection[str]) -> Shards:
    """The files that `path` and `test_path` name. Each is a file, a folder, a glob, or has braces as in a shell.

    Files whose names, or whose folders below the path, state a split form the splits; see `supernet.data.split_names`.
    If a column states the split of each row, all files are training data here. A folder without such files of its own
    is searched `FOLDER_DEPTH` folders deep.

    Args:
        config: The `data` section.
        folder: Folder of the config file.
        suffixes: File name extensions, in lower case, of the files that are looked for in folders.

    Raises:
        ConfigError: There is no file, or it is unclear which files are the training or the test data.
    """
    named = [path for path in (config.path, config.test_path) if path]
    ignoring = Ignoring([fixed_part(located(path, folder)) for path in named], config.ignore)
    found = _found(config.path or "", folder, "path", suffixes, ignoring)
    other = _found(config.test_path, folder, "test_path", suffixes, ignoring) if config.test_path else None
    if config.split_column:
        together = sorted(path for paths in found.by_split.values() for path in paths)
        unused = _unused(found, together)
        return Shards(root=found.root, train=tuple(together), test=(), unused=unused, note=ignoring.note())
    train = found.named_by_hand()
    test = _test_files(other) if other else []
    if train is None:
        train = found.by_split.get("train")
        if train is None:
            raise ConfigError(f"{found.path}: has files of {found.splits()} but none of 'train'; name them in 'path'")
        test = test or found.by_split.get("test", [])
        if not test and "validation" in found.by_split:
            raise _unclear(found, folder)
    unused = _unused(found, [*train, *test])
    return Shards(root=found.root, train=tuple(train), test=tuple(test), unused=unused, note=ignoring.note())


def _unused(found: _Found, used: Sequence[Path]) -> tuple[str, ...]:
    taken = set(used)
    of_splits = [path for paths in found.by_split.values() for path in paths if path not in taken]
    return tuple(printable(str(path.relative_to(found.root))) for path in [*of_splits, *found.unread])


def _unclear(found: _Found, folder: Path) -> ConfigError:
    train, other = ([_shown(path, folder) for path in found.by_split[split]] for split in ("train", "validation"))
    patterns = pattern_for(train, other), pattern_for(other, train)
    advice = ""
    if None not in patterns:
        advice = f": path: {patterns[0]} and test_path: {patterns[1]}"
    return ConfigError(
        f"{found.path}: has files of 'train' and 'validation' but none of 'test'; state which are the test data{advice}"
    )


def _shown(path: Path, folder: Path) -> Path:
    return path.relative_to(folder) if path.is_relative_to(folder) else path


def _test_files(found: _Found) -> list[Path]:
    test = found.named_by_hand() or found.by_split.get("test")
    if not test:
        raise ConfigError(f"{found.path}: has files of {found.splits()} but none of 'test'; name them in 'test_path'")
    return test


def _found(named: str, folder: Path, key: str, suffixes: Collection[str], ignoring: Ignoring) -> _Found:
    path = located(named, folder)
    if path.is_dir():
        files, unread = _below(path, key, suffixes, ignoring)
        return _Found(path=named, root=path, by_split=paths_by_split(files, path), is_folder=True, unread=tuple(unread))
    listed = expanded(path)
    if listed is not None:
        missing = [file for file in listed if not file.exists()]
        if missing:
            raise ConfigError(
                f"{printable(str(missing[0]))}: no such file, the first of {counted(len(missing), 'missing file')} of "
                f"the {len(listed):,} that '{key}' names"
            )
        by_split: dict[SplitName | None, list[Path]] = {None: _checked(listed, path, key, suffixes)}
        return _Found(path=named, root=path.parent, by_split=by_split, is_folder=False)
    wild = wildcards(path)
    if wild is None:
        return _Found(
            path=named, root=path.parent, by_split={None: _checked([path], path, key, suffixes)}, is_folder=False
        )
    root, pattern = wild
    found = sorted(p for p in root.glob(pattern) if not p.is_dir() and not ignoring.ignores(p))
    files = _checked(found, path, key, suffixes)
    return _Found(path=named, root=root, by_split=paths_by_split(files, root), is_folder=False)


def _below(root: Path, key: str, suffixes: Collection[str], ignoring: Ignoring) -> tuple[list[Path], list[Path]]:
    """The files of a folder, and those in its subfolders if it has files of its own, which are then not read."""
    own: list[Path] = []
    deeper: list[Path] = []
    for folder, folders, names in os.walk(root, followlinks=True):
        depth = len(Path(folder).relative_to(root).parts)
        kept = [name for name in folders if not ignoring.ignores(Path(folder, name))]
        folders[:] = kept if depth < FOLDER_DEPTH else []
        paths = [path for name in names if not ignoring.ignores(path := Path(folder, name))]
        files = [path for path in paths if path.suffix.lower() in suffixes]
        (deeper if depth else own).extend(files)
    read, unread = (own, deeper) if own else (deeper, [])
    return _checked(sorted(read), root / f"*{next(iter(suffixes))}", key, suffixes), sorted(unread)


def _checked(files: list[Path], path: Path, key: str, suffixes: Collection[str]) -> list[Path]:
    """`files`, all of them regular files and at least one."""
    if not files or not (len(files) > 1 or files[0].exists() or files[0].is_symlink()):
        raise ConfigError(
            f"{path}: no such file; set '{key}' to a {' or '.join(suffixes)} file, a folder of them, or a glob"
        )
    odd = next((file for file in files if not file.is_file()), None)
    if odd is not None:
        raise ConfigError(f"{printable(str(odd))}: is not a regular file, or a link to none; remove it")
    return files
