"""One link of a chain: when it holds a part, and the numbers of the parts that were traced at it. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from factory_base.errors import SpaceError
from supernet.chain import Link
from supernet.space import Choice, Option, SearchSpace

UNKNOWN, ABSENT = -2, -1
"""Stand-ins for a part number: not traced yet, and no part at this link."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """A condition under which a link holds a part.

    Attributes:
        choice: A depth choice.
        first: The condition holds for the options of `choice` from this index on; the number of options if for none.
    """

    choice: Choice
    first: int

    @property
    def is_possible(self) -> bool:
        """Whether an option meets the condition."""
        return self.first < len(self.choice.options)


class LinkParts:
    """One link, and the numbers of the parts that were traced at it."""

    def __init__(self, space: SearchSpace, link: Link) -> None:
        names = [choice.name for choice in space]
        unknown = [name for name in (*link.choices, *filter(None, [link.depth_choice])) if name not in names]
        if unknown:
            raise SpaceError(f"link {link.name!r} names the choice {unknown[0]!r}, which the space lacks")
        self.link = link
        self.columns = tuple(names.index(name) for name in link.choices)
        self.choices = tuple(space.choices[column] for column in self.columns)
        sizes = [len(choice.options) for choice in self.choices]
        self.combinations = math.prod(sizes)
        self._strides = [math.prod(sizes[i + 1 :]) for i in range(len(sizes))]
        self.table = np.append(np.full(self.combinations, UNKNOWN, dtype=np.int32), np.int32(ABSENT))
        self.presence = tuple(_conditions(space, link.depth_choice, link.exists_from))
        self.needs = [(names.index(condition.choice.name), condition.first) for condition in self.presence]
        self.is_possible = all(condition.is_possible for condition in self.presence)
        self._existence = [
            tuple(_conditions(space, choice.depth_choice, choice.exists_from)) for choice in self.choices
        ]
        self._names = names
        self._canonical = self._canonical_combinations(sizes)

    @property
    def is_loose(self) -> bool:
        """Whether a choice may be absent where neither the link's presence nor its other choices tell.

        The index of such a choice in `index` is that of its smallest option only for canonical vectors.
        """
        known = {*(condition.choice for condition in self.presence), *self.choices}
        return any(condition.choice not in known for existence in self._existence for condition in existence)

    def index(self, vectors: NDArray[np.integer]) -> NDArray[np.int64]:
        """Return the index into `table` for each of (subnets, choices); the last index is for a missing part."""
        index = np.zeros(len(vectors), dtype=np.int64)
        for column, stride in zip(self.columns, self._strides, strict=True):
            index += vectors[:, column] * stride
        if self._canonical is not None:
            index = self._canonical[index]
        for column, first in self.needs:
            index[vectors[:, column] < first] = self.combinations
        return index

    def needs_of(self, indices: Sequence[int]) -> list[tuple[int, int]]:
        """Return columns and their smallest indices with which the link holds the part of a combination.

        They make the choices of the combination exist, too, as far as the combination does not say otherwise: an option
        that is not the smallest says nothing about the part while the block that it describes is absent.

        Args:
            indices: Index of the option of each of `choices`.
        """
        existing = (
            (self._names.index(condition.choice.name), condition.first)
            for index, existence in zip(indices, self._existence, strict=True)
            for condition in existence
            if index and condition.is_possible and condition.choice not in self.choices
        )
        return [*self.needs, *existing]

    def combinations_with_part(self) -> NDArray[np.bool_]:
        """Return with which combinations the link can hold a part, with one axis for each of `choices`.

        Those that say something about an absent block are left out.
        """
        sizes = [len(choice.options) for choice in self.choices]
        possible = np.full(sizes, self.is_possible)
        if self._canonical is not None:
            possible &= (self._canonical == np.arange(self.combinations)).reshape(sizes)
        for condition in self.presence:
            if condition.choice in self.choices:
                absent = [slice(condition.first) if c == condition.choice else slice(None) for c in self.choices]
                possible[tuple(absent)] = False
        return possible

    def missing(self) -> NDArray[np.bool_]:
        """Return for which of `combinations_with_part` the part is not known."""
        possible = self.combinations_with_part()
        possible &= (self.table[:-1] == UNKNOWN).reshape(possible.shape)
        return possible

    def numbers(self, vectors: NDArray[np.integer]) -> NDArray[np.int32]:
        """Return the part of each of (subnets, choices): -1 if there is none, -2 if it was not traced yet."""
        return self.table[self.index(vectors)]

    def is_complete(self) -> bool:
        """Whether the part of every combination is known."""
        return not (self.table == UNKNOWN).any()

    def number_of(self, vector: NDArray[np.integer]) -> int:
        """Return the part of one subnet, (choices,), as `numbers` does."""
        return int(self.numbers(vector[None])[0])

    def learn(self, vector: NDArray[np.integer], number: int) -> None:
        """Record the number of the part that a subnet, (choices,), has here."""
        self.table[self.index(vector[None])] = number

    def numbers_by_combination(self) -> NDArray[np.int32]:
        """Return the parts, with one axis for each of `choices`; -1 for combinations without one."""
        numbers = self.table[:-1] if self._canonical is None else self.table[self._canonical]
        return np.maximum(numbers, ABSENT).reshape([len(choice.options) for choice in self.choices])

    def _canonical_combinations(self, sizes: Sequence[int]) -> NDArray[np.int64] | None:
        """For each combination that with the smallest options for blocks that it says are absent; None if none does."""
        indices = np.indices(sizes).reshape(len(sizes), self.combinations)
        exists = np.ones(indices.shape, dtype=bool)
        for row, existence in enumerate(self._existence):
            for condition in existence:
                if condition.choice in self.choices:
                    exists[row] &= indices[self.choices.index(condition.choice)] >= condition.first
        if exists.all():
            return None
        return np.asarray(np.array(self._strides, dtype=np.int64) @ (indices * exists))


def _conditions(space: SearchSpace, depth_choice: str, exists_from: Option) -> Iterator[Presence]:
    """Yield the condition on a depth choice, then that on the choice on which it depends, and so on."""
    choices = {choice.name: choice for choice in space}
    while depth_choice:
        depth = choices[depth_choice]
        first = next((i for i, option in enumerate(depth.options) if option >= exists_from), len(depth.options))
        yield Presence(choice=depth, first=first)
        depth_choice, exists_from = depth.depth_choice, depth.exists_from
