"""The peak rates of this machine: utilisation is relative to them, and a modelled profile of it starts from them."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence

from device_profiles.profile_costs import MachinePeak

SIDE = 1024
"""Side of the square matrix on the right: large enough to amortise packing, and at 4 MiB small enough for the
caches."""

_ROWS = 128
"""Rows of the matrix on the left: a product takes 3 ms at 40 GMAC/s, so that some attempts are not interrupted."""

COPIED_BYTES = 256 * 2**20
"""Bytes that are copied: more than the caches hold."""

_SLICES = 16
"""Slices of those bytes, copied in turn: each has left the caches before it is copied again."""

ATTEMPTS, _SECONDS = 9, 0.5
"""Fewest attempts of each kernel, and the shortest duration of all attempts for one rate in seconds. The best one
counts and must be undisturbed. The duration is five periods of 0.1 s, at which Linux renews the processor time of a
container by default."""

_CACHED_ELEMENTS = (2**15, 2**17, 2**19)
"""Elements of the tensors that stay in a cache: 128 KiB to 2 MiB, for caches of cores of all sizes. Smaller ones would
measure the call."""

_Kernel = tuple[float, Callable[[], object]]
"""The work of a kernel, MACs or bytes, and a function that does it."""


def measure_peak(threads: int) -> MachinePeak:
    """The best rates of several float32 kernels in torch with `threads` threads. Takes one to two seconds.

    No library is the fastest at everything on every processor, so the peak of MACs is the best of matrix products and
    convolutions of several shapes, and the bandwidth of the caches is the best of several element-wise kernels.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.inference_mode():
            macs = _best_rate(_products())
            copied = _best_rate(_copies())
            cached = _best_rate(_cached_kernels())
    finally:
        torch.set_num_threads(before)
    return MachinePeak(
        gmacs_per_s=_rounded(macs), gbytes_per_s=_rounded(copied), cached_gbytes_per_s=_rounded(max(cached, copied))
    )


def _products() -> list[_Kernel]:
    """Matrix products, a 1x1 and a 3x3 convolution, all large enough to amortise packing."""
    import torch
    from torch.nn.functional import conv2d

    def product(rows: int, side: int) -> _Kernel:
        left, right, out = torch.ones(rows, side), torch.ones(side, side), torch.empty(rows, side)
        return rows * side**2, lambda: torch.mm(left, right, out=out)

    def convolution(channels: int, size: int, kernel: int) -> _Kernel:
        image = torch.ones(1, channels, size, size).contiguous(memory_format=torch.channels_last)
        weight = torch.ones(channels, channels, kernel, kernel)
        return (channels * kernel * size) ** 2, lambda: conv2d(image, weight, padding=kernel // 2)

    return [product(_ROWS, SIDE), product(2 * _ROWS, SIDE // 4), convolution(256, 28, 1), convolution(64, 28, 3)]


def _copies() -> list[_Kernel]:
    """A copy that is too large for the caches: slices are copied in turn, so that each has left them before."""
    import torch

    sources = torch.ones(COPIED_BYTES // 4).chunk(_SLICES)
    targets = torch.zeros(COPIED_BYTES // 4).chunk(_SLICES)  # written once: the system hands out memory at that moment
    turns = itertools.cycle(zip(sources, targets, strict=True))

    def copy() -> None:
        source, target = next(turns)
        target.copy_(source)

    return [(2 * COPIED_BYTES / _SLICES, copy)]


def _cached_kernels() -> list[_Kernel]:
    """Element-wise kernels on tensors of several sizes that stay in a cache; their work is bytes read and written."""
    import torch

    def kernels(elements: int) -> list[_Kernel]:
        left, right, out = torch.ones(elements), torch.ones(elements), torch.zeros(elements)
        return [
            (8 * elements, lambda: out.copy_(left)),
            (8 * elements, lambda: torch.relu_(out)),
            (12 * elements, lambda: torch.add(left, right, out=out)),
        ]

    return [kernel for elements in _CACHED_ELEMENTS for kernel in kernels(elements)]


def _best_rate(kernels: Sequence[_Kernel]) -> float:
    """The best rate of any kernel in 10^9 MACs or bytes per second.

    Each attempt runs a kernel twice in a row and times the second run, whose data are as near as they can be.
    """
    best, attempts, end = 0.0, 0, time.perf_counter() + _SECONDS
    while attempts < ATTEMPTS or time.perf_counter() < end:
        for work, run in kernels:
            run()
            start = time.perf_counter()
            run()
            best = max(best, work / (time.perf_counter() - start) / 1e9)
        attempts += 1
    return best


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
