"""JSON files of a run folder that hold a digest of themselves, so that none that was damaged or edited is used."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from factory_base.errors import ForeignError
from factory_base.files import sha256_bytes, write_text
from factory_base.foreign import read_regular

_DIGEST = "digest"
_MAX_BYTES = 2**30
"""Far more than our largest file, the digests of a data set of millions of files, has."""


def write_sealed(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object, whose numbers may be infinite, and its digest, atomically. Raises `DiskError`."""
    write_text(path, json.dumps({**content, _DIGEST: _digest(content)}, indent=2, sort_keys=True) + "\n")


def read_sealed(path: Path) -> dict[str, Any] | None:
    """The content of `path`; None if there is no such file, or it was damaged or edited."""
    found = _object(path)
    if found is None or found.pop(_DIGEST, None) != _digest(found):
        return None
    return found


def read_unsealed(path: Path) -> dict[str, Any] | None:
    """The content of a file of an earlier version, which had no digest; None if there is none."""
    found = _object(path)
    return found if found is not None and _DIGEST not in found else None


def _object(path: Path) -> dict[str, Any] | None:
    """The JSON object in `path`, whatever its digest; None if there is none.

    It may hold infinite numbers, which `factory_base.foreign` refuses.
    """
    try:
        found = json.loads(read_regular(path, _MAX_BYTES)) if path.is_file() else None
    except (ForeignError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _digest(content: Mapping[str, Any]) -> str:
    """Unlike a key, content may hold an infinite number, such as the SQNR of equal outputs."""
    return sha256_bytes(json.dumps(content, sort_keys=True, separators=(",", ":")).encode())
