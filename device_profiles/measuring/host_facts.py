"""Facts that the operating system reports about this machine."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from device_profiles.profile import RAM_CLASSES, Platform, Selectors, ram_class


def processor() -> str:
    """The name of this machine's processor."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def clock_ghz() -> float | None:
    """The present clock of this machine's first core in GHz; None if the system does not report it."""
    try:
        return float(_cpuinfo("cpu MHz")) / 1e3
    except ValueError:
        return None


def has_int8_dot_products() -> bool:
    """Whether the processor has vector instructions that multiply and add four pairs of 8-bit integers at once."""
    return not {"avx512_vnni", "avx_vnni", "asimddp"}.isdisjoint((_cpuinfo("flags") or _cpuinfo("Features")).split())


def ram_bytes() -> int:
    """The RAM of this machine in bytes, as its kernel reports it."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def selectors_of(platform: Platform, cores: int, ram_bytes: int) -> Selectors:
    """Selectors for machines like this one: its platform, at least as many cores, the same class of RAM."""
    size = ram_class(ram_bytes)
    larger = [known for known in RAM_CLASSES if known > size]
    limits = {"ram_class_min": f"{size} B"} | ({"ram_class_max": f"{larger[0]} B"} if larger else {})
    return Selectors.model_validate({"platform": platform, "cores_min": cores, **limits})


def _cpuinfo(key: str) -> str:
    """The first value of `key` in Linux's /proc/cpuinfo, or ""."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    found = (line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == key)
    return next(found, "")
