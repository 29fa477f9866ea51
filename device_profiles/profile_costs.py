"""The numbers of a device profile, each with its provenance: the speed of its kernels, memory and energy."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal, get_args

from pydantic import Field, field_validator

from device_profiles.workload.operators import COMPUTE_KINDS, KERNEL_KINDS, KernelKind
from factory_base.documents import Document
from factory_base.fields import NotNegative, Positive
from factory_base.quantities import SizeBytes

Provenance = Literal["measured", "few_shot", "modelled", "assumed"]
"""The provenances of a number, the most trusted first."""

PROVENANCES: tuple[Provenance, ...] = get_args(Provenance)

_Source = Annotated[str, Field(min_length=1)]


class Figure(Document):
    """A positive number with its origin; the unit is in the name of the key that holds it."""

    value: Positive
    provenance: Provenance
    source: _Source


class TimeFigure(Document):
    """A time in microseconds with its origin. It may be zero."""

    value: NotNegative
    provenance: Provenance
    source: _Source


class SizeFigure(Document):
    """An amount of memory (`1 MiB`) with its origin."""

    value: SizeBytes
    provenance: Provenance
    source: _Source


class KernelCost(Document):
    """The speed of one kind of kernel.

    Attributes:
        gmacs_per_s: 10^9 multiply-accumulates per second; only for kinds that compute.
        gbytes_per_s: 10^9 bytes per second, over everything that the kernel reads and writes.
        overhead_us: Microseconds per call, whatever its size.
    """

    gmacs_per_s: Figure | None = None
    gbytes_per_s: Figure
    overhead_us: TimeFigure

    def provenances(self) -> list[Provenance]:
        """Return the provenance of every number that is present."""
        figures = (self.gmacs_per_s, self.gbytes_per_s, self.overhead_us)
        return [figure.provenance for figure in figures if figure is not None]


class LoadCost(Document):
    """The time from a file to a session that is ready: a constant, plus a time for each MiB of the file."""

    fixed_us: NotNegative
    us_per_mib: NotNegative


class RunSpread(Document):
    """How single runs deviate from the stated latency, which is the median over short visits with pauses between them.

    Attributes:
        p95_over_p50: 95th percentile of single runs over their median; the median over networks.
        sustained_over_p50: Median of the last quarter of a run without a pause, over the median of the visits.
        sustained_seconds: Duration of that run, seconds.
    """

    p95_over_p50: Positive
    sustained_over_p50: Positive
    sustained_seconds: Positive


class MachinePeak(Document):
    """The peak rates that this machine reaches with the threads of the profile. Utilisation is a share of them.

    Attributes:
        gmacs_per_s: 10^9 multiply-accumulates per second in the fastest of large float32 matrix products, convolutions
            and the networks that were timed.
        gbytes_per_s: 10^9 bytes per second, read and written, in a copy that is too large for the caches.
        cached_gbytes_per_s: The same in the fastest of several element-wise kernels whose data stay in a cache; None if
            it was not measured.
    """

    gmacs_per_s: Positive
    gbytes_per_s: Positive
    cached_gbytes_per_s: Positive | None = None

    @property
    def fastest_gbytes_per_s(self) -> float:
        """The bandwidth that no kernel exceeds: that of the caches if it is known."""
        return self.cached_gbytes_per_s or self.gbytes_per_s


class EnergyCost(Document):
    """The energy costs of an inference: per MAC, per byte, and the power while it runs.

    Attributes:
        pj_per_mac: Picojoules for one multiply-accumulate at the profile's precision, instructions included.
        pj_per_byte: Picojoules for one byte that a kernel reads or writes, as if every byte came from memory.
        running_mw: Power of the processors while they run, milliwatts, whatever they compute.
    """

    pj_per_mac: Figure
    pj_per_byte: Figure
    running_mw: Figure


class TableReference(Document):
    """The latency table that belongs to a profile; its file is beside the profile's.

    Attributes:
        file: Name of the file.
        sha256: Digest of the file.
        provenance: `measured` (part by part) or `few_shot`.
    """

    file: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+\.json$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    provenance: Literal["measured", "few_shot"] = "measured"


class CostParameters(Document):
    """All numbers of a device that the cost models use.

    Attributes:
        kernels: One entry for every kind of kernel.
        run_overhead_us: Microseconds per inference, whatever the network.
        arena_ratio: Memory that the engine holds for activations and scratch, over their liveness bound; at least 1.
        engine_memory: Memory that a loaded session holds besides tensors; the engine's code is not counted.
        latency_std: Relative standard deviation of a predicted latency. 0.3 means that one prediction in three is more
            than 30 % off. None if nothing is stated. A few-shot table replaces it by values for each network.
        energy: Energy costs of an inference; None if they are unknown.
        machine: Processor, engine version and threads of a measured profile; "" for any other profile.
        prediction_error: Mean absolute relative error of predicted latencies on held-out subnets; measured profiles
            only.
        repeatability_p95: 95th percentile over networks of the relative difference between the latencies of odd and
            even rounds; measured profiles only.
        measured_on: Day of the measurement; None for a profile without measurements.
        spread: Spread of single runs; measured profiles only.
        load: Time to load a file; measured profiles only.
        peak: Peak rates of the machine; measured profiles only.
        table: Reference to a latency table. For its model space it replaces `kernels`.
        rows: Number of measurements behind a few-shot profile; None for any other profile.
    """

    kernels: dict[KernelKind, KernelCost]
    run_overhead_us: TimeFigure
    arena_ratio: Figure
    engine_memory: SizeFigure
    latency_std: Figure | None = None
    energy: EnergyCost | None = None
    machine: str = ""
    prediction_error: NotNegative | None = None
    repeatability_p95: NotNegative | None = None
    measured_on: date | None = None
    spread: RunSpread | None = None
    load: LoadCost | None = None
    peak: MachinePeak | None = None
    table: TableReference | None = None
    rows: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = None

    @field_validator("arena_ratio")
    @classmethod
    def _is_at_least_one(cls, ratio: Figure) -> Figure:
        if ratio.value < 1:
            raise ValueError(
                f"{ratio.value} is below 1; write 1 for an engine that needs no more than the liveness bound"
            )
        return ratio

    @field_validator("kernels")
    @classmethod
    def _is_complete(cls, kernels: dict[KernelKind, KernelCost]) -> dict[KernelKind, KernelCost]:
        absent = [kind for kind in KERNEL_KINDS if kind not in kernels]
        if absent:
            raise ValueError(f"no entry for {', '.join(absent)}; add one for each of {', '.join(KERNEL_KINDS)}")
        for kind in KERNEL_KINDS:
            computes = kind in COMPUTE_KINDS
            if computes and kernels[kind].gmacs_per_s is None:
                raise ValueError(f"{kind} has no gmacs_per_s; each of {', '.join(COMPUTE_KINDS)} needs one")
            if not computes and kernels[kind].gmacs_per_s is not None:
                raise ValueError(f"{kind} has a gmacs_per_s, but only {', '.join(COMPUTE_KINDS)} compute; remove it")
        return {kind: kernels[kind] for kind in KERNEL_KINDS}
