"""How many subnets can be costed per second, in latency, peak memory, file size and MACs?

    python benchmarks/cost_throughput.py

One million distinct random vectors of the wide MobileNet space of `host_latency.py`, in canonical form, are checked to
be of the space and costed on a device, `--threads` threads with a share each. Parts are traced before, once per model
space (`setup_seconds`). Some hundred vectors are decoded and compared with `DeviceCosts.of`, subnet by subnet.

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
from host_latency import wide_space
from numpy.typing import NDArray
from paired import surroundings

from device_profiles.cost_models.device_costs import DeviceCosts
from device_profiles.costs import CostArrays
from device_profiles.profile import find_profile
from device_profiles.workload.workloads import Workloads
from supernet.space import SearchSpace

SHARE = 50_000
"""Vectors costed at a time: few enough to stay in caches."""

CHECKED = 200


def main(arguments: list[str]) -> int:
    """Run the benchmark."""
    options = parse(arguments)
    torch.set_num_threads(1)
    space = wide_space()
    costs = DeviceCosts(Workloads(space), find_profile(options.device, Path()))
    vectors = distinct_vectors(space.space, 10_000 if options.quick else options.vectors, options.seed)
    started = time.perf_counter()
    costs.arcs()
    setup = time.perf_counter() - started
    seconds = []
    for _ in range(options.repeats):
        started = time.perf_counter()
        found = cost_all(costs, vectors, options.threads)
        seconds.append(time.perf_counter() - started)
    check(space.space, costs, vectors, found)
    rates = [len(vectors) / taken for taken in seconds]
    result: dict[str, Any] = {
        "subnets_per_second": round(statistics.median(rates)),
        "slowest": round(min(rates)),
        "fastest": round(max(rates)),
        "vectors": len(vectors),
        "setup_seconds": round(setup, 1),
        "compared": CHECKED,
        "quick": options.quick,
        **surroundings(options.seed),
        "threads": options.threads,
    }
    print(f"{result['subnets_per_second']:,} subnets/s (median of {options.repeats}), set-up {setup:.1f} s\n")
    print(json.dumps(result))
    return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="midrange", help="a profile")
    parser.add_argument("--vectors", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="ten thousand vectors")
    return parser.parse_args(arguments)


def distinct_vectors(space: SearchSpace, count: int, seed: int) -> NDArray[np.int64]:
    """(count, choices): different subnets, choices of absent blocks at their smallest option."""
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
    """The costs of all vectors, a share at a time."""
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(costs.predict, (vectors[i : i + SHARE] for i in range(0, len(vectors), SHARE))))


def check(space: SearchSpace, costs: DeviceCosts, vectors: NDArray[np.int64], found: list[CostArrays]) -> None:
    """Raises `SystemExit` where a cost is not that of the subnet by itself."""
    latency = np.concatenate([share.latency_us for share in found])
    memory = np.concatenate([share.peak_memory_bytes for share in found])
    for row in range(0, len(vectors), len(vectors) // CHECKED):
        (alone,) = costs.of([space.decode(tuple(int(index) for index in vectors[row]))])
        if alone.latency_us != latency[row] or alone.peak_memory_bytes != int(memory[row]):
            raise SystemExit(f"error: vector {row} costs something else than its subnet")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
