"""Device profiles: the facts of a class of devices, the speed of its kernels, and the provenance of every number.

Imports no torch. Profiles are YAML files; the shipped ones are in `device_profiles/profiles/`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field, field_validator, model_validator

from device_profiles.budgets import Budgets
from device_profiles.engine import COMPUTED_IN, ComputePrecision, Precision
from device_profiles.latency_table import LatencyTable, read_table
from device_profiles.profile_costs import (
    PROVENANCES,
    CostParameters,
    Provenance,
)
from factory_base.documents import Document, load_document, nearest
from factory_base.errors import ConfigError, UnknownNameError
from factory_base.fields import LARGEST_EXACT, Name, Threads, is_name
from factory_base.files import digest_of
from factory_base.quantities import SizeBytes, exact_energy, format_bytes

ComputeUnit = Literal["cpu", "gpu", "npu"]

Platform = Literal["android", "ios", "web", "linux_iot", "linux"]

RAM_CLASSES: tuple[int, ...] = tuple(
    round(gib * 2**30) for gib in (0.25, 0.5, 1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64)
)
"""RAM classes in bytes: the sizes that devices are sold with. A device belongs to the smallest class that is at least
what its kernel reports, since a kernel reports less than is built in."""

SHIPPED_FOLDER = Path(__file__).parent / "profiles"


def ram_class(ram_bytes: int) -> int:
    """Return the RAM class, in bytes, of a device whose kernel reports `ram_bytes`. The last class has no upper end."""
    return next((size for size in RAM_CLASSES if size >= ram_bytes), RAM_CLASSES[-1])


class SocPattern(Document):
    """One system on a chip: a maker and a model. An empty model matches every chip of the maker."""

    maker: Annotated[str, Field(min_length=1)]
    model: str = ""


class DevicePattern(Document):
    """One device: a maker and a model, as the operating system names them. An empty model matches all of the maker."""

    maker: Annotated[str, Field(min_length=1)]
    model: str = ""


FeatureName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.\-]{0,63}$")]
"""A name that a manifest allows: lower-case letters, digits, `_`, `.` and `-`, at most 64."""


class ProbeScore(Document):
    """A measurement that the app makes on a device: its name, and the least score."""

    id: FeatureName
    score: Annotated[int, Field(ge=1, le=LARGEST_EXACT)]


class Selectors(Document):
    """The devices that belong to a profile: every condition that is given must hold.

    Attributes:
        platform: Operating system or environment.
        ram_class_min: Smallest RAM class, inclusive.
        ram_class_max: First RAM class that is too large, exclusive.
        cores_min: Smallest number of CPU cores.
        os_min: Oldest version of the operating system, such as `12.1`; on Android the API level, such as `29`.
        soc_include: If not empty, one of these patterns must match.
        soc_exclude: None of these patterns may match. It overrides `soc_include`.
        device_include: If not empty, one of these devices.
        device_exclude: None of these devices. It overrides `device_include`.
        features_all: Names of what the device must have, which the app reports.
        features_none: Names of what the device must not have.
        probe_min: The least score in a measurement that the app makes.
    """

    platform: Platform
    ram_class_min: SizeBytes | None = None
    ram_class_max: SizeBytes | None = None
    cores_min: Annotated[int, Field(ge=1, le=100_000)] | None = None
    os_min: str | None = None
    soc_include: tuple[SocPattern, ...] = ()
    soc_exclude: tuple[SocPattern, ...] = ()
    device_include: tuple[DevicePattern, ...] = ()
    device_exclude: tuple[DevicePattern, ...] = ()
    features_all: tuple[FeatureName, ...] = ()
    features_none: tuple[FeatureName, ...] = ()
    probe_min: ProbeScore | None = None

    @field_validator("ram_class_min", "ram_class_max")
    @classmethod
    def _is_a_class(cls, size: int | None) -> int | None:
        if size is not None and size not in RAM_CLASSES:
            known = ", ".join(format_bytes(known) for known in RAM_CLASSES)
            raise ValueError(f"{format_bytes(size)} is not a RAM class; choose one of {known}")
        return size

    @field_validator("os_min")
    @classmethod
    def _is_a_version(cls, version: str | None) -> str | None:
        if version is not None and not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9}){0,3}", version):
            raise ValueError(f"{version!r:.80} is not a version; write it in quotes, as in '10' or '12.1'")
        return version

    @model_validator(mode="after")
    def _is_not_empty(self) -> Selectors:
        low, high = self.ram_class_min, self.ram_class_max
        if low is not None and high is not None and low >= high:
            raise ValueError(
                f"ram_class_max {format_bytes(high)} (exclusive) must be above ram_class_min {format_bytes(low)}"
            )
        both = sorted(set(self.features_all) & set(self.features_none))
        if both:
            raise ValueError(f"feature {both[0]!r} is in features_all and in features_none, so no device matches")
        return self


class DeviceProfile(Document):
    """A class of devices: facts, default budgets, cost parameters, and the provenance of every number.

    Attributes:
        name: Name of the profile.
        description: One or two sentences for people.
        selectors: The devices that belong to the profile.
        engine: Name of the inference engine that the costs are for.
        compute_unit: Unit that the engine runs on.
        threads: Threads that the engine uses.
        precision: Precision that kernels compute in, for which `costs` hold.
        budgets: Default budgets; a target may override them.
        costs: Numbers that the cost models use.
        more_costs: The same for further precisions that kernels can compute in on this device.
    """

    name: Name
    description: str
    selectors: Selectors
    engine: Name = "onnxruntime"
    compute_unit: ComputeUnit = "cpu"
    threads: Threads = 1
    precision: ComputePrecision = "fp32"
    budgets: Budgets = Budgets()
    costs: CostParameters
    more_costs: dict[ComputePrecision, CostParameters] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _states_costs_once(self) -> DeviceProfile:
        if self.precision in self.more_costs:
            raise ValueError(
                f"more_costs has costs in {self.precision}, but this is `precision`, whose costs are in `costs`; "
                "remove one of the two"
            )
        return self

    @property
    def all_costs(self) -> dict[ComputePrecision, CostParameters]:
        """The costs by the precision that kernels compute in: those of `precision` first, then the others."""
        return {self.precision: self.costs, **self.more_costs}

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """The precisions of model files that the profile allows: those that compute in a precision it has costs for."""
        return tuple(file for file, computed in COMPUTED_IN.items() if computed in self.all_costs)

    def costs_in(self, precision: ComputePrecision) -> CostParameters:
        """Return the costs of kernels that compute in `precision`.

        Raises:
            ConfigError: The profile has none; the message names the command that adds them.
        """
        costs = self.all_costs.get(precision)
        if costs is None:
            raise ConfigError(
                f"device profile {self.name!r} has no costs in {precision}, but only for files in "
                f"{', '.join(self.precisions)}; {self._way_to(precision)}"
            )
        return costs

    def computing_in(self, precision: ComputePrecision) -> DeviceProfile:
        """Return the profile with `precision` and its costs first. Raises `ConfigError` as `costs_in` does."""
        others = {other: costs for other, costs in self.all_costs.items() if other != precision}
        return self.model_copy(update={"precision": precision, "costs": self.costs_in(precision), "more_costs": others})

    def stating(self, costs: Mapping[ComputePrecision, CostParameters]) -> DeviceProfile:
        """Return the profile with `costs`, of which there is at least one, in place of its own. Float32 comes first."""
        ordered = {precision: costs[precision] for precision in get_args(ComputePrecision) if precision in costs}
        first = next(iter(ordered))
        return self.model_copy(update={"precision": first, "costs": ordered.pop(first), "more_costs": ordered})

    def _way_to(self, precision: ComputePrecision) -> str:
        """The command that adds costs in `precision`."""
        match self.latency_provenance:
            case "measured":
                facts = "" if self.engine == "onnxruntime" else f" --engine {self.engine}"
                facts += "" if self.threads == 1 else f" --threads {self.threads}"
                return f"measure them with `factory profile --precision {precision}{facts}`, on the same machine"
            case "few_shot":
                return "measure networks in this precision, and make another profile of them with `factory onboard`"
            case _:
                sheet = self.name if self.name in shipped_profiles() else "SHEET"
                return (
                    f"compute them with `factory profile --modelled {sheet} --precision {precision}`, from a sheet "
                    f"that states figures for {precision}, or name a profile that has them"
                )

    @property
    def latency_provenance(self) -> Provenance:
        """The weakest provenance among the numbers that a latency in `precision` is predicted from.

        In a fit to measured networks, whose error is stated, the figures of a kind of kernel hold only together, and
        the best provenance among them counts: a kind is not measured only if no network had such a kernel.
        """
        if self.costs.table is not None:
            return self.costs.table.provenance
        found = [p for kernel in self.costs.kernels.values() for p in kernel.provenances()]
        if self.costs.prediction_error is not None:
            kernels = self.costs.kernels.values()
            found = [min(kernel.provenances(), key=PROVENANCES.index) for kernel in kernels]
        return max([*found, self.costs.run_overhead_us.provenance], key=PROVENANCES.index)

    @property
    def energy_provenance(self) -> Provenance | None:
        """The weakest provenance among the numbers that an energy is predicted from; None if there are none."""
        energy = self.costs.energy
        if energy is None:
            return None
        figures = (energy.pj_per_mac, energy.pj_per_byte, energy.running_mw)
        return max([self.latency_provenance, *(figure.provenance for figure in figures)], key=PROVENANCES.index)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundProfile:
    """A profile, where it was found, and the digest of its content.

    Attributes:
        profile: The profile.
        origin: Where it was found: `file profiles/mine.yaml` or `shipped midrange`.
        digest: Digest of the parsed content. Comments and formatting do not change it.
        tables: The profile's latency tables by the precision that kernels compute in; without those it has none for.
    """

    profile: DeviceProfile
    origin: str
    digest: str
    tables: Mapping[ComputePrecision, LatencyTable] = field(default_factory=dict)

    @property
    def table(self) -> LatencyTable | None:
        """The latency table for the profile's `precision`; None if it has none."""
        return self.tables.get(self.profile.precision)

    def for_files_in(self, precision: Precision) -> FoundProfile:
        """Return the profile with the costs and the table first that hold for model files in `precision`.

        Raises:
            ConfigError: The profile has no costs in the precision that such files compute in.
        """
        try:
            profile = self.profile.computing_in(COMPUTED_IN[precision])
        except ConfigError as error:
            raise ConfigError(f"{self.origin}: {error}") from error
        return replace(self, profile=profile)


