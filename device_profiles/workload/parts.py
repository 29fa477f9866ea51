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
_MOST_ARCS = 200_000
"""So many are enumerated at most: each takes some milliseconds to trace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What stands at some place of a chain, the same wherever it stands.

    Attributes:
        workload: at batch 1.
        input_shape: without the batch.
        link: a place where it was found.
        subnet: a subnet that has it there.
    """

    workload: Workload
    input_shape: tuple[int, ...]
    link: str
    subnet: SubnetConfig

    @property
    def id(self) -> str:
        """16 hex digits: parts that ask the same of a device have the same."""
        operators = [
            [o.kind, o.macs, o.input_elements, o.output_elements, o.weight_elements] for o in self.workload.operators
        ]
        return digest_of([list(self.input_shape), operators])[:16]


class ChainParts:
    """All parts of a model space that were asked for so far; a part's number is its place in `parts`.

    Raises:
        SpaceError: a link names a choice that the space lacks.
    """

    def __init__(self, model_space: ChainModelSpace) -> None:
        self._model_space = model_space
        self._places = tuple(_Place(model_space.space, link) for link in model_space.links)
        self._numbers: dict[tuple[object, ...], int] = {}
        self.parts: list[Part] = []

    @property
    def links(self) -> tuple[Link, ...]:
        """The columns of `rows`."""
        return tuple(place.link for place in self._places)

    def rows(self, vectors: NDArray[np.integer], progress: Progress = silent) -> NDArray[np.int32]:
        """Part numbers of subnets.

        Args:
            vectors: (subnets, choices), as `SearchSpace.encode` gives them.
            progress: told for each subnet that has to be traced.

        Returns:
            (subnets, links); -1 where a subnet has no part.

        Raises:
            SpaceError: the vectors are of another space, or a part cannot be traced.
        """
        self.learn(vectors, progress)
        found = [place.numbers(vectors) for place in self._places]
        return np.stack(found, axis=1) if found else np.empty((len(vectors), 0), dtype=np.int32)

    def learn(self, vectors: NDArray[np.integer], progress: Progress = silent) -> None:
        """Trace what is not known of these subnets; arguments and errors as of `rows`."""
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

    def ends(self, vectors: NDArray[np.integer]) -> tuple[NDArray[np.int32], int]:
        """The first part of each subnet, (subnets,), and the last part of one of them; the vectors are learnt."""
        return self._places[0].numbers(vectors), self._places[-1].number_of(vectors[0])

    def gather(self, vectors: NDArray[np.integer], values: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
        """For each link, what `values` holds for the parts that subnets have there.

        Args:
            vectors: (subnets, choices), learnt before.
            values: (parts + 1, columns); the last row stands for "no part here".

        Yields:
            (subnets, columns).
        """
        for place in self._places:
            yield values[place.table][place.index(vectors)]

    def trace_all(self, progress: Progress = silent) -> None:
        """Trace every part that the space can produce. Raises `SpaceError` where there are too many."""
        arcs = sum(place.combinations for place in self._places)
        if arcs > _MOST_ARCS:
            raise SpaceError(f"the space has {arcs} arcs, more than the {_MOST_ARCS} that can be enumerated")
        self.learn(np.array(list(self._covering()), dtype=np.int64), progress)

    def arcs(self, link: int) -> tuple[tuple[Choice, ...], NDArray[np.int32]]:
        """The choices that decide the part at the place of that number, and the part for every combination of them.

        Returns:
            The choices, and the numbers of traced parts with one axis for each choice, as long as it has options.
        """
        place = self._places[link]
        return place.choices, place.table[:-1].reshape([len(choice.options) for choice in place.choices])

    def modules(self, subnet: SubnetConfig) -> dict[str, nn.Module]:
        """The parts of a freshly built network, in evaluation mode, by link."""
        return {name: part.eval() for name, part in self._model_space.parts(self._model_space.build(subnet)).items()}

    def _check(self, vectors: NDArray[np.integer]) -> None:
        choices = self._model_space.space.choices
        if vectors.ndim != 2 or vectors.shape[1] != len(choices):
            raise SpaceError(
                f"vectors of shape {vectors.shape} are not of this space, which has {len(choices)} choices"
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
        """Vectors of small subnets that together have every part: each place goes through its combinations."""
        for place in self._places:
            smallest = [0] * len(self._model_space.space.choices)
            for column, index in place.needs:
                smallest[column] = index
            for indices in itertools.product(*(range(len(choice.options)) for choice in place.choices)):
                vector = list(smallest)
                for column, index in zip(place.columns, indices, strict=True):
                    vector[column] = index
                yield vector


class _Place:
    """One link, and what is known of the parts there."""

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
        self._depth_column = names.index(link.depth_choice) if link.depth_choice else None
        depths = space.choices[self._depth_column].options if self._depth_column is not None else ()
        self._first_depth = next((i for i, depth in enumerate(depths) if depth >= link.exists_from), len(depths))
        self.needs = [(self._depth_column, self._first_depth)] if self._depth_column is not None else []

    def index(self, vectors: NDArray[np.integer]) -> NDArray[np.int64]:
        """The row of `table` for each of (subnets, choices); the last one stands for "no part here"."""
        index = np.zeros(len(vectors), dtype=np.int64)
        for column, stride in zip(self.columns, self._strides, strict=True):
            index += vectors[:, column] * stride
        if self._depth_column is not None:
            index[vectors[:, self._depth_column] < self._first_depth] = self.combinations
        return index

    def numbers(self, vectors: NDArray[np.integer]) -> NDArray[np.int32]:
        """The part of each of (subnets, choices), -1 where there is none, -2 where it is not known."""
        return self.table[self.index(vectors)]

    def is_complete(self) -> bool:
        """Whether every combination is known."""
        return not (self.table == _UNKNOWN).any()

    def number_of(self, vector: NDArray[np.integer]) -> int:
        return int(self.numbers(vector[None])[0])

    def learn(self, vector: NDArray[np.integer], number: int) -> None:
        at = sum(int(vector[column]) * stride for column, stride in zip(self.columns, self._strides, strict=True))
        self.table[at] = number


def encoded(space: SearchSpace, subnets: Sequence[SubnetConfig]) -> NDArray[np.int64]:
    """(subnets, choices): the vectors of `subnets`."""
    return np.array([space.encode(subnet) for subnet in subnets], dtype=np.int64).reshape(
        len(subnets), len(space.choices)
    )
