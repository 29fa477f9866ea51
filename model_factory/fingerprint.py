"""What identifies a data set without decoding it, and a model space without importing it: files and their contents."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from model_factory.base.errors import DataError, FactoryError, SpaceError
from model_factory.base.files import read_json, sha256_file, write_json
from model_factory.cache import library_version
from supernet.data.callables import importable
from supernet.data.config import DataConfig
from supernet.data.parts import located
from supernet.spaces.config import ImportedConfig, SpaceConfig
from supernet.spaces.hf_config import TransformersConfig


def data_fingerprint(config: DataConfig, folder: Path, memo_file: Path) -> dict[str, Any]:
    """A JSON value that changes when the `data` section or a file it names changes: content or place below `path`.

    Files are hashed once; `memo_file` remembers the digests by size and time of change. What a callable source reads is
    not known, so only its code counts.

    Raises:
        DataError: a file cannot be read.
    """
    memo = _Memo(memo_file)
    try:
        files = [[name, memo.digest(path)] for name, path in _files(config, folder)]
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read ({error.strerror})") from error
    memo.save()
    section = config.model_dump(mode="json", exclude={"path", "test_path"})
    return {"config": section, "files": files}


def model_code(config: SpaceConfig, folder: Path) -> dict[str, Any]:
    """What shapes a model space beside the `model` section: the code of an imported one, the version of `transformers`.

    Empty for the model spaces that ship. Keys of stages that build networks take it in.

    Raises:
        SpaceError: a file of the code cannot be read.
    """
    if isinstance(config, TransformersConfig):
        return {"transformers": library_version("transformers")}
    if not isinstance(config, ImportedConfig):
        return {}
    try:
        return {"model_code": [[n, sha256_file(path)] for n, path in _code(config.space.partition(":")[0], folder)]}
    except OSError as error:
        raise SpaceError(f"{error.filename}: cannot be read ({error.strerror})") from error


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
    return _named(path, path.rglob("*")) if path.is_dir() else [("", path)] if path.is_file() else []


def _code(module: str, folder: Path) -> list[tuple[str, Path]]:
    """The module's file, or every Python file of the package it lies in."""
    try:
        with importable(folder):
            spec = importlib.util.find_spec(module.partition(".")[0])
    except (ImportError, ValueError):
        return []
    if spec is None or spec.origin is None:
        return []
    origin = Path(spec.origin)
    return _named(origin.parent, origin.parent.rglob("*.py") if origin.name == "__init__.py" else [origin])


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

    def digest(self, path: Path) -> str:
        stat = path.stat()
        known = self._old.get(str(path))
        mark = [stat.st_size, stat.st_mtime_ns]
        digest = known[2] if isinstance(known, list) and known[:2] == mark else sha256_file(path)
        self._new[str(path)] = [*mark, digest]
        return str(digest)

    def save(self) -> None:
        if self._new != self._old:
            write_json(self._path, self._new)
