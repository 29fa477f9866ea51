"""What the author of a family should know before devices do: is every device covered, and can every tier be reached?

    author_checks(value)     # value: the parsed JSON of a manifest -> a verdict with one line for each question

The questions are answered for all devices, not for a sample. Each selector is judged by the resolver itself on every
value that it can tell from others (`representatives`); a device has one value of each fact, so a search over these
judgements finds the device that gets a tier, or the pair of devices of which the better one gets less, if there is any.
What is found is then put to the resolver with the whole manifest, and reported only if that agrees.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from device_profiles.profile import Platform
from exports.client.python.resolver import DeviceFacts, Resolution, resolve
from exports.family.diff import content_of
from exports.family.records import Manifest
from exports.family.representatives import Axis, Facts, axes_of, device_of, device_text
from factory_base.errors import ManifestError
from factory_base.wording import counted

Verdict = Literal["ok", "warning", "fault"]

_MAX_JUDGEMENTS = 1_000_000
"""Judgements of a part of a selector on one value, some microseconds each. A family of 50 tiers needs about 2,000."""
_MAX_STEPS = 3_000_000
"""Steps of all searches of one manifest, less than a microsecond each."""
_MAX_PLATFORMS = 64
"""Platforms that are searched one by one, many times what exists."""
_SHOWN = 3
"""Faults of one kind that a line names."""
_ELSEWHERE = "another-platform"
"""A platform that no manifest names, for tiers that any platform gets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorCheck:
    """The answer to one question.

    Attributes:
        name: The name of the check.
        verdict: `fault`: the family must not be published; `warning`: its author should know.
        detail: One line for people.
    """

    name: str
    verdict: Verdict
    detail: str


class _TooManyError(Exception):
    """A search would take longer than any family needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
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


class _Search:
    """Finds devices that meet one rule and none of some others. The work of all searches together is limited."""

    def __init__(self) -> None:
        self._steps = 0

    def devices(self, judged: Sequence[_Judged], rule: int, blockers: int) -> Iterator[tuple[Facts, ...]]:
        """Values, one for each axis, for which the bit `rule` holds and no bit of `blockers`.

        Raises:
            _TooManyError: The limit is reached.
        """
        choices = []
        for found in judged:
            options: dict[int, int] = {}
            for index, mask in enumerate(found.masks):
                if mask & rule:
                    options.setdefault(mask & blockers, index)
            self._count(len(found.masks) + len(options) ** 2)
            # A value that leaves all the blockers that another one leaves, and more, is never better.
            kept = [(m, i) for m, i in options.items() if not any(o != m and o | m == m for o in options)]
            choices.append(kept)
        if all(choices):
            for picked in self._walk(choices, 0, blockers):
                yield tuple(found.axis.values[i] for found, i in zip(judged, picked, strict=True))

    def _count(self, steps: int) -> None:
        self._steps += steps
        if self._steps > _MAX_STEPS:
            raise _TooManyError

    def _walk(self, choices: Sequence[Sequence[tuple[int, int]]], depth: int, alive: int) -> Iterator[tuple[int, ...]]:
        """Choices from the axis `depth` on that leave no blocker `alive`."""
        self._count(1)
        if depth == len(choices):
            if not alive:
                yield ()
            return
        lasting = alive
        for options in choices[depth:]:
            for mask, _ in options:
                lasting &= mask
        if lasting:
            return  # no value on the remaining axes gets rid of these
        for mask, index in choices[depth]:
            for rest in self._walk(choices, depth + 1, alive & mask):
                yield (index, *rest)


def author_checks(manifest: Mapping[str, Any]) -> tuple[AuthorCheck, ...]:
    """Answer every question about the tiers of a family.

    Args:
        manifest: The parsed JSON of a manifest that `read_manifest` accepts.
    """
    return (_coverage(manifest), _platforms(manifest), *_tier_checks(manifest))


def refuse_faults(manifest: Mapping[str, Any], source: str) -> None:
    """Raise `ManifestError` with the first fault that `author_checks` finds; `source` is the manifest's name."""
    for check in author_checks(manifest):
        if check.verdict == "fault":
            raise ManifestError(f"{source}: {check.detail}")


