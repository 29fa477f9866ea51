"""`factory resolve`: show which model a device gets."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from factory_base.terminal import print_json, print_line
from model_factory.commands.options import FamilyArgument, JsonOption, PlatformName

if TYPE_CHECKING:
    from exports.client.python.resolver import DeviceFacts, Resolution


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
        typer.Option(metavar="SOC", help="System on a chip as maker/model, for example Acme/A1.", show_default=False),
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
        ConfigError: A size has no unit.
    """
    from exports.client.python.resolver import DeviceFacts

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
    """The model that a device with these facts gets from `family`, and the reasons. Raises `ManifestError`."""
    from exports.client.python import resolver
    from exports.family.manifest import manifest_path, read_manifest
    from factory_base.files import read_json

    read_manifest(family)
    return resolver.resolve(read_json(manifest_path(family)), facts)


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
