"""How many subnets can be costed per second, in latency, peak memory, file size and MACs?

    python benchmarks/cost_throughput.py

Draws one million distinct random vectors of the wide MobileNet space of `host_latency.py` in canonical form, and
predicts the costs of all of them on one device. The predictions check that the vectors belong to the space. Vectors are
split into shares, which `--threads` threads work through. The parts of the space are traced beforehand, which is needed
once per model space (`setup_seconds`). Some vectors are decoded and compared with `DeviceCosts.of`, subnet by subnet.

`--quick` measures the rate with 100,000 vectors and 3 repeats. Its space has the same 45 choices with only the smallest
and the largest option of each, so that tracing takes seconds instead of a minute.

The last line of standard output is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import environment, make_parser, parse_options
from numpy.typing import NDArray
from paired import wide_space, wide_space_of_extremes

from device_profiles.cost_models.device_costs import DeviceCosts
from device_profiles.costs import CostArrays
from device_profiles.profile import find_profile
from device_profiles.workload.workloads import Workloads
from supernet.space import SearchSpace

SHARE = 50_000
"""Vectors costed at a time: few enough for their columns to stay in the processor's caches."""

COMPARED = 200
"""Vectors compared with subnets costed one by one: enough to meet most parts of the space, within a second."""

QUICK = {"vectors": 100_000, "repeats": 3}


def main(arguments: list[str]) -> int:
    """Run the benchmark."""
    options = parse(arguments)
    torch.set_num_threads(1)
    space = wide_space_of_extremes() if options.quick else wide_space()
    costs = DeviceCosts(Workloads(space), find_profile(options.device, Path()))
    vectors = distinct_vectors(space.space, options.vectors, options.seed)
    started = time.perf_counter()
    costs.arcs()
    setup = time.perf_counter() - started
    seconds = []
    for _ in range(options.repeats):
        started = time.perf_counter()
        found = cost_all(costs, vectors, options.threads)
        seconds.append(time.perf_counter() - started)
    compare(space.space, costs, vectors, found)
    rates = [len(vectors) / taken for taken in seconds]
    result: dict[str, Any] = {
        "subnets_per_second": round(statistics.median(rates)),
        "slowest": round(min(rates)),
        "fastest": round(max(rates)),
        "vectors": len(vectors),
        "setup_seconds": round(setup, 1),
        "compared": COMPARED,
        "quick": options.quick,
        **environment(options.seed),
        "threads": options.threads,
    }
    print(f"{result['subnets_per_second']:,} subnets/s (median of {options.repeats}), set-up {setup:.1f} s\n")
    print(json.dumps(result))
    return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--device", default="midrange", help="a device profile (default %(default)s)")
    parser.add_argument("--vectors", type=int, default=1_000_000, help="distinct vectors to cost")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5, help="passes over all vectors")
    parser.add_argument("--seed", type=int, default=0)
    options = parse_options(parser, arguments, QUICK)
    if options.vectors < COMPARED or min(options.threads, options.repeats) < 1:
        parser.error(f"--vectors must be at least {COMPARED}, --threads and --repeats at least 1")
    return options


def distinct_vectors(space: SearchSpace, count: int, seed: int) -> NDArray[np.int64]:
    """(count, choices): Vectors of different subnets in canonical form: choices of absent blocks are the smallest."""
    generator = np.random.default_rng(seed)
    names = [choice.name for choice in space]
    vectors = np.empty((0, len(names)), dtype=np.int64)
    while len(vectors) < count:
        drawn = np.column_stack([generator.integers(0, len(c.options), count) for c in space])
        for column, choice in enumerate(space):
            if choice.depth_choice:
                depth = names.index(choice.depth_choice)
                options = np.array(space.choices[depth].options)
                drawn[options[drawn[:, depth]] < choice.exists_from, column] = 0
        vectors = np.unique(np.vstack([vectors, drawn]), axis=0)
    return generator.permutation(vectors)[:count]


def cost_all(costs: DeviceCosts, vectors: NDArray[np.int64], threads: int) -> list[CostArrays]:
    """The costs of all vectors, one share at a time per thread."""
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(costs.predict, (vectors[i : i + SHARE] for i in range(0, len(vectors), SHARE))))


def compare(space: SearchSpace, costs: DeviceCosts, vectors: NDArray[np.int64], found: list[CostArrays]) -> None:
    """Compare some vectors with their subnets. Raises `SystemExit` if a cost differs."""
    latency = np.concatenate([share.latency_us for share in found])
    memory = np.concatenate([share.peak_memory_bytes for share in found])
    for row in range(0, len(vectors), len(vectors) // COMPARED):
        (single,) = costs.of([space.decode(tuple(int(index) for index in vectors[row]))])
        if single.latency_us != latency[row] or single.peak_memory_bytes != int(memory[row]):
            raise SystemExit(
                f"error: vector {row} is costed at {latency[row]} us and {int(memory[row])} bytes, its subnet alone "
                f"at {single.latency_us} us and {single.peak_memory_bytes} bytes; these must be equal"
            )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
