"""Whether a device meets a selector of a tier.

Every key of a selector has one of three values: it holds, it does not hold, or it is unknown because the device does
not report the fact. A selector with anything that this program does not understand, be it a key, a type or a value,
does not match, so an old app gets a lower tier, never a heavier one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from .records import DeviceFacts
from .values import integer, is_list, is_version, lower, version_key

RAM_CLASSES_MIB: Final = (256, 512, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 12288, 16384, 24576, 32768, 65536)
"""The sizes of RAM with which devices are sold, in MiB. A part of the contract: selectors compare these classes."""
SHOWN: Final = 40
"""The most characters of the manifest that a message quotes."""
_MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A reason code and its text for people."""

    code: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key of a selector.

    Attributes:
        understands: Whether this program understands a value.
        holds: Whether a device meets a value that is understood; None if it does not report the fact.
        excludes: Whether the key holds if the fact is unknown, unless the selector is strict.
    """

    understands: Callable[[Any], bool]
    holds: Callable[[Any, DeviceFacts], bool | None]
    excludes: bool = False


def ram_class_mib(ram_bytes: int) -> int:
    """The RAM that the kernel reports, rounded up to the next class in MiB; the last class if it is above."""
    return next((size for size in RAM_CLASSES_MIB if ram_bytes <= size * _MIB), RAM_CLASSES_MIB[-1])


def selector_fault(selector: Any, facts: DeviceFacts) -> Fault | None:
    """Why a device does not meet a selector; None if it does. An empty selector is met by all.

    The result does not depend on the order of the keys in the file, which not every language keeps.
    """
    if not isinstance(selector, Mapping):
        return Fault(code="selector_key_unknown", text="its selector has a form that this app does not know")
    fault = _not_understood(selector)
    if fault is not None:
        return fault
    for name, key in KEYS.items():
        wanted = selector.get(name)
        holds = True if wanted is None else key.holds(wanted, facts)
        if holds is True or (holds is None and key.excludes and selector.get("strict") is not True):
            continue
        if holds is None:
            return Fault(code="selector_unknown", text=f"the device does not report what {name} depends on")
        return Fault(code="selector_unmet", text=f"the device does not meet {name} {_plain(name, wanted)}")
    return None


def plain_selector(selector: Mapping[str, Any]) -> str:
    """What a selector that is understood asks for, for people."""
    given = [(name, selector.get(name)) for name in KEYS]
    return ", ".join(f"{name} {_plain(name, value)}" for name, value in given if value) or "an empty selector"


def _not_understood(selector: Mapping[Any, Any]) -> Fault | None:
    for name, wanted in selector.items():
        shown = str(name)[:SHOWN]
        if name not in KEYS:
            text = f"its selector has the key {shown!r}, which this app does not know"
            return Fault(code="selector_key_unknown", text=text)
        if wanted is not None and not KEYS[name].understands(wanted):
            text = f"its selector has a value of {shown} that this app does not know"
            return Fault(code="selector_key_unknown", text=text)
    return None


def _plain(name: str, value: Any) -> str:
    if is_list(value):
        return ", ".join(" ".join(item.values()) if isinstance(item, Mapping) else str(item) for item in value)
    if isinstance(value, Mapping):
        return " ".join(str(item) for item in value.values())
    return f"{integer(value)} MiB" if name.startswith("ram_class") else str(value)


def _is_integer(value: Any) -> bool:
    return integer(value) is not None


def _is_boolean(value: Any) -> bool:
    return isinstance(value, bool)


def _are_names(value: Any) -> bool:
    return is_list(value) and all(isinstance(name, str) for name in value)


def _are_products(value: Any) -> bool:
    return is_list(value) and all(
        isinstance(entry, Mapping)
        and isinstance(entry.get("maker"), str)
        and isinstance(entry.get("model", ""), str)
        and set(entry) <= {"maker", "model"}
        for entry in value
    )


def _is_probe(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and set(value) == {"id", "score"}
        and isinstance(value["id"], str)
        and _is_integer(value["score"])
    )


def _platform(wanted: Sequence[str], facts: DeviceFacts) -> bool:
    return any(facts.is_on(platform) for platform in wanted)


def _ram_at_least(wanted: float, facts: DeviceFacts) -> bool | None:
    return None if facts.ram_bytes is None else ram_class_mib(facts.ram_bytes) >= wanted


def _ram_below(wanted: float, facts: DeviceFacts) -> bool | None:
    return None if facts.ram_bytes is None else ram_class_mib(facts.ram_bytes) < wanted


def _cores_at_least(wanted: float, facts: DeviceFacts) -> bool | None:
    return None if facts.cores is None else facts.cores >= wanted


def _os_at_least(wanted: str, facts: DeviceFacts) -> bool | None:
    return None if facts.os_version is None else version_key(facts.os_version) >= version_key(wanted)


def _soc_in(wanted: Sequence[Mapping[str, str]], facts: DeviceFacts) -> bool | None:
    return _listed(wanted, facts.soc_maker, facts.soc_model)


def _device_in(wanted: Sequence[Mapping[str, str]], facts: DeviceFacts) -> bool | None:
    return _listed(wanted, facts.device_maker, facts.device_model)


def _soc_not_in(wanted: Sequence[Mapping[str, str]], facts: DeviceFacts) -> bool | None:
    return _negated(_soc_in(wanted, facts))


def _device_not_in(wanted: Sequence[Mapping[str, str]], facts: DeviceFacts) -> bool | None:
    return _negated(_device_in(wanted, facts))


def _listed(wanted: Sequence[Mapping[str, str]], maker: str | None, model: str | None) -> bool | None:
    """Whether a maker's model is in the list; there, an empty or absent model means all models of the maker."""
    if maker is None:
        return None
    models = [entry.get("model") for entry in wanted if lower(entry["maker"]) == lower(maker)]
    if not all(models):
        return True
    if models and model is None:
        return None
    return any(lower(found or "") == lower(model or "") for found in models)


