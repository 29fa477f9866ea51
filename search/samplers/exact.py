"""The exact sampler: subnets that maximise a predictor of the accuracy inside the budgets of each target.

A round proposes for all devices together. Half of its subnets promise the largest gains over what the devices have; the
other half are optima of draws from the predictor's posterior (Thompson sampling), widest interval first, so that the
predictor learns where it is uncertain and where it matters. After the first round the search ends as soon as the
largest expected gain is below a quarter of the noise of a comparison of two scores. A search that goes on from the
scores of a finished one ends as soon as it is below that noise, so that a further device is answered at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device_profiles.workload.parts import encoded
from search.device_target import Alternatives
from search.predicting.predictor import AccuracyPredictor
from search.samplers import SearchState
from search.scored import Scored, paired_difference
from search.solving.solver import solve
from supernet.space import SearchSpace, SubnetConfig

_SOLUTIONS = 3
"""Best solutions of the predictor for each target. Their neighbours are considered too, so more of them add little."""
_DRAWS = 2
"""Draws from the posterior for each target."""
_WORTHWHILE = 0.25
"""Share of the noise. On the table of `benchmarks/search_regret.py`, 20 evaluations ended with a regret of 0.53, 0.36,
0.24 and 0.25 points with shares of 1, 0.5, 0.25 and 0.1, and 40 with 0.35, 0.26, 0.16 and 0.16."""
_BEST_SHARE = 0.25
"""The share of the scored subnets, the most accurate ones, whose comparisons with the best show how noisy one is."""


class ExactSampler:
    """Proposes optima of a predictor; see the top of this file."""

    def propose(self, state: SearchState, count: int, seed: int) -> tuple[SubnetConfig, ...]:
        """At most `count` new subnets; none if no worthwhile gain is expected. Raises `BudgetError`, `SpaceError`."""
        predictor = AccuracyPredictor(state.space, state.workloads, state.scored)
        rng = np.random.default_rng(seed)
        best, drawn = _optima(state, predictor, rng)
        known = {s.subnet for s in state.scored}
        pool = sorted({*best, *drawn, *_neighbours(state.space, (*best, *drawn))} - known)
        if not pool or not count:
            return ()
        outlook = _Outlook.of(state, predictor, pool)
        share = 1.0 if state.settled else _WORTHWHILE
        if (state.rounds or state.settled) and outlook.gains(outlook.reached).max() < share * noise(state.scored):
            return ()
        explored = count // 2
        chosen = outlook.most_gain(count - explored)
        return tuple(chosen) + tuple(outlook.widest([s for s in drawn if s not in chosen], explored))


def _optima(
    state: SearchState, predictor: AccuracyPredictor, rng: np.random.Generator
) -> tuple[list[SubnetConfig], list[SubnetConfig]]:
    """The best subnets of every device by the predictor, and those by draws from its posterior."""
    draws = [predictor.draw(rng) for _ in range(_DRAWS)]
    best: list[SubnetConfig] = []
    drawn: list[SubnetConfig] = []
    for alternatives in state.devices:
        found = [solve(t.objective(predictor.objective), [t], state.space, count=_SOLUTIONS) for t in alternatives]
        reached = [-np.inf if solved.objective is None else solved.objective for solved in found]
        for target, solved, value in zip(alternatives, found, reached, strict=True):
            if value >= max(reached) - noise(state.scored):  # a precision that is clearly behind needs no proposals
                best += solved.solutions
                for draw in draws:
                    drawn += solve(draw, [target], state.space).solutions
    return list(dict.fromkeys(best)), list(dict.fromkeys(drawn))


def _neighbours(space: SearchSpace, subnets: Iterable[SubnetConfig]) -> set[SubnetConfig]:
    """All subnets that differ from one of `subnets` in one choice."""
    return {
        space.subnet(subnet.to_dict() | {choice.name: option})
        for subnet in subnets
        for choice in space
        for option in choice.options
    }


@dataclass(frozen=True, kw_only=True)
class _Outlook:
    """What the predictor expects of new subnets.

    Attributes:
        pool: The subnets.
        mean: Their predicted accuracy, (subnets,).
        std: The standard deviation of the predictions, (subnets,).
        gain: What the best precision in which each keeps the budgets of each device adds to its accuracy, minus
            infinity if there is none, (devices, subnets).
        reached: The predicted accuracy of the best scored subnet of each device, (devices,).
    """

    pool: Sequence[SubnetConfig]
    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    gain: NDArray[np.float64]
    reached: NDArray[np.float64]

    @staticmethod
    def of(state: SearchState, predictor: AccuracyPredictor, pool: Sequence[SubnetConfig]) -> _Outlook:
        """Predict the accuracy of `pool` and of the scored subnets, whose scores are smoothed by it."""
        scored = [s.subnet for s in state.scored]
        mean, std = _refined(state, predictor, pool)
        reached = _refined(state, predictor, scored)[0]
        return _Outlook(
            pool=pool,
            mean=mean,
            std=std,
            gain=_gains(state.devices, pool),
            reached=np.maximum(reached + _gains(state.devices, scored), 0.0).max(axis=1),
        )

    def gains(self, reached: NDArray[np.float64]) -> NDArray[np.float64]:
        """Expected gain over what each device has, (devices,) -> (devices, subnets)."""
        feasible = np.isfinite(self.gain)
        accuracy = self.mean + np.where(feasible, self.gain, 0.0)
        return np.where(feasible, expected_gain(accuracy, self.std, reached[:, None]), 0.0)

    def most_gain(self, count: int) -> list[SubnetConfig]:
        """The subnets of largest gain over all devices, each given that the ones before turn out as predicted."""
        reached = self.reached.copy()
        chosen: list[int] = []
        for _ in range(min(count, len(self.pool))):
            gains = self.gains(reached).sum(axis=0)
            gains[chosen] = -1.0
            chosen.append(int(gains.argmax()))
            reached = np.maximum(reached, self.mean[chosen[-1]] + self.gain[:, chosen[-1]])
        return [self.pool[index] for index in chosen]

    def widest(self, subnets: Sequence[SubnetConfig], count: int) -> list[SubnetConfig]:
        """Those of `subnets` with the least certain accuracy."""
        place = {subnet: index for index, subnet in enumerate(self.pool)}
        known = [subnet for subnet in subnets if subnet in place]
        return sorted(known, key=lambda subnet: (-self.std[place[subnet]], subnet))[:count]


def noise(scored: Sequence[Scored]) -> float:
    """The standard error of a comparison between good subnets on the same images: the median over some of them."""
    best, *others = sorted(scored, key=lambda s: -s.accuracy)
    compared = others[: max(1, round(_BEST_SHARE * len(others)))]
    return float(np.median([paired_difference(best, other)[1] for other in compared])) if compared else best.std


def expected_gain(
    mean: NDArray[np.float64], std: NDArray[np.float64], reached: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The expectation of max(0, accuracy - reached) for a normally distributed accuracy (expected improvement)."""
    from scipy.special import ndtr

    std = np.maximum(std, 1e-9)
    z = (mean - reached) / std
    return np.asarray((mean - reached) * ndtr(z) + std * np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi))


def _refined(
    state: SearchState, predictor: AccuracyPredictor, subnets: Sequence[SubnetConfig]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    vectors = encoded(state.space, subnets)
    return predictor.refine(vectors, state.workloads.macs_of(vectors))


def _gains(devices: Sequence[Alternatives], subnets: Sequence[SubnetConfig]) -> NDArray[np.float64]:
    """See `_Outlook.gain`."""
    return np.array(
        [
            np.max([np.where(target.kept_by(subnets), target.gain, -np.inf) for target in alternatives], axis=0)
            for alternatives in devices
        ]
    )
