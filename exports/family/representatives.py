"""Devices that stand for all devices: for each fact the values between which the selectors of a manifest can tell.

What a selector says about one fact does not depend on the other facts, so a device is a choice of one value for each of
them. That is how `author_checks` can prove something about every device with a few dozen values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from exports.client.python.selector_rules import RAM_CLASSES_MIB
from exports.client.python.values import lower, version_key

Facts = Mapping[str, Any]
"""Facts about a device under their names in JSON; a missing one is unknown."""
Selector = Mapping[str, Any]

_MIB = 1 << 20
_MODIFIERS = frozenset({"strict"})
"""Keys that say nothing by themselves, but change how others are judged."""
_RAM, _CORES, _OS, _PROBE = ("ram_class_min", "ram_class_max"), ("cores_min",), ("os_min",), ("probe_min",)
_SOC, _DEVICE, _FEATURES = (
    ("soc_include", "soc_exclude"),
    ("device_include", "device_exclude"),
    ("features_all", "features_none"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One fact about a device.

    Attributes:
        name: Its name for people.
        values: What it may be; the first is a device that does not report it, if such a device is to be told apart.
        part: The part of a selector that depends on it.
        steps: Indices of neighbouring values, of which the second is more of the same than the first.
    """

    name: str
    values: tuple[Facts, ...]
    part: Callable[[Selector], Selector]
    steps: tuple[tuple[int, int], ...] = ()


def axes_of(selectors: Sequence[Selector]) -> tuple[tuple[Axis, ...], ...]:
    """The axes of the facts that the selectors, which the resolver must understand, depend on.

    There is one tuple for devices that report their features and, if selectors name any, one for those that do not.
    """
    common = [
        _ordered("RAM", _classes(), _RAM),
        _ordered("cores", _cores(selectors), _CORES),
        _ordered("OS version", _versions(selectors), _OS),
        _listed("SoC", selectors, _SOC, ("soc_maker", "soc_model")),
        _listed("device model", selectors, _DEVICE, ("device_maker", "device_model")),
        _probes(selectors),
    ]
    used = [axis for axis in common if any(axis.part(selector).keys() - _MODIFIERS for selector in selectors)]
    tokens = sorted({token for selector in selectors for token in _tokens(selector)})
    silent = Axis(name="features", values=({},), part=_keys(*_FEATURES))
    reported = (*used, *(_token(token, selectors) for token in tokens))
    return ((*used, silent), reported) if tokens else (reported,)


def device_of(values: Iterable[Facts]) -> dict[str, Any]:
    """The facts of a device from its value on each axis. Features add up."""
    device: dict[str, Any] = {}
    for value in values:
        for key, fact in value.items():
            device[key] = [*device.get(key, []), *fact] if key == "features" else fact
    return device


def device_text(device: Facts) -> str:
    """The facts of a device for people: `android, 8 GiB of RAM, 6 cores`."""
    texts = [str(device.get("platform", "any platform"))]
    if "ram_bytes" in device:
        mib = device["ram_bytes"] // _MIB
        texts.append(f"{mib // 1024} GiB of RAM" if mib % 1024 == 0 else f"{mib} MiB of RAM")
    if "cores" in device:
        texts.append(f"{device['cores']} core{'' if device['cores'] == 1 else 's'}")
    if "os_version" in device:
        texts.append(f"OS {device['os_version']}")
    for what, name in (("soc", "SoC"), ("device", "model")):
        known = [str(device[key]) for key in (f"{what}_maker", f"{what}_model") if key in device]
        texts += [f"{name} {' '.join(known)}"] if known else []
    if "features" in device:
        texts.append("features " + (", ".join(device["features"]) or "none"))
    if "probe" in device:
        texts.append(f"{device['probe']['score']} in the probe {device['probe']['id']}")
    return ", ".join(texts)


def _keys(*names: str) -> Callable[[Selector], Selector]:
    return lambda selector: {
        key: selector[key] for key in (*names, *sorted(_MODIFIERS)) if selector.get(key) is not None
    }


def _ordered(name: str, known: Sequence[Facts], keys: tuple[str, ...]) -> Axis:
    """An axis of values in ascending order, before which comes the device that does not report the fact."""
    steps = tuple((index, index + 1) for index in range(1, len(known)))
    return Axis(name=name, values=({}, *known), part=_keys(*keys), steps=steps)


