"""What identifies a data set without decoding it, and a model space without importing it: files and their contents."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from factory_base.documents import shaping_values
from factory_base.errors import CheckpointError, ConfigError, DataError, FactoryError, SpaceError
from factory_base.files import read_json, sha256_file, write_json
from supernet.data.callables import importable
from supernet.data.config import DataConfig
from supernet.data.source_splits import located
from supernet.spaces.config import ImportedConfig, SpaceConfig
from supernet.spaces.hf_config import TransformersConfig

_DEPTH = 3  # folders below a data set's: a split, a class, and one to spare


def data_fingerprint(config: DataConfig, folder: Path, memo_file: Path) -> dict[str, Any]:
    """A JSON value that changes when the `data` section or a file it names changes: content or place below `path`.

    Files are hashed once; `memo_file` remembers the digests by size and time of change. What a callable source reads is
    not known, so only its code counts.

    Raises:
        DataError: a file cannot be read.
    """
    memo = _Memo(memo_file)
    try:
        found = _files(config, folder)
        digests = memo.digests([path for _, path in found])
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read ({error.strerror})") from error
    memo.save()
    section = shaping_values(config, exclude={"path", "test_path"})  # places; the content is in the digests
    return {"config": section, "files": [[name, digest] for (name, _), digest in zip(found, digests, strict=True)]}


def space_libraries(config: SpaceConfig) -> tuple[str, ...]:
    """Distributions beside PyTorch whose code builds the networks of a model space."""
    return ("transformers",) if isinstance(config, TransformersConfig) else ()


def model_code(config: SpaceConfig, folder: Path) -> dict[str, Any]:
    """What shapes a model space beside the `model` section: the code of an imported one.

    Empty for the model spaces that ship. Keys of stages that build networks take it in.

    Raises:
        SpaceError: A file of the code cannot be read.
    """
    if not isinstance(config, ImportedConfig):
        return {}
    try:
        return {"model_code": [[n, sha256_file(path)] for n, path in _code(config.space.partition(":")[0], folder)]}
    except OSError as error:
        raise SpaceError(f"{error.filename}: cannot be read ({error.strerror})") from error


def weights_fingerprint(initial_weights: str | None, folder: Path, checkpoint: Path) -> dict[str, Any]:
    """The content of the file that training starts from; empty where it starts from random weights.

    Args:
        initial_weights: of the config.
        folder: of the config.
        checkpoint: the file that training writes.

    Raises:
        CheckpointError: the file cannot be read.
        ConfigError: it is `checkpoint`.
    """
    if initial_weights is None:
        return {}
    path = located(initial_weights, folder)
    if path.resolve() == checkpoint.resolve():
        raise ConfigError(f"{path}: is where this run keeps its own result; start from a copy of it elsewhere")
    try:
        return {"initial_weights": sha256_file(path)}
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}); see training.initial_weights") from error


def _files(config: DataConfig, folder: Path) -> list[tuple[str, Path]]:
    if config.is_callable:
        return _code(config.source.partition(":")[0], folder)
    named = [located(path, folder) for path in (config.path, config.test_path) if path]
    return [pair for path in named for pair in _below(path)]


def _below(path: Path) -> list[tuple[str, Path]]:
    """Every file below a folder or a glob, named relative to its fixed part; a single file has no name."""
    wild = next((i for i, part in enumerate(path.parts) if any(c in part for c in "*?[")), None)
    if wild is not None:
        root = Path(*path.parts[:wild])
        return _named(root, root.glob("/".join(path.parts[wild:])))
    return _walked(path) if path.is_dir() else [("", path)] if path.is_file() else []


def _walked(root: Path) -> list[tuple[str, Path]]:
    """Every file below `root`, through links to folders too, as deep as a source looks; fast for a million files."""
    found = []
    for folder, folders, files in os.walk(root, followlinks=True):
        below = Path(folder).relative_to(root)
        if len(below.parts) >= _DEPTH:
            folders.clear()
        there = (name for name in files if name[0] != "." or Path(folder, name).is_file())  # no editor's dead links
        found += [((below / name).as_posix(), Path(folder, name)) for name in there]
    return sorted(found)


def _code(module: str, folder: Path) -> list[tuple[str, Path]]:
    """The module's file, or every Python file of the package it lies in."""
    try:
        with importable(folder):
            spec = importlib.util.find_spec(module.partition(".")[0])
    except (ImportError, ValueError):
        return []
    if spec is None:
        return []
    packages = [Path(place) for place in spec.submodule_search_locations or ()]  # also one without __init__.py
    if packages or spec.origin is None:
        return [pair for package in packages for pair in _named(package, package.rglob("*.py"))]
    return _named(Path(spec.origin).parent, [Path(spec.origin)])


def _named(root: Path, paths: Iterable[Path]) -> list[tuple[str, Path]]:
    return sorted((path.relative_to(root).as_posix(), path) for path in paths if path.is_file())


class _Memo:
    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._old = read_json(path) if path.is_file() else {}
        except FactoryError:
            self._old = {}
        self._new: dict[str, list[Any]] = {}

    def digests(self, paths: Sequence[Path]) -> list[str]:
        """Of each file; those that changed are read, several at a time (hashing frees the GIL)."""
        marks = [self._mark(path) for path in paths]
        known = [self._old.get(str(path)) for path in paths]
        found = [str(k[2]) if isinstance(k, list) and k[:2] == m else "" for k, m in zip(known, marks, strict=True)]
        with ThreadPoolExecutor() as pool:
            changed = iter(pool.map(sha256_file, [p for p, digest in zip(paths, found, strict=True) if not digest]))
            found = [digest or next(changed) for digest in found]
        for path, mark, digest in zip(paths, marks, found, strict=True):
            self._new[str(path)] = [*mark, digest]
        return found

    @staticmethod
    def _mark(path: Path) -> list[int]:
        stat = path.stat()
        return [stat.st_size, stat.st_mtime_ns]

    def save(self) -> None:
        if self._new != self._old:
            write_json(self._path, self._new)
