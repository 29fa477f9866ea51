"""The files that a manifest names: only regular ones inside the family's folder, of the stated size and digest."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import BinaryIO

from exports.family.records import File, Manifest
from factory_base.errors import ForeignError, ManifestError
from factory_base.files import sha256_bytes
from factory_base.foreign import open_regular, printable

MAX_FAMILY_BYTES = 1 << 36
"""The most bytes of a whole family, so that checking digests comes to an end: 64 GiB take about a minute."""
_READ_AT_ONCE = 1 << 20
DAMAGED = "is damaged: its SHA-256 is not that of the manifest"


def check_file(folder: Path, file: File) -> None:
    """Check size and digest of a file of the family in `folder`, without holding it in memory.

    Raises:
        ManifestError: It cannot be read, leads out of the family, or is not the file that the manifest describes.
    """
    with _opened(folder, file) as stream:
        try:
            digest = hashlib.sha256()
            while part := stream.read(_READ_AT_ONCE):
                digest.update(part)
        except OSError as error:
            raise ManifestError(f"{file.name}: cannot be read ({error.strerror})") from error
    if digest.hexdigest() != file.sha256:
        raise ManifestError(f"{file.name}: {DAMAGED}")


def read_file(folder: Path, file: File, limit: int) -> bytes:
    """The content of a file of the family in `folder`, with its size and digest checked.

    Args:
        folder: The family's folder.
        file: Its description in the manifest.
        limit: The most bytes to read.

    Raises:
        ManifestError: As for `check_file`, or the file is larger than `limit`.
    """
    if file.bytes > limit:
        raise ManifestError(f"{file.name}: is larger than the limit of {limit:,} bytes")
    with _opened(folder, file) as stream:
        try:
            data = stream.read(file.bytes + 1)
        except OSError as error:
            raise ManifestError(f"{file.name}: cannot be read ({error.strerror})") from error
    if sha256_bytes(data) != file.sha256:
        raise ManifestError(f"{file.name}: {DAMAGED}")
    return data


def check_family_size(manifest: Manifest) -> None:
    """Raise `ManifestError` if the files that the manifest names have more than `MAX_FAMILY_BYTES` together."""
    total = sum(file.bytes for file in manifest.files())
    if total > MAX_FAMILY_BYTES:
        raise ManifestError(f"the files have {total:,} bytes together, more than the limit of {MAX_FAMILY_BYTES:,}")


def _opened(folder: Path, file: File) -> BinaryIO:
    path = folder / file.name
    try:
        stream = open_regular(path, inside=folder)
    except ForeignError as error:
        raise ManifestError(f"{file.name}: {str(error).removeprefix(f'{printable(str(path))}: ')}") from error
    size = os.fstat(stream.fileno()).st_size
    if size != file.bytes:
        stream.close()
        raise ManifestError(f"{file.name}: has {size:,} bytes, the manifest says {file.bytes:,}")
    return stream
