"""Sheets of published figures of a system on a chip (SoC): what a modelled profile is computed from. Imports no torch.

Sheets are YAML; the shipped ones lie in `device_profiles/socs/`. Each figure states where it comes from. Values that no
chip has are refused with the unit that they look like.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from device_profiles.budgets import Budgets
from device_profiles.engine import Precision
from device_profiles.modelling.core_classes import CORE_CLASSES, CoreClass
from device_profiles.modelling.plausible import PLAUSIBLE
from device_profiles.profile import Selectors
from factory_base.documents import Document, load_document, nearest
from factory_base.errors import ConfigError

SHEETS_FOLDER = Path(__file__).parents[1] / "socs"

SheetProvenance = Literal["measured", "published", "unchecked", "assumed"]
"""`published`: read in the source; `unchecked`: published, but written here from general knowledge without looking it
up; `assumed`: nobody published it."""

DramKind = Literal["DDR3L", "DDR4", "DDR5", "LPDDR3", "LPDDR4", "LPDDR4X", "LPDDR5", "LPDDR5X"]

_RATES: dict[DramKind, tuple[int, int]] = {
    "DDR3L": (800, 2133), "DDR4": (1600, 3200), "DDR5": (3200, 8800), "LPDDR3": (1066, 2133), "LPDDR4": (1600, 3733),
    "LPDDR4X": (2400, 4267), "LPDDR5": (3500, 6400), "LPDDR5X": (6400, 10_700),
}  # fmt: skip
"""MT/s that chips use with each kind: a clock in MHz, half of it, lies below."""


_ACCELERATOR_GMACS = {"gpu": 5.0, "npu": 100.0}
"""Smallest believable peak: below, a figure was written in TFLOPS or TOPS."""


class SheetFigure(Document):
    """A positive number with its origin; the unit is in the name of the key that holds it."""

    value: Annotated[float, Field(gt=0)]
    provenance: SheetProvenance
    source: Annotated[str, Field(min_length=1)]


class _Section(Document):
    """A section whose figures are checked against `PLAUSIBLE`, and its class of core against the known ones."""

    @field_validator("*")
    @classmethod
    def _is_plausible(cls, value: object, info: ValidationInfo) -> object:
        if isinstance(value, SheetFigure) and info.field_name in PLAUSIBLE:
            PLAUSIBLE[info.field_name].check(value.value)
        return value


class CpuSection(_Section):
    """The cores that the engine uses, all alike.

    Attributes:
        core: a class of `CORE_CLASSES`.
        cores: used, as many as threads.
        clock_ghz: of these cores while they work.
        fp32_lanes: float32 multiply-adds of one core in one cycle.
        int8_lanes: 8-bit multiply-adds of one core in one cycle; needed for int8 alone.
        gmacs_per_s: 10^9 float32 multiply-adds per second that these cores reach together, where it was measured; then
            it stands in the place of cores x clock x lanes.
    """

    core: str
    cores: Annotated[int, Field(ge=1, le=1024)]
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
        core: a class of `CORE_CLASSES`.
        gmacs_per_s: 10^9 multiply-adds per second at the sheet's precision: half of the published operations.
    """

    core: str
    gmacs_per_s: SheetFigure

    @field_validator("core")
    @classmethod
    def _is_of_an_accelerator(cls, core: str) -> str:
        return _known_core(core, ("gpu", "npu"))

    @model_validator(mode="after")
    def _is_no_tera(self) -> AcceleratorSection:
        unit, peak = CORE_CLASSES[self.core].compute_unit, self.gmacs_per_s.value
        low = _ACCELERATOR_GMACS[unit]
        if peak < low:
            raise ValueError(
                f"gmacs_per_s {peak:g} is implausible for the unit {unit}, at least {low:g} is expected; it looks like "
                "TFLOPS or TOPS: write 500 for 1 TOPS"
            )
        return self


