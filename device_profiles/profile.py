"""Device profiles: what a class of devices is, how fast its kernels are, and where every number comes from.

Imports no torch. Profiles are YAML; the shipped ones lie in `device_profiles/profiles/`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field, field_validator, model_validator

from device_profiles.budgets import Budgets
from device_profiles.engine import Precision
from device_profiles.latency_table import LatencyTable, read_table
from device_profiles.workload.operators import COMPUTE_KINDS, KERNEL_KINDS, KernelKind
from factory_base.documents import Document, load_document, nearest
from factory_base.errors import ConfigError
from factory_base.files import digest_of
from factory_base.quantities import SizeBytes, format_bytes

Provenance = Literal["measured", "few_shot", "modelled", "assumed"]
"""Where a number comes from, the most trusted first."""

PROVENANCES: tuple[Provenance, ...] = get_args(Provenance)

ComputeUnit = Literal["cpu", "gpu", "npu"]

Platform = Literal["android", "ios", "web", "linux_iot", "linux"]

RAM_CLASSES: tuple[int, ...] = tuple(
    round(gib * 2**30) for gib in (0.25, 0.5, 1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64)
)
"""Classes of RAM in bytes. A device belongs to the smallest class that holds what its kernel reports."""

SHIPPED_FOLDER = Path(__file__).parent / "profiles"

_Source = Annotated[str, Field(min_length=1)]
_Positive = Annotated[float, Field(gt=0)]
_NotNegative = Annotated[float, Field(ge=0)]
_NAME_PATTERN = r"^[a-z0-9][a-z0-9_.-]{0,63}$"
_Name = Annotated[str, Field(pattern=_NAME_PATTERN)]


def ram_class(ram_bytes: int) -> int:
    """The class of a device whose kernel reports `ram_bytes`, in bytes; the last class is open."""
    return next((size for size in RAM_CLASSES if size >= ram_bytes), RAM_CLASSES[-1])


class Figure(Document):
    """A positive number with its origin; the unit is in the name of the key that holds it."""

    value: _Positive
    provenance: Provenance
    source: _Source


class TimeFigure(Document):
    """A time per call with its origin; may be zero."""

    value: _NotNegative
    provenance: Provenance
    source: _Source


class SizeFigure(Document):
    """An amount of memory (`1 MiB`) with its origin."""

    value: SizeBytes
    provenance: Provenance
    source: _Source


class SocPattern(Document):
    """Systems on a chip: one model of a maker, or with an empty model all of them."""

    maker: Annotated[str, Field(min_length=1)]
    model: str = ""


class Selectors(Document):
    """Which devices belong to a profile; all that is given must hold.

    Attributes:
        ram_class_min: smallest class of RAM, inclusive.
        ram_class_max: first class of RAM that is too large, exclusive.
        os_min: oldest version of the operating system, such as `12.1`; on Android the API level, such as `29`.
        soc_include: if not empty, one of these must match.
        soc_exclude: none of these may match; wins over `soc_include`.
    """

    platform: Platform
    ram_class_min: SizeBytes | None = None
    ram_class_max: SizeBytes | None = None
    cores_min: Annotated[int, Field(ge=1)] | None = None
    os_min: str | None = None
    soc_include: tuple[SocPattern, ...] = ()
    soc_exclude: tuple[SocPattern, ...] = ()

    @field_validator("ram_class_min", "ram_class_max")
    @classmethod
    def _is_a_class(cls, size: int | None) -> int | None:
        if size is not None and size not in RAM_CLASSES:
            known = ", ".join(format_bytes(known) for known in RAM_CLASSES)
            raise ValueError(f"{format_bytes(size)} is no class of RAM; classes: {known}")
        return size

    @field_validator("os_min")
    @classmethod
    def _is_a_version(cls, version: str | None) -> str | None:
        if version is not None and not re.fullmatch(r"\d+(\.\d+){0,3}", version):
            raise ValueError(f"{version!r} is no version; write it in quotes, as in '10' or '12.1'")
        return version

    @model_validator(mode="after")
    def _is_not_empty(self) -> Selectors:
        low, high = self.ram_class_min, self.ram_class_max
        if low is not None and high is not None and low >= high:
            raise ValueError(
                f"ram_class_max {format_bytes(high)} (exclusive) must be above ram_class_min {format_bytes(low)}"
            )
        return self


class KernelCost(Document):
    """The speed of one kind of kernel.

    Attributes:
        gmacs_per_s: 10^9 multiply-accumulates per second; only for kinds that compute.
        gbytes_per_s: 10^9 bytes per second, over all that the kernel reads and writes.
        overhead_us: microseconds per call, whatever its size.
    """

    gmacs_per_s: Figure | None = None
    gbytes_per_s: Figure
    overhead_us: TimeFigure

    def provenances(self) -> list[Provenance]:
        """Of every figure that is present."""
        figures = (self.gmacs_per_s, self.gbytes_per_s, self.overhead_us)
        return [figure.provenance for figure in figures if figure is not None]


class LoadCost(Document):
    """From a file to a session that is ready: a constant, and so much for each MiB of the file."""

    fixed_us: _NotNegative
    us_per_mib: _NotNegative


class RunSpread(Document):
    """How far runs are from the median of separate short visits, which a latency states.

    Attributes:
        p95_over_p50: 95th percentile over median, of single runs; the median over networks.
        sustained_over_p50: median of the last quarter of a run without a pause, over the median of visits.
        sustained_seconds: how long that run was.
    """

    p95_over_p50: _Positive
    sustained_over_p50: _Positive
    sustained_seconds: _Positive


class MachinePeak(Document):
    """The most that this machine reaches with the threads of the profile: utilisation is a share of it.

    Attributes:
        gmacs_per_s: 10^9 multiply-accumulates per second in a large product of float32 matrices.
        gbytes_per_s: 10^9 bytes per second, read and written, in a copy of what no cache holds.
    """

    gmacs_per_s: _Positive
    gbytes_per_s: _Positive


class EnergyCost(Document):
    """What an inference takes beside time: a price for each MAC and byte, and power while it runs.

    Attributes:
        pj_per_mac: picojoule for one multiply-accumulate at the profile's precision, instructions included.
        pj_per_byte: picojoule for one byte that a kernel reads or writes, as if all of them came from memory.
        running_mw: milliwatt of the processors used while they run, whatever they compute.
    """

    pj_per_mac: Figure
    pj_per_byte: Figure
    running_mw: Figure


class TableReference(Document):
    """The latency table that belongs to a profile; it lies beside it.

    Attributes:
        file: its name.
        sha256: of the file.
        provenance: `measured` part by part, or `few_shot`.
    """

    file: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+\.json$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    provenance: Literal["measured", "few_shot"] = "measured"


class CostParameters(Document):
    """All numbers of a device that the cost models use.

    Attributes:
        kernels: one entry for every kind of kernel.
        run_overhead_us: microseconds per inference, whatever the network.
        arena_ratio: what the engine holds for activations and scratch over their liveness bound, at least 1.
        engine_memory: what a loaded session holds besides tensors; the engine's code is not counted.
        latency_std: relative standard deviation of a predicted latency, 0.3 for "one in three is more than 30 % off";
            None where nobody stated it. A few-shot table knows better.
        energy: of an inference; None where no figure could be had.
        machine: processor, engine version and threads of a measured profile; "" unless measured.
        prediction_error: mean absolute relative error of latencies on held-out subnets; measured profiles only, as are
            all that follow.
        repeatability_p95: 95th percentile over networks of the difference between odd and even rounds of measuring.
        measured_on: the day.
        spread: of single runs.
        load: time to load a file.
        peak: of the machine.
        table: of latencies; for its model space it stands in the place of `kernels`.
        rows: measurements that stand behind a few-shot profile.
    """

    kernels: dict[KernelKind, KernelCost]
    run_overhead_us: TimeFigure
    arena_ratio: Figure
    engine_memory: SizeFigure
    latency_std: Figure | None = None
    energy: EnergyCost | None = None
    machine: str = ""
    prediction_error: _NotNegative | None = None
    repeatability_p95: _NotNegative | None = None
    measured_on: date | None = None
    spread: RunSpread | None = None
    load: LoadCost | None = None
    peak: MachinePeak | None = None
    table: TableReference | None = None
    rows: Annotated[int, Field(ge=1)] | None = None

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
            raise ValueError(f"no entry for {', '.join(absent)}; needed: {', '.join(KERNEL_KINDS)}")
        for kind in KERNEL_KINDS:
            computes = kind in COMPUTE_KINDS
            if computes and kernels[kind].gmacs_per_s is None:
                raise ValueError(f"{kind} has no gmacs_per_s; all of {', '.join(COMPUTE_KINDS)} need one")
            if not computes and kernels[kind].gmacs_per_s is not None:
                raise ValueError(f"{kind} has a gmacs_per_s, but only {', '.join(COMPUTE_KINDS)} compute; remove it")
        return {kind: kernels[kind] for kind in KERNEL_KINDS}


class DeviceProfile(Document):
    """A class of devices: facts, default budgets, cost parameters, and the provenance of every number.

    Attributes:
        engine: name of the inference engine that the costs are for.
        threads: that the engine uses.
        budgets: defaults; a target may override them.
    """

    name: _Name
    description: str
    selectors: Selectors
    engine: _Name = "onnxruntime"
    compute_unit: ComputeUnit = "cpu"
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    precision: Precision = "fp32"
    budgets: Budgets = Budgets()
    costs: CostParameters

    @property
    def latency_provenance(self) -> Provenance:
        """The weakest provenance among the figures that a latency is predicted from."""
        if self.costs.table is not None:
            return self.costs.table.provenance
        found = [p for kernel in self.costs.kernels.values() for p in kernel.provenances()]
        return max([*found, self.costs.run_overhead_us.provenance], key=PROVENANCES.index)

    @property
    def energy_provenance(self) -> Provenance | None:
        """The weakest provenance among the figures that an energy is predicted from; None without them."""
        energy = self.costs.energy
        if energy is None:
            return None
        figures = (energy.pj_per_mac, energy.pj_per_byte, energy.running_mw)
        return max([self.latency_provenance, *(figure.provenance for figure in figures)], key=PROVENANCES.index)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundProfile:
    """A profile, where it was found, and the digest of its content.

    Attributes:
        origin: `file profiles/mine.yaml` or `shipped midrange`.
        digest: of the parsed content: comments and formatting do not change it.
        table: its latency table, if it has one.
    """

    profile: DeviceProfile
    origin: str
    digest: str
    table: LatencyTable | None = None


def profile_name(path: Path) -> str:
    """The name of a profile that is written to `path`: that of the file, in small letters.

    Raises:
        ConfigError: it cannot be one.
    """
    name = path.stem.lower()
    if not re.fullmatch(_NAME_PATTERN, name):
        raise ConfigError(
            f"{path}: {name!r} cannot name a profile; choose an --output of letters, digits, dots, dashes, underscores"
        )
    return name


def shipped_profiles() -> tuple[str, ...]:
    """The names of the profiles that come with the package, sorted."""
    return tuple(sorted(path.stem for path in SHIPPED_FOLDER.glob("*.yaml")))


def find_profile(name_or_path: str, folder: Path, *, typed: bool = True) -> FoundProfile:
    """The profile that a person means by `name_or_path`; `folder` is that of the config.

    First match wins: a file of that path, relative to the working directory if a person `typed` it there, then to
    `folder`; for a bare name `folder/profiles/<name>.yaml`; a shipped profile of that name, which
    `profiles/<name>.yaml` also names.

    Raises:
        ConfigError: nothing of that name, or the file or its latency table is faulty.
    """
    given = Path(name_or_path)
    is_bare = given.name == name_or_path and not given.suffix
    candidates = [
        *([given] if typed else []),
        folder / given,
        *([folder / "profiles" / f"{name_or_path}.yaml"] if is_bare else []),
    ]
    for path in candidates:
        if path.is_file():
            return _found(path, f"file {path}")
    name = given.stem if given.parent.name == "profiles" and given.suffix == ".yaml" else name_or_path
    if name in shipped_profiles():
        return _found(SHIPPED_FOLDER / f"{name}.yaml", f"shipped {name}")
    raise ConfigError(
        f"device profile {name_or_path!r} is no file and no shipped profile; {nearest(name, _known_names(folder))}"
    )


def digest_of_profile(profile: DeviceProfile) -> str:
    """The digest of a profile's content."""
    return digest_of(profile.model_dump(mode="json"))


def _known_names(folder: Path) -> set[str]:
    return {*shipped_profiles(), *(path.stem for path in (folder / "profiles").glob("*.yaml"))}


def _found(path: Path, origin: str) -> FoundProfile:
    profile = load_document(path, DeviceProfile)
    reference = profile.costs.table
    table = None if reference is None else read_table(path.with_name(reference.file), reference.sha256)
    return FoundProfile(profile=profile, origin=origin, digest=digest_of_profile(profile), table=table)
