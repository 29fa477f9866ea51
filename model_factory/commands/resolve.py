"""`factory resolve`: show which model a device gets."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from factory_base.terminal import print_json, print_line
from model_factory.commands.options import FamilyArgument, JsonOption, PlatformName

if TYPE_CHECKING:
    from exports.client.python.records import DeviceFacts, Probe, Resolution

_VERSION = re.compile(r"[0-9]+(\.[0-9]+)*([^0-9.].*)?")
"""Dotted numbers, and a suffix that comparisons ignore: `12.1`, `1.22.0+cpu`, `6.8.0-49-generic`."""
_STATE_VERSION = 1
"""The version of a client's state that is read, as in the clients."""
_MAX_POLICY = 1 << 18
_MAX_STATE = 1 << 20
"""The most bytes of a policy and of a state, as in the clients."""
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
    device: Annotated[
        str | None,
        typer.Option(metavar="DEVICE", help="Device as maker/model, for example Apple/iPhone14,5.", show_default=False),
    ] = None,
    feature: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A feature, for example webgpu; may be repeated.", show_default=False),
    ] = None,
    no_features: Annotated[bool, typer.Option("--no-features", help="The device reports that it has none.")] = False,
    probe: Annotated[
        str | None,
        typer.Option(metavar="ID=SCORE", help="Score in a probe, for example js_mac_1=900.", show_default=False),
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
    compute_unit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="What the engine can run on, in order of preference; may be repeated.  [default: cpu]",
            show_default=False,
        ),
    ] = None,
    policy: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A policy, which revokes files.", show_default=False)
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="A client's state.json: installed files, blacklist, proofs.", show_default=False
        ),
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
        device=device,
        features=_features(feature, no_features),
        probe=probe,
        free_disk=free_disk,
        free_memory=free_memory,
        engine_version=engine_version,
        compute_units=compute_unit,
    )
    resolution = resolve_family(family, facts, policy=policy, state=state)
    quality = stated_quality(family, resolution.model)
    if as_json:
        print_json({**resolution_json(resolution), "quality": quality})
    else:
        print_resolution(resolution)
        if quality is not None:
            print_line(f"  {quality_text(quality)}")


def facts_from_text(
    *,
    platform: str,
    ram: str | None,
    cores: int | None,
    os_version: str | None,
    soc: str | None,
    device: str | None,
    features: Sequence[str] | None,
    probe: str | None,
    free_disk: str | None,
    free_memory: str | None,
    engine_version: str | None,
    compute_units: Sequence[str] | None,
) -> DeviceFacts:
    """Device facts from command-line values; None means that the device does not report the fact.

    Raises:
        ConfigError: A size has no unit, a version is not a version, a system on a chip or a device lacks its maker or
            the slash, or a probe its score.
    """
    from exports.client.python.records import DeviceFacts

    soc_maker, soc_model = _product("--soc", soc)
    device_maker, device_model = _product("--device", device)
    return DeviceFacts(
        platform=platform,
        ram_bytes=_bytes("--ram", ram),
        cores=cores,
        os_version=_version("--os", os_version),
        soc_maker=soc_maker,
        soc_model=soc_model,
        device_maker=device_maker,
        device_model=device_model,
        features=None if features is None else tuple(features),
        probe=_probe(probe),
        free_disk_bytes=_bytes("--free-disk", free_disk),
        available_memory_bytes=_bytes("--free-memory", free_memory),
        engine="onnxruntime" if engine_version else None,
        engine_version=_version("--engine-version", engine_version),
        compute_units=tuple(compute_units or ("cpu",)),
    )


def resolve_family(
    family: Path, facts: DeviceFacts, *, policy: Path | None = None, state: Path | None = None
) -> Resolution:
    """The model that a device with these facts gets from `family` now, and the reasons.

    Args:
        family: The family's folder or manifest.
        facts: The facts about the device.
        policy: The file of a policy.
        state: The file of a client's state.

    Raises:
        ManifestError: The manifest cannot be used.
        ConfigError: The policy or the state cannot be read, or the policy cannot be used.
    """
    from exports.client.python.records import ClientState
    from exports.client.python.resolver import UnusablePolicyError, resolve
    from exports.family.manifest import read_manifest_value
    from factory_base.errors import ConfigError

    manifest, known = read_manifest_value(family), _json(state, _MAX_STATE, depth=17)  # it holds a policy
    if known is not None and known.get("state_version") != _STATE_VERSION:
        raise ConfigError(f"{state}: is not a client's state of version {_STATE_VERSION}")
    try:
        return resolve(manifest, _json(policy, _MAX_POLICY), facts, ClientState.from_json(known), int(time.time()))
    except UnusablePolicyError as error:
        raise ConfigError(f"{policy}: {error}") from error


