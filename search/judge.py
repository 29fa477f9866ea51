"""Judges scored subnets for each device, by their scores and by what the predictor makes of all scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from device_profiles.costs import Costs
from device_profiles.engine import COMPUTED_IN, ComputePrecision
from device_profiles.workload.parts import encoded
from device_profiles.workload.workloads import Workloads
from factory_base.intervals import Z95
from search.device_target import Alternatives, Target, smallest_files
from search.predicting.predictor import AccuracyPredictor
from search.scored import Scored
from search.solving.solver import Solved, solve
from search.target import Candidate, Finalist, Proof, TargetResult, judged
from search.variant import Variant
from supernet.space import SearchSpace, SubnetConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class _Promise:
    """A variant that keeps the budgets, and what its accuracy may be.

    Attributes:
        variant: The variant.
        costs: Its costs.
        gain: What the precision adds to the accuracy.
        error: The standard error of that gain.
        predicted: The predicted accuracy.
        score: The score of the subnet in fp32, and the gain.
    """

    variant: Variant
    costs: Costs
    gain: float
    error: float
    predicted: float
    score: float

    @property
    def computed(self) -> tuple[SubnetConfig, ComputePrecision]:
        """What it has in common with variants of the same latency."""
        return self.variant.subnet, COMPUTED_IN[self.variant.precision]


class Judge:
    """Judges scored subnets: by their scores, and by what the predictor makes of all scores.

    Args:
        space: The search space.
        workloads: The workloads of the subnets.
        scored: The scores of the rounds, in fp32.

    Attributes:
        predictor: The predictor, fitted to these scores.
    """

    def __init__(self, space: SearchSpace, workloads: Workloads, scored: Sequence[Scored]) -> None:
        self._space, self._workloads, self._scored = space, workloads, tuple(scored)
        self.predictor = AccuracyPredictor(space, workloads, scored)
        vectors = encoded(space, [s.subnet for s in scored])
        mean, std = self.predictor.refine(vectors, workloads.macs_of(vectors))
        self._outlook = {s.subnet: (float(m), float(d)) for s, m, d in zip(scored, mean, std, strict=True)}

    def most_promising(self, alternatives: Alternatives, count: int) -> tuple[Variant, ...]:
        """Variants inside the budgets: in turn the next one by the predictor and the next one by its score.

        The predictor averages noise out, but where it explains little, a good score says more.
        """
        kept = _leading([promise for target in alternatives for promise in self._promises(target)])
        by_predictor = sorted(kept, key=lambda p: (-p.predicted, p.costs.latency_us, p.variant))
        by_score = sorted(kept, key=lambda p: (-p.score, p.costs.latency_us, p.variant))
        turns = (p.variant for pair in zip(by_predictor, by_score, strict=True) for p in pair)
        return tuple(dict.fromkeys(turns))[:count]

    def expects_more(self, alternatives: Alternatives, variant: Variant, accuracy: float) -> bool:
        """Whether a variant is predicted to exceed an accuracy by more than a standard deviation of the prediction."""
        (gain,) = (target.gain for target in alternatives if target.precision == variant.precision)
        predicted, std = self._outlook[variant.subnet]
        return predicted + gain - std > accuracy

    def result(
        self,
        alternatives: Alternatives,
        ranked: Sequence[Variant],
        known: Sequence[Scored],
        pick: Candidate,
        notes: tuple[str, ...],
    ) -> TargetResult:
        """The result of a device.

        Args:
            alternatives: Its targets.
            ranked: Its finalists, the most promising first.
            known: The score of every variant after the finals, that of its file if one was made.
            pick: The candidate that is taken.
            notes: Sentences on precisions that were not taken.
        """
        candidates = [candidate for target in alternatives for candidate in judged(target, known)]
        finalists = sorted((c for c in candidates if c.variant in ranked), key=lambda c: (-c.images, -c.accuracy))
        gains = {target.precision: target.gain for target in alternatives}
        return TargetResult(
            pick=pick,
            candidates=tuple(pick if c.variant == pick.variant else c for c in candidates),
            finalists=tuple(self._finalist(c, gains[c.precision]) for c in finalists),
            expected=ranked[0],
            proof=self._proof(alternatives, pick, gains[pick.precision]),
            notes=notes,
        )

    def _promises(self, target: Target) -> list[_Promise]:
        costs = target.costs.of([s.subnet for s in self._scored])
        return [
            _Promise(
                variant=Variant(subnet=scored.subnet, precision=target.precision),
                costs=found,
                gain=target.gain,
                error=target.offset.error if target.offset else 0.0,
                predicted=self._outlook[scored.subnet][0] + target.gain,
                score=scored.accuracy + target.gain,
            )
            for scored, found in zip(self._scored, costs, strict=True)
            if target.allows(scored.subnet) and not target.budgets.excesses(found)
        ]

    def _finalist(self, candidate: Candidate, gain: float) -> Finalist:
        predicted, std = self._outlook[candidate.subnet]
        return Finalist(candidate=candidate, predicted=predicted + gain, predicted_std=std)

    def _proof(self, alternatives: Alternatives, pick: Candidate, gain: float) -> Proof:
        given = alternatives[0].given is not None
        solved = [] if given else [self._solved(target) for target in _bounding(alternatives, self._space)]
        best = [s.objective for s in solved if s.objective is not None]
        bounds = [s.bound for s in solved if s.status != "infeasible"]
        bound = max(known) if len(known := [b for b in bounds if b is not None]) == len(bounds) and known else None
        unproven = [s.status for s in solved if s.status not in ("optimal", "infeasible")]
        vectors = encoded(self._space, [pick.subnet])
        value = self.predictor.objective.values(self._space, vectors, self._workloads.macs_of(vectors))
        return Proof(
            status="given" if given else unproven[0] if unproven else "optimal",
            objective=max(best, default=None),
            bound=bound,
            gap=bound - max(best) if bound is not None and best else None,
            pick=float(value[0]) + gain,
            nodes=sum(s.nodes for s in solved),
            seconds=sum(s.seconds for s in solved),
        )

    def _solved(self, target: Target) -> Solved:
        return solve(target.objective(self.predictor.objective), [target], self._space)


def _leading(promises: Sequence[_Promise]) -> list[_Promise]:
    """Of the variants of one subnet that compute alike, the smallest file without a measurable loss of accuracy."""
    alike: dict[tuple[SubnetConfig, ComputePrecision], list[_Promise]] = {}
    for promise in promises:
        alike.setdefault(promise.computed, []).append(promise)
    found = []
    for group in alike.values():
        most = max(promise.gain for promise in group)
        level = [promise for promise in group if promise.gain + Z95 * promise.error >= most]
        found.append(min(level, key=lambda p: (p.costs.file_bytes, -p.gain)))
    return found


def _bounding(alternatives: Alternatives, space: SearchSpace) -> list[Target]:
    """The targets whose optima bound those of all: without those that a more accurate one with smaller files covers."""
    smallest = smallest_files(alternatives, space)
    covering = {COMPUTED_IN[target.precision]: target.gain for target in smallest}
    others = [t for t in alternatives if t not in smallest and t.gain > covering[COMPUTED_IN[t.precision]]]
    return [*smallest, *others]
