"""The parts of a chain of blocks, each traced once; subnets as rows of part numbers. Imports torch only to trace."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from device_profiles.workload.covering import covering, each_combination
from device_profiles.workload.link_parts import ABSENT, UNKNOWN, LinkParts, Presence
from device_profiles.workload.operators import Workload
from factory_base.errors import SpaceError
from factory_base.files import digest_of
from factory_base.progress import Progress, silent
from supernet.chain import ChainModelSpace, Link
from supernet.space import Choice, SearchSpace, SubnetConfig

if TYPE_CHECKING:
    from torch import nn

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


class ChainParts:
    """The parts of a model space that were traced so far. The number of a part is its index in `parts`.

    Raises:
        SpaceError: A link names a choice that the space lacks.
    """

    def __init__(self, model_space: ChainModelSpace) -> None:
        self._model_space = model_space
        self._places = tuple(LinkParts(model_space.space, link) for link in model_space.links)
        self._is_loose = any(place.is_loose for place in self._places)
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
        vectors = self._canonical(vectors)
        found = [place.numbers(vectors) for place in self._places]
        return np.stack(found, axis=1) if found else np.empty((len(vectors), 0), dtype=np.int32)

    def learn(self, vectors: NDArray[np.integer], progress: Progress = silent) -> None:
        """Trace the parts of these subnets that are not known yet. Arguments and errors as for `rows`."""
        self._check(vectors)
        vectors = self._canonical(vectors)
        missing = np.zeros(len(vectors), dtype=bool)
        for place in self._places:
            if not place.is_complete():
                missing |= place.numbers(vectors) == UNKNOWN
        wanted = np.flatnonzero(missing)
        for done, index in enumerate(wanted):
            if any(place.number_of(vectors[index]) == UNKNOWN for place in self._places):
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
        vectors = self._canonical(vectors)
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
        traced, columns = self._copy(), len(self._model_space.space.choices)
        total = sum(int(place.missing().sum()) for place in self._places)
        for vector in covering(self._places, columns):
            traced._trace(vector)
            left = sum(int(place.missing().sum()) for place in traced._places)
            progress(total - left, total, f"{len(traced.parts)} distinct parts")
        self._take_over(traced, each_combination(self._places, columns))

    def arcs(self, link: int) -> tuple[tuple[Choice, ...], NDArray[np.int32]]:
        """Return the choices that determine the part at a link, and the part for every combination of their options.

        Args:
            link: Index of the link in `links`.

        Returns:
            The choices, and the numbers of the traced parts with one axis for each choice, as long as it has options;
            -1 for combinations with which the link holds no part.
        """
        place = self._places[link]
        return place.choices, place.numbers_by_combination()

    def numbers_at(self, link: int) -> list[int]:
        """Return the numbers of the parts that were traced at the link with this index, each once."""
        table = self._places[link].table
        return [int(number) for number in np.unique(table[table > ABSENT])]

    def presence(self, link: int) -> tuple[Presence, ...]:
        """Return the conditions under which the link at this index holds a part; none if it always does."""
        return self._places[link].presence

    def tables(self) -> list[list[int]]:
        """Return the numbers of the traced parts, link by link, as in `LinkParts.table`."""
        return [place.table.tolist() for place in self._places]

    def restore(self, parts: Sequence[Part], tables: Sequence[Sequence[int]]) -> bool:
        """Take parts that were traced before, and return whether they fit; nothing may have been traced yet.

        Args:
            parts: The parts, by number.
            tables: What `tables` returned.
        """
        found = [np.array(table, dtype=np.int32) for table in tables]
        if self.parts or [table.shape for table in found] != [place.table.shape for place in self._places]:
            return False
        self.parts = list(parts)
        self._numbers = {(part.input_shape, part.workload): number for number, part in enumerate(parts)}
        for place, table in zip(self._places, found, strict=True):
            place.table = table
        return True

    def modules(self, subnet: SubnetConfig) -> dict[str, nn.Module]:
        """Return the parts of a newly built network, in evaluation mode, by link."""
        return {name: part.eval() for name, part in self._model_space.parts(self._model_space.build(subnet)).items()}

    def _canonical(self, vectors: NDArray[np.integer]) -> NDArray[np.integer]:
        """The vectors with the smallest options for absent blocks, where links would else mistake them."""
        return vectors * self._model_space.space.existing(vectors) if self._is_loose else vectors

    def _copy(self) -> ChainParts:
        copy = ChainParts(self._model_space)
        copy._numbers, copy.parts = dict(self._numbers), list(self.parts)
        for place, own in zip(copy._places, self._places, strict=True):
            place.table = own.table.copy()
        return copy

    def _take_over(self, traced: ChainParts, vectors: NDArray[np.int64]) -> None:
        """Take all parts of `traced`, a copy that traced more, as if `vectors` had been traced in their order.

        So neither the numbers of the parts nor their subnets depend on how they were covered.
        """
        first = [
            (row, place, int(at))
            for place, own in enumerate(self._places)
            for at, row in zip(*np.unique(own.index(vectors), return_index=True), strict=True)
            if own.table[at] == UNKNOWN
        ]
        numbers = {number: number for number in range(len(self.parts))}
        for row, place, at in sorted(first):
            number = int(traced._places[place].table[at])
            if number == UNKNOWN:  # the link holds no part with this combination
                continue
            if number not in numbers:
                numbers[number] = len(self.parts)
                subnet = self._model_space.space.decode(tuple(int(index) for index in vectors[row]))
                link = self._places[place].link.name
                self.parts.append(replace(traced.parts[number], link=link, subnet=subnet))
            self._places[place].table[at] = numbers[number]
        self._numbers = {key: numbers[number] for key, number in traced._numbers.items()}

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
            if number == UNKNOWN:
                workload = trace(modules[place.link.name], shape)
                number = self._numbers.setdefault((shape, workload), len(self.parts))
                if number == len(self.parts):
                    part = Part(workload=workload, input_shape=shape, link=place.link.name, subnet=subnet)
                    self.parts.append(part)
                place.learn(vector, number)
            shape = self.parts[number].workload.output_shape


def encoded(space: SearchSpace, subnets: Sequence[SubnetConfig]) -> NDArray[np.int64]:
    """Return the vectors of `subnets`, (subnets, choices)."""
    return np.array([space.encode(subnet) for subnet in subnets], dtype=np.int64).reshape(
        len(subnets), len(space.choices)
    )
