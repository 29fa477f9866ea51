"""How the C library manages the memory of this process."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Parameters of `mallopt`, from malloc.h of glibc."""
_LARGEST_KEPT, _NEVER_TRIMMED = 1 << 30, (1 << 31) - 1
"""Blocks of up to 1 GiB come from the heap, which covers the tensors of a step. The heap is given back to the system
only when more is free than the largest value of the parameter, which is an int."""


def keep_freed_memory() -> None:
    """Let glibc keep large freed blocks: page faults of fresh memory took up to half of a training step on CPUs.

    With another C library this does nothing.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT)
        mallopt(_M_TRIM_THRESHOLD, _NEVER_TRIMMED)
