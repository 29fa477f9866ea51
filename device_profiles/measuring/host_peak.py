"""The peak rates of this machine: utilisation is relative to them, and a modelled profile of it starts from them."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from device_profiles.profile import MachinePeak

if TYPE_CHECKING:
    from torch import Tensor

SIDE = 1024
"""Side of the square matrix on the right: large enough to amortise packing, and at 4 MiB small enough for the
caches."""

_ROWS = 128
"""Rows of the matrix on the left: a product takes 3 ms at 40 GMAC/s, so that some attempts are not interrupted."""

COPIED_BYTES = 256 * 2**20
"""Bytes that are copied: more than the caches hold."""

_SLICES = 16
"""Slices of those bytes, copied in turn: each has left the caches before it is copied again."""

ATTEMPTS, _SECONDS = 9, 0.7
"""Fewest attempts, and the shortest duration of all of them in seconds. The best one counts and must be undisturbed.
The duration is seven periods of 0.1 s, at which Linux renews the processor time of a container by default."""


def measure_peak(threads: int) -> MachinePeak:
    """The best of many products of float32 matrices, and of many copies, with `threads` threads. Takes seconds."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        left, right = torch.ones(_ROWS, SIDE), torch.ones(SIDE, SIDE)
        product = torch.empty(_ROWS, SIDE)
        multiply = _best_seconds(lambda: torch.mm(left, right, out=product))
        sources = torch.ones(COPIED_BYTES // 4).chunk(_SLICES)
        targets = torch.empty(COPIED_BYTES // 4).chunk(_SLICES)
        turns = itertools.cycle(zip(sources, targets, strict=True))
        for turn in itertools.islice(turns, _SLICES):
            _copy(turn)  # the system hands out memory at the first touch
        copy = _best_seconds(lambda: _copy(next(turns)))
    finally:
        torch.set_num_threads(before)
    return MachinePeak(
        gmacs_per_s=float(f"{_ROWS * SIDE**2 / multiply / 1e9:.4g}"),
        gbytes_per_s=float(f"{2 * COPIED_BYTES / _SLICES / copy / 1e9:.4g}"),
    )


def _copy(turn: tuple[Tensor, Tensor]) -> None:
    source, target = turn
    target.copy_(source)


def _best_seconds(work: Callable[[], object]) -> float:
    """Seconds of the fastest call."""
    best, attempts, end = float("inf"), 0, time.perf_counter() + _SECONDS
    while attempts < ATTEMPTS or time.perf_counter() < end:
        start = time.perf_counter()
        work()
        best, attempts = min(best, time.perf_counter() - start), attempts + 1
    return best
