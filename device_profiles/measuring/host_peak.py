"""The most that this machine reaches: what utilisation is a share of, and what a modelled profile of it rests on."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from device_profiles.profile import MachinePeak

if TYPE_CHECKING:
    from torch import Tensor

SIDE = 1024
"""Of the square matrices: large enough to amortise packing, small enough for the second cache."""

_ROWS = 128
"""Of the left matrix that one try multiplies: it takes some milliseconds, so that some tries are not interrupted."""

COPIED_BYTES = 256 * 2**20
"""More than any cache holds."""

_SLICES = 16
"""Of it, copied in turn: each has left the caches when its turn comes again."""

TRIES, _SECONDS = 9, 0.7
"""At least so many tries, for at least so long."""


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
    """Of one call."""
    best, tries, end = float("inf"), 0, time.perf_counter() + _SECONDS
    while tries < TRIES or time.perf_counter() < end:
        start = time.perf_counter()
        work()
        best, tries = min(best, time.perf_counter() - start), tries + 1
    return best
