"""Where an app keeps its models: a folder with a state and two slots.

    state.json         what the client knows (see `state`)
    slots/a, slots/b   each: manifest.json, and the files of one model under the names of the manifest
    lock               locked while a launch is in progress

A slot with a manifest is complete: it is written last and removed first.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Literal, Protocol

from .files import CHUNK, FILE_NAME, open_regular, read

Slot = Literal["a", "b"]
MANIFEST = "manifest.json"
PART = ".part"
_LOCK_POLL_SECONDS = 0.05
"""How often a launch that waits for another one looks again: too short for a person to notice."""


class StoreError(Exception):
    """The store cannot be written: the disk is full, a quota is used up, or permissions are missing."""


class Store(Protocol):
    """What a launch needs of a store. Names of files are those of the manifest, which the caller has checked.

    Methods that write raise `StoreError` if they cannot.
    """

    def lock(self, seconds: float) -> contextlib.AbstractContextManager[None]:
        """Hold the store for one writer. Raises `TimeoutError` if another one holds it for longer than `seconds`."""
        ...

    def read_state(self, limit: int) -> bytes | None:
        """The content of `state.json`; None if there is none. Raises `ValueError`, `OSError`."""
        ...

    def write_state(self, data: bytes) -> None:
        """Replace `state.json`, so that it holds the old or the new content whatever happens, and durably so."""
        ...

    def path(self, slot: Slot, name: str) -> Path:
        """The path of a file, which need not exist."""
        ...

    def size(self, slot: Slot, name: str) -> int | None:
        """The size of a file in bytes; None if it is not there."""
        ...

    def pieces(self, slot: Slot, name: str, first: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The bytes from `first` to before `end`. Raises `ValueError`, `OSError`."""
        ...

    def write(self, slot: Slot, name: str, offset: int, pieces: Iterable[bytes], *, cut: bool) -> None:
        """Write at `offset`; if `cut`, first cut the file to that length. Errors of `pieces` are passed on."""
        ...

    def rename(self, slot: Slot, name: str, new: str) -> None:
        """Rename a file after its content is durable."""
        ...

    def remove(self, slot: Slot, name: str) -> None:
        """Remove a file if it is there."""
        ...

    def names(self, slot: Slot) -> list[str]:
        """The names of the files in a slot."""
        ...


class FolderStore:
    """A `Store` in a folder, which is made if it does not exist."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with _writing():
            for slot in ("a", "b"):
                (folder / "slots" / slot).mkdir(parents=True, exist_ok=True)

    @contextlib.contextmanager
    def lock(self, seconds: float) -> Iterator[None]:
        """See `Store.lock`. The system frees the lock when the process ends, however it ends."""
        end = time.monotonic() + seconds
        with _writing():
            stream = (self._folder / "lock").open("ab")
        with stream:
            while not _locked(stream):
                if time.monotonic() > end:
                    raise TimeoutError(f"another launch has held {self._folder} for {seconds:g} s")
                time.sleep(_LOCK_POLL_SECONDS)
            yield

    def read_state(self, limit: int) -> bytes | None:
        """See `Store.read_state`."""
        try:
            return read(self._folder / "state.json", limit)
        except FileNotFoundError:
            return None

    def write_state(self, data: bytes) -> None:
        """See `Store.write_state`."""
        temporary = self._folder / "state.json.new"
        with _writing():
            with temporary.open("wb") as stream:
                stream.write(data)
                _flush(stream)
            temporary.replace(self._folder / "state.json")
            _flush_folder(self._folder)

    def path(self, slot: Slot, name: str) -> Path:
        """See `Store.path`."""
        if not FILE_NAME.fullmatch(name):
            raise ValueError(f"the file name {name[:80]!r} is not allowed")
        return self._folder / "slots" / slot / name

    def size(self, slot: Slot, name: str) -> int | None:
        """See `Store.size`."""
        try:
            return self.path(slot, name).stat().st_size
        except OSError:
            return None

    def pieces(self, slot: Slot, name: str, first: int = 0, end: int | None = None) -> Iterator[bytes]:
        """See `Store.pieces`."""
        with open_regular(self.path(slot, name), self._folder) as stream:
            stream.seek(first)
            left = sys.maxsize if end is None else end - first
            while left > 0 and (piece := stream.read(min(CHUNK, left))):
                left -= len(piece)
                yield piece

    def write(self, slot: Slot, name: str, offset: int, pieces: Iterable[bytes], *, cut: bool) -> None:
        """See `Store.write`."""
        path = self.path(slot, name)
        with _writing():
            path.parent.mkdir(parents=True, exist_ok=True)
            stream = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o644), "r+b", 0)
        with stream:
            with _writing():
                if cut:
                    stream.truncate(offset)
                stream.seek(offset)
            for piece in pieces:
                with _writing():
                    _write_all(stream, piece)

    def rename(self, slot: Slot, name: str, new: str) -> None:
        """See `Store.rename`."""
        path, target = self.path(slot, name), self.path(slot, new)
        with _writing():
            with path.open("r+b") as stream:
                _flush(stream)
            path.replace(target)
            _flush_folder(target.parent)

    def remove(self, slot: Slot, name: str) -> None:
        """See `Store.remove`."""
        with _writing():
            path = self.path(slot, name)
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def names(self, slot: Slot) -> list[str]:
        """See `Store.names`. Names that no manifest allows are left out; nobody but the app writes into its store."""
        folder = self._folder / "slots" / slot
        found = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()]
        return [name for name in sorted(found) if FILE_NAME.fullmatch(name)]


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"the store cannot be written: {error}") from error


def _write_all(stream: IO[bytes], data: bytes) -> None:
    view = memoryview(data)
    while view:
        written = stream.write(view)
        if not written:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        view = view[written:]


def _flush(stream: IO[bytes]) -> None:
    stream.flush()
    os.fsync(stream.fileno())


def _flush_folder(folder: Path) -> None:
    """Make a renaming durable, where the system lets folders be opened."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _locked(stream: IO[bytes]) -> bool:
    """Whether this process got the lock of an open file."""
    try:
        if sys.platform == "win32":
            import msvcrt

            stream.seek(0)
            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
