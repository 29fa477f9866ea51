"""The subnets of a chain of blocks as the integer points of a system of linear constraints.

One binary variable stands for each option of each choice, and one continuous variable for each arc: a combination of
the options that determine the part at a link. In a subnet the options taken are 1, the arcs of its parts are 1, and all
others are 0. The options of absent blocks are canonical: the first one is taken.

The arcs need no integer variables. The arcs of a link sum to its presence, and those with one option sum to that option
(its marginal), so as soon as all options are 0 or 1, a single arc of the link can be positive.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from device_profiles.cost_models.arc_costs import ArcCosts
from device_profiles.workload.link_parts import Presence
from supernet.space import Choice, SearchSpace

_NONE = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Link:
    """What determines the arcs of a link, apart from their costs."""

    choices: tuple[Choice, ...]
    presence: tuple[Presence, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ArcProgram:
    """The constraints that the subnets of a space meet, and no other point with integer options.

    The variables are all options, choice by choice, then all arcs, link by link, each link's in C order.

    Attributes:
        space: The space.
        equal: Coefficients of the equations, (equations, variables).
        equal_to: Their right-hand sides, (equations,).
        most: Coefficients of the inequalities, (inequalities, variables).
        at_most: Their upper bounds, (inequalities,).
        options: Number of options.
        starts: The first option of each choice, then the number of options, (choices + 1,).
        links: The first arc of each link, as an index among the arcs, then the number of arcs, (links + 1,).
        taken: Coefficients with which variables times `taken`, plus `taken_constant`, is 1 for each option that is
            taken while its block is present, (options, options).
        taken_constant: (options,).
        branches: The variables that may be taken together with each option of the choice on which most arcs depend,
            such as the resolution, (branches, variables). Every subnet is in one branch. The linear relaxation of a
            branch is smaller than that of the whole space, and much closer to its subnets.
    """

    space: SearchSpace
    equal: csr_array
    equal_to: NDArray[np.float64]
    most: csr_array
    at_most: NDArray[np.float64]
    options: int
    starts: NDArray[np.int64]
    links: NDArray[np.int64]
    taken: csr_array
    taken_constant: NDArray[np.float64]
    branches: NDArray[np.bool_]

    @property
    def variables(self) -> int:
        """The number of options and arcs."""
        return self.options + int(self.links[-1])

    def vector(self, values: NDArray[np.float64]) -> tuple[int, ...]:
        """The subnet at a point with integer options, as `SearchSpace.decode` reads it.

        Args:
            values: The variables, (variables,) or more.
        """
        return tuple(int(np.argmax(values[a:b])) for a, b in zip(self.starts[:-1], self.starts[1:], strict=True))

    def ones(self, vector: Sequence[int]) -> NDArray[np.int64]:
        """The options that a subnet takes, (choices,), as indices of variables."""
        return np.asarray(self.starts[:-1] + np.asarray(vector))


def arc_program(space: SearchSpace, arcs: Sequence[ArcCosts]) -> ArcProgram:
    """The constraints for the links of `arcs`. They do not depend on costs, so the latest ones are kept."""
    return _program(space, tuple(_Link(choices=arc.choices, presence=arc.presence) for arc in arcs))


@lru_cache(maxsize=8)  # spaces, of which a process rarely has more than one
def _program(space: SearchSpace, links: tuple[_Link, ...]) -> ArcProgram:
    return _Builder(space, links).build()


@dataclass(frozen=True, slots=True)
class _Sum:
    """A constant plus a sum of variables, each with the coefficient 1."""

    constant: float
    variables: NDArray[np.int64]


class _Rows:
    """Constraints that are collected row by row."""

    def __init__(self) -> None:
        self._row: list[NDArray[np.int64]] = []
        self._column: list[NDArray[np.int64]] = []
        self._value: list[NDArray[np.float64]] = []
        self._bounds: list[float] = []

    def add(self, bound: float, *terms: tuple[NDArray[np.int64], float]) -> None:
        """Add a row: the sum of the variables of each term, times its coefficient, is compared with `bound`."""
        for variables, coefficient in terms:
            self._row.append(np.full(len(variables), len(self._bounds)))
            self._column.append(variables)
            self._value.append(np.full(len(variables), coefficient))
        self._bounds.append(bound)

    def matrix(self, variables: int) -> csr_array:
        """The coefficients, (rows, variables)."""
        places = np.concatenate(self._row or [_NONE]), np.concatenate(self._column or [_NONE])
        values = np.concatenate(self._value or [np.zeros(0)])
        return csr_array((values, places), shape=(len(self._bounds), variables))

    def bounds(self) -> NDArray[np.float64]:
        """(rows,)."""
        return np.array(self._bounds)


class _Builder:
    """Collects the constraints of a space and its links."""

    def __init__(self, space: SearchSpace, links: tuple[_Link, ...]) -> None:
        self._space, self._links = space, links
        self._starts = np.cumsum([0, *(len(choice.options) for choice in space)])
        self._columns = {choice.name: column for column, choice in enumerate(space)}
        self._equal, self._most = _Rows(), _Rows()

    def build(self) -> ArcProgram:
        for choice in self._space:
            self._equal.add(1.0, (self._options(choice), 1.0))
            if choice.depth_choice:  # the block is present if another than the first option is taken
                presence = self._presence(_conditions(self._space, choice))
                terms = (self._options(choice)[1:], 1.0), (presence.variables, -1.0)
                self._most.add(presence.constant, *terms)
        options, first = int(self._starts[-1]), [0]
        for link in self._links:
            arcs = np.arange(math.prod(len(choice.options) for choice in link.choices)) + options + first[-1]
            self._add_link(link, arcs)
            first.append(first[-1] + len(arcs))
        taken, constant = self._taken()
        return ArcProgram(
            space=self._space,
            equal=self._equal.matrix(options + first[-1]),
            equal_to=self._equal.bounds(),
            most=self._most.matrix(options + first[-1]),
            at_most=self._most.bounds(),
            options=options,
            starts=self._starts,
            links=np.array(first),
            taken=taken,
            taken_constant=constant,
            branches=self._branches(options, first),
        )

    def _add_link(self, link: _Link, arcs: NDArray[np.int64]) -> None:
        presence = self._presence(link.presence)
        self._equal.add(presence.constant, (arcs, 1.0), (presence.variables, -1.0))
        grid = arcs.reshape([len(choice.options) for choice in link.choices])
        for axis, choice in enumerate(link.choices):
            together = not link.presence or _conditions(self._space, choice) == link.presence
            for index, option in enumerate(self._options(choice)):
                marginal = (np.take(grid, index, axis=axis).ravel(), 1.0), (np.array([option]), -1.0)
                if not together:
                    self._most.add(0.0, *marginal)
                elif index:
                    self._equal.add(0.0, *marginal)
                else:  # an absent block has no arc, but takes its first option
                    self._equal.add(presence.constant - 1.0, *marginal, (presence.variables, -1.0))

    def _presence(self, conditions: Sequence[Presence]) -> _Sum:
        """1 if all conditions hold, else 0.

        An option of a depth choice other than the first is taken only if its own conditions hold, too.
        """
        for condition in conditions:
            if condition.first:
                return _Sum(0.0, self._options(condition.choice)[condition.first :])
        return _Sum(1.0, _NONE)

    def _options(self, choice: Choice) -> NDArray[np.int64]:
        column = self._columns[choice.name]
        return np.arange(self._starts[column], self._starts[column + 1])

    def _branches(self, options: int, first: Sequence[int]) -> NDArray[np.bool_]:
        sizes = np.diff(first)
        weights = {
            choice.name: sum(size for size, link in zip(sizes, self._links, strict=True) if choice in link.choices)
            for choice in self._space
            if not choice.depth_choice
        }
        pivot = max((choice for choice in self._space if not choice.depth_choice), key=lambda c: weights[c.name])
        allowed = np.ones((len(pivot.options), options + first[-1]), dtype=bool)
        same = np.eye(len(pivot.options), dtype=bool)
        allowed[:, self._options(pivot)] = same
        for link, start, size in zip(self._links, first[:-1], sizes, strict=True):
            if pivot in link.choices:
                grid = np.indices([len(choice.options) for choice in link.choices])[link.choices.index(pivot)]
                allowed[:, options + start : options + start + size] = same[:, grid.ravel()]
        return allowed

    def _taken(self) -> tuple[csr_array, NDArray[np.float64]]:
        """Options other than the first are taken only by present blocks; the first one also if the block is absent."""
        count = int(self._starts[-1])
        rows, columns, constant = [np.arange(count)], [np.arange(count)], np.zeros(count)
        for choice in self._space:
            first = self._options(choice)[0]
            presence = self._presence(_conditions(self._space, choice))
            constant[first] = presence.constant - 1.0
            rows.append(np.full(len(presence.variables), first))
            columns.append(presence.variables)
        row, column = np.concatenate(rows), np.concatenate(columns)
        return csr_array((np.ones(len(row)), (row, column)), shape=(count, count)), constant


def _conditions(space: SearchSpace, choice: Choice) -> tuple[Presence, ...]:
    """The conditions under which the block of a choice is present, as `ArcCosts.presence` has them."""
    found, by_name = [], {c.name: c for c in space}
    while choice.depth_choice:
        depth = by_name[choice.depth_choice]
        first = next((i for i, option in enumerate(depth.options) if option >= choice.exists_from), len(depth.options))
        found.append(Presence(choice=depth, first=first))
        choice = depth
    return tuple(found)
