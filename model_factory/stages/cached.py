"""The cache of stages: a finished stage leaves a record with its result and the digests of its inputs and its files.

    stage = Stage(run=run, name="calibration", version=1, inputs={...}, libraries=("torch",), codec=TypeAdapter(int))
    images = stage.cached(lambda: calibrate(...))

A record is one JSON file in `runs/<name>/stages`. It is used only if its key is that of the stage, its own digest is
right, and every file that it names is unchanged; otherwise the stage runs again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from factory_base.files import digest_of, sha256_file
from model_factory.run import Run
from model_factory.stages.sealed import read_sealed, read_unsealed, write_sealed

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Stage(Generic[T]):
    """One stage of one run.

    Attributes:
        run: The run, whose folder holds the record.
        name: Name of the stage and of its record.
        version: Version of the code of the stage, which grows if the same inputs no longer give the same result.
        inputs: JSON values that shape the result.
        codec: Converts the result to JSON and back.
        libraries: Distributions whose versions shape the result and are part of the key.
        noted: Distributions whose versions are recorded but are not part of the key.
    """

    run: Run
    name: str
    version: int
    inputs: Mapping[str, Any]
    codec: TypeAdapter[T]
    libraries: tuple[str, ...] = ()
    noted: tuple[str, ...] = ()

    @cached_property
    def key(self) -> str:
        """Digest of everything that shapes the result."""
        return stage_key(self.name, self.version, self.libraries, self.inputs)

    def cached(self, compute: Callable[[], T], files: Callable[[T], Iterable[Path]] = lambda _: ()) -> T:
        """The recorded result or, if there is none, the result of `compute`, which is then recorded.

        Args:
            compute: Runs the stage.
            files: Lists the files that later stages read, given the result; they are in the run's base folder or below.

        Raises:
            DiskError: The record cannot be written.
        """
        found = self.load()
        return self.save(result := compute(), files(result)) if found is None else found

    def load(self) -> T | None:
        """The recorded result; None if the stage never finished with this key, or the record or a file was changed."""
        record = self.record()
        if record is None or record["key"] != self.key or not unchanged(record, self.run):
            return None
        try:
            return self.codec.validate_python(record["result"], strict=False)
        except ValidationError:
            return None  # recorded by another version of the factory

    def save(self, result: T, files: Iterable[Path] = (), adopted: Mapping[str, Any] | None = None) -> T:
        """Record a result.

        Args:
            result: The result.
            files: Files that later stages read; their digests are recorded.
            adopted: The earlier record, if this result was made from other inputs and is taken as it is: the inputs
                and libraries that it was really made with stay on record.

        Raises:
            DiskError: The record cannot be written.
        """
        record = {
            "key": self.key,
            "result": self.codec.dump_python(result, mode="json"),
            "files": {str(path.relative_to(self.run.base)): sha256_file(path) for path in files},
            "inputs": dict(self.inputs),
            "libraries": {name: library_version(name) for name in (*self.libraries, *self.noted)},
        }
        if adopted is not None:
            record |= {name: adopted[name] for name in ("inputs", "libraries") if name in adopted}
        write_sealed(self.run.stage_record(self.name), record)
        return result

    def record(self) -> dict[str, Any] | None:
        """The record, whatever its key; None if there is none or it was damaged."""
        record = read_sealed(self.run.stage_record(self.name))
        return record if record is not None and "result" in record else None


def damaged_records(run: Run) -> list[Path]:
    """The records of stages that were damaged or edited, so that their stages run again."""
    found = sorted(run.stages.glob("*.json")) if run.stages.is_dir() else []
    return [path for path in found if read_sealed(path) is None and "result" not in (read_unsealed(path) or {})]


def unchanged(record: Mapping[str, Any], run: Run) -> bool:
    """Whether every file that the record names still has the recorded digest."""
    files = ((run.base / name, digest) for name, digest in record["files"].items())
    return all(path.is_file() and sha256_file(path) == digest for path, digest in files)


def stage_key(stage: str, stage_version: int, libraries: tuple[str, ...], inputs: Mapping[str, Any]) -> str:
    """Digest of a stage's inputs, its version, and the versions of the libraries that shape its result."""
    versions = {name: library_version(name) for name in libraries}
    return digest_of({"stage": stage, "version": stage_version, "libraries": versions, "inputs": dict(inputs)})


def library_version(name: str) -> str:
    """The installed version of a distribution, found without importing it; "" if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
