"""From a sheet of published figures to a device profile: a roofline for each kind of kernel. Imports no torch.

    rate of a kind      = peak x efficiency of that kind on this class of core
    streamed bandwidth  = minimum of what the cores can have in flight and of their share of the bus
    bandwidth of a kind = streamed bandwidth x factor for bytes that come from a cache
    overhead of a call  = cycles to prepare it / clock

All shares are in `core_classes`. Results are rounded to two digits, since they are not more accurate than that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from device_profiles.engine import ComputePrecision
from device_profiles.modelling.core_classes import INT8_FLOAT_SHARE, INT8_SHARE, MOVING_SHARE, SCALING, CoreClass
from device_profiles.modelling.soc import SheetFigure, SocSheet
from device_profiles.profile import DeviceProfile
from device_profiles.profile_costs import (
    CostParameters,
    EnergyCost,
    Figure,
    KernelCost,
    Provenance,
    SizeFigure,
    TimeFigure,
)
from device_profiles.workload.operators import COMPUTE_KINDS, KERNEL_KINDS, KernelKind
from factory_base.errors import ConfigError

T = TypeVar("T")

# These numbers carry their own sources, which every modelled profile repeats.
_ARENA_RATIO = Figure(value=1.75, provenance="modelled", source="largest of six MobileNet subnets, onnxruntime, x86")
_INT8_ARENA_RATIO = Figure(
    value=3.1,
    provenance="modelled",
    source="largest of 40 MobileNet subnets with ReLU, smallest 1.2; up to 7.2 with hard-swish; onnxruntime, x86",
)
_ENGINE_MEMORY = SizeFigure.model_validate(
    {"value": "512 KiB", "provenance": "assumed", "source": "of one session, without the library"}
)

_ARITHMETIC_PJ: dict[ComputePrecision, float] = {"fp32": 3.7 + 0.9, "int8": 0.2 + 0.1}
"""Picojoules of one multiplication and one addition (for int8, into 32 bits) in 45 nm at 0.9 V. Source: Horowitz,
"Computing's energy problem", ISSCC 2014."""

_REFERENCE_NM = 45
"""Process node of Horowitz's figures."""

_INSTRUCTIONS_PER_FMA = 2
"""Vector instructions for each multiply-add: itself, and about one for loads, pointers and loops. Assumed."""

_VECTOR_LANES: dict[ComputePrecision, int] = {"fp32": 4, "int8": 16}
"""Lanes of one vector instruction of 128 bits, the width on Arm cores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bound:
    """One line of a roofline: its value, where it comes from, and how it was computed."""

    value: float
    provenance: Provenance
    arithmetic: str


def profile_of(sheet: SocSheet, precisions: Sequence[ComputePrecision] = ()) -> DeviceProfile:
    """Return the modelled profile of a sheet.

    Args:
        sheet: The sheet.
        precisions: Precisions that the profile has costs in; if empty, all that the sheet has figures for.

    Raises:
        ConfigError: The sheet lacks a figure that its class of core, or a precision, needs.
    """
    first, *others = _chosen(sheet, precisions)
    return DeviceProfile(
        name=sheet.name,
        description=sheet.description,
        selectors=sheet.selectors,
        engine=sheet.engine,
        compute_unit=sheet.core.compute_unit,
        threads=sheet.cpu.cores if sheet.cpu is not None else 1,
        precision=first,
        budgets=sheet.budgets,
        costs=_costs(sheet, first),
        more_costs={precision: _costs(sheet, precision) for precision in others},
    )


def comment_of(sheet: SocSheet, precisions: Sequence[ComputePrecision] = ()) -> list[str]:
    """Return the comment above a modelled profile: how it was computed, and every figure with its source."""
    return [
        "Computed by `factory profile --modelled`: change the sheet, not this file. Figures are published (read in the",
        "source), unchecked (published, but written from general knowledge), measured or assumed.",
        *explained(sheet, precisions),
    ]


def explained(sheet: SocSheet, precisions: Sequence[ComputePrecision] = ()) -> list[str]:
    """Return what a profile rests on, line by line: the chip, the arithmetic, every figure with its source."""
    streamed, overhead = _streamed(sheet), _overhead(sheet)
    peaks = [_peak(sheet, precision) for precision in _chosen(sheet, precisions)]
    return [
        f"Chip: {sheet.soc}.",
        *(f"Peak: {peak.arithmetic} = {_short(peak.value)} GMAC/s." for peak in peaks),
        f"Streamed: {streamed.arithmetic} = {_short(streamed.value)} GB/s.",
        f"Overhead of a call: {overhead.arithmetic} = {_short(overhead.value)} us.",
        *(f"{place}: {f.value:g}, {f.provenance}: {f.source}." for place, f in sheet.figures().items()),
    ]


def _chosen(sheet: SocSheet, precisions: Sequence[ComputePrecision]) -> tuple[ComputePrecision, ...]:
    """The precisions of a profile, the sheet's own first."""
    missing = [precision for precision in precisions if precision not in sheet.precisions]
    if missing:
        lacks = "cpu.int8_lanes" if sheet.cpu is not None else f"an accelerator with figures in {missing[0]}"
        raise ConfigError(
            f"the sheet {sheet.name} has no figures for {missing[0]}, but for {', '.join(sheet.precisions)}: it lacks "
            f"{lacks}; write a sheet with them"
        )
    return tuple(precision for precision in sheet.precisions if not precisions or precision in precisions)


