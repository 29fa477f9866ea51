"""`factory resolve`: show which model a device gets."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from factory_base.terminal import print_json, print_line
from model_factory.commands.options import FamilyArgument, JsonOption, PlatformName

if TYPE_CHECKING:
    from exports.client.python.resolver import DeviceFacts, Resolution

_VERSION = re.compile(r"[0-9]+(\.[0-9]+)*([^0-9.].*)?")
"""Dotted numbers, and a suffix that comparisons ignore: `12.1`, `1.22.0+cpu`, `6.8.0-49-generic`."""
_MAX_VERSION = 64
"""The longest version that is accepted; the longest known, those of Linux kernels, have about 40 characters."""


def resolve(
    family: FamilyArgument,
    platform: Annotated[PlatformName, typer.Option(help="The platform of the device.")],
    ram: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="RAM as the kernel reports it, for example 3GiB.", show_default=False),
    ] = None,
    cores: Annotated[
        int | None, typer.Option(metavar="N", help="Number of processor cores.", min=1, show_default=False)
    ] = None,
    os_version: Annotated[
        str | None,
        typer.Option(
            "--os",
            metavar="VERSION",
            help="OS version, for example 12.1; on Android the API level, for example 34.",
            show_default=False,
        ),
    ] = None,
    soc: Annotated[
        str | None,
        typer.Option(
            metavar="SOC",
            help="System on a chip as maker/model, for example Acme/A1; Acme/ without the model.",
            show_default=False,
        ),
    ] = None,
    free_disk: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Free space for model files, for example 500MB.", show_default=False),
    ] = None,
    free_memory: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Available memory, for example 200MiB.", show_default=False)
    ] = None,
    engine_version: Annotated[
        str | None,
        typer.Option(metavar="VERSION", help="Version of ONNX Runtime in the app.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show which model a device gets, and why others are rejected."""
    facts = facts_from_text(
        platform=platform.value,
        ram=ram,
        cores=cores,
        os_version=os_version,
        soc=soc,
        free_disk=free_disk,
        free_memory=free_memory,
        engine_version=engine_version,
    )
    resolution = resolve_family(family, facts)
    if as_json:
        print_json(resolution_json(resolution))
    else:
        print_resolution(resolution)


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
    """Device facts from command-line values; None means that the device does not report the fact.

    Raises:
        ConfigError: A size has no unit, a version is not a version, or a system on a chip lacks its maker or the slash.
    """
    from exports.client.python.resolver import DeviceFacts

    maker, model = _soc(soc)
    return DeviceFacts(
        platform=platform,
        ram_bytes=_bytes("--ram", ram),
        cores=cores,
        os_version=_version("--os", os_version),
        soc_maker=maker,
        soc_model=model,
        free_disk_bytes=_bytes("--free-disk", free_disk),
        available_memory_bytes=_bytes("--free-memory", free_memory),
        engine="onnxruntime" if engine_version else None,
        engine_version=_version("--engine-version", engine_version),
    )


def resolve_family(family: Path, facts: DeviceFacts) -> Resolution:
    """The model that a device with these facts gets from `family`, and the reasons. Raises `ManifestError`."""
    from exports.client.python import resolver
    from exports.family.manifest import read_manifest_value

    return resolver.resolve(read_manifest_value(family), facts)


def print_resolution(resolution: Resolution) -> None:
    """Print the model that the device gets, then why others are rejected."""
    print_line(f"model {resolution.model or 'none'}  (tier {resolution.tier}, rank {resolution.rank})")
    for reason in resolution.reasons:
        model = f" {reason.model}" if reason.model else ""
        print_line(f"  {reason.tier}{model}: {reason.text} [{reason.code}]")


def resolution_json(resolution: Resolution) -> dict[str, Any]:
    """What `print_resolution` shows, as a value for JSON."""
    return asdict(resolution)


def _bytes(option: str, text: str | None) -> int | None:
    from factory_base.errors import ConfigError
    from factory_base.quantities import parse_bytes

    if text is None:
        return None
    try:
        return parse_bytes(text)
    except ValueError as error:
        raise ConfigError(f"{option}: {error}") from error


def _soc(text: str | None) -> tuple[str | None, str | None]:
    """The maker and the model of `--soc`."""
    from factory_base.errors import ConfigError

    if text is None:
        return None, None
    maker, slash, model = (part.strip() for part in text.partition("/"))
    if not maker or not slash:
        raise ConfigError(
            f"--soc: {text!r} is not maker/model such as 'Acme/A1'; write 'Acme/' if the model is not known"
        )
    return maker, model or None


def _version(option: str, text: str | None) -> str | None:
    from factory_base.errors import ConfigError

    if text is not None and (len(text) > _MAX_VERSION or not _VERSION.fullmatch(text)):
        shown = text if len(text) <= _MAX_VERSION else f"{text[:_MAX_VERSION]}..."
        raise ConfigError(f"{option}: {shown!r} is not a version; write up to {_MAX_VERSION} characters such as 12.1")
    return text
