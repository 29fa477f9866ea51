"""Sheets of published figures of a system on a chip (SoC), from which profiles are modelled. Imports no torch.

Sheets are YAML files; the shipped ones are in `device_profiles/socs/`. Each figure states where it comes from. A value
that no chip has is refused, with the unit that it was probably written in.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from device_profiles.budgets import Budgets
from device_profiles.engine import ComputePrecision
from device_profiles.modelling.core_classes import CORE_CLASSES, CoreClass
from device_profiles.modelling.plausible import PLAUSIBLE
from device_profiles.profile import Selectors
from factory_base.documents import Document, load_document, nearest
from factory_base.errors import ConfigError
from factory_base.fields import Name, Positive, Threads

SHEETS_FOLDER = Path(__file__).parents[1] / "socs"

SheetProvenance = Literal["measured", "published", "unchecked", "assumed"]
"""`measured`: on the device; `published`: read in the source; `unchecked`: published, but written from general
knowledge without looking it up; `assumed`: not published."""

DramKind = Literal["DDR3L", "DDR4", "DDR5", "LPDDR3", "LPDDR4", "LPDDR4X", "LPDDR5", "LPDDR5X"]

_RATES: dict[DramKind, tuple[int, int]] = {
    "DDR3L": (800, 2133), "DDR4": (1600, 3200), "DDR5": (3200, 8800), "LPDDR3": (1066, 2133), "LPDDR4": (1600, 3733),
    "LPDDR4X": (2400, 4267), "LPDDR5": (3500, 6400), "LPDDR5X": (6400, 10_700),
}  # fmt: skip
"""Lowest and highest rate in MT/s that chips use with each kind of memory: its JEDEC speed grades, and faster ones that
makers sell. A clock in MHz, half of the rate, is usually below the range."""

_ACCELERATOR_GMACS = {"gpu": 5.0, "npu": 100.0}
"""Smallest plausible peak. A smaller value was written in TFLOPS or TOPS: the fastest mobile GPUs reach a few TFLOPS,
and the fastest NPUs less than 100 TOPS."""


class SheetFigure(Document):
    """A positive number with its origin. The unit is in the name of the key that holds it."""

    value: Positive
    provenance: SheetProvenance
    source: Annotated[str, Field(min_length=1)]


class _Section(Document):
    """A section whose figures are checked against `PLAUSIBLE`."""

    @field_validator("*")
    @classmethod
    def _is_plausible(cls, value: object, info: ValidationInfo) -> object:
        if isinstance(value, SheetFigure) and info.field_name in PLAUSIBLE:
            PLAUSIBLE[info.field_name].check(value.value)
        return value


class CpuSection(_Section):
    """The CPU cores that the engine uses, all of one kind.

    Attributes:
        core: Class of the cores, a key of `CORE_CLASSES`.
        cores: Number of cores used, which is the number of threads.
        clock_ghz: Clock of these cores while they work.
        fp32_lanes: Float32 multiply-adds of one core in one cycle.
        int8_lanes: 8-bit multiply-adds of one core in one cycle; needed for int8 only.
        gmacs_per_s: 10^9 float32 multiply-adds per second that these cores reach together, if it was measured. It
            replaces cores x clock x lanes.
    """

    core: str
    cores: Threads
    clock_ghz: SheetFigure
    fp32_lanes: SheetFigure
    int8_lanes: SheetFigure | None = None
    gmacs_per_s: SheetFigure | None = None

    @field_validator("core")
    @classmethod
    def _is_of_a_cpu(cls, core: str) -> str:
        return _known_core(core, ("cpu",))


class AcceleratorSection(_Section):
    """A GPU or NPU.

    Attributes:
        core: Class of the accelerator, a key of `CORE_CLASSES`.
        gmacs_per_s: 10^9 multiply-adds per second at the sheet's precision: half of the published operations.
    """

    core: str
    gmacs_per_s: SheetFigure

    @field_validator("core")
    @classmethod
    def _is_of_an_accelerator(cls, core: str) -> str:
        return _known_core(core, ("gpu", "npu"))

    @model_validator(mode="after")
    def _is_not_in_tera(self) -> AcceleratorSection:
        unit, peak = CORE_CLASSES[self.core].compute_unit, self.gmacs_per_s.value
        low = _ACCELERATOR_GMACS[unit]
        if peak < low:
            raise ValueError(
                f"gmacs_per_s {peak:g} is implausible for a {unit}, it should be at least {low:g}; it looks like "
                "TFLOPS or TOPS: write 500 for 1 TOPS"
            )
        return self


class MemorySection(_Section):
    """The memory that all compute units share: its bus, or the bandwidth that the cores reach.

    Attributes:
        kind: Kind of memory.
        bus_bits: Width of all channels together, bits.
        rate_mt_per_s: 10^6 transfers per second of one pin: twice the clock, as data moves on both of its edges.
        streamed_gbytes_per_s: 10^9 bytes per second that the cores in use read and write, if it is known. It replaces
            the bus.
    """

    kind: DramKind | None = None
    bus_bits: SheetFigure | None = None
    rate_mt_per_s: SheetFigure | None = None
    streamed_gbytes_per_s: SheetFigure | None = None

    @model_validator(mode="after")
    def _is_stated_once(self) -> MemorySection:
        bus = [figure is not None for figure in (self.bus_bits, self.rate_mt_per_s)]
        if self.streamed_gbytes_per_s is None and not all(bus):
            raise ValueError("write bus_bits and rate_mt_per_s, or streamed_gbytes_per_s alone")
        if self.streamed_gbytes_per_s is not None and any(bus):
            raise ValueError("streamed_gbytes_per_s replaces bus_bits and rate_mt_per_s; remove these two")
        return self

    @model_validator(mode="after")
    def _is_a_rate_of_its_kind(self) -> MemorySection:
        if self.kind is not None and self.rate_mt_per_s is not None:
            (low, high), rate = _RATES[self.kind], self.rate_mt_per_s.value
            if not low <= rate <= high:
                raise ValueError(
                    f"rate_mt_per_s {rate:g} is implausible for {self.kind}, it should be from {low} to {high} MT/s; a "
                    "clock in MHz is half of the rate: write 4266 for 2133 MHz"
                )
        return self


class EnergySection(_Section):
    """The figures that an energy is computed from; only for classes of cores with a known energy per instruction.

    Attributes:
        process_nm: Process node, nanometres.
        running_mw: Power of one core while it runs, above that of an idle device, milliwatts.
        dram_pj_per_bit: Energy to move one bit between memory and chip, picojoules.
    """

    process_nm: SheetFigure
    running_mw: SheetFigure
    dram_pj_per_bit: SheetFigure


class SocSheet(Document):
    """Published figures of one SoC, and the class of devices that it stands for.

    Attributes:
        name: Name of the profile.
        description: Description of the profile.
        soc: The chip that the figures belong to, in words.
        selectors: Selectors of the profile.
        engine: Engine of the profile.
        precision: First precision of the profile; that of an accelerator's figures.
        budgets: Default budgets of the profile.
        cpu: The CPU cores in use; either this or `accelerator` is given.
        accelerator: The GPU or NPU in use.
        memory: The memory.
        energy: Figures of the energy; None if they are unknown.
    """

    name: Name
    description: str
    soc: Annotated[str, Field(min_length=1)]
    selectors: Selectors
    engine: Name = "onnxruntime"
    precision: ComputePrecision = "fp32"
    budgets: Budgets = Budgets()
    cpu: CpuSection | None = None
    accelerator: AcceleratorSection | None = None
    memory: MemorySection
    energy: EnergySection | None = None

    @model_validator(mode="after")
    def _is_of_one_unit(self) -> SocSheet:
        if (self.cpu is None) == (self.accelerator is None):
            raise ValueError("write either cpu or accelerator: a profile describes one compute unit")
        if self.cpu is not None and self.precision == "int8" and self.cpu.int8_lanes is None:
            raise ValueError("precision int8 needs cpu.int8_lanes")
        if self.core.bytes_per_cycle is None and self.cpu is not None and self.memory.streamed_gbytes_per_s is None:
            raise ValueError(
                f"the bandwidth of {self.cpu.core} cores does not follow from the bus; write "
                "memory.streamed_gbytes_per_s"
            )
        if self.energy is not None and self.core.instruction_pj is None:
            raise ValueError("energy: known only for some classes of CPU cores, not for this one; remove the section")
        return self

    @property
    def core(self) -> CoreClass:
        """The class of the processors in use."""
        section = self.cpu or self.accelerator
        if section is None:
            raise ConfigError(f"{self.name}: the sheet has neither cpu nor accelerator; add one")
        return CORE_CLASSES[section.core]

    @property
    def precisions(self) -> tuple[ComputePrecision, ...]:
        """The precisions that the sheet has figures for, its own first."""
        if self.cpu is None:
            return (self.precision,)
        known: tuple[ComputePrecision, ...] = ("fp32", "int8") if self.cpu.int8_lanes is not None else ("fp32",)
        return (self.precision, *(precision for precision in known if precision != self.precision))

    def figures(self) -> dict[str, SheetFigure]:
        """Return all figures by their place, such as `cpu.clock_ghz`, in the order of the sheet."""
        sections = {"cpu": self.cpu, "accelerator": self.accelerator, "memory": self.memory, "energy": self.energy}
        return {
            f"{name}.{key}": value
            for name, section in sections.items()
            if section is not None
            for key, value in section
            if isinstance(value, SheetFigure)
        }


def shipped_sheets() -> tuple[str, ...]:
    """Return the names of the sheets that ship with the package, sorted."""
    return tuple(sorted(path.stem for path in SHEETS_FOLDER.glob("*.yaml")))


def find_sheet(name_or_path: str) -> SocSheet:
    """Find the sheet that a person means: a file with that path, otherwise a shipped sheet of that name.

    Raises:
        ConfigError: There is no such sheet, or the file is invalid.
    """
    path = Path(name_or_path)
    if path.is_file():
        return load_document(path, SocSheet)
    if name_or_path in shipped_sheets():
        return load_document(SHEETS_FOLDER / f"{name_or_path}.yaml", SocSheet)
    raise ConfigError(
        f"SoC sheet {name_or_path!r} is neither a file nor a shipped sheet; {nearest(path.stem, shipped_sheets())}"
    )


def _known_core(core: str, units: tuple[str, ...]) -> str:
    known = [name for name, core_class in CORE_CLASSES.items() if core_class.compute_unit in units]
    if core not in known:
        raise ValueError(f"{core!r} is not a class of {' or '.join(units)} cores; {nearest(core, known)}")
    return core
