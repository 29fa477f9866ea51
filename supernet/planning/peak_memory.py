"""The peak memory of a piece of work, measured in the process that does it."""

from __future__ import annotations

import ctypes
import gc
import sys
from pathlib import Path

import torch

from factory_base.machine_memory import usable_memory

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # proc(5): resets the peak of the resident memory to its current size


class PeakMemory:
    """Measures the peak memory since it was created.

    On a GPU this is the memory that PyTorch has reserved, without the driver's context (some hundred MiB). On a CPU
    under Linux it is the resident memory of this process, including code and data but not its child processes. Memory
    that was freed before is given back first, so that it does not count.

    Args:
        device: Device on which the work computes.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        give_back_freed_memory(device)
        self._known = True
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        else:
            self._known = _reset_peak()

    def bytes(self) -> int | None:
        """The peak so far; None if the system does not report it."""
        if not self._known:
            return None
        return torch.cuda.max_memory_reserved(self._device) if self._device.type == "cuda" else _peak_resident()


def give_back_freed_memory(device: torch.device) -> None:
    """Give back the memory that Python, the C library (glibc) and PyTorch on `device` keep for later use."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def total_memory(device: torch.device) -> int:
    """Bytes of the GPU's memory, or of the machine's memory that this process may use."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return usable_memory()


def _reset_peak() -> bool:
    try:
        _CLEAR_REFS.write_text(_RESET_PEAK, encoding="ascii")
    except OSError:
        return False
    return _peak_resident() is not None


def _peak_resident() -> int | None:
    lines = _STATUS.read_text(encoding="ascii").splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)  # in KiB