class MemorySection(_Section):
    """The memory that all units share: its bus, or what the cores reach of it.

    Attributes:
        kind: of memory.
        bus_bits: width of all channels together.
        rate_mt_per_s: 10^6 transfers per second of one pin; twice the clock of double data rate.
        streamed_gbytes_per_s: 10^9 bytes per second that the cores used read and write, where it is known better than
            from the bus.
    """

    kind: DramKind | None = None
    bus_bits: SheetFigure | None = None
    rate_mt_per_s: SheetFigure | None = None
    streamed_gbytes_per_s: SheetFigure | None = None

    @model_validator(mode="after")
    def _is_told_once(self) -> MemorySection:
        bus = [figure is not None for figure in (self.bus_bits, self.rate_mt_per_s)]
        if self.streamed_gbytes_per_s is None and not all(bus):
            raise ValueError("write bus_bits and rate_mt_per_s, or streamed_gbytes_per_s alone")
        if self.streamed_gbytes_per_s is not None and any(bus):
            raise ValueError("streamed_gbytes_per_s stands in the place of bus_bits and rate_mt_per_s; remove these")
        return self

    @model_validator(mode="after")
    def _is_a_rate_of_its_kind(self) -> MemorySection:
        if self.kind is not None and self.rate_mt_per_s is not None:
            (low, high), rate = _RATES[self.kind], self.rate_mt_per_s.value
            if not low <= rate <= high:
                raise ValueError(
                    f"rate_mt_per_s {rate:g} is implausible for {self.kind}, {low} to {high} MT/s are known; a clock "
                    "in MHz is half of the rate: write 4266 for 2133 MHz"
                )
        return self


class EnergySection(_Section):
    """What an energy is computed from; only of classes of cores whose instructions have a known price.

    Attributes:
        process_nm: node of the process, nanometres.
        running_mw: milliwatt of one core while it runs, above an idle device.
        dram_pj_per_bit: picojoule to move one bit between memory and chip.
    """

    process_nm: SheetFigure
    running_mw: SheetFigure
    dram_pj_per_bit: SheetFigure


class SocSheet(Document):
    """Published figures of one SoC, and the device class that it stands for.

    Attributes:
        name: of the profile.
        soc: the chip whose figures these are, in words.
        selectors: of the profile, as are the following.
        cpu: the cores used; either this or `accelerator`.
        energy: None where no figure could be had.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
    description: str
    soc: Annotated[str, Field(min_length=1)]
    selectors: Selectors
    engine: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")] = "onnxruntime"
    precision: Precision = "fp32"
    budgets: Budgets = Budgets()
    cpu: CpuSection | None = None
    accelerator: AcceleratorSection | None = None
    memory: MemorySection
    energy: EnergySection | None = None

    @model_validator(mode="after")
    def _is_of_one_unit(self) -> SocSheet:
        if (self.cpu is None) == (self.accelerator is None):
            raise ValueError("write one of cpu and accelerator: a profile is of one compute unit")
        if self.cpu is not None and self.precision == "int8" and self.cpu.int8_lanes is None:
            raise ValueError("precision int8 needs cpu.int8_lanes")
        if self.core.bytes_per_cycle is None and self.cpu is not None and self.memory.streamed_gbytes_per_s is None:
            raise ValueError(
                f"what {self.cpu.core} cores stream is not known from the bus; write memory.streamed_gbytes_per_s"
            )
        if self.energy is not None and self.core.instruction_pj is None:
            raise ValueError("energy: only of CPU cores that a table prices; remove the section")
        return self

    @property
    def core(self) -> CoreClass:
        """The class of the processors used."""
        section = self.cpu or self.accelerator
        if section is None:
            raise ConfigError(f"{self.name}: has neither cpu nor accelerator")
        return CORE_CLASSES[section.core]

    def figures(self) -> dict[str, SheetFigure]:
        """All figures by their place, in the order of the sheet."""
        sections = {"cpu": self.cpu, "accelerator": self.accelerator, "memory": self.memory, "energy": self.energy}
        return {
            f"{name}.{key}": value
            for name, section in sections.items()
            if section is not None
            for key, value in section
            if isinstance(value, SheetFigure)
        }


def shipped_sheets() -> tuple[str, ...]:
    """The names of the sheets that come with the package, sorted."""
    return tuple(sorted(path.stem for path in SHEETS_FOLDER.glob("*.yaml")))


def find_sheet(name_or_path: str) -> SocSheet:
    """The sheet that a person means: a file, else a shipped one of that name.

    Raises:
        ConfigError: nothing of that name, or the file is faulty.
    """
    path = Path(name_or_path)
    if path.is_file():
        return load_document(path, SocSheet)
    if name_or_path in shipped_sheets():
        return load_document(SHEETS_FOLDER / f"{name_or_path}.yaml", SocSheet)
    raise ConfigError(
        f"SoC sheet {name_or_path!r} is no file and no shipped sheet; {nearest(path.stem, shipped_sheets())}"
    )


def _known_core(core: str, units: tuple[str, ...]) -> str:
    known = [name for name, core_class in CORE_CLASSES.items() if core_class.compute_unit in units]
    if core not in known:
        raise ValueError(f"{core!r} is no class of core of a {' or '.join(units)}; {nearest(core, known)}")
    return core
