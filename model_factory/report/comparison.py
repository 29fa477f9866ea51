"""The section on compared samplers: rows and sentences, for the report and the command line. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from factory_base.quantities import format_duration
from factory_base.wording import counted

if TYPE_CHECKING:
    from search.comparison import Comparison, Contender

_DASH = "–"


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonRow:
    """What one sampler found, for people.

    Attributes:
        sampler: Its name.
        evaluations: The evaluations that it asked for.
        new: How many of the scores were not known before.
        hypervolume: The hypervolume of its front.
        accuracy: The accuracy of its pick.
        difference: By how many points that is above the pick of the own search, with the standard error.
        latency: The latency of its pick.
        proposing: Time spent on proposals.
        scoring: Time spent on scores.
    """

    sampler: str
    evaluations: str
    new: str
    hypervolume: str
    accuracy: str
    difference: str
    latency: str
    proposing: str
    scoring: str


def comparison_rows(comparison: Comparison) -> tuple[ComparisonRow, ...]:
    """A row for each sampler, the run's own first."""
    return tuple(_row(comparison, contender) for contender in comparison.contenders)


def _row(comparison: Comparison, contender: Contender) -> ComparisonRow:
    pick = contender.pick
    return ComparisonRow(
        sampler=contender.sampler,
        evaluations=f"{contender.evaluations:,}",
        new=f"{contender.new:,}",
        hypervolume=f"{contender.hypervolume:.4f}",
        accuracy=f"{pick.scored.accuracy:.2%}" if pick else "none inside",
        difference=_difference(comparison, contender),
        latency=format_duration(pick.costs.latency_us) if pick else _DASH,
        proposing=f"{contender.proposing_s:.1f} s",
        scoring=f"{contender.scoring_s:.1f} s",
    )


def _difference(comparison: Comparison, contender: Contender) -> str:
    found = None if contender is comparison.own else comparison.against_own(contender)
    return _DASH if found is None else f"{100 * found[0]:+.2f} ±{100 * found[1]:.2f}"


def how_compared(comparison: Comparison, example: str = "image") -> tuple[str, ...]:
    """Sentences on what was counted, what the hypervolume is, and where the picks come from.

    Args:
        comparison: The comparison.
        example: What an example is: an image or a text.
    """
    own, metric = comparison.own, comparison.metric
    reference, allowed = own.reference, min(contender.allowed for contender in comparison.contenders)
    latency = format_duration(reference.latency_us)
    whose = "the latency budget" if reference.is_budget else "the latency of the largest network"
    return (
        f"evaluations: every sampler may ask for {counted(allowed, 'score')} on {counted(own.images, example)}, as "
        "many as a search for this device alone. Whatever it asks for counts; a score that was known took no time, so "
        "only new scores explain the time of scoring.",
        f"hypervolume: the share of the area up to a latency of {latency} ({whose}) and down to {metric} of "
        f"{reference.accuracy:.2%} (the best constant answer) that the sampler's Pareto front dominates. All samplers "
        "and all repetitions have this reference point.",
        f"picks: the best of the same finals, which do not count as evaluations; {metric} in fp32 on held-out "
        f"{example}s, latency of {own.precision} files. Against own: in points, with the standard error of a "
        f"comparison on the same {example}s.",
    )


def comparison_globals() -> dict[str, Any]:
    """What the template calls, by name."""
    return {"comparison_rows": comparison_rows, "how_compared": how_compared}
