"""Tables of latencies: every part of a model space in one engine on one machine, and what corrects their sum.

    latency of a network = constant + sum over its parts of coefficients . terms of the part

So the latency of a chain of parts is a sum over its arcs, exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from device_profiles.engine import Precision
from device_profiles.workload.parts import Part
from device_profiles.workload.workloads import workload_of
from factory_base.documents import Document, parse_document
from factory_base.errors import ConfigError, FactoryError
from factory_base.files import digest_of, read_json, sha256_file, write_json
from supernet.chain import ChainModelSpace

TERMS = ("alone_us", "parts", "border_kelements", "weight_kelements", "kmacs")
"""Of a part: its latency alone, 1, the elements it hands on, the weights it reads, its MACs (the last three in
thousands). A part in a network has its neighbours' layout and finds caches and weights in another state."""

_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Share = Annotated[float, Field(ge=0, le=1)]


class TablePart(Document):
    """One part.

    Attributes:
        id: `Part.id`.
        alone_us: latency of the part as a network of its own, microseconds.
        relative_std: of that latency: of the interpolation, noise of the measurement included.
        measured: whether it was timed; else it is interpolated.
    """

    id: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    alone_us: _Positive
    relative_std: _NotNegative
    measured: bool


class PredictionErrors(Document):
    """How far predictions are from measured networks that nothing was fitted to.

    Attributes:
        networks: how many.
        mape: mean absolute relative error.
        within_5: share of the networks whose prediction is within 5 %.
        within_10: the same for 10 %.
        spearman: rank correlation.
    """

    networks: Annotated[int, Field(ge=2)]
    mape: _NotNegative
    within_5: _Share
    within_10: _Share
    spearman: Annotated[float, Field(ge=-1, le=1)]


class TableUncertainty(Document):
    """How far the latency of a network may be from its sum, of a table that was not measured part by part.

    The variance of a network is `|shared|^2 + own^2 - |learnt|^2 + (noise latency)^2`: sums over its parts, and the
    constant, of what stands here, squared after summing (`own`: before). Microseconds.

    Attributes:
        shared_us: of each part, then of the constant: deviations that parts have in common.
        own_us: of each part, then of the constant: standard deviation of its own deviation.
        learnt_us: of each part, then of the constant: what each measured network took away.
        noise: relative standard deviation of a network around its sum.
    """

    shared_us: tuple[tuple[_Finite, ...], ...]
    own_us: tuple[_NotNegative, ...]
    learnt_us: tuple[tuple[_Finite, ...], ...]
    noise: _NotNegative


class LatencyTable(Document):
    """A table, as it lies beside a profile in JSON.

    Attributes:
        format: version of this format.
        space: digest of the model space, see `space_digest`.
        engine: its name.
        engine_version: of the library that was measured.
        machine: processor.
        repeatability_p95: of the networks' latencies between odd and even rounds, 95th percentile of the relative
            difference; None of a few-shot table.
        constant_us: of any network.
        coefficients: one for each of `TERMS`.
        fitted_networks: that the constant and the coefficients were fitted to.
        errors: on other networks; of a few-shot table on each measured one from all others, None with fewer than three.
        part_count: of `parts`, so that a file that was cut is noticed.
        parts: all parts of the space.
        uncertainty: of a few-shot table.
    """

    format: Literal[1] = 1
    space: str
    engine: str
    engine_version: str
    precision: Precision
    threads: Annotated[int, Field(ge=1)]
    machine: str
    measured_on: date
    repeatability_p95: _NotNegative | None
    constant_us: _Finite
    coefficients: tuple[_Finite, _Finite, _Finite, _Finite, _Finite]
    fitted_networks: int
    errors: PredictionErrors | None
    part_count: int
    parts: tuple[TablePart, ...]
    uncertainty: TableUncertainty | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> LatencyTable:
        if len(self.parts) != self.part_count:
            raise ValueError(f"has {len(self.parts)} of {self.part_count} parts; the file was cut: measure again")
        spread = self.uncertainty
        if spread and {len(spread.shared_us), len(spread.own_us), len(spread.learnt_us)} != {self.part_count + 1}:
            raise ValueError("its uncertainty is not of all parts and the constant; the file was cut: make it again")
        return self

    def part_latency_us(self, parts: Sequence[Part]) -> NDArray[np.float64]:
        """What each part adds to the latency of a network, (len(parts),) microseconds, the correction included.

        Raises:
            ConfigError: the table lacks a part: it is of another space.
        """
        alone = {entry.id: entry.alone_us for entry in self.parts}
        missing = [part for part in parts if part.id not in alone]
        if missing:
            raise ConfigError(
                f"the latency table lacks what stands at {missing[0].link} of subnet {missing[0].subnet.id}; it was "
                "measured for another version of the model space: run `factory profile` again"
            )
        terms = part_terms(parts, np.array([alone[part.id] for part in parts]))
        return np.asarray(terms @ np.array(self.coefficients))

    def network_latency_us(self, rows: NDArray[np.int32], parts: Sequence[Part]) -> NDArray[np.float64]:
        """(networks,) microseconds, from their part numbers, (networks, links). Raises `ConfigError`."""
        return self.constant_us + summed(rows, self.part_latency_us(parts)[:, None])[:, 0]


def summed(rows: NDArray[np.int32], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(networks, columns): sums of (parts, columns) over each network's parts, (networks, links) with -1 for none."""
    padded = np.vstack([values, np.zeros((1, values.shape[1]))])
    return np.asarray(padded[rows].sum(axis=1))


def part_terms(parts: Sequence[Part], alone_us: NDArray[np.float64]) -> NDArray[np.float64]:
    """`(len(parts), len(TERMS))`: what a correction is linear in."""
    rows = [
        [1.0, np.prod(p.workload.output_shape) / 1e3, p.workload.weight_elements / 1e3, p.workload.macs / 1e3]
        for p in parts
    ]
    return np.column_stack([alone_us, np.array(rows, dtype=np.float64).reshape(len(parts), len(TERMS) - 1)])


def space_digest(model_space: ChainModelSpace) -> str:
    """What identifies a model space to a table: its choices, its links, its largest network. 16 hex digits."""
    largest = workload_of(model_space, model_space.space.largest)
    operators = [[o.kind, o.macs, o.moved_elements] for o in largest.operators]
    links = [[link.name, list(link.choices)] for link in model_space.links]
    return digest_of([model_space.space.to_json(), links, operators])[:16]


def read_table(path: Path, sha256: str) -> LatencyTable:
    """The table in `path`.

    Args:
        path: of the file.
        sha256: what its digest must be.

    Raises:
        ConfigError: there is no file, it is damaged (cut, or with latencies that are none), or it is another table.
    """
    if not path.is_file():
        raise ConfigError(
            f"{path}: the profile's latency table is missing; keep it beside the profile, or measure again"
        )
    try:
        value = read_json(path)
    except FactoryError as error:
        raise ConfigError(f"{error}; the latency table is damaged: measure again") from error
    table = parse_document(value, LatencyTable, str(path))
    if sha256_file(path) != sha256:
        raise ConfigError(f"{path}: is not the table that the profile was written with; measure again")
    return table


def write_table(table: LatencyTable, path: Path) -> None:
    """Write `table` to `path` as JSON, atomically. Raises `DiskError`."""
    write_json(path, table.model_dump(mode="json"))
