"""Finds the devices that a question about tiers is about, among all devices that the selectors of a manifest can tell.

Each selector is judged by the resolver itself, on every value of every fact (`representatives`). A device has one value
of each fact, so it meets a selector if all of its values do. What is left is to choose values with which a device meets
one selector and none of some others, which is a search over bit masks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from exports.client.python.records import ClientState, DeviceFacts, Resolution
from exports.client.python.resolver import resolve
from exports.family.representatives import Axis, Facts, axes_of, device_of

_MAX_JUDGED = 1_000_000
"""Judgements of a part of a selector on one value, some microseconds each. A family of 50 tiers needs about 5,000."""
_MAX_STEPS = 2_000_000
"""Steps of all searches in one manifest, about a microsecond each. A family of 50 tiers needs some ten thousand."""
_MAX_PLATFORMS = 64
"""Platforms that are searched one by one, many times what exists."""
ELSEWHERE = "another-platform"
"""A platform that no manifest names, for tiers that any platform gets."""
_MET = "model_missing"
"""The reason code of a tier without a usable model whose selector a device meets."""


class TooManyError(Exception):
    """The search would take longer than any family needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One selector of a tier that has a usable model. `bit` is its place in masks: a higher one is tried earlier."""

    tier: str
    platform: str
    rank: int
    selector: Mapping[str, Any]
    bit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    """An axis with a mask for each of its values: the rules whose part holds for it."""

    axis: Axis
    masks: tuple[int, ...]


class TierSearch:
    """The rules of a manifest, and the devices that meet them. The work of all searches together is limited."""

    def __init__(self, manifest: Mapping[str, Any], platforms: Iterable[str]) -> None:
        """Judge all selectors.

        Args:
            manifest: The parsed JSON of a manifest that `read_manifest` accepts.
            platforms: Platforms to search beside those that selectors name.

        Raises:
            TooManyError: There are too many selectors, values or platforms.
        """
        self._manifest, self._steps = manifest, 0
        self.rules = _rules(manifest)
        selectors = [rule.selector for rule in self.rules]
        named = {platform for selector in selectors for platform in selector.get("platforms") or ()}
        self.platforms = (*sorted(named | set(platforms)), ELSEWHERE)
        axes = axes_of(selectors)
        judgements = sum(map(_size, selectors)) * sum(len(axis.values) for kind in axes for axis in kind)
        if len(self.platforms) > _MAX_PLATFORMS or judgements > _MAX_JUDGED:
            raise TooManyError
        # One tuple for devices that report their features, one for those that do not.
        self._kinds = tuple(tuple(_judge(axis, self.rules) for axis in kind) for kind in axes)
        self._on = {platform: tuple(self._of(platform)) for platform in self.platforms}

    def on(self, platform: str) -> tuple[Rule, ...]:
        """The rules that devices of a platform may meet."""
        return self._on[platform]

    def resolved(self, device: Facts) -> Resolution:
        """What the whole manifest gives a device. Raises `TooManyError`."""
        self._count(len(self._manifest["tiers"]))
        return resolved(self._manifest, device)

    def devices(self, platform: str, rule: Rule, blockers: int) -> Iterator[Facts]:
        """Devices of a platform that meet a rule and none whose bit is in `blockers`. Raises `TooManyError`."""
        for kind in self._kinds:
            for values in self._values(kind, rule.bit, blockers):
                yield device_of([{"platform": platform}, *values])

    def pairs(self, platform: str, rule: Rule, blockers: int) -> Iterator[tuple[str, Facts, Facts]]:
        """The name of a fact, a device that meets a rule, and one that has more of that fact and no longer meets it,
        nor any whose bit is in `blockers`. Raises `TooManyError`.
        """
        for kind in self._kinds:
            for place, found in enumerate(kind):
                for less, more in found.axis.steps:
                    if not found.masks[less] & rule.bit or found.masks[more] & rule.bit:
                        continue
                    masks = tuple(mask | rule.bit if i == more else 0 for i, mask in enumerate(found.masks))
                    fixed = [*kind[:place], _Judged(axis=found.axis, masks=masks), *kind[place + 1 :]]
                    for values in self._values(fixed, rule.bit, blockers & ~rule.bit):
                        greater = [{"platform": platform}, *values]
                        lesser = [*greater[: place + 1], found.axis.values[less], *greater[place + 2 :]]
                        yield found.axis.name, device_of(lesser), device_of(greater)

    def _of(self, platform: str) -> Iterator[Rule]:
        for rule in self.rules:
            named = rule.selector.get("platforms")
            if rule.platform in ("any", platform) and (named is None or platform in named):
                yield rule

    def _count(self, steps: int) -> None:
        self._steps += steps
        if self._steps > _MAX_STEPS:
            raise TooManyError

    def _values(self, judged: Sequence[_Judged], rule: int, blockers: int) -> Iterator[tuple[Facts, ...]]:
        """Values, one for each axis, for which the bit `rule` holds and no bit of `blockers`."""
        choices = []
        for found in judged:
            options: dict[int, int] = {}
            for index, mask in enumerate(found.masks):
                if mask & rule:
                    options.setdefault(mask & blockers, index)
            self._count(len(found.masks) + len(options) ** 2)
            # A value that leaves all the blockers that another one leaves, and more, is never better.
            choices.append([(m, i) for m, i in options.items() if not any(o != m and o | m == m for o in options)])
        if all(choices):
            for picked in self._walk(choices, _lasting(choices, blockers), 0, blockers):
                yield tuple(found.axis.values[index] for found, index in zip(judged, picked, strict=True))

    def _walk(
        self, choices: Sequence[Sequence[tuple[int, int]]], lasting: Sequence[int], depth: int, alive: int
    ) -> Iterator[tuple[int, ...]]:
        """Choices from the axis `depth` on that leave no blocker `alive`."""
        self._count(1)
        if alive & lasting[depth]:
            return  # no value on the remaining axes gets rid of these
        if depth == len(choices):
            yield ()
            return
        for mask, index in choices[depth]:
            for rest in self._walk(choices, lasting, depth + 1, alive & mask):
                yield (index, *rest)


def resolved(manifest: Mapping[str, Any], facts: Facts) -> Resolution:
    """What a manifest gives a device with no policy and nothing installed."""
    return resolve(manifest, None, DeviceFacts.from_json(facts), ClientState(), now=0)


def is_usable(manifest: Mapping[str, Any], tier: Mapping[str, Any]) -> bool:
    """Whether a device that meets the tier's selectors gets one of its models."""
    open_tier = {**tier, "platform": "any", "match": [{}]}
    floor = next(other for other in manifest["tiers"] if other["rank"] == 0)
    return resolved({**manifest, "tiers": [floor, open_tier]}, {"platform": ELSEWHERE}).rank > 0


