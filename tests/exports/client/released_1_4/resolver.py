"""Selects the model for a device: one pure function of the parsed manifest, without I/O, clock or randomness.

It needs only the standard library and nothing of this project, so that an app in Python can copy this file. Every key
of a selector has one of three values: it holds, it does not hold, or it is unknown because the device does not report
the fact. A selector with anything that the resolver does not understand, be it a key, a type or a value, does not
match, so an old app gets a lower tier, never a heavier one. Tiers and models that it does not understand are passed
over in the same way: only a manifest without a usable floor raises.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

SUPPORTED_MAJOR = 1
SUPPORTED_CRITICAL: frozenset[str] = frozenset({"labels_file", "pixel_input"})
"""The critical features of version 1: an app that does not support one must not use the manifest, so remove those that
yours does not. `labels_file`: the names of the classes are not in the manifest but in the file `task.labels_file`."""

RAM_CLASSES_MIB = (256, 512, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 12288, 16384, 24576, 32768, 65536)
"""The sizes of RAM with which devices are sold, in MiB. A part of the contract: selectors compare these classes."""
_MIB = 1 << 20
_MAX_INTEGER = 2**53 - 1
"""The largest integer of a manifest: JSON readers with doubles represent no larger ones exactly."""
_MAX_VERSION = 32
"""The most characters of a version in a manifest."""
_SHOWN = 40
"""The most characters of the manifest that a message quotes."""


class UnusableManifestError(ValueError):
    """This resolver cannot use the manifest; an app should keep the last good one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFacts:
    """Facts that an app can observe. None means that the device does not report the fact.

    Attributes:
        platform: The platform of the app's build: `android`, `ios`, `web`, `linux`, ...
        ram_bytes: The total RAM that the kernel reports, which is a little less than the size printed on the box.
        cores: The number of processor cores.
        os_version: Dotted numbers; on Android the API level.
        soc_maker: The maker of the system on a chip, as the platform spells it; compared without case.
        soc_model: Its model, as the platform spells it; compared without case.
        free_disk_bytes: The free disk space for models. Not checked if None.
        available_memory_bytes: The memory that the app may allocate now. Not checked if None.
        engine: The name of the inference engine in the app. Not checked if None.
        engine_version: Its version, dotted numbers. Not checked if None.
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
    """Why a candidate was passed over or, with the codes `chosen` and `floor`, selected.

    Attributes:
        tier: The id of the tier.
        model: The id of the model; "" if the whole tier was passed over.
        code: A part of the contract: `platform`, `selector_unmet`, `selector_unknown`, `selector_key_unknown` (the
            resolver does not understand a key or its value), `tier_unknown`, `model_unknown` (it does not understand
            the tier or the model), `model_missing`, `engine_other`, `engine_too_old`, `engine_too_new`, `disk`,
            `memory`, `chosen`, `floor`, `nothing_runs`.
        text: One line for users.
    """

    tier: str
    model: str
    code: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """The result of `resolve`.

    Attributes:
        tier: The id of the tier.
        rank: Its rank within the platform; 0 is the floor.
        model: The id of the model; None if not even the floor's models run in the app's engine.
        reasons: A reason for every candidate that was considered, in order; the last is for the result.
    """

    tier: str
    rank: int
    model: str | None
    reasons: tuple[Reason, ...]


def ram_class_mib(ram_bytes: int) -> int:
    """The RAM that the kernel reports, rounded up to the next class in MiB; the last class if it is above."""
    return next((size for size in RAM_CLASSES_MIB if ram_bytes <= size * _MIB), RAM_CLASSES_MIB[-1])


def resolve(manifest: Mapping[str, Any], facts: DeviceFacts) -> Resolution:
    """The best model for a device: tiers by descending rank, models in the order of the list, then the floor.

    A model is passed over if its engine range does not include the app's engine, if its file plus 10 % exceeds the free
    disk space, or if its peak memory exceeds the available memory. The floor ignores the last two conditions, because
    some model must run; its reason mentions them.

    >>> from exports import DeviceFacts, resolve
    >>> def model(mib):
    ...     engine = {"name": "onnxruntime", "min": "1.17.0", "max_tested": "1.22.0"}
    ...     return {"engine": engine, "needs": {"disk_bytes": mib << 20, "peak_memory_bytes": 4 * mib << 20}}
    >>> large = {"ram_class_min": 4096}
    >>> phones = {"id": "phones", "platform": "android", "rank": 1, "match": [large], "models": ["large"]}
    >>> floor = {"id": "floor", "platform": "any", "rank": 0, "match": [], "models": ["small"]}
    >>> models = {"large": model(16), "small": model(2)}
    >>> manifest = {"manifest_version": "1.1", "critical": [], "tiers": [floor, phones], "models": models}
    >>> resolve(manifest, DeviceFacts(platform="android", ram_bytes=3_800_000_000)).model
    'large'
    >>> found = resolve(manifest, DeviceFacts(platform="android", ram_bytes=1_900_000_000))
    >>> found.model, found.reasons[0].text
    ('small', 'the device does not meet ram_class_min 4096 MiB')

    Args:
        manifest: The parsed JSON of a `manifest.json`.
        facts: The facts about the device.

    Raises:
        UnusableManifestError: The manifest has another major version or an unknown critical feature, has no usable
            floor, or is not a manifest. Anything else that the resolver does not understand is passed over.
    """
    tiers, models = _usable(manifest)
    reasons = [
        Reason(tier=_shown_id(tier), model="", code="tier_unknown", text="its form is unknown to this app")
        for tier in tiers
        if not _is_tier(tier)
    ]
    known = [tier for tier in tiers if _is_tier(tier)]
    floors = [tier for tier in known if tier["rank"] == 0]
    if not floors:
        raise UnusableManifestError("this is not a manifest: it has no floor (a tier of rank 0)")
    ranked = [tier for tier in known if tier["rank"] > 0]
    # At the same rank, a tier for the device's platform comes before one for any platform.
    for tier in sorted(ranked, key=lambda tier: (-tier["rank"], tier["platform"] == "any")):
        fault = _tier_fault(tier, facts)
        if isinstance(fault, str):
            model = _first_that_runs(models, tier, facts, reasons)
            if model is not None:
                reasons.append(
                    Reason(tier=tier["id"], model=model, code="chosen", text=f"rank {tier['rank']}: {fault}")
                )
                return Resolution(tier=tier["id"], rank=tier["rank"], model=model, reasons=tuple(reasons))
        else:
            reasons.append(fault)
    return _floor(models, floors[0], facts, reasons)


def _usable(manifest: Any) -> tuple[list[Any], Mapping[str, Any]]:
    """The tiers and the models of a manifest of a supported version. Raises `UnusableManifestError`."""
    version = manifest.get("manifest_version") if isinstance(manifest, Mapping) else None
    if not isinstance(version, str):
        raise UnusableManifestError("this is not a manifest: it has no manifest_version")
    if version.split(".")[0] != str(SUPPORTED_MAJOR):
        raise UnusableManifestError(
            f"the manifest version {version[:_SHOWN]!r} is not {SUPPORTED_MAJOR}.x; update the app"
        )
    critical = manifest.get("critical", ())
    if not _is_list(critical):
        raise UnusableManifestError("the manifest's list of critical features is unreadable; update the app")
    unknown = ", ".join(sorted({_feature(name) for name in critical} - SUPPORTED_CRITICAL))
    if unknown:
        raise UnusableManifestError(f"the manifest needs the unknown features {unknown[:_SHOWN]}; update the app")
    tiers, models = manifest.get("tiers"), manifest.get("models")
    if not _is_list(tiers) or not isinstance(models, Mapping):
        raise UnusableManifestError("this is not a manifest: it has no tiers or no models")
    return list(tiers), models


def _feature(name: Any) -> str:
    return name if isinstance(name, str) and name else f"({type(name).__name__})"


def _is_tier(tier: Any) -> bool:
    """Whether a tier has the form of version 1. Its selectors are judged one by one, by `_selector_fault`."""
    return (
        isinstance(tier, Mapping)
        and isinstance(tier.get("id"), str)
        and isinstance(tier.get("platform"), str)
        and _is_integer(tier.get("rank"))
        and _is_list(tier.get("match"))
        and _is_list(tier.get("models"))
    )


def _shown_id(tier: Any) -> str:
    name = tier.get("id") if isinstance(tier, Mapping) else None
    return name if isinstance(name, str) else ""


def _floor(models: Mapping[str, Any], tier: Mapping[str, Any], facts: DeviceFacts, reasons: list[Reason]) -> Resolution:
    unlimited = replace(facts, free_disk_bytes=None, available_memory_bytes=None)
    model = _first_that_runs(models, tier, unlimited, reasons)
    if model is None:
        reasons.append(Reason(tier=tier["id"], model="", code="nothing_runs", text="no model runs in the app's engine"))
    else:
        tight = _needs_fault(models[model], facts)
        note = f", although {tight[1]}" if tight else ""
        text = f"the floor is for every device that gets no tier above it{note}"
        reasons.append(Reason(tier=tier["id"], model=model, code="floor", text=text))
    return Resolution(tier=tier["id"], rank=0, model=model, reasons=tuple(reasons))


def _first_that_runs(
    models: Mapping[str, Any], tier: Mapping[str, Any], facts: DeviceFacts, reasons: list[Reason]
) -> str | None:
    for name in tier["models"]:
        known = isinstance(name, str)
        fault = _model_fault(models.get(name) if known else None, facts)
        if fault is None:
            return str(name)
        reasons.append(Reason(tier=tier["id"], model=name if known else "", code=fault[0], text=fault[1]))
    return None


def _model_fault(model: Any, facts: DeviceFacts) -> tuple[str, str] | None:
    if model is None:
        return "model_missing", "the manifest does not describe it"
    if not _is_model(model):
        return "model_unknown", "its form is unknown to this app"
    return _engine_fault(model["engine"], facts) or _needs_fault(model, facts)


def _is_model(model: Any) -> bool:
    """Whether what `_engine_fault` and `_needs_fault` read has the form of version 1."""
    engine, needs = (model.get("engine"), model.get("needs")) if isinstance(model, Mapping) else (None, None)
    return (
        isinstance(engine, Mapping)
        and isinstance(engine.get("name"), str)
        and _is_version(engine.get("min"))
        and _is_version(engine.get("max_tested"))
        and isinstance(needs, Mapping)
        and _is_integer(needs.get("disk_bytes"))
        and _is_integer(needs.get("peak_memory_bytes"))
    )


def _engine_fault(engine: Mapping[str, Any], facts: DeviceFacts) -> tuple[str, str] | None:
    if facts.engine is not None and facts.engine != engine["name"]:
        return "engine_other", f"it is for the engine {engine['name']}, the app has {facts.engine}"
    if facts.engine_version is None:
        return None
    found = version_key(facts.engine_version)
    if found < version_key(engine["min"]):
        return "engine_too_old", f"it needs {engine['name']} {engine['min']}, the app has {facts.engine_version}"
    if found > version_key(engine["max_tested"]) and engine.get("forward_ok") is not True:
        text = f"it was tested up to {engine['name']} {engine['max_tested']}, the app has {facts.engine_version}"
        return "engine_too_new", text
    return None


def _needs_fault(model: Mapping[str, Any], facts: DeviceFacts) -> tuple[str, str] | None:
    disk, memory = model["needs"]["disk_bytes"], model["needs"]["peak_memory_bytes"]
    # 10 % to spare, in integers: file systems take more than the bytes of a file, and a full disk breaks other things.
    if facts.free_disk_bytes is not None and disk * 11 > facts.free_disk_bytes * 10:
        return "disk", f"it needs {disk} bytes of disk and 10 % to spare, {facts.free_disk_bytes} are free"
    if facts.available_memory_bytes is not None and memory > facts.available_memory_bytes:
        return "memory", f"it needs {memory} bytes of memory, {facts.available_memory_bytes} are available"
    return None


def _tier_fault(tier: Mapping[str, Any], facts: DeviceFacts) -> Reason | str:
    """Why the device does not get the tier; if it does, a text that states the selector that it meets."""
    if tier["platform"] not in ("any", facts.platform):
        text = f"it is for {tier['platform']}, the device is {facts.platform}"
        return Reason(tier=tier["id"], model="", code="platform", text=text)
    faults = []
    for selector in tier["match"]:
        fault = _selector_fault(selector, facts)
        if fault is None:
            keys = ", ".join(f"{key} {_plain(key, value)}" for key, value in selector.items() if value)
            return f"the device meets {keys or 'an empty selector'}"
        faults.append(fault)
    code, text = faults[0] if faults else ("selector_unmet", "it has no selector")
    return Reason(tier=tier["id"], model="", code=code, text=text)


def _selector_fault(selector: Any, facts: DeviceFacts) -> tuple[str, str] | None:
    """The code and text of the first key that does not hold; None if all hold. An empty selector holds."""
    if not isinstance(selector, Mapping):
        return "selector_key_unknown", "its selector has a form that this app does not know"
    for key, wanted in selector.items():
        if key not in _KEYS:
            return (
                "selector_key_unknown",
                f"its selector has the key {str(key)[:_SHOWN]!r}, which this app does not know",
            )
        if wanted is None:
            continue
        understands, condition = _KEYS[key]
        if not understands(wanted):
            return "selector_key_unknown", f"its selector has a value of {key} that this app does not know"
        holds = condition(wanted, facts)
        if holds is None and key in _EXCLUDING and selector.get("strict") is not True:
            continue
        if holds is None:
            return "selector_unknown", f"the device does not report what {key} depends on"
        if not holds:
            return "selector_unmet", f"the device does not meet {key} {_plain(key, wanted)}"
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
    return None if facts.os_version is None else version_key(facts.os_version) >= version_key(wanted)


def _soc_in(wanted: Sequence[Mapping[str, str]], facts: DeviceFacts) -> bool | None:
    """Whether the SoC is in the list; an empty or absent model in the list stands for all models of the maker."""
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


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_INTEGER


def _is_version(value: Any) -> bool:
    """Dotted numbers: `14`, `1.17.0`."""
    return (
        isinstance(value, str)
        and len(value) <= _MAX_VERSION
        and all(part.isascii() and part.isdecimal() for part in value.split("."))
    )


def _are_names(value: Any) -> bool:
    return _is_list(value) and all(isinstance(name, str) for name in value)


def _are_socs(value: Any) -> bool:
    return _is_list(value) and all(
        isinstance(entry, Mapping)
        and isinstance(entry.get("maker"), str)
        and isinstance(entry.get("model", ""), str)
        and set(entry) <= {"maker", "model"}
        for entry in value
    )


def _is_boolean(value: Any) -> bool:
    return isinstance(value, bool)


def _always(_wanted: bool, _facts: DeviceFacts) -> bool:
    return True


_KEYS: dict[str, tuple[Callable[[Any], bool], Callable[[Any, DeviceFacts], bool | None]]] = {
    "platforms": (_are_names, _platform),
    "ram_class_min": (_is_integer, _ram_at_least),
    "ram_class_max": (_is_integer, _ram_below),
    "cores_min": (_is_integer, _cores_at_least),
    "os_min": (_is_version, _os_at_least),
    "soc_include": (_are_socs, _soc_in),
    "soc_exclude": (_are_socs, _soc_not_in),
    "strict": (_is_boolean, _always),  # it changes how `_EXCLUDING` keys are judged
}
"""Key of a selector -> whether this resolver understands its value, and whether a device meets it (None: unknown)."""
_EXCLUDING = frozenset({"soc_exclude"})
"""Keys that hold if the fact is unknown, unless the selector is strict."""


def version_key(text: str) -> tuple[tuple[int, str], ...]:
    """`1.20.0+cpu` -> the leading numbers 1 and 20, without trailing zeros, so that 14 equals 14.0.

    A number is its count of digits and its digits, without leading zeros. They compare like the number itself, and
    need no conversion, which Python refuses for thousands of digits.
    """
    numbers: list[str] = []
    for part in text.split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(digits.lstrip("0"))
        if digits != part:
            break
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple((len(number), number) for number in numbers)


def _plain(key: str, value: Any) -> str:
    """A value of a selector that `_KEYS` understands, for people."""
    if isinstance(value, str | int):
        return f"{value} MiB" if key.startswith("ram_class") else str(value)
    return ", ".join(" ".join(entry.values()) if isinstance(entry, Mapping) else str(entry) for entry in value)
