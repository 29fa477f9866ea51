"""Which model does this device get? One pure function over the parsed manifest: no I/O, no clock, no randomness.

Standard library only, and nothing of this project, so that an app's Python can copy this file. Every key of a selector
is three-valued: it holds, it does not, or it is unknown because the device does not tell. Whatever is not understood
makes a selector not match, so an old app falls to a lower tier and never to a heavier one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

SUPPORTED_MAJOR = 1
SUPPORTED_CRITICAL: frozenset[str] = frozenset()
"""Names of features that a manifest may call critical. Version 1.0 has none."""

RAM_CLASSES_MIB = (256, 512, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 12288, 16384, 24576, 32768, 65536)
_MIB = 1 << 20


class UnusableManifestError(ValueError):
    """The manifest cannot be used by this resolver; an app keeps the last good one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFacts:
    """What an app can observe. None means that the device does not tell.

    Attributes:
        platform: of the build: `android`, `ios`, `web`, `linux`, ...
        ram_bytes: the total that the kernel reports (a little less than the class printed on the box).
        cores: processors.
        os_version: dotted numbers; on Android the API level.
        soc_maker: as the platform spells it; compared without case.
        soc_model: likewise.
        free_disk_bytes: where models are kept. None is not checked.
        available_memory_bytes: what the app may allocate now. None is not checked.
        engine: the inference engine in the app. None is not checked.
        engine_version: dotted numbers. None is not checked.
    """

    platform: str
    ram_bytes: int | None = None
    cores: int | None = None
    os_version: str | None = None
    soc_maker: str | None = None
    soc_model: str | None = None
    free_disk_bytes: int | None = None
    available_memory_bytes: int | None = None
    engine: str | None = None
    engine_version: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why a candidate was passed over or, with the codes `chosen` and `floor`, taken.

    Attributes:
        tier: id of the tier.
        model: id of the model; "" where the whole tier was passed over.
        code: part of the contract: `platform`, `selector_unmet`, `selector_unknown`, `selector_key_unknown`,
            `model_missing`, `engine_other`, `engine_too_old`, `engine_too_new`, `disk`, `memory`, `chosen`, `floor`,
            `nothing_runs`.
        text: one line for people.
    """

    tier: str
    model: str
    code: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """The answer. `model` is None where not even the floor's models run in the app's engine."""

    tier: str
    rank: int
    model: str | None
    reasons: tuple[Reason, ...]


def ram_class_mib(ram_bytes: int) -> int:
    """Kernel-reported RAM, rounded up to the next class; above the last class it is the last."""
    return next((size for size in RAM_CLASSES_MIB if ram_bytes <= size * _MIB), RAM_CLASSES_MIB[-1])


def resolve(manifest: Mapping[str, Any], facts: DeviceFacts) -> Resolution:
    """The best model for a device: tiers by rank, models in list order, then the floor.

    A model is passed over when its engine range does not hold the app's engine, when its disk need plus 10 % exceeds
    the free disk, or when its peak memory exceeds the available memory. The floor ignores the last two: something must
    run, and the reasons say so.

    Args:
        manifest: the parsed JSON of a `manifest.json`.

    Raises:
        UnusableManifestError: another major version, an unknown critical feature, or not a manifest.
    """
    try:
        _check_usable(manifest)
        return _resolve(manifest, facts)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise UnusableManifestError(f"this is not a manifest: {type(error).__name__} {error}") from error


def _resolve(manifest: Mapping[str, Any], facts: DeviceFacts) -> Resolution:
    reasons: list[Reason] = []
    floors = [tier for tier in manifest["tiers"] if tier["rank"] == 0]
    if not floors:
        raise UnusableManifestError("this is not a manifest: it has no floor (a tier of rank 0)")
    ranked = [tier for tier in manifest["tiers"] if tier["rank"] > 0]
    # A tier of the device's own platform beats one for any platform at the same rank.
    for tier in sorted(ranked, key=lambda tier: (-tier["rank"], tier["platform"] == "any")):
        fault = _tier_fault(tier, facts)
        if isinstance(fault, str):
            model = _first_that_runs(manifest, tier, facts, reasons)
            if model is not None:
                reasons.append(
                    Reason(tier=tier["id"], model=model, code="chosen", text=f"rank {tier['rank']}: {fault}")
                )
                return Resolution(tier=tier["id"], rank=tier["rank"], model=model, reasons=tuple(reasons))
        else:
            reasons.append(fault)
    return _floor(manifest, floors[0], facts, reasons)


def _floor(
    manifest: Mapping[str, Any], tier: Mapping[str, Any], facts: DeviceFacts, reasons: list[Reason]
) -> Resolution:
    unlimited = replace(facts, free_disk_bytes=None, available_memory_bytes=None)
    model = _first_that_runs(manifest, tier, unlimited, reasons)
    if model is None:
        reasons.append(Reason(tier=tier["id"], model="", code="nothing_runs", text="no model runs in the app's engine"))
    else:
        tight = _needs_fault(manifest["models"][model], facts)
        note = f", although {tight[1]}" if tight else ""
        text = f"the floor takes every device that no tier above it takes{note}"
        reasons.append(Reason(tier=tier["id"], model=model, code="floor", text=text))
    return Resolution(tier=tier["id"], rank=0, model=model, reasons=tuple(reasons))


def _check_usable(manifest: Mapping[str, Any]) -> None:
    version = manifest["manifest_version"]
    if str(version).split(".")[0] != str(SUPPORTED_MAJOR):
        raise UnusableManifestError(f"manifest version {version!r} is not {SUPPORTED_MAJOR}.x; update the app")
    unknown = sorted(set(manifest["critical"]) - SUPPORTED_CRITICAL)
    if unknown:
        raise UnusableManifestError(f"the manifest needs the unknown features {', '.join(unknown)}; update the app")


def _first_that_runs(
    manifest: Mapping[str, Any], tier: Mapping[str, Any], facts: DeviceFacts, reasons: list[Reason]
) -> str | None:
    for name in tier["models"]:
        model = manifest["models"].get(name)
        fault = ("model_missing", "the manifest does not describe it") if model is None else _model_fault(model, facts)
        if fault is None:
            return str(name)
        reasons.append(Reason(tier=tier["id"], model=name, code=fault[0], text=fault[1]))
    return None


def _model_fault(model: Mapping[str, Any], facts: DeviceFacts) -> tuple[str, str] | None:
    return _engine_fault(model["engine"], facts) or _needs_fault(model, facts)


def _engine_fault(engine: Mapping[str, Any], facts: DeviceFacts) -> tuple[str, str] | None:
    if facts.engine is not None and facts.engine != engine["name"]:
        return "engine_other", f"it is for the engine {engine['name']}, the app has {facts.engine}"
    if facts.engine_version is None:
        return None
    found = _version(facts.engine_version)
    if found < _version(engine["min"]):
        return "engine_too_old", f"it needs {engine['name']} {engine['min']}, the app has {facts.engine_version}"
    if found > _version(engine["max_tested"]) and engine.get("forward_ok") is not True:
        text = f"it was tested up to {engine['name']} {engine['max_tested']}, the app has {facts.engine_version}"
        return "engine_too_new", text
    return None


def _needs_fault(model: Mapping[str, Any], facts: DeviceFacts) -> tuple[str, str] | None:
    disk, memory = model["needs"]["disk_bytes"], model["needs"]["peak_memory_bytes"]
    if facts.free_disk_bytes is not None and disk * 11 > facts.free_disk_bytes * 10:
        return "disk", f"it needs {disk} bytes of disk and 10 % to spare, {facts.free_disk_bytes} are free"
    if facts.available_memory_bytes is not None and memory > facts.available_memory_bytes:
        return "memory", f"it needs {memory} bytes of memory, {facts.available_memory_bytes} are available"
    return None


def _tier_fault(tier: Mapping[str, Any], facts: DeviceFacts) -> Reason | str:
    """Why the tier does not take the device; a text that says which rule took it if it does."""
    if tier["platform"] not in ("any", facts.platform):
        text = f"it is for {tier['platform']}, the device is {facts.platform}"
        return Reason(tier=tier["id"], model="", code="platform", text=text)
    faults = []
    for selector in tier["match"]:
        fault = _selector_fault(selector, facts)
        if fault is None:
            rule = ", ".join(f"{key} {_plain(value)}" for key, value in selector.items() if value)
            return f"the device meets {rule or 'its empty rule'}"
        faults.append(fault)
    code, text = faults[0] if faults else ("selector_unmet", "it has no rule")
    return Reason(tier=tier["id"], model="", code=code, text=text)


def _selector_fault(selector: Mapping[str, Any], facts: DeviceFacts) -> tuple[str, str] | None:
    """The first key that does not hold, as a code and a text; None where all hold (an empty selector holds)."""
    for key, wanted in selector.items():
        if key == "strict" or wanted is None:
            continue
        if key not in _KEYS:
            return "selector_key_unknown", f"its rule has the key {key!r}, which this app does not know"
        holds = _KEYS[key](wanted, facts)
        if holds is None and key in _EXCLUDING and selector.get("strict") is not True:
            continue
        if holds is None:
            return "selector_unknown", f"the device does not tell what {key} asks for"
        if not holds:
            return "selector_unmet", f"the device does not meet {key} {_plain(wanted)}"
    return None


def _platform(wanted: Sequence[str], facts: DeviceFacts) -> bool | None:
    return facts.platform in wanted


def _ram_at_least(wanted: int, facts: DeviceFacts) -> bool | None:
    return None if facts.ram_bytes is None else ram_class_mib(facts.ram_bytes) >= wanted


def _ram_below(wanted: int, facts: DeviceFacts) -> bool | None:
    return None if facts.ram_bytes is None else ram_class_mib(facts.ram_bytes) < wanted


def _cores_at_least(wanted: int, facts: DeviceFacts) -> bool | None:
    return None if facts.cores is None else facts.cores >= wanted


def _os_at_least(wanted: str, facts: DeviceFacts) -> bool | None:
    return None if facts.os_version is None else _version(facts.os_version) >= _version(wanted)


def _soc_in(wanted: Sequence[Mapping[str, str]], facts: DeviceFacts) -> bool | None:
    """An empty or absent model in the list stands for all models of the maker."""
    if facts.soc_maker is None:
        return None
    entries = [entry for entry in wanted if entry["maker"].lower() == facts.soc_maker.lower()]
    if any(not entry.get("model") for entry in entries):
        return True
    if entries and facts.soc_model is None:
        return None
    return any(entry["model"].lower() == (facts.soc_model or "").lower() for entry in entries)


def _soc_not_in(wanted: Sequence[Mapping[str, str]], facts: DeviceFacts) -> bool | None:
    inside = _soc_in(wanted, facts)
    return None if inside is None else not inside


_KEYS: dict[str, Callable[[Any, DeviceFacts], bool | None]] = {
    "platforms": _platform,
    "ram_class_min": _ram_at_least,
    "ram_class_max": _ram_below,
    "cores_min": _cores_at_least,
    "os_min": _os_at_least,
    "soc_include": _soc_in,
    "soc_exclude": _soc_not_in,
}
_EXCLUDING = frozenset({"soc_exclude"})


def _version(text: str) -> tuple[int, ...]:
    """`1.20.0+cpu` -> (1, 20): the leading dotted numbers, trailing zeros dropped so that 14 equals 14.0."""
    numbers: list[int] = []
    for part in text.split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
        if digits != part:
            break
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def _plain(value: Any) -> str:
    if isinstance(value, str | int):
        return str(value)
    return ", ".join(" ".join(entry.values()) if isinstance(entry, Mapping) else str(entry) for entry in value)