def author_warnings(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """The warnings of `author_checks`, without the search for faults."""
    return tuple(check.detail for check in (_platforms(manifest),) if check.verdict == "warning")


def release_check(old: Manifest, new: Manifest) -> AuthorCheck:
    """Whether `new` may follow `old`: other content needs a higher release number, because apps keep the highest."""
    name = "release"
    if old.family_id != new.family_id:
        detail = f"the previous family is {old.family_id}, not {new.family_id}; name an earlier release of the same one"
        return AuthorCheck(name=name, verdict="fault", detail=detail)
    if new.release > old.release:
        return AuthorCheck(name=name, verdict="ok", detail=f"release {new.release} follows {old.release}")
    if new.release == old.release and content_of(old) == content_of(new):
        return AuthorCheck(name=name, verdict="ok", detail=f"release {new.release}, with the content that it had")
    what = "its content changed, but it is still" if new.release == old.release else "it is"
    detail = (
        f"{what} release {new.release}, and {old.release} was before; set `release: {old.release + 1}` in the config, "
        "because apps keep the release with the highest number"
    )
    return AuthorCheck(name=name, verdict="fault", detail=detail)


def _resolved(manifest: Mapping[str, Any], facts: Facts) -> Resolution:
    return resolve(manifest, DeviceFacts(**facts))


def _named_platforms(manifest: Mapping[str, Any]) -> list[str]:
    tiers = {tier["platform"] for tier in manifest["tiers"]} - {"any"}
    selected = {p for tier in manifest["tiers"] for s in tier["match"] for p in s.get("platforms") or ()}
    return sorted(tiers | selected | _with_floor(manifest) | set(get_args(Platform)))


def _with_floor(manifest: Mapping[str, Any]) -> set[str]:
    return {floor["platform"] for floor in manifest.get("floors") or ()}


def _coverage(manifest: Mapping[str, Any]) -> AuthorCheck:
    """Whether a device that nothing is known about gets a model, or is told what else to do, on each platform."""
    platforms = [*_named_platforms(manifest)[:_MAX_PLATFORMS], _ELSEWHERE]
    bare = [name for name in platforms if _gets_nothing(_resolved(manifest, {"platform": name}))]
    if bare:
        detail = f"a device of {_list(bare)} that meets no selector gets no model; give the floor one that can be used"
        return AuthorCheck(name="coverage", verdict="fault", detail=detail)
    return AuthorCheck(name="coverage", verdict="ok", detail="every device gets at least the floor")


def _gets_nothing(resolution: Resolution) -> bool:
    return resolution.model is None


def _platforms(manifest: Mapping[str, Any]) -> AuthorCheck:
    """Whether each known platform has a tier of its own, one for any platform, or a floor that somebody chose."""
    ranked = {tier["platform"] for tier in manifest["tiers"] if tier["rank"]}
    known = [name for name in get_args(Platform) if name not in ranked | _with_floor(manifest)]
    if "any" in ranked or not known:
        return AuthorCheck(
            name="platforms", verdict="ok", detail="each known platform has a tier, or a floor of its own"
        )
    detail = (
        f"no tier is for {', '.join(known)}, so all devices there get the floor; add a target for such a device if the "
        "app runs there"
    )
    return AuthorCheck(name="platforms", verdict="warning", detail=detail)


def _tier_checks(manifest: Mapping[str, Any]) -> Iterator[AuthorCheck]:
    try:
        worlds = _worlds(manifest)
        search = _Search()
        unreached = list(_unreached(manifest, worlds, search))
        lowered = list(_lowered(manifest, worlds, search))
    except _TooManyError:
        detail = "the selectors make more combinations than any family needs, so nothing was proved; use simpler ones"
        yield AuthorCheck(name="tiers reached", verdict="fault", detail=detail)
        return
    tiers = counted(sum(1 for tier in manifest["tiers"] if tier["rank"]), "tier")
    yield _check("tiers reached", unreached, f"{tiers}, for each of which there is a device that gets it")
    yield _check("more never gets less", lowered, "no device gets a lower rank than one that it surpasses")


def _check(name: str, faults: Sequence[str], otherwise: str) -> AuthorCheck:
    more = f"; and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
    detail = "; ".join(faults[:_SHOWN]) + more if faults else otherwise
    return AuthorCheck(name=name, verdict="fault" if faults else "ok", detail=detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Worlds:
    """All rules, and how they judge every kind of device: with features that are reported, and without."""

    rules: tuple[_Rule, ...]
    judged: tuple[tuple[_Judged, ...], ...]
    platforms: tuple[str, ...]

    def on(self, platform: str) -> Iterator[_Rule]:
        """The rules that devices of a platform may meet."""
        for rule in self.rules:
            named = rule.selector.get("platforms")
            if rule.platform in ("any", platform) and (named is None or platform in named):
                yield rule


def _worlds(manifest: Mapping[str, Any]) -> _Worlds:
    """Raises `_TooManyError`."""
    rules, platforms = _rules(manifest), _named_platforms(manifest)
    if len(platforms) > _MAX_PLATFORMS or sum(_size(rule.selector) for rule in rules) > _MAX_JUDGEMENTS:
        raise _TooManyError
    axes = axes_of([rule.selector for rule in rules])
    values = sum(len(axis.values) for world in axes for axis in world)
    if values * sum(_size(rule.selector) for rule in rules) > _MAX_JUDGEMENTS:
        raise _TooManyError
    judged = tuple(tuple(_judge(axis, rules) for axis in world) for world in axes)
    return _Worlds(rules=rules, judged=judged, platforms=(*platforms, _ELSEWHERE))


def _size(selector: Mapping[str, Any]) -> int:
    """What judging a selector takes: one for it and each entry of its lists."""
    return 1 + sum(len(value) for value in selector.values() if isinstance(value, list))


def _rules(manifest: Mapping[str, Any]) -> tuple[_Rule, ...]:
    """The selectors of all tiers with a usable model; what the resolver tries first comes last."""
    ranked = [tier for tier in manifest["tiers"] if tier["rank"] and _is_usable(manifest, tier)]
    ranked.sort(key=lambda tier: (tier["rank"], tier["platform"] != "any"))
    pairs = [(tier, selector) for tier in ranked for selector in tier["match"]]
    return tuple(
        _Rule(tier=tier["id"], platform=tier["platform"], rank=tier["rank"], selector=selector, bit=1 << index)
        for index, (tier, selector) in enumerate(pairs)
    )


def _is_usable(manifest: Mapping[str, Any], tier: Mapping[str, Any]) -> bool:
    """Whether a device that meets the tier's selectors gets one of its models."""
    open_tier = {**tier, "platform": "any", "match": [{}]}
    floor = next(other for other in manifest["tiers"] if other["rank"] == 0)
    return _resolved({**manifest, "tiers": [floor, open_tier]}, {"platform": _ELSEWHERE}).rank > 0


def _judge(axis: Axis, rules: Sequence[_Rule]) -> _Judged:
    """Each part of a selector as a tier without usable models: the resolver goes through all that the device meets."""
    parts = [dict(axis.part(rule.selector)) for rule in rules]
    tiers = [
        {"id": str(index), "platform": "any", "rank": index, "match": [part] if index else [], "models": ["none"]}
        for index, part in enumerate([{}, *parts])
    ]
    trial = {"manifest_version": "1.0", "critical": [], "tiers": tiers, "models": {}}
    masks = []
    for value in axis.values:
        reasons = _resolved(trial, {"platform": _ELSEWHERE, **value}).reasons
        met = {int(reason.tier) for reason in reasons if reason.code == "model_missing"} - {0}
        masks.append(sum(rules[index - 1].bit for index in met))
    return _Judged(axis=axis, masks=tuple(masks))


def _unreached(manifest: Mapping[str, Any], worlds: _Worlds, search: _Search) -> Iterator[str]:
    for tier in manifest["tiers"]:
        if tier["rank"] and not _is_reached(manifest, tier["id"], worlds, search):
            yield f"no device gets the tier {tier['id']!r}: {_why_unreached(manifest, tier['id'], worlds, search)}"


def _is_reached(manifest: Mapping[str, Any], name: str, worlds: _Worlds, search: _Search) -> bool:
    for platform in worlds.platforms:
        met = list(worlds.on(platform))
        for rule in (rule for rule in met if rule.tier == name):
            earlier = sum(other.bit for other in met if other.bit > rule.bit and other.tier != name)
            for judged in worlds.judged:
                for values in search.devices(judged, rule.bit, earlier):
                    if _resolved(manifest, device_of([{"platform": platform}, *values])).tier == name:
                        return True
    return False


def _why_unreached(manifest: Mapping[str, Any], name: str, worlds: _Worlds, search: _Search) -> str:
    if not any(rule.tier == name for rule in worlds.rules):
        return "it has no selector, or none of its models can be used"
    for platform in worlds.platforms:
        for rule in (rule for rule in worlds.on(platform) if rule.tier == name):
            for judged in worlds.judged:
                for values in search.devices(judged, rule.bit, 0):
                    device = device_of([{"platform": platform}, *values])
                    other = _resolved(manifest, device)
                    return (
                        f"what meets its selectors, such as {device_text(device)}, gets {other.tier!r} (rank "
                        f"{other.rank}); change the selectors of the one or the other, or leave one of them out"
                    )
    return "no device meets its selectors"


def _lowered(manifest: Mapping[str, Any], worlds: _Worlds, search: _Search) -> Iterator[str]:
    """A sentence for each rule that devices lose by having more, although nothing as good follows."""
    told = set()
    for platform in worlds.platforms:
        met = list(worlds.on(platform))
        for rule in met:
            as_good = sum(other.bit for other in met if other.rank >= rule.rank)
            if rule.tier not in told and (pair := _pair(manifest, platform, rule.bit, as_good, worlds, search)):
                told.add(rule.tier)
                yield pair


def _pair(
    manifest: Mapping[str, Any], platform: str, rule: int, as_good: int, worlds: _Worlds, search: _Search
) -> str | None:
    """Two devices of which the second has more of one fact, and gets a lower rank."""
    for judged in worlds.judged:
        for place, found in enumerate(judged):
            for less, more in found.axis.steps:
                if found.masks[less] & rule and not found.masks[more] & rule:
                    step = _Judged(axis=Axis(name="", values=({},), part=dict), masks=(found.masks[more] | rule,))
                    fixed = [*judged[:place], step, *judged[place + 1 :]]
                    for values in search.devices(fixed, rule, as_good & ~rule):
                        lesser = device_of([{"platform": platform}, *values, found.axis.values[less]])
                        greater = device_of([{"platform": platform}, *values, found.axis.values[more]])
                        before, after = _resolved(manifest, lesser), _resolved(manifest, greater)
                        if after.rank < before.rank:
                            return (
                                f"{device_text(greater)} gets {after.tier!r} (rank {after.rank}), but "
                                f"{device_text(lesser)} gets {before.tier!r} (rank {before.rank}), although it has "
                                f"less: {found.axis.name}; remove the upper limit from the selectors of "
                                f"{before.tier!r}, or give a tier of a higher rank to what lies above"
                            )
    return None


def _list(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
