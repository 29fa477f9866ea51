"""Opens files that may be anything: only regular files are read, and links do not lead out of a folder."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import BinaryIO

FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")
"""A path below a family's folder: no `..`, not absolute, no hidden files."""
MAX_NAME = 255
"""The most characters of a name; the longest name of common file systems has as many bytes."""
CHUNK = 1 << 18
"""The bytes that are read and hashed at a time: few enough for a small device, enough that each costs little."""


def open_regular(path: Path, inside: Path | None = None) -> BinaryIO:
    """Open a regular file for reading; with `inside`, links must not lead out of that folder.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is of another kind (opening a FIFO would wait for a writer), or elsewhere.
    """
    if inside is not None and not path.resolve().is_relative_to(inside.resolve()):
        raise ValueError(f"{path} leads out of {inside}")
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError(f"{path} is not a regular file")
    return os.fdopen(descriptor, "rb")


def read(path: Path, limit: int, inside: Path | None = None) -> bytes:
    """The content of a regular file of at most `limit` bytes, opened as by `open_regular`.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is of another kind, too large, or elsewhere.
    """
    with open_regular(path, inside) as stream:
        data = stream.read(limit + 1) if os.fstat(stream.fileno()).st_size <= limit else None
    if data is None or len(data) > limit:
        raise ValueError(f"{path} is larger than the limit of {limit} bytes")
    return data


def printable(text: str) -> str:
    """`text` in one line: control codes, line breaks and bidirectional marks are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
