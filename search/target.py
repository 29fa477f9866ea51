"""What the search found, for one target and for all. Imports neither torch nor optuna nor scipy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from device_profiles.budgets import Excess
from device_profiles.costs import Costs
from search.device_target import Target
from search.predicting.prediction_errors import PredictorErrors
from search.scored import Scored
from supernet.space import SubnetConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A subnet judged for one target.

    Attributes:
        subnet: The subnet.
        accuracy: Its accuracy on the held-out images that it was scored on, in [0, 1].
        images: The number of these images.
        costs: Its predicted costs on the target's device.
        excesses: The budgets that it exceeds, worst first; a feasible candidate has none.
    """

    subnet: SubnetConfig
    accuracy: float
    images: int
    costs: Costs
    excesses: tuple[Excess, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finalist:
    """A candidate that was scored on more images.

    Attributes:
        candidate: The candidate, with its accuracy on all images that it was scored on.
        predicted: The accuracy that the predictor gives it, in [0, 1].
        predicted_std: The standard deviation of that prediction.
    """

    candidate: Candidate
    predicted: float
    predicted_std: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """How far the pick can be from the optimum of the predictor inside the budgets.

    Attributes:
        status: What the solver proved: `optimal`, `node limit`, `time limit` or `no proof`.
        objective: The accuracy that the predictor gives to the best subnet that the solver found.
        bound: No subnet inside the budgets is given more; None if no bound is known.
        gap: `bound` less `objective`, 0 if the best is proven; None if no bound is known.
        pick: The accuracy that the predictor gives to the pick.
        nodes: Nodes of the solver's search tree.
        seconds: Duration of the solution.
    """

    status: str
    objective: float | None
    bound: float | None
    gap: float | None
    pick: float
    nodes: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetResult:
    """What the search found for one target.

    Attributes:
        pick: The feasible candidate that is chosen.
        candidates: All scored subnets, the pick among them.
        finalists: Those of them that were compared on more images: those with the most images first, and of these the
            most accurate.
        expected: The most promising finalist before it was scored on these images.
        proof: The distance of the pick to the optimum of the predictor.
    """

    pick: Candidate
    candidates: tuple[Candidate, ...]
    finalists: tuple[Finalist, ...]
    expected: SubnetConfig
    proof: Proof

    @property
    def front(self) -> tuple[Candidate, ...]:
        """The Pareto front of accuracy against latency among all candidates, fastest first."""
        front: list[Candidate] = []
        for candidate in sorted(self.candidates, key=lambda c: (c.costs.latency_us, -c.accuracy, c.subnet)):
            if not front or candidate.accuracy > front[-1].accuracy:
                front.append(candidate)
        return tuple(front)


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """What the search found.

    Attributes:
        targets: The result of each target, in their order.
        scored: Every scored subnet, in the order in which they were scored first; finalists with all their images.
        errors: How well the predictor predicts subnets that it has not seen; None if only one subnet was scored.
        rounds: The number of rounds that proposed subnets.
        notes: Sentences on picks that were changed afterwards, for the order of tiers.
    """

    targets: tuple[TargetResult, ...]
    scored: tuple[Scored, ...]
    errors: PredictorErrors | None
    rounds: int
    notes: tuple[str, ...] = ()


def judged(target: Target, scored: Sequence[Scored]) -> list[Candidate]:
    """`scored` as candidates for `target`, in the same order. Raises `SpaceError` if a subnet cannot be traced."""
    costs = target.costs.of([s.subnet for s in scored])
    return [
        Candidate(subnet=s.subnet, accuracy=s.accuracy, images=s.images, costs=c, excesses=target.budgets.excesses(c))
        for s, c in zip(scored, costs, strict=True)
    ]
