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
from exports.family.diff import content_of
from exports.family.records import Manifest
from exports.family.representatives import device_text
from exports.family.tier_search import ELSEWHERE, Rule, TierSearch, TooManyError, is_usable, resolved
from factory_base.errors import ManifestError
from factory_base.wording import counted

Verdict = Literal["ok", "warning", "fault"]

_MAX_PLATFORMS = 64
"""Platforms whose floor is tried, many times what exists."""
_SHOWN = 3
"""Faults of one kind that a line names."""


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


def _named_platforms(manifest: Mapping[str, Any]) -> list[str]:
    tiers = {tier["platform"] for tier in manifest["tiers"]} - {"any"}
    return sorted(tiers | _with_floor(manifest) | set(get_args(Platform)))


def _with_floor(manifest: Mapping[str, Any]) -> set[str]:
    """The platforms for which the manifest names a floor of their own."""
    floors = manifest.get("floors")
    entries = [entry for entry in floors if isinstance(entry, Mapping)] if isinstance(floors, list) else []
    return {entry["platform"] for entry in entries if isinstance(entry.get("platform"), str)}


def _coverage(manifest: Mapping[str, Any]) -> AuthorCheck:
    """Whether a device that nothing is known about gets a model, or is told what else to do, on each platform."""
    platforms = [*_named_platforms(manifest)[:_MAX_PLATFORMS], ELSEWHERE]
    bare = [name for name in platforms if resolved(manifest, {"platform": name}).action == "none"]
    if bare:
        detail = f"a device of {_list(bare)} that meets no selector gets no model; give the floor one that can be used"
        return AuthorCheck(name="coverage", verdict="fault", detail=detail)
    return AuthorCheck(name="coverage", verdict="ok", detail="every device gets at least the floor")


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
        search = TierSearch(manifest, _named_platforms(manifest))
        unreached, lowered = list(_unreached(manifest, search)), list(_lowered(search))
    except TooManyError:
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


def _unreached(manifest: Mapping[str, Any], search: TierSearch) -> Iterator[str]:
    """A sentence for each tier that no device gets."""
    for tier in manifest["tiers"]:
        own = [(p, rule) for p in _own_platforms(tier, search) for rule in search.on(p) if rule.tier == tier["id"]]
        if tier["rank"] and not any(_gets(platform, rule, search) for platform, rule in own):
            yield f"no device gets the tier {tier['id']!r}: {_why(manifest, tier, own, search)}"


def _own_platforms(tier: Mapping[str, Any], search: TierSearch) -> Sequence[str]:
    return search.platforms if tier["platform"] == "any" else (tier["platform"],)


def _gets(platform: str, rule: Rule, search: TierSearch) -> bool:
    """Whether a device gets the tier of a rule because it meets that, and no rule of a tier that is tried earlier."""
    earlier = sum(other.bit for other in search.on(platform) if other.bit > rule.bit and other.tier != rule.tier)
    return any(search.resolved(device).tier == rule.tier for device in search.devices(platform, rule, earlier))


def _why(
    manifest: Mapping[str, Any], tier: Mapping[str, Any], own: Sequence[tuple[str, Rule]], search: TierSearch
) -> str:
    if not is_usable(manifest, tier):
        return "none of its models can be used"
    if not any(rule.tier == tier["id"] for rule in search.rules):
        return "it has no selector that the resolver understands"
    device = next((device for platform, rule in own for device in search.devices(platform, rule, 0)), None)
    if device is None:
        return "no device meets its selectors"
    found = search.resolved(device)
    return (
        f"what meets its selectors, such as {device_text(device)}, gets {found.tier!r} (rank {found.rank}); change the "
        "selectors of the one or the other, or leave one of them out"
    )


def _lowered(search: TierSearch) -> Iterator[str]:
    """A sentence for each tier that devices lose by having more, although nothing as good follows."""
    told = set()
    for platform in search.platforms:
        for rule in search.on(platform):
            if rule.tier not in told and (counterexample := _counterexample(platform, rule, search)):
                told.add(rule.tier)
                yield counterexample


def _counterexample(platform: str, rule: Rule, search: TierSearch) -> str | None:
    as_good = sum(other.bit for other in search.on(platform) if other.rank >= rule.rank)
    for name, lesser, greater in search.pairs(platform, rule, as_good):
        before, after = search.resolved(lesser), search.resolved(greater)
        if after.rank < before.rank:
            return (
                f"{device_text(greater)} gets {after.tier!r} (rank {after.rank}), but {device_text(lesser)} gets "
                f"{before.tier!r} (rank {before.rank}), although it has less: {name}; remove the upper limit from the "
                f"selectors of {before.tier!r}, or give a tier of a higher rank to what lies above"
            )
    return None


def _list(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