def _classes() -> list[Facts]:
    return [{"ram_bytes": size * _MIB} for size in RAM_CLASSES_MIB]


def _cores(selectors: Sequence[Selector]) -> list[Facts]:
    return [{"cores": number} for number in sorted({1} | {s["cores_min"] for s in selectors if s.get("cores_min")})]


def _versions(selectors: Sequence[Selector]) -> list[Facts]:
    found = {version_key(s["os_min"]): s["os_min"] for s in selectors if s.get("os_min")}
    return [{"os_version": text} for _, text in sorted({version_key("0"): "0", **found}.items())]


def _listed(name: str, selectors: Sequence[Selector], keys: tuple[str, ...], facts: tuple[str, str]) -> Axis:
    """An axis of makers and models: one of each group that is in the same lists, and one that is in none."""
    lists = [entries for selector in selectors for key in keys if (entries := selector.get(key))]
    exact, whole, partly = dict[tuple[str, str], set[int]](), dict[str, set[int]](), dict[str, set[int]]()
    spelt: dict[str, str] = {}
    for index, entries in enumerate(lists):
        for entry in entries:
            maker, model = lower(entry["maker"]), lower(entry.get("model") or "")
            spelt.setdefault(maker, entry["maker"])
            partly.setdefault(maker, set()).add(index)
            if model:
                spelt.setdefault(model, entry["model"])
                exact.setdefault((maker, model), set()).add(index)
            else:
                whole.setdefault(maker, set()).add(index)
    groups: dict[Any, Facts] = {"unknown": {}, (): {facts[0]: _unlisted(partly), facts[1]: "other"}}
    for maker, inside in partly.items():
        groups.setdefault(("?", *_group(inside, whole.get(maker))), {facts[0]: spelt[maker]})
    for (maker, model), inside in exact.items():
        groups.setdefault(_group(inside | whole.get(maker, set())), {facts[0]: spelt[maker], facts[1]: spelt[model]})
    unlisted = _unlisted({model for _, model in exact})
    for maker, inside in whole.items():
        groups.setdefault(_group(inside), {facts[0]: spelt[maker], facts[1]: unlisted})
    return Axis(name=name, values=tuple(groups.values()), part=_keys(*keys))


def _group(*lists: set[int] | None) -> tuple[int, ...] | tuple[tuple[int, ...], ...]:
    sets = tuple(tuple(sorted(found or ())) for found in lists)
    return sets[0] if len(sets) == 1 else sets


def _unlisted(names: Iterable[str]) -> str:
    """A name that is not among `names`."""
    known, name = set(names), "other"
    while name in known:
        name += "-other"
    return name


def _probes(selectors: Sequence[Selector]) -> Axis:
    scores: dict[str, set[int]] = {}
    for wanted in (found for selector in selectors if (found := selector.get("probe_min"))):
        scores.setdefault(wanted["id"], {1}).add(max(1, wanted["score"]))
    values: list[Facts] = [{}]
    steps = []
    for name, known in sorted(scores.items()):
        start = len(values)
        values += [{"probe": {"id": name, "score": score}} for score in sorted(known)]
        steps += [(index, index + 1) for index in range(start, len(values) - 1)]
    return Axis(name="probe score", values=tuple(values), part=_keys(*_PROBE), steps=tuple(steps))


def _tokens(selector: Selector) -> tuple[str, ...]:
    return (*(selector.get("features_all") or ()), *(selector.get("features_none") or ()))


def _token(token: str, selectors: Sequence[Selector]) -> Axis:
    """Whether a device has one feature. It is an advantage unless a selector excludes it."""

    def part(selector: Selector) -> Selector:
        named: dict[str, Any] = {key: [token] for key in _FEATURES if token in (selector.get(key) or ())}
        return {**named, **_keys()(selector)}

    excluded = any(token in (selector.get("features_none") or ()) for selector in selectors)
    values: tuple[Facts, ...] = ({"features": []}, {"features": [token]})
    return Axis(name=f"feature {token}", values=values, part=part, steps=() if excluded else ((0, 1),))
