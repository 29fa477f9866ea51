"""`factory resolve`: device facts as people type them, and the answer as people read it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import get_args

from device_profiles.profile import Platform
from exports.client.python.resolver import DeviceFacts, Resolution, resolve
from exports.family.manifest import manifest_path, read_manifest
from factory_base.documents import nearest
from factory_base.errors import ConfigError
from factory_base.files import read_json
from factory_base.quantities import parse_bytes


def facts_from_text(
    *,
    platform: str,
    ram: str | None,
    cores: int | None,
    os_version: str | None,
    soc: str | None,
    free_disk: str | None,
    free_memory: str | None,
    engine_version: str | None,
) -> DeviceFacts:
    """Device facts from command-line values; None means that the device does not tell.

    Raises:
        ConfigError: an unknown platform, or a size without a unit.
    """
    if platform not in get_args(Platform):
        raise ConfigError(f"--platform {platform!r} is unknown; {nearest(platform, get_args(Platform))}")
    maker, _, model = (soc or "").partition("/")
    return DeviceFacts(
        platform=platform,
        ram_bytes=_bytes("--ram", ram),
        cores=cores,
        os_version=os_version,
        soc_maker=maker or None,
        soc_model=model or None,
        free_disk_bytes=_bytes("--free-disk", free_disk),
        available_memory_bytes=_bytes("--free-memory", free_memory),
        engine="onnxruntime" if engine_version else None,
        engine_version=engine_version,
    )


def resolve_family(family: Path, facts: DeviceFacts) -> Resolution:
    """What a device with these facts gets from `family`. Raises `ManifestError`."""
    read_manifest(family)
    return resolve(read_json(manifest_path(family)), facts)


def print_resolution(resolution: Resolution) -> None:
    """The answer, then why each other candidate was passed over."""
    print(f"model {resolution.model or 'none'}  (tier {resolution.tier}, rank {resolution.rank})")
    for reason in resolution.reasons:
        model = f" {reason.model}" if reason.model else ""
        print(f"  {reason.tier}{model}: {reason.text} [{reason.code}]")


def resolution_json(resolution: Resolution) -> str:
    """What `print_resolution` shows, as JSON."""
    return json.dumps(asdict(resolution), indent=2)


def _bytes(option: str, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return parse_bytes(text)
    except ValueError as error:
        raise ConfigError(f"{option}: {error}") from error
