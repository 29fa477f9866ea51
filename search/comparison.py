"""What samplers found on one device at equal numbers of evaluations. Imports neither torch nor optuna nor scipy."""

from __future__ import annotations

from dataclasses import dataclass

from device_profiles.costs import Costs
from device_profiles.engine import Precision
from search.scored import Scored, paired_difference


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """The point up to which a hypervolume is measured. Neither samplers nor scores change it.

    Attributes:
        latency_us: Its latency: that of the budget, or else of the largest network.
        is_budget: Whether the latency is that of the budget.
        accuracy: What the best constant answer reaches on the held-out images.
    """

    latency_us: float
    is_budget: bool
    accuracy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontPlace:
    """A subnet on the Pareto front of a sampler, with its score of the rounds.

    Attributes:
        subnet_id: The id of the subnet.
        latency_us: Its predicted latency.
        accuracy: Its held-out accuracy.
    """

    subnet_id: str
    latency_us: float
    accuracy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedPick:
    """The subnet that a sampler ends with.

    Attributes:
        scored: Its score on all held-out images.
        costs: Its predicted costs.
    """

    scored: Scored
    costs: Costs


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """What one sampler found.

    Attributes:
        sampler: Its name.
        settings: What it does, in words.
        allowed: The evaluations that it may ask for.
        evaluations: Those that it asked for, whether or not the scores were known.
        inside: How many of these subnets keep all budgets.
        new: How many of the scores were not known before. The others took no time.
        images: The held-out images of each of these scores.
        front: The Pareto front of those inside the budgets, fastest first.
        reference: The reference point of the hypervolume.
        hypervolume: The area that the front dominates, as a share of what could be dominated.
        pick: The best of the finals; None if no subnet keeps the budgets.
        proposing_s: Seconds spent on proposals.
        scoring_s: Seconds spent on scores, those of the finals among them.
        precision: The precision of the files that costs are predicted for.
        notes: Sentences on how it went.
    """

    sampler: str
    settings: str
    allowed: int
    evaluations: int
    inside: int
    new: int
    images: int
    front: tuple[FrontPlace, ...]
    reference: Reference
    hypervolume: float
    pick: ComparedPick | None
    proposing_s: float
    scoring_s: float
    precision: Precision
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The samplers that were compared on one device.

    Attributes:
        device: The name of the device's profile.
        latency_basis: Provenance of the latencies.
        own: What the run's own search found.
        others: What the other samplers found.
        metric: What subnets are compared by, for people.
    """

    device: str
    latency_basis: str
    own: Contender
    others: tuple[Contender, ...]
    metric: str = "accuracy"

    @property
    def contenders(self) -> tuple[Contender, ...]:
        """All, the run's own search first."""
        return (self.own, *self.others)

    def against_own(self, other: Contender) -> tuple[float, float] | None:
        """How much more accurate its pick is than that of the own search, and the standard error; None without both."""
        if other.pick is None or self.own.pick is None:
            return None
        return paired_difference(other.pick.scored, self.own.pick.scored)
