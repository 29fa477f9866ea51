"""What the search found, for one target and for all. Imports neither torch nor optuna nor scipy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from device_profiles.budgets import Excess
from device_profiles.costs import Costs
from device_profiles.engine import Precision
from search.device_target import Target
from search.front import pareto_front
from search.predicting.precision_offset import PrecisionOffset
from search.predicting.prediction_errors import PredictorErrors
from search.scored import Scored
from search.variant import Variant, variant_of
from supernet.space import SubnetConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A subnet in a precision, judged for one device.

    Attributes:
        subnet: The subnet.
        accuracy: Its accuracy on the held-out images that it was scored on, in [0, 1].
        images: The number of these images.
        costs: Its predicted costs on the device.
        excesses: The budgets that it exceeds, worst first; a feasible candidate has none.
        precision: The precision.
        is_of_file: Whether the accuracy is that of the exported file in its engine.
    """

    subnet: SubnetConfig
    accuracy: float
    images: int
    costs: Costs
    excesses: tuple[Excess, ...]
    precision: Precision = "fp32"
    is_of_file: bool = False

    @property
    def variant(self) -> Variant:
        """The subnet and the precision."""
        return Variant(subnet=self.subnet, precision=self.precision)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finalist:
    """A candidate that was scored on more images.

    Attributes:
        candidate: The candidate, with its accuracy on all images that it was scored on.
        predicted: The accuracy that the predictor gives it in its precision, in [0, 1].
        predicted_std: The standard deviation of that prediction.
    """

    candidate: Candidate
    predicted: float
    predicted_std: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """How far the pick can be from the optimum of the predictor inside the budgets.

    Attributes:
        status: What the solver proved: `optimal`, `node limit`, `time limit` or `no proof`; `given` if the target names
            its subnet, so that there was nothing to solve.
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
    """What the search found for one device.

    Attributes:
        pick: The feasible candidate that is chosen.
        candidates: Everything that was scored in a precision of the device, the pick among them.
        finalists: Those of them that were compared on more images: those with the most images first, and of these the
            most accurate.
        expected: The most promising finalist before it was scored on these images.
        proof: The distance of the pick to the optimum of the predictor, over all precisions.
        notes: Sentences on precisions that were not taken.
    """

    pick: Candidate
    candidates: tuple[Candidate, ...]
    finalists: tuple[Finalist, ...]
    expected: Variant
    proof: Proof
    notes: tuple[str, ...] = ()

    @property
    def front(self) -> tuple[Candidate, ...]:
        """The Pareto front of accuracy against latency among all candidates, fastest first."""
        in_order = sorted(self.candidates, key=lambda c: c.variant)
        return pareto_front(in_order, lambda c: (c.costs.latency_us, c.accuracy))


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """What the search found.

    Attributes:
        targets: The result of each target, in their order.
        scored: The score of every variant, in the order in which they were scored first; finalists with all their
            images. Then those of the files that were made.
        errors: How well the predictor predicts subnets that it has not seen; None if only one subnet was scored.
        rounds: The number of rounds that proposed subnets.
        offsets: What each precision other than fp32 costs in accuracy.
        notes: Sentences on picks that were changed afterwards, for the order of tiers.
    """

    targets: tuple[TargetResult, ...]
    scored: tuple[Scored, ...]
    errors: PredictorErrors | None
    rounds: int
    offsets: tuple[PrecisionOffset, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def known(self) -> dict[Variant, Scored]:
        """The score of each variant: that of its file, if one was made."""
        return {variant_of(scored): scored for scored in self.scored}


def judged(target: Target, scored: Sequence[Scored]) -> list[Candidate]:
    """Those of `scored` that are in the target's precision and may be picked, as candidates, in the same order.

    Raises:
        SpaceError: A subnet cannot be traced.
    """
    own = [s for s in scored if s.precision == target.precision and target.allows(s.subnet)]
    return [
        Candidate(
            subnet=s.subnet,
            accuracy=s.accuracy,
            images=s.images,
            costs=costs,
            excesses=target.budgets.excesses(costs),
            precision=target.precision,
            is_of_file=s.is_of_file,
        )
        for s, costs in zip(own, target.costs.of([s.subnet for s in own]), strict=True)
    ]
