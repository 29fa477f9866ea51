"""The costs of subnets on one device: one by one, by the million, and arc by arc for exact solvers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from device_profiles.cost_models.arc_costs import ArcCosts
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
from device_profiles.engine import Precision
from device_profiles.latency_table import LatencyTable, space_digest
from device_profiles.profile import FoundProfile
from device_profiles.workload.file_size import empty_graph_bytes, file_of, largest_graph, part_bytes
from device_profiles.workload.operators import Workload
from device_profiles.workload.parts import ChainParts, Part, encoded
from device_profiles.workload.pixel_input import pixel_input
from device_profiles.workload.workloads import Workloads
from factory_base.errors import ConfigError, SpaceError
from factory_base.progress import Progress, silent
from supernet.chain import ChainModelSpace
from supernet.model_space import space_name
from supernet.space import SubnetConfig

_LATENCY, _HELD, _FILE, _MACS, _ENERGY = range(5)
"""Columns of the values that parts add. The last column exists only if the profile has energy costs."""


class DeviceCosts:
    """The costs of the subnets of one model space on one device, as model files in one precision.

    Latencies come from the profile's latency table if it has one, otherwise from its kernels. Latency, memory and
    energy are those of the precision that such files compute in; only the size of the file differs between, for
    example, float32 and float16. The preprocessing of pixels, if the workloads have one, is costed by the kernels;
    tables do not hold it.

    >>> from pathlib import Path
    >>> from device_profiles import DeviceCosts, Workloads, find_profile
    >>> from supernet import OfaMbv3Config, make_model_space
    >>> space = make_model_space(OfaMbv3Config(), 1000)
    >>> device = find_profile("midrange", Path("."))
    >>> (largest,) = DeviceCosts(Workloads(space), device).of([space.space.largest])
    >>> largest.macs, largest.file_bytes
    (566170656, 30600107)
    >>> [excess.describe() for excess in device.profile.budgets.excesses(largest)]
    ['latency 55.9 ms exceeds 30 ms', 'file size 29.2 MiB exceeds 24 MiB']

    Args:
        workloads: Workloads of the model space.
        found: Profile of the device.
        precision: Precision of the files; by default the profile's own.

    Attributes:
        profile: The profile with the costs first that hold for such files.
        precision: Precision of the files.

    Raises:
        ConfigError: The profile has no costs for such files, or its table was measured for another model space, engine,
            precision or number of threads.
    """

    def __init__(self, workloads: Workloads, found: FoundProfile, precision: Precision | None = None) -> None:
        self.precision: Precision = precision or found.profile.precision
        found = found.for_files_in(self.precision)
        self.profile, self._table, self._workloads = found.profile, found.table, workloads
        self._energy = found.profile.costs.energy
        self._summed = _MACS + 1 if self._energy is None else _ENERGY + 1
        self._values = np.empty((0, 0))
        if self._table is not None:
            check_table(self._table, found, workloads)

    def of(self, subnets: Sequence[SubnetConfig]) -> list[Costs]:
        """Return the costs of each subnet. Raises `SpaceError` if a subnet cannot be traced."""
        if self._workloads.chain is None:
            return costs_of([self._workloads.of(subnet) for subnet in subnets], self.profile, self.precision)
        return costs_from(self.predict(encoded(self._workloads.model_space.space, subnets)), self.profile)

    def predict(self, vectors: NDArray[np.integer], progress: Progress = silent) -> CostArrays:
        """Return the costs of many subnets at once.

        Args:
            vectors: Subnets as `SearchSpace.encode` returns them, (subnets, choices).
            progress: Called for each subnet with parts that have to be traced first.

        Raises:
            SpaceError: The space is not a chain of parts, or a vector does not belong to the space.
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
        if self._workloads.pixels:
            found = next(chain.gather(vectors, self._input_values(chain)))
            sums += found[:, : self._summed]
            np.maximum(arena, found[:, -1], out=arena)
        latency_us = sums[:, _LATENCY] + self.constant_us
        if self._energy is not None:
            sums[:, _ENERGY] += running_uj(self.constant_us, self._energy)
        return CostArrays(
            latency_us=latency_us,
            peak_memory_bytes=peak_memory(sums[:, _HELD], arena, self.profile),
            file_bytes=_file_bytes(sums[:, _FILE] + empty_graph_bytes(chain.output_shape(vectors[0]))),
            macs=sums[:, _MACS],
            latency_std_us=self._latency_std_us(chain, vectors, latency_us),
            energy_uj=None if self._energy is None else sums[:, _ENERGY],
        )

    @property
    def constant_us(self) -> float:
        """Latency that every inference has, whatever the subnet, microseconds."""
        return self.profile.costs.run_overhead_us.value if self._table is None else self._table.constant_us

    @property
    def constant_std_us(self) -> float | None:
        """The constant in the upper bound of the latency's standard deviation that `arcs` gives; None if unknown."""
        spread = self._spread(self._chain())
        if spread is not None:
            return spread.constant_std_us(self.constant_us)
        relative = relative_std_us(np.array([self.constant_us]), self.profile)
        return None if relative is None else float(relative[0])

    @property
    def constant_held_bytes(self) -> float:
        """The engine's own memory, which every inference needs."""
        return self.profile.costs.engine_memory.value

    @property
    def constant_file_bytes(self) -> int:
        """Size of the graph in the file apart from its parts. All networks of a space return the same shape."""
        chain = self._chain()
        smallest = encoded(self._workloads.model_space.space, [self._workloads.model_space.space.smallest])
        chain.learn(smallest)
        return empty_graph_bytes(chain.output_shape(smallest[0]))

    @property
    def constant_energy_uj(self) -> float | None:
        """Energy that every inference takes, whatever the subnet; None if the profile has no energy costs."""
        return None if self._energy is None else float(running_uj(self.constant_us, self._energy))

    def most_file_bytes(self, limit: int) -> int:
        """Return the largest sum of the arcs' `file_bytes` whose file has at most `limit` bytes.

        The file states the size of its graph in a number of one to nine bytes, so its size is not quite a sum; but a
        larger graph always has a larger file, so this limit on the sum is exact.
        """
        return largest_graph(limit) - self.constant_file_bytes

    @property
    def has_arcs(self) -> bool:
        """Whether `arcs` can list all arcs: the networks are chains of parts, and there are not too many arcs."""
        return self._workloads.chain is not None and self._workloads.chain.arcs_are_few

    def arcs(self, progress: Progress = silent) -> tuple[ArcCosts, ...]:
        """Return the costs of every arc, link by link; `sum_of_arcs` adds them up to the costs of a subnet.

        Args:
            progress: Called for each subnet with parts that have to be traced first, which takes seconds.

        Raises:
            SpaceError: The space is not a chain of parts, or has too many arcs.
        """
        chain = self._chain()
        chain.trace_all(progress)
        width = peak_memory(np.array([1.0, 0.0]), np.zeros(2), self.profile)
        per_element = float(width[0] - width[1])
        first = self._first_values(chain)
        found = []
        for place, link in enumerate(chain.links):
            choices, numbers = chain.arcs(place)
            values = self._part_values(chain) if place else first
            stds = self._part_std_us(chain, values[:, _LATENCY])
            arc = np.moveaxis(values[numbers], -1, 0)
            found.append(
                ArcCosts(
                    link=link.name,
                    presence=chain.presence(place),
                    choices=choices,
                    latency_us=arc[_LATENCY],
                    latency_std_us=None if stds is None else stds[numbers],
                    held_bytes=arc[_HELD] * per_element,
                    arena_bytes=arc[-1] * per_element * self.profile.costs.arena_ratio.value,
                    file_bytes=arc[_FILE],
                    macs=arc[_MACS],
                    energy_uj=None if self._energy is None else arc[_ENERGY],
                )
            )
        return tuple(found)

    def sum_of_arcs(self, arcs: Sequence[ArcCosts], vectors: NDArray[np.integer]) -> CostArrays:
        """Return the costs of subnets from `arcs`: the definition of what a solver adds up.

        - latency: `constant_us` plus the sum of `latency_us`;
        - peak memory: `constant_held_bytes` plus the sum of `held_bytes` plus the maximum of `arena_bytes`;
        - file: its graph is `constant_file_bytes` plus the sum of `file_bytes`; see `most_file_bytes`;
        - MACs: the sum of `macs`;
        - energy: `constant_energy_uj` plus the sum of `energy_uj`;
        - standard deviation of the latency: `constant_std_us` plus the sum of `latency_std_us` is an upper bound, so a
          limit that a solver keeps with a confidence is kept with at least that probability.

        The file size and the MACs equal those of `predict` exactly, the others but for rounding.

        Args:
            arcs: What `arcs` returned.
            vectors: Subnets as `SearchSpace.encode` returns them, (subnets, choices).
        """
        space = self._workloads.model_space.space

        def total(name: str, constant: float = 0.0) -> NDArray[np.float64]:
            parts = [arc.of(getattr(arc, name), space, vectors) for arc in arcs]
            return np.asarray(np.sum(parts, axis=0) + constant)

        arena = np.max([arc.of(arc.arena_bytes, space, vectors) for arc in arcs], axis=0)
        std, energy = self.constant_std_us, self.constant_energy_uj
        return CostArrays(
            latency_us=total("latency_us", self.constant_us),
            peak_memory_bytes=total("held_bytes", self.constant_held_bytes) + arena,
            file_bytes=_file_bytes(total("file_bytes", self.constant_file_bytes)),
            macs=total("macs"),
            latency_std_us=None if std is None else total("latency_std_us", std),
            energy_uj=None if energy is None else total("energy_uj", energy),
        )

    def _chain(self) -> ChainParts:
        if self._workloads.chain is None:
            raise SpaceError(
                f"{space_name(self._workloads.model_space)} has no costs for each arc: it declares no chain of parts; "
                "add `links` and `parts`"
            )
        return self._workloads.chain

    def _latency_std_us(
        self, chain: ChainParts, vectors: NDArray[np.integer], latency_us: NDArray[np.float64]
    ) -> NDArray[np.float64] | None:
        spread = self._spread(chain)
        if spread is None:
            return relative_std_us(latency_us, self.profile)
        return spread.network_std_us(chain.rows(vectors), latency_us)

    def _part_std_us(self, chain: ChainParts, latency_us: NDArray[np.float64]) -> NDArray[np.float64] | None:
        """(parts + 1,) microseconds; the last entry, for a missing part, is zero."""
        spread = self._spread(chain)
        if spread is None:
            return relative_std_us(latency_us, self.profile)
        return np.append(spread.part_std_us(latency_us[:-1]), 0.0)

    def _spread(self, chain: ChainParts) -> TableSpread | None:
        if self._table is None or self._table.uncertainty is None:
            return None
        return TableSpread(self._table, self._table.uncertainty, chain.parts)

    def _part_values(self, chain: ChainParts) -> NDArray[np.float64]:
        """(parts + 1, summed + 1): what each part adds, and its arena. The last row, for a missing part, is zero."""
        if len(self._values) != len(chain.parts) + 1:
            known = max(0, len(self._values) - 1)
            new = chain.parts[known:]
            rows = self._rows([part.workload for part in new], self._latencies(new))
            width = rows.shape[1]
            self._values = np.vstack([self._values[:known].reshape(known, width), rows, np.zeros((1, width))])
        return self._values

    def _input_values(self, chain: ChainParts) -> NDArray[np.float64]:
        """As `_part_values`: what the preprocessing before each part of the first link adds, and its arena."""
        numbers = chain.numbers_at(0)
        workloads = [pixel_input(chain.parts[number].workload) for number in numbers]
        values = np.zeros((len(chain.parts) + 1, self._summed + 1))
        values[numbers] = self._rows(workloads, self._kernel_latencies(workloads))
        return values

    def _first_values(self, chain: ChainParts) -> NDArray[np.float64]:
        """As `_part_values` at the first link, with the preprocessing before the part."""
        values = self._part_values(chain)
        if not self._workloads.pixels:
            return values
        before = self._input_values(chain)
        return np.hstack([values[:, :-1] + before[:, :-1], np.maximum(values[:, -1:], before[:, -1:])])

    def _rows(self, workloads: Sequence[Workload], latency_us: NDArray[np.float64]) -> NDArray[np.float64]:
        """(workloads, summed + 1): what each workload adds, and its arena."""
        rows = np.zeros((len(workloads), self._summed + 1))
        rows[:, _LATENCY] = latency_us
        rows[:, _HELD] = [w.weight_elements + packed_elements(w, self.profile.precision) for w in workloads]
        rows[:, _FILE] = [
            part_bytes(w.file_content.of(self.precision), w.input_shape, w.output_shape) for w in workloads
        ]
        rows[:, _MACS] = [w.macs for w in workloads]
        rows[:, -1] = [w.arena_elements for w in workloads]
        if self._energy is not None:
            rows[:, _ENERGY] = energy_uj(workloads, rows[:, _LATENCY], self._energy, self.profile.precision)
        return rows

    def _latencies(self, parts: Sequence[Part]) -> NDArray[np.float64]:
        if self._table is not None:
            return self._table.part_latency_us(parts)
        return self._kernel_latencies([part.workload for part in parts])

    def _kernel_latencies(self, workloads: Sequence[Workload]) -> NDArray[np.float64]:
        return LatencyModel().predict(workloads, self.profile) - self.profile.costs.run_overhead_us.value


def _file_bytes(graphs: NDArray[np.float64]) -> NDArray[np.float64]:
    return file_of(graphs.astype(np.int64)).astype(np.float64)


def check_table(table: LatencyTable, found: FoundProfile, workloads: Workloads) -> None:
    """Check that a table matches the model space and the facts that its profile states.

    Raises:
        ConfigError: The table was measured for another model space, engine, precision or number of threads.
    """
    profile = found.profile
    again = "measure it again with `factory profile`"
    if workloads.chain is None or not isinstance(workloads.model_space, ChainModelSpace):
        raise ConfigError(
            f"{found.origin}: it has a latency table, but the model space is not a chain of parts; {again}"
        )
    if table.space != space_digest(workloads.model_space, workloads.of_largest()):
        raise ConfigError(f"{found.origin}: its latency table belongs to another model space; {again}")
    for what, measured, stated in (
        ("engine", table.engine, profile.engine),
        ("precision", table.precision, profile.precision),
        ("threads", table.threads, profile.threads),
    ):
        if measured != stated:
            raise ConfigError(
                f"{found.origin}: the profile states {what} {stated}, but its latency table has {measured}; {again}"
            )