def _costs(sheet: SocSheet, precision: ComputePrecision) -> CostParameters:
    peak, streamed, overhead = _peak(sheet, precision), _streamed(sheet), _overhead(sheet)
    core = sheet.core
    return CostParameters(
        kernels={kind: _kernel(kind, core, precision, peak, streamed, overhead) for kind in KERNEL_KINDS},
        run_overhead_us=TimeFigure(
            value=_two_digits(overhead.value * core.run_calls),
            provenance=overhead.provenance,
            source=f"{core.run_calls:g} times the overhead of one call",
        ),
        arena_ratio=_INT8_ARENA_RATIO if _is_int8_on_cpu(core, precision) else _ARENA_RATIO,
        engine_memory=_ENGINE_MEMORY,
        latency_std=_latency_std(core, (peak, streamed, overhead)),
        energy=_energy(sheet, precision),
    )


def _peak(sheet: SocSheet, precision: ComputePrecision) -> _Bound:
    if sheet.accelerator is not None:
        figure = sheet.accelerator.gmacs_per_s
        return _Bound(value=figure.value, provenance=_weakest(figure), arithmetic=f"stated in {precision}")
    cpu = _present(sheet.cpu, "cpu")
    lanes = cpu.fp32_lanes if precision == "fp32" else _present(cpu.int8_lanes, "cpu.int8_lanes")
    if cpu.gmacs_per_s is not None:
        wider = lanes.value / cpu.fp32_lanes.value
        words = "stated in float32" + (f" x {wider:g} for {precision} lanes" if wider != 1 else "")
        provenance = _weakest(cpu.gmacs_per_s, *([lanes] if wider != 1 else []))
        return _Bound(value=cpu.gmacs_per_s.value * wider, provenance=provenance, arithmetic=words)
    scaling = 1.0 if cpu.cores == 1 else SCALING
    shared = "" if cpu.cores == 1 else f" x {scaling:g} scaling"
    cores = f"{cpu.cores} {cpu.core} x {cpu.clock_ghz.value:g} GHz"
    return _Bound(
        value=cpu.cores * cpu.clock_ghz.value * lanes.value * scaling,
        provenance=_weakest(cpu.clock_ghz, lanes),
        arithmetic=f"{cores} x {lanes.value:g} {precision} lanes{shared}",
    )


def _streamed(sheet: SocSheet) -> _Bound:
    core, memory = sheet.core, sheet.memory
    if memory.streamed_gbytes_per_s is not None:
        figure = memory.streamed_gbytes_per_s
        return _Bound(value=figure.value, provenance=_weakest(figure), arithmetic="stated in the sheet")
    bits, rate = _present(memory.bus_bits, "memory.bus_bits"), _present(memory.rate_mt_per_s, "memory.rate_mt_per_s")
    of_bus = bits.value * rate.value / 8e3 * core.bus_share
    bus = _Bound(
        value=of_bus,
        provenance=_weakest(bits, rate),
        arithmetic=f"{bits.value:g} bit x {rate.value:g} MT/s x {core.bus_share:g} of the bus",
    )
    if sheet.cpu is None or core.bytes_per_cycle is None:
        return bus
    cores, clock = sheet.cpu.cores, sheet.cpu.clock_ghz
    own = _Bound(
        value=cores * clock.value * core.bytes_per_cycle,
        provenance=_weakest(clock),
        arithmetic=f"{cores} {sheet.cpu.core} x {clock.value:g} GHz x {core.bytes_per_cycle:g} bytes per cycle",
    )
    return min(bus, own, key=lambda bound: bound.value)


