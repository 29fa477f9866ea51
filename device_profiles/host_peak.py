"""The most that this machine reaches: what utilisation is a share of."""

from __future__ import annotations

import time
from collections.abc import Callable

from device_profiles.profile import MachinePeak

SIDE = 1024
"""Of the square matrices: large enough to amortise packing, small enough for the second cache."""

COPIED_BYTES = 256 * 2**20
"""More than any cache holds."""

TRIES = 9


def measure_peak(threads: int) -> MachinePeak:
    """The best of some products of float32 matrices, and of some copies, with `threads` threads. Takes seconds."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        left, right = torch.ones(SIDE, SIDE), torch.ones(SIDE, SIDE)
        product = torch.empty(SIDE, SIDE)
        multiply = _best_seconds(lambda: torch.mm(left, right, out=product))
        source = torch.ones(COPIED_BYTES // 4)
        target = torch.empty_like(source)
        copy = _best_seconds(lambda: target.copy_(source))
    finally:
        torch.set_num_threads(before)
    return MachinePeak(
        gmacs_per_s=float(f"{SIDE**3 / multiply / 1e9:.4g}"),
        gbytes_per_s=float(f"{2 * COPIED_BYTES / copy / 1e9:.4g}"),
    )


def _best_seconds(work: Callable[[], object]) -> float:
    times = []
    for _ in range(TRIES):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)
