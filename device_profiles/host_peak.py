"""The most that this machine reaches: what utilisation is a share of."""

from __future__ import annotations

import time
from collections.abc import Callable

from device_profiles.profile import MachinePeak

_SIDE = 1024
"""Of the square matrices: large enough to amortise packing, small enough for the second cache."""

_COPIED_BYTES = 256 * 2**20
"""More than any cache holds."""

_TRIES = 9


def measure_peak(threads: int) -> MachinePeak:
    """The best of some products of float32 matrices, and of some copies, with `threads` threads. Takes seconds."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        left, right = torch.ones(_SIDE, _SIDE), torch.ones(_SIDE, _SIDE)
        product = torch.empty(_SIDE, _SIDE)
        multiply = _best_seconds(lambda: torch.mm(left, right, out=product))
        source = torch.ones(_COPIED_BYTES // 4)
        target = torch.empty_like(source)
        copy = _best_seconds(lambda: target.copy_(source))
    finally:
        torch.set_num_threads(before)
    return MachinePeak(
        gmacs_per_s=float(f"{_SIDE**3 / multiply / 1e9:.4g}"),
        gbytes_per_s=float(f"{2 * _COPIED_BYTES / copy / 1e9:.4g}"),
    )


def _best_seconds(work: Callable[[], object]) -> float:
    times = []
    for _ in range(_TRIES):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)