def _json(file: Path | None, limit: int, depth: int = 16) -> Any:
    """The JSON object in a file of at most `limit` bytes and `depth` levels; None without a file."""
    from factory_base.errors import ConfigError, ForeignError
    from factory_base.foreign import parse_json, read_regular

    if file is None:
        return None
    try:
        value = parse_json(read_regular(file, limit), str(file), max_bytes=limit, max_depth=depth)
    except ForeignError as error:
        raise ConfigError(str(error)) from error
    if not isinstance(value, dict):
        raise ConfigError(f"{file}: is not a JSON object")
    return value


def stated_quality(family: Path, model: str | None) -> dict[str, Any] | None:
    """What the manifest states about the quality of a model, as fractions; None without a model.

    It is None, too, if only apps can read the manifest, which need less of it.
    """
    from exports.family.manifest import read_manifest
    from exports.family.records import PPM
    from factory_base.errors import ManifestError

    if model is None:
        return None
    try:
        quality = read_manifest(family).models[model].quality
    except ManifestError:
        return None
    return {
        "metric": quality.metric,
        "value": quality.value_ppm / PPM,
        "low": quality.low_ppm / PPM,
        "high": quality.high_ppm / PPM,
        "images": quality.images,
        "measures": {name: value / PPM for name, value in (quality.measures or {}).items()},
    }


def quality_text(quality: Mapping[str, Any]) -> str:
    """What `stated_quality` returned, for people."""
    figures = (f"{name.replace('_', ' ')} {value:.1%}" for name, value in quality["measures"].items())
    interval = f"{quality['low']:.1%} to {quality['high']:.1%}"
    stated = f"{quality['metric'].replace('_', ' ')} {quality['value']:.2%} ({interval})"
    return ", ".join((f"{stated} on {quality['images']:,} test examples", *figures))


def print_resolution(resolution: Resolution) -> None:
    """Print the model that the device gets, then why others are rejected."""
    place = f"tier {resolution.tier}, rank {resolution.rank}"
    if resolution.model is None:
        print_line(f"{resolution.action}: no model  ({place})")
    else:
        known = "".join(
            note for note, holds in ((", installed", resolution.installed), (", proven", resolution.proven)) if holds
        )
        print_line(f"model {resolution.model}  ({place}, on {resolution.compute_unit}{known})")
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


def _product(option: str, text: str | None) -> tuple[str | None, str | None]:
    """The maker and the model of `--soc` or `--device`."""
    from factory_base.errors import ConfigError

    if text is None:
        return None, None
    maker, slash, model = (part.strip() for part in text.partition("/"))
    if not maker or not slash:
        raise ConfigError(
            f"{option}: {text!r} is not maker/model such as 'Acme/A1'; write 'Acme/' if the model is not known"
        )
    return maker, model or None


def _features(names: Sequence[str] | None, none: bool) -> Sequence[str] | None:
    from factory_base.errors import ConfigError

    if names and none:
        raise ConfigError("--no-features and --feature contradict each other; give one of them")
    if names and not all(names):
        raise ConfigError("--feature: a name has at least one character")
    return [] if none else names or None


def _probe(text: str | None) -> Probe | None:
    from exports.client.python.records import Probe
    from factory_base.errors import ConfigError

    if text is None:
        return None
    name, _, score = text.partition("=")
    if not name or not re.fullmatch(r"[1-9][0-9]{0,14}", score):
        raise ConfigError(f"--probe: {text!r} is not id=score such as 'js_mac_1=900'")
    return Probe(id=name, score=int(score))


def _version(option: str, text: str | None) -> str | None:
    from factory_base.errors import ConfigError

    if text is not None and (len(text) > _MAX_VERSION or not _VERSION.fullmatch(text)):
        shown = text if len(text) <= _MAX_VERSION else f"{text[:_MAX_VERSION]}..."
        raise ConfigError(f"{option}: {shown!r} is not a version; write up to {_MAX_VERSION} characters such as 12.1")
    return text
