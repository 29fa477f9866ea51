"""The parts of a chain of blocks, each traced once; subnets as rows of part numbers. Imports torch only to trace."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from device_profiles.workload.operators import Workload
from factory_base.errors import SpaceError
from factory_base.files import digest_of
from factory_base.progress import Progress, silent
from supernet.chain import ChainModelSpace, Link
from supernet.space import Choice, SearchSpace, SubnetConfig

if TYPE_CHECKING:
    from torch import nn

_UNKNOWN, ABSENT = -2, -1
"""Stand-ins for a part number: not traced yet, and no part at this link."""

_MOST_ARCS = 200_000
"""Most arcs that are enumerated. Tracing takes milliseconds for each, so this many take a quarter of an hour or
more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of a chain. Equal parts at different links are one part.

    Attributes:
        workload: Workload at batch 1.
        input_shape: Shape of its input, without the batch.
        link: A link at which the part occurs.
        subnet: A subnet that has the part at that link.
    """

    workload: Workload
    input_shape: tuple[int, ...]
    link: str
    subnet: SubnetConfig

    @property
    def id(self) -> str:
        """16 hex digits, equal for parts with the same input shape and operators."""
        operators = [
            [o.kind, o.macs, o.input_elements, o.output_elements, o.weight_elements] for o in self.workload.operators
        ]
        return digest_of([list(self.input_shape), operators])[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """A condition under which a link holds a part.

    Attributes:
        choice: A depth choice.
        first: The condition holds for the options of `choice` from this index on; the number of options if for none.
    """

    choice: Choice
    first: int


class ChainParts:
    """The parts of a model space that were traced so far. The number of a part is its index in `parts`.

    Raises:
        SpaceError: A link names a choice that the space lacks.
    """

    def __init__(self, model_space: ChainModelSpace) -> None:
        self._model_space = model_space
        self._places = tuple(_LinkParts(model_space.space, link) for link in model_space.links)
        self._numbers: dict[tuple[object, ...], int] = {}
        self.parts: list[Part] = []

    @property
    def links(self) -> tuple[Link, ...]:
        """The columns of `rows`."""
        return tuple(place.link for place in self._places)

    def rows(self, vectors: NDArray[np.integer], progress: Progress = silent) -> NDArray[np.int32]:
        """Return the part numbers of subnets.

        Args:
            vectors: Subnets as `SearchSpace.encode` returns them, (subnets, choices).
            progress: Called for each subnet that has to be traced.

        Returns:
            (subnets, links); -1 if a subnet has no part at a link.

        Raises:
            SpaceError: The vectors belong to another space, or a part cannot be traced.
        """
        self.learn(vectors, progress)
        found = [place.numbers(vectors) for place in self._places]
        return np.stack(found, axis=1) if found else np.empty((len(vectors), 0), dtype=np.int32)

    def learn(self, vectors: NDArray[np.integer], progress: Progress = silent) -> None:
        """Trace the parts of these subnets that are not known yet. Arguments and errors as for `rows`."""
        self._check(vectors)
        missing = np.zeros(len(vectors), dtype=bool)
        for place in self._places:
            if not place.is_complete():
                missing |= place.numbers(vectors) == _UNKNOWN
        wanted = np.flatnonzero(missing)
        for done, index in enumerate(wanted):
            if any(place.number_of(vectors[index]) == _UNKNOWN for place in self._places):
                self._trace(vectors[index])
            progress(done + 1, len(wanted), f"{len(self.parts)} distinct parts")

    def output_shape(self, vector: NDArray[np.integer]) -> tuple[int, ...]:
        """Return the shape of the output of one subnet, (choices,), without the batch; call `learn` before."""
        numbers = [number for place in self._places if (number := place.number_of(vector)) != ABSENT]
        return self.parts[numbers[-1]].workload.output_shape

    def gather(self, vectors: NDArray[np.integer], values: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
        """Yield, link by link, the rows of `values` for the parts that subnets have at this link.

        Args:
            vectors: Subnets that were passed to `learn` before, (subnets, choices).
            values: Values of each part, (parts + 1, columns); the last row is for a missing part.

        Yields:
            (subnets, columns).
        """
        for place in self._places:
            yield values[place.table][place.index(vectors)]

    @property
    def arcs_are_few(self) -> bool:
        """Whether there are few enough arcs to trace them all."""
        return sum(place.combinations for place in self._places) <= _MOST_ARCS

    def trace_all(self, progress: Progress = silent) -> None:
        """Trace every part that the space can produce. Raises `SpaceError` if there are too many."""
        if not self.arcs_are_few:
            arcs = sum(place.combinations for place in self._places)
            raise SpaceError(
                f"the space has {arcs} arcs, more than the {_MOST_ARCS} that can be enumerated; give fewer options to "
                "the choices of a link"
            )
        self.learn(np.array(list(self._covering()), dtype=np.int64), progress)

    def arcs(self, link: int) -> tuple[tuple[Choice, ...], NDArray[np.int32]]:
        """Return the choices that determine the part at a link, and the part for every combination of their options.

        Args:
            link: Index of the link in `links`.

        Returns:
            The choices, and the numbers of the traced parts with one axis for each choice, as long as it has options;
            -1 for combinations with which the link holds no part.
        """
        place = self._places[link]
        numbers = np.maximum(place.table[:-1], ABSENT)
        return place.choices, numbers.reshape([len(choice.options) for choice in place.choices])

    def presence(self, link: int) -> tuple[Presence, ...]:
        """Return the conditions under which the link at this index holds a part; none if it always does."""
        return self._places[link].presence

    def modules(self, subnet: SubnetConfig) -> dict[str, nn.Module]:
        """Return the parts of a newly built network, in evaluation mode, by link."""
        return {name: part.eval() for name, part in self._model_space.parts(self._model_space.build(subnet)).items()}

    def _check(self, vectors: NDArray[np.integer]) -> None:
        choices = self._model_space.space.choices
        if vectors.ndim != 2 or vectors.shape[1] != len(choices):
            raise SpaceError(
                f"vectors of shape {vectors.shape} do not belong to this space; it needs (subnets, {len(choices)})"
            )
        sizes = np.array([len(choice.options) for choice in choices])
        if len(vectors) and ((low := vectors.min(axis=0)) < 0).any() | ((high := vectors.max(axis=0)) >= sizes).any():
            wrong = next(i for i in range(len(choices)) if low[i] < 0 or high[i] >= sizes[i])
            raise SpaceError(f"choice {choices[wrong].name!r}: an index is outside 0..{sizes[wrong] - 1}")

    def _trace(self, vector: NDArray[np.integer]) -> None:
        import torch

        from device_profiles.workload.tracing import trace
        from supernet.sharing.blueprint import build_unweighted

        space = self._model_space.space
        subnet = space.decode(tuple(int(index) for index in vector))
        with torch.device("meta"):
            modules = self._model_space.parts(build_unweighted(self._model_space, subnet))
        shape = self._model_space.input_shape(subnet)
        for place in self._places:
            number = place.number_of(vector)
            if number == ABSENT:
                continue
            if number == _UNKNOWN:
                workload = trace(modules[place.link.name], shape)
                number = self._numbers.setdefault((shape, workload), len(self.parts))
                if number == len(self.parts):
                    part = Part(workload=workload, input_shape=shape, link=place.link.name, subnet=subnet)
                    self.parts.append(part)
                place.learn(vector, number)
            shape = self.parts[number].workload.output_shape

    def _covering(self) -> Iterator[list[int]]:
        """Vectors of small subnets that together have every part: each link goes through all its combinations."""
        for place in self._places:
            smallest = [0] * len(self._model_space.space.choices)
            for column, index in place.needs:
                smallest[column] = index
            for indices in itertools.product(*(range(len(choice.options)) for choice in place.choices)):
                vector = list(smallest)
                for column, index in zip(place.columns, indices, strict=True):
                    vector[column] = index
                yield vector


class _LinkParts:
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
        self.table = np.append(np.full(self.combinations, _UNKNOWN, dtype=np.int32), np.int32(ABSENT))
        self.presence = tuple(_conditions(space, link))
        self.needs = [(names.index(condition.choice.name), condition.first) for condition in self.presence]

    def index(self, vectors: NDArray[np.integer]) -> NDArray[np.int64]:
        """Return the index into `table` for each of (subnets, choices); the last index is for a missing part."""
        index = np.zeros(len(vectors), dtype=np.int64)
        for column, stride in zip(self.columns, self._strides, strict=True):
            index += vectors[:, column] * stride
        for column, first in self.needs:
            index[vectors[:, column] < first] = self.combinations
        return index

    def numbers(self, vectors: NDArray[np.integer]) -> NDArray[np.int32]:
        """Return the part of each of (subnets, choices): -1 if there is none, -2 if it was not traced yet."""
        return self.table[self.index(vectors)]

    def is_complete(self) -> bool:
        """Whether the part of every combination is known."""
        return not (self.table == _UNKNOWN).any()

    def number_of(self, vector: NDArray[np.integer]) -> int:
        return int(self.numbers(vector[None])[0])

    def learn(self, vector: NDArray[np.integer], number: int) -> None:
        at = sum(int(vector[column]) * stride for column, stride in zip(self.columns, self._strides, strict=True))
        self.table[at] = number


def _conditions(space: SearchSpace, link: Link) -> Iterator[Presence]:
    """Yield the condition of the link's depth choice, then of the choice on which that one depends, up to the root."""
    choices = {choice.name: choice for choice in space}
    name, exists_from = link.depth_choice, link.exists_from
    while name:
        depth = choices[name]
        first = next((i for i, option in enumerate(depth.options) if option >= exists_from), len(depth.options))
        yield Presence(choice=depth, first=first)
        name, exists_from = depth.depth_choice, depth.exists_from


def encoded(space: SearchSpace, subnets: Sequence[SubnetConfig]) -> NDArray[np.int64]:
    """Return the vectors of `subnets`, (subnets, choices)."""
    return np.array([space.encode(subnet) for subnet in subnets], dtype=np.int64).reshape(
        len(subnets), len(space.choices)
    )
