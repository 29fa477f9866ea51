"""NSGA-II over the subnets of a space, vectorised. Not a benchmark itself.

Deb et al., "A fast and elitist multiobjective genetic algorithm: NSGA-II" (2002), for two objectives and one
constraint.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from supernet.space import SearchSpace

Points = NDArray[np.int64]
"""Subnets as `SearchSpace.encode` returns them, (subnets, choices)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judged:
    """Subnets with what selection needs.

    Attributes:
        vectors: (subnets, choices).
        gain: What is maximised, (subnets,).
        cost: What is minimised, (subnets,).
        excess: How far budgets are exceeded, 0 if they are kept, (subnets,).
    """

    vectors: Points
    gain: NDArray[np.float64]
    cost: NDArray[np.float64]
    excess: NDArray[np.float64]

    def __getitem__(self, rows: NDArray[np.integer]) -> Judged:
        return Judged(vectors=self.vectors[rows], gain=self.gain[rows], cost=self.cost[rows], excess=self.excess[rows])

    def with_more(self, other: Judged) -> Judged:
        """Both together."""
        return Judged(
            vectors=np.vstack([self.vectors, other.vectors]),
            gain=np.append(self.gain, other.gain),
            cost=np.append(self.cost, other.cost),
            excess=np.append(self.excess, other.excess),
        )


def nsga(
    space: SearchSpace, start: Points, judge: Callable[[Points], Judged], calls: int, rng: np.random.Generator
) -> float:
    """The highest gain among the subnets without excess that `calls` judged subnets, those of `start` included, found.

    It is minus infinity if all exceed something.
    """
    size = len(start)
    population = judge(start)
    ranks, crowding = _order(population)
    best = _best(population)
    for _ in range(calls // size - 1):
        children = judge(_children(space, population.vectors, ranks, crowding, rng))
        best = max(best, _best(children))
        both = population.with_more(children)
        ranks, crowding = _order(both)
        kept = np.lexsort((-crowding, ranks))[:size]
        population, ranks, crowding = both[kept], ranks[kept], crowding[kept]
    return best


def _best(judged: Judged) -> float:
    return float(judged.gain[judged.excess == 0].max(initial=-np.inf))


def _children(
    space: SearchSpace,
    vectors: Points,
    ranks: NDArray[np.int64],
    crowding: NDArray[np.float64],
    rng: np.random.Generator,
) -> Points:
    """Binary tournaments choose the parents; each choice comes from either, and one on average is redrawn."""
    size, choices = vectors.shape
    rivals = rng.integers(0, size, (2, 2, size))
    first, second = rivals[:, 0], rivals[:, 1]
    wins = (ranks[first] < ranks[second]) | ((ranks[first] == ranks[second]) & (crowding[first] >= crowding[second]))
    parents = vectors[np.where(wins, first, second)]
    children = np.where(rng.random((size, choices)) < 0.5, parents[0], parents[1])
    redrawn = np.column_stack([rng.integers(0, len(choice.options), size) for choice in space])
    children = np.where(rng.random((size, choices)) < 1 / choices, redrawn, children)
    return np.where(space.existing(children), children, 0)


def _order(judged: Judged) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The front of each subnet, counted from 0, and its crowding distance within the front."""
    gain, cost, excess = judged.gain, judged.cost, judged.excess
    both = (excess[:, None] == 0) & (excess[None, :] == 0)
    no_worse = (gain[:, None] >= gain[None, :]) & (cost[:, None] <= cost[None, :])
    better = (gain[:, None] > gain[None, :]) | (cost[:, None] < cost[None, :])
    dominates = np.where(both, no_worse & better, excess[:, None] < excess[None, :])
    ranks, crowding = np.full(len(gain), -1), np.zeros(len(gain))
    dominators = dominates.sum(axis=0)
    for front in range(len(gain)):
        members = np.flatnonzero((dominators == 0) & (ranks < 0))
        if not len(members):
            break
        ranks[members] = front
        dominators = dominators - dominates[members].sum(axis=0)
        crowding[members] = _crowding(gain[members]) + _crowding(cost[members])
    return ranks, crowding


def _crowding(values: NDArray[np.float64]) -> NDArray[np.float64]:
    order = np.argsort(values, kind="stable")
    found = np.full(len(values), np.inf)
    span = float(np.ptp(values))
    if len(values) > 2:
        gaps = values[order[2:]] - values[order[:-2]]
        found[order[1:-1]] = gaps / span if span > 0 else 0.0
    return found