def _rules(manifest: Mapping[str, Any]) -> tuple[Rule, ...]:
    """The selectors that are understood, of tiers with a usable model; what the resolver tries first comes last."""
    ranked = [tier for tier in manifest["tiers"] if tier["rank"] and is_usable(manifest, tier)]
    ranked.sort(key=lambda tier: (tier["rank"], tier["platform"] != "any"))
    pairs = [(tier, selector) for tier in ranked for selector in tier["match"]]
    codes = _codes([selector for _, selector in pairs], {})
    understood = [pair for pair, code in zip(pairs, codes, strict=True) if code != "selector_key_unknown"]
    return tuple(
        Rule(tier=tier["id"], platform=tier["platform"], rank=tier["rank"], selector=selector, bit=1 << index)
        for index, (tier, selector) in enumerate(understood)
    )


def _size(selector: Mapping[str, Any]) -> int:
    """What judging a selector takes: one for it and each entry of its lists."""
    return 1 + sum(len(value) for value in selector.values() if isinstance(value, list))


def _judge(axis: Axis, rules: Sequence[Rule]) -> _Judged:
    parts = [axis.part(rule.selector) for rule in rules]
    masks = []
    for value in axis.values:
        judged = zip(rules, _codes(parts, value), strict=True)
        masks.append(sum(rule.bit for rule, code in judged if code == _MET))
    return _Judged(axis=axis, masks=tuple(masks))


def _codes(selectors: Sequence[Mapping[str, Any]], facts: Facts) -> list[str]:
    """What the resolver says about each selector, `_MET` if the device meets it.

    Each is that of a tier whose only model does not exist, so that the resolver goes on to the next tier.
    """
    tiers = [{"id": "", "platform": "any", "rank": 0, "match": [], "models": []}]
    for index, selector in enumerate(selectors):
        match = [dict(selector)]
        tiers.append({"id": str(index), "platform": "any", "rank": index + 1, "match": match, "models": ["none"]})
    trial = {"manifest_version": "1.0", "critical": [], "tiers": tiers, "models": {}}
    found = {reason.tier: reason.code for reason in resolved(trial, {"platform": ELSEWHERE, **facts}).reasons}
    return [found[str(index)] for index in range(len(selectors))]


def _lasting(choices: Sequence[Sequence[tuple[int, int]]], blockers: int) -> list[int]:
    """For each axis the blockers that no choice on it or a later one gets rid of; at the end all of them."""
    found = [blockers]
    for options in reversed(choices):
        left = found[-1]
        for mask, _ in options:
            left &= mask
        found.append(left)
    return found[::-1]
