"""What holds between the targets of one family: the order of accuracies within a platform, and notes on the picks.

Pure functions over values. Imports neither torch nor optuna, so that a finished build is read without them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from device_profiles.budgets import budget_words
from factory_base.intervals import Z95
from search.metric_words import ACCURACY, MetricWords

if TYPE_CHECKING:
    from device_profiles.budgets import Budgets, Excess
    from device_profiles.costs import Costs
    from search.target import Candidate
    from search.variant import Variant

USED_SHARE = 0.9
"""Below this share of each of its budgets, a note gives the reason: the steps between neighbouring subnets
of a space are a few percent of a budget, so the last tenth is often out of reach."""
_LARGER = "add larger options to the model space"

Judge = Callable[["Variant"], "tuple[Costs, tuple[Excess, ...]] | None"]
"""The costs of a variant on a target's device, and the budgets of the target that it exceeds; None if the device does
not get files of its precision."""

Compare = Callable[["Variant", "Variant"], tuple[float, float]]
"""The accuracy of the first variant minus that of the second on the held-out images on which both were scored, and the
standard error of this paired difference; both as fractions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedPick:
    """The pick of a target, and the place of the target within its platform.

    Attributes:
        name: The name of the target.
        platform: The platform of the target.
        rank: The rank of its tier; a device gets the highest rank of its platform that it matches.
        pick: The pick. Its accuracy is that on the whole held-out split, as the accuracies of all other picks are.
        judge: Judges a variant for this target.
    """

    name: str
    platform: str
    rank: int
    pick: Candidate
    judge: Judge


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetPick:
    """What was picked for a target, and from what.

    Attributes:
        name: The name of the target.
        budgets: Its budgets.
        pick: The pick.
        candidates: Everything that was scored in a precision of this target, judged for it.
    """

    name: str
    budgets: Budgets
    pick: Candidate
    candidates: tuple[Candidate, ...]


def in_order_of_rank(
    targets: Sequence[RankedPick], compare: Compare, words: MetricWords = ACCURACY
) -> tuple[tuple[Candidate, ...], tuple[str, ...]]:
    """Give a higher tier the model of a lower tier of its platform where that is more accurate and keeps its budgets.

    Ranks are gone through in ascending order, so that a model can rise by several tiers. Without this rule, a user who
    buys a better device could get a worse model: targets choose among different subnets, by what the predictor
    makes of all scores, and prefer the fastest of those that are nearly level.

    Args:
        targets: The picks of all targets.
        compare: Compares two picks, for the notes.
        words: How the notes name the metric.

    Returns:
        The pick of each target, in the order of `targets`, and a sentence for each pick that changed.
    """
    picks = {target.name: target.pick for target in targets}
    notes = []
    for target in sorted(targets, key=lambda t: t.rank):
        lower = [t for t in targets if t.platform == target.platform and t.rank < target.rank]
        better = [t for t in lower if picks[t.name].accuracy > target.pick.accuracy]
        judged = [(t, _judged_for(target, picks[t.name])) for t in better]
        kept = [(t, candidate) for t, candidate in judged if candidate is not None and not candidate.excesses]
        if kept:
            # among equals the cheaper model, then the tier that is nearest
            source, pick = max(kept, key=lambda k: (k[1].accuracy, -k[1].costs.latency_us, k[0].rank))
            picks[target.name] = pick
            notes.append(_raised_note(target, source.name, pick, compare, words))
    return tuple(picks[target.name] for target in targets), tuple(notes)


def pick_notes(targets: Sequence[TargetPick], compare: Compare, words: MetricWords = ACCURACY) -> tuple[str, ...]:
    """Notes on targets that get the same model, and on those whose pick uses less than `USED_SHARE` of every budget.

    For the latter, a note names the best costlier subnet and why it was not picked. Targets with the same pick and the
    same reason share a sentence, and no target is given two reasons.

    Args:
        targets: The picks of all targets.
        compare: Compares a scored subnet with a pick.
        words: How the notes name the metric.
    """
    groups: dict[Variant, list[TargetPick]] = {}
    for target in targets:
        groups.setdefault(target.pick.variant, []).append(target)
    return tuple(note for group in groups.values() for note in _group_notes(group, compare, words))


def _judged_for(target: RankedPick, pick: Candidate) -> Candidate | None:
    found = target.judge(pick.variant)
    return None if found is None else replace(pick, costs=found[0], excesses=found[1])


def _raised_note(target: RankedPick, source: str, pick: Candidate, compare: Compare, words: MetricWords) -> str:
    difference = _points(*compare(pick.variant, target.pick.variant))
    return (
        f"{target.name} gets the model of {source}, which keeps its budgets and is {words.better} on the held-out "
        f"images than its own pick: {pick.accuracy:.2%} and {target.pick.accuracy:.2%}, a difference of {difference}"
    )