def _overhead(sheet: SocSheet) -> _Bound:
    core = sheet.core
    if core.call_us is not None:
        words = f"{core.call_us:g} us assumed to enqueue and await a kernel of a {core.compute_unit}"
        figure = _present(sheet.accelerator, "accelerator").gmacs_per_s
        return _Bound(value=core.call_us, provenance=_weakest(figure), arithmetic=words)
    clock = _present(sheet.cpu, "cpu").clock_ghz
    cycles = _present(core.call_cycles, "call_cycles")
    words = f"{cycles:g} assumed cycles of dispatch / {clock.value:g} GHz"
    return _Bound(value=cycles / clock.value / 1e3, provenance=_weakest(clock), arithmetic=words)


def _is_int8_on_cpu(core: CoreClass, precision: ComputePrecision) -> bool:
    """Whether kernels compute in int8 beside others in float32; accelerators compile the whole graph to int8."""
    return precision == "int8" and core.compute_unit == "cpu"


def _kernel(
    kind: KernelKind, core: CoreClass, precision: ComputePrecision, peak: _Bound, streamed: _Bound, overhead: _Bound
) -> KernelCost:
    is_int8_on_cpu = _is_int8_on_cpu(core, precision)
    rate = None
    if kind in COMPUTE_KINDS:
        share, less = core.efficiency[kind], INT8_SHARE[kind] if is_int8_on_cpu else 1.0
        rate = Figure(
            value=_two_digits(peak.value * share * less),
            provenance=peak.provenance,
            source=f"{_short(peak.value)} GMAC/s peak x {share:g} assumed efficiency"
            + (f" x {less:g} in int8" if is_int8_on_cpu else ""),
        )
    cached = core.cache_factor if kind in ("conv", "pointwise") else core.other_cache_factor
    cached *= MOVING_SHARE if kind == "pool" else 1
    stays_float = is_int8_on_cpu and kind not in COMPUTE_KINDS
    return KernelCost(
        gmacs_per_s=rate,
        gbytes_per_s=Figure(
            value=_two_digits(streamed.value * cached * (INT8_FLOAT_SHARE if stays_float else 1)),
            provenance=streamed.provenance,
            source=f"{_short(streamed.value)} GB/s streamed x {cached:g} for cache use"
            + (f" x {INT8_FLOAT_SHARE:g} for values in float32" if stays_float else ""),
        ),
        overhead_us=TimeFigure(
            value=_two_digits(overhead.value), provenance=overhead.provenance, source=overhead.arithmetic
        ),
    )


def _latency_std(core: CoreClass, bounds: tuple[_Bound, ...]) -> Figure:
    assumed = any(bound.provenance == "assumed" for bound in bounds)
    words = f"of modelled latencies on a {core.compute_unit}, of which no network was timed"
    return Figure(
        value=min(1.0, core.latency_std * (2 if assumed else 1)),
        provenance="assumed",
        source=f"twice that {words}; at most 1; figures are assumed" if assumed else words,
    )


def _energy(sheet: SocSheet, precision: ComputePrecision) -> EnergyCost | None:
    energy, core = sheet.energy, sheet.core
    if energy is None or sheet.cpu is None or core.instruction_pj is None:
        return None
    arithmetic, scaled = _ARITHMETIC_PJ[precision], energy.process_nm.value / _REFERENCE_NM
    instructions = _INSTRUCTIONS_PER_FMA * core.instruction_pj / _VECTOR_LANES[precision]
    cores = sheet.cpu.cores
    return EnergyCost(
        pj_per_mac=Figure(
            value=_two_digits((arithmetic + instructions) * scaled),
            provenance="assumed",
            source=f"({arithmetic:.2g} pJ arithmetic + {instructions:.3g} pJ instructions in 45 nm, Horowitz, ISSCC "
            f"2014) x {energy.process_nm.value:g}/{_REFERENCE_NM} nm, assumed to scale so",
        ),
        pj_per_byte=Figure(
            value=_two_digits(8 * energy.dram_pj_per_bit.value),
            provenance="assumed",
            source=f"8 x {energy.dram_pj_per_bit.value:g} pJ/bit of {sheet.memory.kind or 'memory'}, no cache counted",
        ),
        running_mw=Figure(
            value=_two_digits(cores * energy.running_mw.value),
            provenance="assumed",
            source=f"{energy.running_mw.value:g} mW for each of {cores} cores: {energy.running_mw.source}",
        ),
    )


def _weakest(*figures: SheetFigure) -> Provenance:
    """`assumed` if a figure is assumed; otherwise `modelled`, since even the shares of measured peaks are assumed."""
    return "assumed" if any(figure.provenance == "assumed" for figure in figures) else "modelled"


def _present(value: T | None, name: str) -> T:
    if value is None:
        raise ConfigError(f"the sheet lacks {name}; add it")
    return value


def _two_digits(value: float) -> float:
    return float(f"{value:.2g}")


def _short(value: float) -> str:
    return f"{_two_digits(value):g}"
