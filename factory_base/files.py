"""Atomic writing of files, digests, and locks on folders."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from factory_base.errors import BusyError, DiskError
from factory_base.foreign import parse_json, printable, read_regular

TEMPORARY_MARK = ".partial-"
"""Part of the name of a file that is still being written. A killed process leaves such files, never half a result."""
_MAX_JSON_BYTES = 256 * 2**20
"""A hundred times the largest file of JSON that a build writes."""


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`. On success it is synced and renamed to `path`, on failure it is removed.

    Raises:
        DiskError: The file cannot be written, for example because no space is left, or `path` is a device or FIFO,
            which a rename would replace: whoever writes as root to `/dev/null` would take it from all other programs.
    """
    temporary = path.with_name(f"{path.name}{TEMPORARY_MARK}{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():
            what = "a folder" if path.is_dir() else "not a regular file"
            raise DiskError(f"{printable(str(path))}: cannot be written (it is {what}); choose the name of a file")
        yield temporary
        _sync(temporary)
        temporary.replace(path)
    except OSError as error:
        raise _disk_error(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically. Raises `DiskError`."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` atomically, UTF-8. Raises `DiskError`."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON with sorted keys, atomically. Raises `DiskError`."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """The JSON value in `path`, read as `factory_base.foreign` reads files from outside: somebody may have edited it.

    Raises:
        ForeignError: The file is missing, is not JSON, or exceeds a limit.
    """
    return parse_json(read_regular(path, _MAX_JSON_BYTES), str(path), max_bytes=_MAX_JSON_BYTES)


def remove_partial_files(folder: Path) -> None:
    """Remove the partial files that a killed process left behind. Call it only while holding the folder's lock."""
    for path in folder.rglob(f"*{TEMPORARY_MARK}*"):
        path.unlink(missing_ok=True)


def sha256_bytes(data: bytes) -> str:
    """Lower-case hex SHA-256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Lower-case hex SHA-256 of the file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_of(value: Any) -> str:
    """Lower-case hex SHA-256 of a JSON value, whatever the order of its keys."""
    return sha256_bytes(json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode())


@contextmanager
def exclusive(folder: Path, purpose: str) -> Iterator[None]:
    """Hold the lock on `folder` within the context. The operating system releases it if the process dies.

    Args:
        folder: The folder to lock; created if it is missing.
        purpose: What the caller is about to do, as a verb for the message: `build`.

    Raises:
        BusyError: Another process holds the lock.
        DiskError: The folder or its lock file cannot be created.
    """
    from filelock import FileLock, Timeout

    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        lock.acquire(timeout=0)
    except Timeout as error:
        raise BusyError(f"{folder}: another process is at work here; wait for it before you {purpose}") from error
    except OSError as error:
        raise _disk_error(folder, error) from error
    try:
        yield
    finally:
        lock.release()


def _sync(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def _disk_error(path: Path, error: OSError) -> DiskError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskError(f"{path}: the disk is full; free some space and run the same command again")
    return DiskError(f"{path}: cannot be written ({error.strerror or error})")
