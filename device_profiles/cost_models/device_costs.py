"""What subnets take on one device: one by one, by the million, and arc by arc for exact solvers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device_profiles.cost_models.models import (
    LatencyModel,
    costs_from,
    costs_of,
    energy_uj,
    packed_elements,
    peak_memory,
    relative_std_us,
    running_uj,
)
from device_profiles.cost_models.uncertainty import TableSpread
from device_profiles.costs import CostArrays, Costs
from device_profiles.latency_table import LatencyTable, space_digest
from device_profiles.profile import FoundProfile
from device_profiles.workload.file_size import network_bytes
from device_profiles.workload.parts import ChainParts, Part, encoded
from device_profiles.workload.workloads import Workloads
from factory_base.errors import ConfigError, SpaceError
from factory_base.progress import Progress, silent
from supernet.chain import ChainModelSpace
from supernet.space import Choice, SubnetConfig

_LATENCY, _HELD, _FILE, _MACS, _ENERGY = range(5)
"""Columns of what parts add; the last is there where energies are known."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ArcCosts:
    """What the part at one link adds, for each combination of the options of the choices that decide it.

    Attributes:
        link: name of the place; without a part there nothing is added.
        choices: the axes of the arrays, each as long as the choice has options.
        latency_us: to the latency.
        latency_std_us: to a bound of the latency's standard deviation; None where nobody knows it.
        held_bytes: to what is held throughout an inference.
        arena_bytes: the most that activations take while the part runs; of a network the largest counts.
        file_bytes: to the file.
        macs: to the MACs.
    """

    link: str
    choices: tuple[Choice, ...]
    latency_us: NDArray[np.float64]
    latency_std_us: NDArray[np.float64] | None
    held_bytes: NDArray[np.float64]
    arena_bytes: NDArray[np.float64]
    file_bytes: NDArray[np.float64]
    macs: NDArray[np.float64]


