"""Latency tables: the latency of every part of a model space in one engine on one machine, and a fitted correction.

    latency of a network = constant + sum over its parts of coefficients . terms of the part

So the latency of a chain of parts is exactly a sum over its arcs.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from device_profiles.engine import ComputePrecision
from device_profiles.workload.operators import Workload
from device_profiles.workload.parts import Part
from device_profiles.workload.workloads import workload_of
from factory_base.documents import Document, parse_document
from factory_base.errors import ConfigError, ForeignError
from factory_base.fields import MAX_FIGURE, NotNegative, Positive, Threads
from factory_base.files import digest_of, sha256_bytes, write_json
from factory_base.foreign import parse_json, read_regular
from supernet.chain import ChainModelSpace

TERMS = ("alone_us", "parts", "border_kelements", "weight_kelements", "kmacs")
"""Terms of a part: its latency alone, 1, the elements it outputs, the weights it reads, its MACs (the last three in
thousands). They correct for what differs inside a network: tensor layouts follow the neighbours, and activations and
weights are in caches in another state."""

_MAX_BYTES, _MAX_VALUES = 256 * 2**20, 12_000_000
"""Limits of a table's file: two hundred thousand parts, the most that are enumerated, with some fifty numbers each."""

_Finite = Annotated[float, Field(ge=-MAX_FIGURE, le=MAX_FIGURE)]
_Count = Annotated[int, Field(ge=0, le=_MAX_VALUES)]
_Share = Annotated[float, Field(ge=0, le=1)]


class TablePart(Document):
    """One part.

    Attributes:
        id: The part's `Part.id`.
        alone_us: Latency of the part as a network of its own, microseconds.
        relative_std: Relative standard deviation of that latency: the error of the interpolation and the noise of the
            measurement.
        measured: Whether the part was timed; otherwise its latency is interpolated.
    """

    id: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    alone_us: Positive
    relative_std: NotNegative
    measured: bool


class PredictionErrors(Document):
    """Errors of the predictions for measured networks that were not used for fitting.

    Attributes:
        networks: Number of networks.
        mape: Mean absolute relative error, a fraction.
        within_5: Share of the networks whose prediction is within 5 % of the measurement.
        within_10: Share of the networks whose prediction is within 10 % of the measurement.
        spearman: Rank correlation of predictions and measurements.
    """

    networks: Annotated[int, Field(ge=2, le=1_000_000_000)]
    mape: NotNegative
    within_5: _Share
    within_10: _Share
    spearman: Annotated[float, Field(ge=-1, le=1)]


class TableUncertainty(Document):
    """The uncertainty of predicted latencies, for a table that was not measured part by part.

    The variance of a network's latency is `|shared|^2 + own^2 - |learnt|^2 + (noise latency)^2`. `shared` and `learnt`
    are the sums of the vectors below over the network's parts and the constant; `own^2` is the sum of the squares.
    Each field holds one entry for each part of the table, in its order, then one for the constant; microseconds.

    Attributes:
        shared_us: Deviations that parts have in common, one for each direction of the prior.
        own_us: Standard deviation of the deviation that each part has on its own.
        learnt_us: What each measured network removes from the covariance.
        noise: Relative standard deviation of a network's latency around the sum.
    """

    shared_us: tuple[tuple[_Finite, ...], ...]
    own_us: tuple[NotNegative, ...]
    learnt_us: tuple[tuple[_Finite, ...], ...]
    noise: NotNegative


