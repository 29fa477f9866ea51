"""A modelled profile of this machine: only its peak and its bandwidth are measured, in about a second."""

from __future__ import annotations

import os

from device_profiles.engine import Precision
from device_profiles.measuring.host_facts import clock_ghz, has_int8_dot_products, processor, ram_bytes, selectors_of
from device_profiles.measuring.host_peak import measure_peak
from device_profiles.modelling.soc import SheetFigure, SocSheet, find_sheet
from factory_base.errors import ConfigError

HOST = "host"
"""The name that stands for this machine."""

_WITH_DOT_PRODUCTS, _WITHOUT = 4, 2
"""How many times as many multiply-adds of 8 bits as of float32 a vector instruction does."""


def host_sheet(*, threads: int = 1, precision: Precision = "fp32", engine: str = "onnxruntime") -> SocSheet:
    """The sheet of this machine, its peak and streamed bandwidth measured with so many threads.

    Raises:
        ConfigError: more threads than cores.
    """
    cores = os.cpu_count() or 1
    if not 1 <= threads <= cores:
        raise ConfigError(f"{threads} threads cannot be measured on this machine; choose 1 to {cores}")
    assumed = find_sheet(HOST)
    if assumed.cpu is None:
        raise ConfigError(f"the shipped sheet {HOST} has no cpu")
    peak, clock = measure_peak(threads), clock_ghz()
    wider = _WITH_DOT_PRODUCTS if has_int8_dot_products() else _WITHOUT
    lanes = assumed.cpu.fp32_lanes
    counted = f"{threads} thread{'s' if threads > 1 else ''}"
    cpu = {
        "cores": threads,
        "clock_ghz": assumed.cpu.clock_ghz if clock is None else _measured(clock, "told by the operating system"),
        "int8_lanes": lanes.model_copy(update={"value": lanes.value * wider}),
        "gmacs_per_s": _measured(peak.gmacs_per_s, f"large product of float32 matrices in torch, {counted}"),
    }
    streamed = _measured(peak.gbytes_per_s, f"copy of what no cache holds in torch, {counted}")
    return assumed.model_copy(
        update={
            "description": f"This machine, modelled from its measured peak and bandwidth: {processor()}.",
            "soc": processor(),
            "selectors": selectors_of("linux", os.cpu_count() or 1, ram_bytes()),
            "engine": engine,
            "precision": precision,
            "cpu": assumed.cpu.model_copy(update=cpu),
            "memory": assumed.memory.model_copy(update={"streamed_gbytes_per_s": streamed}),
        }
    )


def _measured(value: float, source: str) -> SheetFigure:
    return SheetFigure(value=value, provenance="measured", source=source)