class DeviceCosts:
    """The costs of the subnets of one model space on one device.

    Latencies come from the profile's table where it has one, else from its kernels.

    Args:
        workloads: of the model space.
        found: the device.

    Raises:
        ConfigError: the profile's table is of another model space, engine or precision.
    """

    def __init__(self, workloads: Workloads, found: FoundProfile) -> None:
        self.profile, self._table, self._workloads = found.profile, found.table, workloads
        self._energy = found.profile.costs.energy
        self._summed = _MACS + 1 if self._energy is None else _ENERGY + 1
        self._values = np.empty((0, 0))
        if self._table is not None:
            check_table(self._table, found, workloads)

    def of(self, subnets: Sequence[SubnetConfig]) -> list[Costs]:
        """The costs of each subnet. Raises `SpaceError` when one cannot be traced."""
        if self._workloads.chain is None:
            return costs_of([self._workloads.of(subnet) for subnet in subnets], self.profile)
        return costs_from(self.predict(encoded(self._workloads.model_space.space, subnets)), self.profile)

    def predict(self, vectors: NDArray[np.integer], progress: Progress = silent) -> CostArrays:
        """The costs of (subnets, choices) vectors, as `SearchSpace.encode` gives them.

        Args:
            vectors: of subnets.
            progress: told of parts that have to be traced first.

        Raises:
            SpaceError: the space is no chain of parts, or a vector is not of the space.
        """
        chain = self._chain()
        chain.learn(vectors, progress)
        if not len(vectors):
            nothing = np.zeros(0)
            energy = None if self._energy is None else nothing
            return CostArrays(
                latency_us=nothing, peak_memory_bytes=nothing, file_bytes=nothing, macs=nothing, energy_uj=energy
            )
        values = self._part_values(chain)
        sums, arena = np.zeros((len(vectors), self._summed)), np.zeros(len(vectors))
        for found in chain.gather(vectors, values):
            sums += found[:, : self._summed]
            np.maximum(arena, found[:, -1], out=arena)
        latency_us = sums[:, _LATENCY] + self.constant_us
        if self._energy is not None:
            sums[:, _ENERGY] += running_uj(self.constant_us, self._energy)
        return CostArrays(
            latency_us=latency_us,
            peak_memory_bytes=peak_memory(sums[:, _HELD], arena, self.profile),
            file_bytes=_file_bytes(sums[:, _FILE], chain, vectors),
            macs=sums[:, _MACS],
            latency_std_us=self._latency_std_us(chain, vectors, latency_us),
            energy_uj=None if self._energy is None else sums[:, _ENERGY],
        )

    @property
    def constant_us(self) -> float:
        """Microseconds of every inference, whatever the subnet."""
        return self.profile.costs.run_overhead_us.value if self._table is None else self._table.constant_us

    @property
    def constant_std_us(self) -> float | None:
        """What every inference adds to the bound of the latency's standard deviation that arcs add up to."""
        spread = self._spread(self._chain())
        if spread is not None:
            return spread.constant_std_us(self.constant_us)
        relative = relative_std_us(np.array([self.constant_us]), self.profile)
        return None if relative is None else float(relative[0])

    def arcs(self, progress: Progress = silent) -> tuple[ArcCosts, ...]:
        """The costs of every arc, link by link; a subnet's latency is `constant_us` and the sum of its arcs.

        `constant_std_us` and the sum of the arcs' `latency_std_us` are no less than the latency's standard deviation:
        what an exact solver keeps below a limit is kept with at least that probability.

        Args:
            progress: told of parts that have to be traced first, which takes seconds.

        Raises:
            SpaceError: the space is no chain of parts, or has too many arcs.
        """
        chain = self._chain()
        chain.trace_all(progress)
        values = self._part_values(chain)
        width = peak_memory(np.array([1.0, 0.0]), np.zeros(2), self.profile)
        per_element = float(width[0] - width[1])
        stds = self._part_std_us(chain, values[:, _LATENCY])
        found = []
        for place, link in enumerate(chain.links):
            choices, numbers = chain.arcs(place)
            arc = np.moveaxis(values[numbers], -1, 0)
            found.append(
                ArcCosts(
                    link=link.name,
                    choices=choices,
                    latency_us=arc[_LATENCY],
                    latency_std_us=None if stds is None else stds[numbers],
                    held_bytes=arc[_HELD] * per_element,
                    arena_bytes=arc[-1] * per_element * self.profile.costs.arena_ratio.value,
                    file_bytes=arc[_FILE],
                    macs=arc[_MACS],
                )
            )
        return tuple(found)

    def _chain(self) -> ChainParts:
        if self._workloads.chain is None:
            name = type(self._workloads.model_space).__name__
            raise SpaceError(f"{name} declares no chain of parts (`links` and `parts`), so its costs are no tables")
        return self._workloads.chain

    def _latency_std_us(
        self, chain: ChainParts, vectors: NDArray[np.integer], latency_us: NDArray[np.float64]
    ) -> NDArray[np.float64] | None:
        spread = self._spread(chain)
        if spread is None:
            return relative_std_us(latency_us, self.profile)
        return spread.network_std_us(chain.rows(vectors), latency_us)

    def _part_std_us(self, chain: ChainParts, latency_us: NDArray[np.float64]) -> NDArray[np.float64] | None:
        """(parts + 1,); zero in the last row."""
        spread = self._spread(chain)
        if spread is None:
            return relative_std_us(latency_us, self.profile)
        return np.append(spread.part_std_us(latency_us[:-1]), 0.0)

    def _spread(self, chain: ChainParts) -> TableSpread | None:
        if self._table is None or self._table.uncertainty is None:
            return None
        return TableSpread(self._table, self._table.uncertainty, chain.parts)

    def _part_values(self, chain: ChainParts) -> NDArray[np.float64]:
        """(parts + 1, summed + 1): what each part adds, and its arena; zeros in the last row."""
        if len(self._values) != len(chain.parts) + 1:
            known = max(0, len(self._values) - 1)
            new = chain.parts[known:]
            rows = np.zeros((len(new), self._summed + 1))
            workloads = [part.workload for part in new]
            rows[:, _LATENCY] = self._latencies(new)
            rows[:, _HELD] = [w.weight_elements + packed_elements(w) for w in workloads]
            rows[:, _FILE] = [w.file_content.of(self.profile.precision) for w in workloads]
            rows[:, _MACS] = [w.macs for w in workloads]
            rows[:, -1] = [w.arena_elements for w in workloads]
            if self._energy is not None:
                rows[:, _ENERGY] = energy_uj(workloads, rows[:, _LATENCY], self._energy, self.profile.precision)
            width = rows.shape[1]
            self._values = np.vstack([self._values[:known].reshape(known, width), rows, np.zeros((1, width))])
        return self._values

    def _latencies(self, parts: Sequence[Part]) -> NDArray[np.float64]:
        if self._table is not None:
            return self._table.part_latency_us(parts)
        alone = LatencyModel().predict([part.workload for part in parts], self.profile)
        return alone - self.profile.costs.run_overhead_us.value


def _file_bytes(content: NDArray[np.float64], chain: ChainParts, vectors: NDArray[np.integer]) -> NDArray[np.float64]:
    first, last = chain.ends(vectors)
    sizes = np.empty(len(vectors))
    for number in np.unique(first):
        rows = first == number
        shape = chain.parts[number].input_shape
        sizes[rows] = network_bytes(content[rows].astype(np.int64), shape, chain.parts[last].workload.output_shape)
    return sizes


def check_table(table: LatencyTable, found: FoundProfile, workloads: Workloads) -> None:
    """Raises `ConfigError` where the table is not of this model space, or not of what its profile states."""
    profile = found.profile
    again = "measure it again with `factory profile`"
    if workloads.chain is None or not isinstance(workloads.model_space, ChainModelSpace):
        raise ConfigError(f"{found.origin}: has a latency table, but the model space is no chain of parts; {again}")
    if table.space != space_digest(workloads.model_space):
        raise ConfigError(f"{found.origin}: its latency table is of another model space; {again}")
    for what, measured, stated in (
        ("engine", table.engine, profile.engine),
        ("precision", table.precision, profile.precision),
        ("threads", table.threads, profile.threads),
    ):
        if measured != stated:
            raise ConfigError(f"{found.origin}: states {what} {stated}, its latency table has {measured}; {again}")
