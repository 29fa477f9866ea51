"""Decoded images and the facts about them, in files that later commands read again."""

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
from factory_base.files import atomic_path, digest_of, write_json
from factory_base.foreign import parse_json, read_regular
from factory_base.progress import Progress
from supernet.data.image_form import ImageForm
from supernet.data.images import allocate
from supernet.data.types import Images, Rows

_MOST_FACTS = 2**16  # bytes of the facts, which take less than one KiB
_KEY_LENGTH = 16  # hex digits in file names: 64 bits, enough to tell the few keys of a folder apart


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageCache:
    """A folder of decoded images.

    Attributes:
        folder: Location of the files; created on the first write.
        key: Hex digest of everything that determines the pixels and the splits. Files with other keys are removed
            before a file is written.
    """

    folder: Path
    key: str

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock of the folder; waits while another process holds it.

        Of several processes that start together, the first fills the cache and the others then read it.

        Raises:
            DiskError: The folder cannot be written.
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

    def read_facts(self) -> dict[str, Any] | None:
        """The object that `write_facts` wrote; None if there is none, or it was damaged or edited."""
        path = self._path("facts.json")
        try:
            found = parse_json(read_regular(path, _MOST_FACTS), str(path), max_bytes=_MOST_FACTS)
            facts = found["facts"] if found["digest"] == digest_of(found["facts"]) else None
        except (FactoryError, KeyError, TypeError):
            return None
        return facts if isinstance(facts, dict) else None

    def write_facts(self, facts: dict[str, Any]) -> None:
        """Write `facts` as a JSON object. Raises `DiskError`."""
        self._remove_others()
        write_json(self._path("facts.json"), {"facts": facts, "digest": digest_of(facts)})

    def reader(self, name: str, count: int, form: ImageForm) -> StoredImages | None:
        """A reader of split `name`; None unless its file exists and holds all `count` images of `form`."""
        path = self._path(f"{name}.rgb")
        whole = path.is_file() and path.stat().st_size == count * form.image_bytes
        return StoredImages(path) if whole else None

    def write_images(self, name: str, chunks: Iterable[Images]) -> StoredImages:
        """Write the images of split `name` and return a reader. Raises `DiskError`, and what `chunks` raises."""
        self._remove_others()
        path = self._path(f"{name}.rgb")
        with atomic_path(path) as temporary, temporary.open("wb") as stream:
            for images in chunks:
                stream.write(np.ascontiguousarray(images).data)
        return StoredImages(path)

    def has_room(self, needed: int) -> bool:
        """Whether `needed` bytes leave at least half of the free disk space free, for what else the run writes.

        Files with other keys count as free space, since a write removes them.
        """
        folder = next(path for path in (self.folder, *self.folder.absolute().parents) if path.is_dir())
        return needed <= (shutil.disk_usage(folder).free + sum(path.stat().st_size for path in self._others())) / 2

    def _others(self) -> list[Path]:
        """The files with other keys."""
        found = [path for path in self.folder.glob("*") if path.suffix in (".rgb", ".json")]
        return [path for path in found if not path.name.startswith(self.key[:_KEY_LENGTH])]

    def _remove_others(self) -> None:
        for path in self._others():
            path.unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self.folder / f"{self.key[:_KEY_LENGTH]}-{name}"


@dataclass(frozen=True, slots=True)
class StoredImages:
    """Reads images from a file of decoded images. See `supernet.data.types.Reader`.

    Plain reads instead of a memory map: one request per image, and a failing disk raises an error instead of a signal
    that kills the process. The operating system's page cache is shared by all processes.
    """

    path: Path

    def __call__(self, rows: Rows, form: ImageForm, progress: Progress) -> Images:
        """The images at `rows`. Raises `DataError` if the file is missing or truncated."""
        images = allocate(len(rows), form)
        edges = [0, *(np.flatnonzero(np.diff(rows) != 1) + 1), len(rows)]  # of runs of adjacent rows
        try:
            with self.path.open("rb", buffering=0) as stream:
                for start, stop in pairwise(edges if len(rows) else []):
                    stream.seek(int(rows[start]) * form.image_bytes)
                    self._fill(stream, memoryview(images[start:stop].data).cast("B"))
        except OSError as error:
            raise DataError(
                f"{self.path}: cannot be read ({error.strerror}); remove it, and it is written again"
            ) from error
        progress(len(rows), len(rows), "images")
        return images

    def _fill(self, stream: FileIO, target: memoryview) -> None:
        while len(target):
            count = stream.readinto(target)
            if not count:
                raise DataError(f"{self.path}: ends early; remove it, and it is written again")
            target = target[count:]