def _negated(holds: bool | None) -> bool | None:
    return None if holds is None else not holds


def _has_all(wanted: Sequence[str], facts: DeviceFacts) -> bool | None:
    return None if facts.features is None else set(wanted) <= set(facts.features)


def _has_none(wanted: Sequence[str], facts: DeviceFacts) -> bool | None:
    return None if facts.features is None else not set(wanted) & set(facts.features)


def _probe_at_least(wanted: Mapping[str, Any], facts: DeviceFacts) -> bool | None:
    if facts.probe is None or facts.probe.id != wanted["id"]:
        return None
    return bool(facts.probe.score >= wanted["score"])


def _always(_wanted: bool, _facts: DeviceFacts) -> bool:
    return True


KEYS: Final[Mapping[str, Key]] = {
    "platforms": Key(understands=_are_names, holds=_platform),
    "ram_class_min": Key(understands=_is_integer, holds=_ram_at_least),
    "ram_class_max": Key(understands=_is_integer, holds=_ram_below),
    "cores_min": Key(understands=_is_integer, holds=_cores_at_least),
    "os_min": Key(understands=is_version, holds=_os_at_least),
    "soc_include": Key(understands=_are_products, holds=_soc_in),
    "soc_exclude": Key(understands=_are_products, holds=_soc_not_in, excludes=True),
    "device_include": Key(understands=_are_products, holds=_device_in),
    "device_exclude": Key(understands=_are_products, holds=_device_not_in, excludes=True),
    "features_all": Key(understands=_are_names, holds=_has_all),
    "features_none": Key(understands=_are_names, holds=_has_none, excludes=True),
    "probe_min": Key(understands=_is_probe, holds=_probe_at_least),
    "strict": Key(understands=_is_boolean, holds=_always),  # it changes how excluding keys are judged
}
"""The keys in the order in which they are judged. A part of the contract: the first that does not hold decides."""