def _group_notes(group: Sequence[TargetPick], compare: Compare, words: MetricWords) -> list[str]:
    """The notes on the targets that get one model."""
    reasons: dict[str, list[TargetPick]] = {}
    for target in group:
        reason = _unused_reason(target, compare, words) if _leaves_unused(target) else ""
        reasons.setdefault(reason, []).append(target)
    users = reasons.pop("", [])
    notes = [_unused_note(alike, reason) for reason, alike in reasons.items()]
    if len(group) == 1 or (len(notes) == 1 and not users):
        return notes
    return [f"{_names(group)} get the same model{_shared_reason(users, words) if users else ''}", *notes]


def _leaves_unused(target: TargetPick) -> bool:
    return 0 < _largest_share(target, target.pick) < USED_SHARE


def _unused_note(targets: Sequence[TargetPick], reason: str) -> str:
    get = "gets a model that uses" if len(targets) == 1 else "get the same model, which uses"
    shares = ", ".join(dict.fromkeys(f"{_largest_share(target, target.pick):.0%}" for target in targets))
    return f"{_names(targets)} {get} at most {shares} of a budget: {reason}"


def _unused_reason(target: TargetPick, compare: Compare, words: MetricWords) -> str:
    used = _largest_share(target, target.pick)
    costlier = [c for c in target.candidates if not c.excesses and _largest_share(target, c) > used]
    if costlier:
        return _best_costlier(target.pick, costlier, compare, words)
    if blocking := _blocking_budgets(target):
        return f"a {words.better} scored subnet exceeds only {blocking}"
    return f"no scored subnet that costs more is {words.better}; {_LARGER} to use the rest"


def _best_costlier(pick: Candidate, costlier: Sequence[Candidate], compare: Compare, words: MetricWords) -> str:
    """The best of the feasible subnets that cost more than the pick, and why it was not taken."""
    differences = {c.variant: compare(c.variant, pick.variant) for c in costlier}
    # Those with the most images first: on few images some subnet is always better by luck.
    best = max(costlier, key=lambda c: (c.images, differences[c.variant][0], c.accuracy, c.variant))
    mean, error = differences[best.variant]
    if mean < -Z95 * error:
        conclusion = "it is worse"
    elif mean <= 0:
        conclusion = "it is not better"
    elif mean <= Z95 * error:
        conclusion = "the difference is too small to tell them apart"
    else:
        conclusion = "it is better on these images, which may be too few"
    return (
        f"the best scored subnet that costs more and keeps the budgets (of {len(costlier)}) is "
        f"{best.variant.describe()}, with a held-out {words.name} of {best.accuracy:.2%} against {pick.accuracy:.2%}, "
        f"a difference of {_points(mean, error)} on the {min(best.images, pick.images):,} images that both were scored "
        f"on: {conclusion}"
    )


def _shared_reason(users: Sequence[TargetPick], words: MetricWords) -> str:
    """Why the targets of one model that use their budgets get no other; for the one with the loosest budgets."""
    loosest = min(users, key=lambda target: _largest_share(target, target.pick))
    if blocking := _blocking_budgets(loosest):
        return f"; on {loosest.name} a {words.better} scored subnet exceeds only {blocking}"
    slack = loosest.budgets.slack(loosest.pick.costs)
    used = ", ".join(f"{share:.0%} of the budget for {budget_words(budget)}" for budget, share in slack.items())
    return (
        f", the {words.best} that was scored; on {loosest.name} it uses {used or 'no budget'}: {_LARGER}, "
        "or remove all but one of these targets"
    )


def _blocking_budgets(target: TargetPick) -> str:
    """What the more accurate scored subnet that exceeds the fewest budgets exceeds, and what to do; "" without one."""
    better = [c for c in target.candidates if c.excesses and c.accuracy > target.pick.accuracy]
    alone = sorted({budget_words(c.excesses[0].budget) for c in better if len(c.excesses) == 1})
    if alone:
        return f"the budget for {' or '.join(alone)}: raise that budget if the device allows it"
    if better:
        nearest = min(better, key=lambda candidate: len(candidate.excesses))
        together = sorted(budget_words(excess.budget) for excess in nearest.excesses)
        return f"the budgets for {' and '.join(together)}: raise those budgets if the device allows it"
    return ""


def _largest_share(target: TargetPick, candidate: Candidate) -> float:
    """The largest used share of a budget; 0 without budgets."""
    return max(target.budgets.slack(candidate.costs).values(), default=0.0)


def _points(mean: float, error: float) -> str:
    """A difference of accuracies with its standard error, in percentage points."""
    return f"{100 * mean:+.2f} ± {100 * error:.2f} points"


def _names(targets: Sequence[TargetPick]) -> str:
    return ", ".join(target.name for target in targets)
