"""Good subnets around those that are known: all that differ in one or two choices are judged at once.

The best few subnets are mostly neighbours. Collecting them first leaves the integer program to prove that nothing
better is missing, instead of finding them one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from device_profiles.cost_models.arc_costs import ArcCosts
from search.objective import Objective
from search.solving.budget_rows import Use
from search.solving.reduced_search import Vector
from supernet.space import SearchSpace

Keeps = Callable[[Vector], bool]
"""Whether a subnet keeps all budgets by the judgement that counts."""

_TOLERANCE = 1e-6
"""Share of a budget by which the integer program may exceed it."""


class Pool:
    """Known subnets and their objectives, in an order that depends on nothing else.

    Args:
        space: The search space.
        objective: What is maximised.
        arcs: The arcs of one target, which tell the MACs.
        uses: The use of each budget; it tells which subnets need not be judged.
        keeps: Judges a subnet.
    """

    def __init__(
        self,
        space: SearchSpace,
        objective: Objective,
        arcs: Sequence[ArcCosts],
        uses: Sequence[Use],
        keeps: Keeps,
    ) -> None:
        self._space, self._objective, self._arcs, self._uses = space, objective, arcs, uses
        self._starts = np.cumsum([0, *(arc.macs.size for arc in arcs)])[:-1]
        self._macs = np.concatenate([arc.macs.ravel() for arc in arcs])
        self._keeps = keeps
        self._values: dict[Vector, float] = {}
        self._judged: dict[Vector, bool] = {}
        self._expanded: set[Vector] = set()

    def include(self, vector: Vector) -> None:
        """Add a subnet that keeps all budgets."""
        vectors = np.array([vector])
        self._values[vector] = float(self._evaluated(vectors, self._places(vectors))[0])
        self._judged[vector] = True

    def add(self, vectors: NDArray[np.int64], floor: float) -> None:
        """Add those of `vectors`, (subnets, choices), that may keep the budgets and are better than `floor`."""
        places = self._places(vectors)
        values = self._evaluated(vectors, places)
        promising = values > floor
        for use in self._uses:
            promising &= _share(use, places) <= use.most + _TOLERANCE
        for index in np.flatnonzero(promising):
            self._values[tuple(int(i) for i in vectors[index])] = float(values[index])

    def best(self, count: int, unwanted: Collection[Vector]) -> list[Vector]:
        """The best subnets that keep all budgets and are not unwanted, at most `count`, the best first."""
        found: list[Vector] = []
        for vector in sorted(self._values, key=lambda v: (-self._values[v], v)):
            if vector in unwanted:
                continue
            if vector not in self._judged:
                self._judged[vector] = self._keeps(vector)
            found += [vector] if self._judged[vector] else []
            if len(found) == count:
                break
        return found

    def value(self, vector: Vector) -> float:
        """The objective of a subnet that was added."""
        return self._values[vector]

    def spread(self, count: int, unwanted: Collection[Vector]) -> list[Vector]:
        """Add the neighbours of the best `count` subnets, until those of all of them are known; return the best."""
        while True:
            best = self.best(count, unwanted)
            new = [vector for vector in best if vector not in self._expanded]
            if not new:
                return best
            self._expanded.add(new[0])
            self.add(self._around(new[0]), self._values[best[-1]] if len(best) == count else -np.inf)

    def _around(self, vector: Vector) -> NDArray[np.int64]:
        """The canonical subnets that differ from one in one or two choices and what depends on these."""
        start = np.array(vector, dtype=np.int64)
        swaps = [(c, i) for c, choice in enumerate(self._space) for i in range(len(choice.options)) if i != vector[c]]
        columns, options = np.array(swaps, dtype=np.int64).reshape(-1, 2).T
        first, second = np.triu_indices(len(swaps))  # a swap paired with itself is a single one
        rows = np.arange(len(first))
        found = np.tile(start, (len(first), 1))
        found[rows, columns[first]] = options[first]
        found[rows, columns[second]] = options[second]
        return np.unique(np.where(self._space.existing(found), found, 0), axis=0)

    def _evaluated(self, vectors: NDArray[np.int64], places: NDArray[np.int64]) -> NDArray[np.float64]:
        return self._objective.values(self._space, vectors, _summed(self._macs, places))

    def _places(self, vectors: NDArray[np.int64]) -> NDArray[np.int64]:
        """The arc of each subnet at each link, as an index among all arcs, -1 if it has none, (links, subnets)."""
        found = np.empty((len(self._arcs), len(vectors)), dtype=np.int64)
        for row, arc, start in zip(found, self._arcs, self._starts, strict=True):
            numbers = np.arange(start + 1, start + 1 + arc.macs.size).reshape(arc.macs.shape)
            row[:] = arc.of(numbers, self._space, vectors) - 1
        return found


def _summed(values: NDArray[np.float64], places: NDArray[np.int64]) -> NDArray[np.float64]:
    """The sum of the values of the arcs at `places`, (links, subnets); -1 adds nothing."""
    return np.asarray(np.append(values, 0.0)[places].sum(axis=0))


def _share(use: Use, places: NDArray[np.int64]) -> NDArray[np.float64]:
    share = use.constant + _summed(use.added, places)
    return share if use.peak is None else share + np.append(use.peak, 0.0)[places].max(axis=0)
