"""A release: its manifest, byte by byte as it came, and how it is fetched."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from .download import pause
from .records import ClientState, DeviceFacts
from .resolver import resolve
from .source import Source, SourceError
from .strict_json import parse_json, take

MAX_MANIFEST_BYTES = 1 << 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A manifest that the resolver can use.

    Attributes:
        data: The file, byte by byte.
        manifest: What it holds.
        number: The number of the release.
        family: The id of the family.
    """

    data: bytes
    manifest: dict[str, Any]
    number: int
    family: str

    def model_files(self) -> dict[str, tuple[str, ...]]:
        """The digests of the files of each model that is understood."""
        models = {name: model for name, model in self.manifest["models"].items() if isinstance(model, dict)}
        files = {name: model["files"] for name, model in models.items() if isinstance(model.get("files"), list)}
        return {
            name: tuple(str(file.get("sha256")) for file in listed)
            for name, listed in files.items()
            if all(isinstance(file, dict) for file in listed)
        }


def parse_release(data: bytes) -> Release:
    """The release in a `manifest.json`.

    Raises:
        ValueError: It is damaged, of another major version, or this client lacks a feature that it needs.
    """
    manifest = parse_json(data, "manifest.json")
    resolve(manifest, None, DeviceFacts(platform=""), ClientState(), 0)  # refuses what it cannot use
    number = take(manifest, int, "release")
    if number < 1:
        raise ValueError("the manifest has no usable release; download it again")
    return Release(data=data, manifest=manifest, number=number, family=take(manifest, str, "family_id"))


def fetch_manifest(source: Source, attempts: int, timeout: float) -> bytes:
    """The content of `manifest.json`.

    Args:
        source: Where it comes from.
        attempts: How often to try.
        timeout: The longest wait in seconds, which also limits the pauses.

    Raises:
        SourceError: There is no answer, or the answer is no such file.
    """
    for number in range(1, attempts):
        try:
            return source.manifest(MAX_MANIFEST_BYTES)
        except SourceError as error:
            if error.final:
                raise
            time.sleep(pause(number, timeout))
    return source.manifest(MAX_MANIFEST_BYTES)