def profile_name(path: Path) -> str:
    """Return the name of a profile that is written to `path`: the name of the file without its suffix, in lower case.

    Raises:
        ConfigError: The name is not a valid profile name.
    """
    name = path.stem.lower()
    if not is_name(name):
        raise ConfigError(
            f"{path}: {name!r} is not a valid profile name; choose an --output of letters, digits, dots, dashes and "
            "underscores"
        )
    return name


def shipped_profiles() -> tuple[str, ...]:
    """Return the names of the profiles that ship with the package, sorted."""
    return tuple(sorted(path.stem for path in SHIPPED_FOLDER.glob("*.yaml")))


def find_profile(name_or_path: str, folder: Path, *, typed: bool = True) -> FoundProfile:
    """Find the profile that a person means by `name_or_path`.

    The first match is taken, in this order: a file with that path, relative to the working directory (if `typed`) and
    then to `folder`; for a bare name, `folder/profiles/<name>.yaml`; a shipped profile of that name, which
    `profiles/<name>.yaml` also refers to.

    >>> from pathlib import Path
    >>> from device_profiles import find_profile, shipped_profiles
    >>> "midrange" in shipped_profiles()
    True
    >>> found = find_profile("midrange", Path("my_project"))
    >>> found.origin
    'shipped midrange'
    >>> found.profile.compute_unit, found.profile.threads, found.profile.latency_provenance
    ('cpu', 2, 'modelled')
    >>> [limit.describe() for limit in found.profile.budgets.limits()]
    ['latency <= 30 ms', 'peak memory <= 64 MiB', 'file size <= 24 MiB']

    Args:
        name_or_path: Name of a profile, or path of a file.
        folder: Folder of the config.
        typed: Whether a person typed the argument in the working directory, so that paths are relative to it.

    Raises:
        UnknownNameError: No profile has this name.
        ConfigError: The file or its latency table is invalid.
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
    raise UnknownNameError(
        f"device profile {name_or_path!r} is neither a file nor a shipped profile; "
        f"{nearest(name, _known_names(folder))}"
    )


def known_profiles(folder: Path) -> list[FoundProfile]:
    """The profiles in `folder/profiles`, and the shipped ones that they do not replace, by name.

    Raises:
        ConfigError: A profile in the folder is invalid.
    """
    return [find_profile(name, folder, typed=False) for name in sorted(_known_names(folder))]


def check_energy_budget(budgets: Budgets, found: FoundProfile) -> None:
    """Check that the device's profile can predict the energy if `budgets` limit it.

    Raises:
        ConfigError: It has no energy costs.
    """
    if budgets.energy_uj is not None and found.profile.costs.energy is None:
        raise ConfigError(
            f"device profile {found.profile.name!r} ({found.origin}) has no energy costs, which the budget energy: "
            f"{exact_energy(budgets.energy_uj)} needs; add the section costs.energy to the profile (`factory profile "
            "--modelled` computes one from a sheet of the chip), or remove this budget"
        )


def digest_of_profile(profile: DeviceProfile) -> str:
    """Return the digest of a profile's content."""
    return digest_of(profile.model_dump(mode="json"))


def _known_names(folder: Path) -> set[str]:
    return {*shipped_profiles(), *(path.stem for path in (folder / "profiles").glob("*.yaml"))}


def _found(path: Path, origin: str) -> FoundProfile:
    profile = load_document(path, DeviceProfile)
    tables = {
        precision: read_table(path.with_name(costs.table.file), costs.table.sha256)
        for precision, costs in profile.all_costs.items()
        if costs.table is not None
    }
    return FoundProfile(profile=profile, origin=origin, digest=digest_of_profile(profile), tables=tables)
