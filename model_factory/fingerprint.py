"""What identifies a data set without decoding it: the content of its files."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from model_factory.base.errors import FactoryError
from model_factory.base.files import read_json, sha256_file, write_json
from supernet.data.config import DataConfig


def data_fingerprint(config: DataConfig, folder: Path, memo_file: Path) -> dict[str, Any]:
    """A JSON value that changes when the `data` section or a file it names changes.

    Files are hashed once; `memo_file` remembers the digests by size and time of change. What a callable source reads is
    not known, so only its module's file counts.
    """
    memo = _Memo(memo_file)
    files = [memo.digest(path) for path in _files(config, folder)]
    memo.save()
    section = config.model_dump(mode="json", exclude={"path", "test_path"})
    return {"config": section, "files": files}


def _files(config: DataConfig, folder: Path) -> list[Path]:
    if ":" in config.source:
        spec = importlib.util.find_spec(config.source.partition(":")[0].partition(".")[0])
        return [Path(spec.origin)] if spec and spec.origin else []
    named = [folder / path for path in (config.path, config.test_path) if path]
    return [file for path in named for file in _below(path)]


def _below(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file())
    return sorted(path.parent.glob(path.name))


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
