"""Decoded images and what a pass over them found, in files that outlast a command."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from factory_base.errors import DataError, DiskError, FactoryError
from factory_base.files import atomic_path, read_json, write_json
from factory_base.progress import Progress
from supernet.data.images import allocate
from supernet.data.types import Images, Rows

_KEY_LENGTH = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """A folder of such files.

    Attributes:
        folder: made when something is written.
        key: hex digest of everything that decides pixels and parts. Files of other keys are removed before one is
            written.
    """

    folder: Path
    key: str

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Wait for other processes that write here; of several that start together, the first does the work.

        Raises:
            DiskError: the folder cannot be written.
        """
        from filelock import FileLock

        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / ".lock")
            lock.acquire()
        except OSError as error:
            raise DiskError(f"{self.folder}: cannot be written ({error.strerror or error})") from error
        try:
            yield
        finally:
            lock.release()

    def facts(self) -> dict[str, Any] | None:
        """What `keep_facts` wrote, if it did."""
        path = self._path("facts.json")
        try:
            found = read_json(path) if path.is_file() else None
        except FactoryError:
            return None
        return found if isinstance(found, dict) else None

    def keep_facts(self, facts: dict[str, Any]) -> None:
        """Write a JSON object. Raises `DiskError`."""
        self._remove_others()
        write_json(self._path("facts.json"), facts)

    def reader(self, name: str, count: int, size: int) -> StoredImages | None:
        """Reads part `name` of `count` images, if it is here as a whole."""
        path = self._path(f"{name}.rgb")
        whole = path.is_file() and path.stat().st_size == count * 3 * size * size
        return StoredImages(path) if whole else None

    def keep_images(self, name: str, chunks: Iterable[Images]) -> StoredImages:
        """Write the images of part `name`. Raises `DiskError`, and what `chunks` raises."""
        self._remove_others()
        path = self._path(f"{name}.rgb")
        with atomic_path(path) as temporary, temporary.open("wb") as stream:
            for images in chunks:
                stream.write(np.ascontiguousarray(images).data)
        return StoredImages(path)

    def has_room(self, needed: int) -> bool:
        """Whether `needed` bytes leave at least half of the disk's free space free, without files of other keys."""
        folder = next(path for path in (self.folder, *self.folder.absolute().parents) if path.is_dir())
        return needed <= (shutil.disk_usage(folder).free + sum(path.stat().st_size for path in self._others())) / 2

    def _others(self) -> list[Path]:
        """The files of other keys."""
        found = [path for path in self.folder.glob("*") if path.suffix in (".rgb", ".json")]
        return [path for path in found if not path.name.startswith(self.key[:_KEY_LENGTH])]

    def _remove_others(self) -> None:
        for path in self._others():
            path.unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self.folder / f"{self.key[:_KEY_LENGTH]}-{name}"


@dataclass(frozen=True, slots=True)
class StoredImages:
    """Reads images from a file of decoded ones. See `supernet.data.types.Reader`.

    With plain reads, not a memory map: one request per image, and a disk that fails is an error, not a signal that
    kills the process. The operating system keeps what it has memory for, for all processes together.
    """

    path: Path

    def __call__(self, rows: Rows, size: int, progress: Progress) -> Images:
        """The images at `rows`. Raises `DataError`."""
        images = allocate(len(rows), size)
        edges = [0, *(np.flatnonzero(np.diff(rows) != 1) + 1), len(rows)]  # of runs of neighbours
        try:
            with self.path.open("rb", buffering=0) as stream:
                for start, stop in pairwise(edges if len(rows) else []):
                    stream.seek(int(rows[start]) * 3 * size * size)
                    self._fill(stream, memoryview(images[start:stop].data).cast("B"))
        except OSError as error:
            raise DataError(
                f"{self.path}: cannot be read ({error.strerror}); remove it to have it made anew"
            ) from error
        progress(len(rows), len(rows), "images")
        return images

    def _fill(self, stream: FileIO, target: memoryview) -> None:
        while len(target):
            count = stream.readinto(target)
            if not count:
                raise DataError(f"{self.path}: ends early; remove it to have it made anew")
            target = target[count:]