class LatencyTable(Document):
    """A latency table; stored as JSON beside its profile.

    Attributes:
        format: Version of this format.
        space: Digest of the model space, see `space_digest`.
        engine: Name of the engine.
        engine_version: Version of the engine that was measured; "" for a few-shot table.
        precision: Precision of the measured networks.
        threads: Threads of the engine.
        machine: Processor that was measured; "" for a few-shot table.
        measured_on: Day of the measurement.
        repeatability_p95: 95th percentile over networks of the relative difference between the latencies of odd and
            even rounds; None for a few-shot table.
        constant_us: Latency that every network has, microseconds.
        coefficients: One coefficient for each of `TERMS`.
        fitted_networks: Number of networks that the constant and the coefficients were fitted to.
        errors: Errors on other networks. For a few-shot table, each measured network is predicted from all others;
            None with fewer than three.
        part_count: Number of `parts`, so that a truncated file is noticed.
        parts: All parts of the space.
        uncertainty: Uncertainty of a few-shot table; None for a measured one.
    """

    format: Literal[1] = 1
    space: str
    engine: str
    engine_version: str
    precision: ComputePrecision
    threads: Threads
    machine: str
    measured_on: date
    repeatability_p95: NotNegative | None
    constant_us: _Finite
    coefficients: tuple[_Finite, _Finite, _Finite, _Finite, _Finite]
    fitted_networks: _Count
    errors: PredictionErrors | None
    part_count: _Count
    parts: tuple[TablePart, ...]
    uncertainty: TableUncertainty | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> LatencyTable:
        if len(self.parts) != self.part_count:
            raise ValueError(f"has {len(self.parts)} of {self.part_count} parts: the file is truncated; measure again")
        spread = self.uncertainty
        if spread and {len(spread.shared_us), len(spread.own_us), len(spread.learnt_us)} != {self.part_count + 1}:
            raise ValueError(
                f"its uncertainty does not cover the {self.part_count} parts and the constant: the file is truncated; "
                "run `factory onboard` again"
            )
        if spread and any(len({len(row) for row in rows}) > 1 for rows in (spread.shared_us, spread.learnt_us)):
            raise ValueError(
                "the rows of its uncertainty differ in length: the file is damaged; run `factory onboard` again"
            )
        return self

    def part_latency_us(self, parts: Sequence[Part]) -> NDArray[np.float64]:
        """Return what each part adds to the latency of a network, correction included: (len(parts),) microseconds.

        Raises:
            ConfigError: The table lacks a part, so it was measured for another model space.
        """
        alone = {entry.id: entry.alone_us for entry in self.parts}
        missing = [part for part in parts if part.id not in alone]
        if missing:
            raise ConfigError(
                f"the latency table lacks the part at link {missing[0].link} of subnet {missing[0].subnet.id}; it was "
                "measured for another version of the model space: run `factory profile` again"
            )
        terms = part_terms(parts, np.array([alone[part.id] for part in parts]))
        return np.asarray(terms @ np.array(self.coefficients))

    def network_latency_us(self, rows: NDArray[np.int32], parts: Sequence[Part]) -> NDArray[np.float64]:
        """Predict latencies, (networks,) microseconds, from part numbers, (networks, links).

        Raises:
            ConfigError: As for `part_latency_us`.
        """
        return self.constant_us + summed(rows, self.part_latency_us(parts)[:, None])[:, 0]


def summed(rows: NDArray[np.int32], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum `values`, (parts, columns), over the parts of each network, `rows`, (networks, links) with -1 for no part.

    Returns:
        (networks, columns).
    """
    padded = np.vstack([values, np.zeros((1, values.shape[1]))])
    return np.asarray(padded[rows].sum(axis=1))


def part_terms(parts: Sequence[Part], alone_us: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the terms that the correction is linear in, `(len(parts), len(TERMS))`."""
    rows = [
        [1.0, np.prod(p.workload.output_shape) / 1e3, p.workload.weight_elements / 1e3, p.workload.macs / 1e3]
        for p in parts
    ]
    return np.column_stack([alone_us, np.array(rows, dtype=np.float64).reshape(len(parts), len(TERMS) - 1)])


def space_digest(model_space: ChainModelSpace, largest: Workload | None = None) -> str:
    """Return 16 hex digits that identify a model space: a digest of its choices, links and largest network.

    Args:
        model_space: The model space.
        largest: The workload of the largest network as a whole; traced if None.
    """
    largest = largest or workload_of(model_space, model_space.space.largest)
    operators = [[o.kind, o.macs, o.moved_elements] for o in largest.operators]
    links = [[link.name, list(link.choices)] for link in model_space.links]
    return digest_of([model_space.space.to_json(), links, operators])[:16]


def read_table(path: Path, sha256: str) -> LatencyTable:
    """Read the table in `path`.

    Args:
        path: File to read.
        sha256: Digest that the file must have.

    Raises:
        ConfigError: The file is missing, is damaged (truncated, or with invalid latencies), or holds another table.
    """
    if not path.exists():
        raise ConfigError(
            f"{path}: the profile's latency table is missing; put it beside the profile, or measure again"
        )
    try:
        data = read_regular(path, _MAX_BYTES)
        value = parse_json(data, str(path), max_bytes=_MAX_BYTES, max_values=_MAX_VALUES)
    except ForeignError as error:
        raise ConfigError(f"{error}; the latency table is damaged, measure again") from error
    table = parse_document(value, LatencyTable, str(path))
    if sha256_bytes(data) != sha256:
        raise ConfigError(f"{path}: this is not the table that the profile was written with; measure again")
    return table


def write_table(table: LatencyTable, path: Path) -> None:
    """Write `table` to `path` as JSON, atomically. Raises `DiskError`."""
    write_json(path, table.model_dump(mode="json"))
