"""Stages are done once: a finished stage leaves a record with the digest of its inputs and of its files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from factory_base.errors import FactoryError
from factory_base.files import digest_of, read_json, sha256_file, write_json


@dataclass(frozen=True, slots=True, kw_only=True)
class StageCache:
    """The records of one run folder.

    Attributes:
        folder: where the records lie, one JSON file a stage.
        root: files that stages make are named relative to it.
    """

    folder: Path
    root: Path

    def load(self, stage: str, key: str) -> Any | None:
        """The JSON result of `stage`, or None when it never finished with this `key` or a file of it changed."""
        path = self._record(stage)
        if not path.is_file():
            return None
        try:
            record = read_json(path)
            fresh = record["key"] == key and all(self._unchanged(n, d) for n, d in record["files"].items())
            return record["result"] if fresh else None
        except (FactoryError, KeyError, TypeError, AttributeError):
            return None  # damaged from outside: do the stage again

    def save(self, stage: str, key: str, result: Any, files: Sequence[Path] = ()) -> None:
        """Record that `stage` is finished; `files` are what later stages will read. Raises `DiskError`."""
        digests = {str(path.relative_to(self.root)): sha256_file(path) for path in files}
        write_json(self._record(stage), {"key": key, "result": result, "files": digests})

    def _record(self, stage: str) -> Path:
        return self.folder / f"{stage}.json"

    def _unchanged(self, name: str, digest: str) -> bool:
        path = self.root / name
        return path.is_file() and sha256_file(path) == digest


def stage_key(stage: str, stage_version: int, libraries: tuple[str, ...], inputs: Mapping[str, Any]) -> str:
    """The digest of everything that shapes a stage's result: its inputs, its version, the libraries' versions."""
    versions = {name: library_version(name) for name in libraries}
    return digest_of({"stage": stage, "version": stage_version, "libraries": versions, "inputs": dict(inputs)})


def library_version(name: str) -> str:
    """The installed version of a distribution, without importing it; "" when it is absent."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
