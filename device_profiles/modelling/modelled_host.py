"""A modelled profile of this machine, for which only the peak and the bandwidth are measured, in about a second."""

from __future__ import annotations

from device_profiles.measuring.host_facts import clock_ghz, has_int8_dot_products, processor, ram_bytes, selectors_of
from device_profiles.measuring.host_peak import measure_peak
from device_profiles.modelling.soc import SheetFigure, SocSheet, find_sheet
from factory_base.errors import ConfigError
from factory_base.processors import usable_cores
from factory_base.wording import counted

HOST = "host"
"""Name of the profile of this machine."""

_WITH_DOT_PRODUCTS, _WITHOUT = 4, 2
"""8-bit over float32 multiply-adds of one vector instruction: a dot product takes four 8-bit values in the place of one
float32; without it, values are widened to 16 bits first."""


def host_sheet(*, threads: int = 1, engine: str = "onnxruntime") -> SocSheet:
    """Return the sheet of this machine, with its peak and streamed bandwidth measured.

    Args:
        threads: Threads to measure with, 1 to the number of processors that this process may use.
        engine: Engine that the sheet names.

    Raises:
        ConfigError: `threads` is out of range.
    """
    cores = usable_cores()
    if not 1 <= threads <= cores:
        raise ConfigError(f"{threads} threads cannot be measured on this machine; choose 1 to {cores}")
    assumed = find_sheet(HOST)
    if assumed.cpu is None:
        raise ConfigError(f"the shipped sheet {HOST} has no section cpu; install the package again")
    peak, clock = measure_peak(threads), clock_ghz()
    wider = _WITH_DOT_PRODUCTS if has_int8_dot_products() else _WITHOUT
    lanes = assumed.cpu.fp32_lanes
    used = counted(threads, "thread")
    cpu = {
        "cores": threads,
        "clock_ghz": assumed.cpu.clock_ghz if clock is None else _measured(clock, "reported by the operating system"),
        "int8_lanes": lanes.model_copy(update={"value": lanes.value * wider}),
        "gmacs_per_s": _measured(peak.gmacs_per_s, f"best float32 product or convolution in torch, {used}"),
    }
    streamed = _measured(peak.gbytes_per_s, f"copy that is too large for the caches in torch, {used}")
    return assumed.model_copy(
        update={
            "description": f"This machine, modelled from its measured peak and bandwidth: {processor()}.",
            "soc": processor(),
            "selectors": selectors_of("linux", cores, ram_bytes()),
            "engine": engine,
            "cpu": assumed.cpu.model_copy(update=cpu),
            "memory": assumed.memory.model_copy(update={"streamed_gbytes_per_s": streamed}),
        }
    )


def _measured(value: float, source: str) -> SheetFigure:
    return SheetFigure(value=value, provenance="measured", source=source)
