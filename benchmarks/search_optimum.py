"""How fast is the proven optimum of a predictor found, and how far below it does evolution end?

    python benchmarks/search_optimum.py

Two spaces: the wide MobileNet space of `host_latency.py` and the official once-for-all MobileNetV3 space. The predicted
accuracy is synthetic: every choice of a present block has gains that diminish from option to option (exponentially
distributed steps, divided by the option's place, with a random weight per choice), and a concave curve of eight lines
follows the logarithm of the MACs from the smallest to the largest subnet. The choices together and the curve each make
up about half of the range. Another seed gives other gains.

For each of 20 latency budgets, spread evenly over the middle 90 % of the range from the smallest to the largest subnet,
with a budget for the peak memory and one for the file size at 70 % of their ranges, the solver is timed, without
tracing. `fleet_seconds` is the time for 20 targets on the shipped devices, their arcs included.

The evolution is an NSGA-II (Deb et al., 2002) written here, since Optuna's would take about half an hour of processor
time for each budget (3,000 trials of 45 choices took 7.6 s, and the time grows with the square of their number): 250
generations of 200 subnets, predicted accuracy against latency, tournaments and survival by constrained domination and
crowding distance, uniform crossover, and mutation of one choice on average. It is given the same budgets and starts
from subnets of all sizes. Its shortfall is how much lower its best subnet is, as a share of the objective's range (the
best minus the smallest subnet's). `never_below` says whether the solver's subnet is at least as good in all runs.

`trace_seconds` is the time that the arcs of the wide space take in a new process without a cache.

`--quick` takes 3 budgets and 3 targets in a space of 5,120 subnets (`paired.short_wide_space`), and 2,000 predictor
calls.

The last line of standard output is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import environment, log, make_parser, parse_options
from nsga import Judged, Points, nsga
from paired import short_wide_space, wide_space

from device_profiles.budgets import Budgets
from device_profiles.cost_models.device_costs import DeviceCosts
from device_profiles.costs import Costs
from device_profiles.profile import find_profile, shipped_profiles
from device_profiles.workload.workloads import Workloads
from search.device_target import Target
from search.objective import Curve, Objective
from search.solving.solver import solve
from supernet.chain import ChainModelSpace
from supernet.space import SearchSpace
from supernet.spaces.ofa import OfaSpace
from supernet.spaces.ofa_config import OfaMbv3Config

OTHERS = 0.7
"""Where the budgets for peak memory and file size lie, as shares of their ranges."""

LINES = 8
"""Lines of the curve of the MACs."""

QUICK = {"budgets": 3, "targets": 3, "calls": 2_000}

POPULATION = 200
"""Subnets of a generation of the evolution."""


def main(arguments: list[str]) -> int:
    """Run the benchmark."""
    options = parse(arguments)
    torch.set_num_threads(1)
    result: dict[str, Any] = {"spaces": {}}
    for name, model_space in spaces(options.quick).items():
        workloads = Workloads(model_space)
        started = time.perf_counter()
        costs = DeviceCosts(workloads, find_profile(options.device, Path()))
        costs.arcs()
        traced = time.perf_counter() - started
        objective = synthetic(model_space.space, costs, options.seed)
        result["spaces"][name] = compare(name, model_space.space, costs, objective, options)
        if name == "wide":
            result["trace_seconds"] = round(traced, 2)
            result["fleet_seconds"] = round(fleet(model_space.space, workloads, objective, options.targets), 2)
    found = result["spaces"].values()
    result |= {
        "median_seconds": max(space["median_seconds"] for space in found),
        "worst_seconds": max(space["worst_seconds"] for space in found),
        "gap": max(space["gap"] for space in found),
        "never_below": all(space["never_below"] for space in found),
        "median_shortfall": {name: space["shortfall"]["median"] for name, space in result["spaces"].items()},
        "quick": options.quick,
        **environment(options.seed),
    }
    print_table(result)
    print(json.dumps(result))
    return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--device", default="midrange", help="a device profile (default %(default)s)")
    parser.add_argument("--budgets", type=int, default=20, help="latency budgets for each space")
    parser.add_argument("--targets", type=int, default=20, help="targets of the fleet")
    parser.add_argument("--calls", type=int, default=50_000, help="predictor calls of the evolution for each budget")
    parser.add_argument("--seed", type=int, default=0)
    return parse_options(parser, arguments, QUICK)


def spaces(quick: bool) -> dict[str, ChainModelSpace]:
    """The spaces by name."""
    if quick:
        return {"wide": short_wide_space()}
    return {"wide": wide_space(), "ofa": OfaSpace(OfaMbv3Config(), 1000)}


def synthetic(space: SearchSpace, costs: DeviceCosts, seed: int) -> Objective:
    """The synthetic predictor, see above: from 0.5, with a range of about 0.5."""
    rng = np.random.default_rng(seed)
    options = {}
    for choice in space:
        places = np.arange(1, len(choice.options) + 1)
        gains = np.cumsum(rng.exponential(size=len(places)) / places) * rng.uniform(0.2, 1.0)
        options[choice.name] = gains if choice.depth_choice else gains - gains[0]
    total = sum(gains[-1] for gains in options.values())
    smallest, largest = (float(own.macs) for own in costs.of([space.smallest, space.largest]))
    bends = np.geomspace(smallest, largest, LINES + 1)
    heights = 0.25 * np.log(bends / smallest) / np.log(largest / smallest)
    slopes = np.diff(heights) / np.diff(bends)
    curve = Curve(slopes=slopes, intercepts=heights[:-1] - slopes * bends[:-1], macs_weight=1.0)
    scaled = {name: 0.25 * gains / total for name, gains in options.items()}
    return Objective(constant=0.5, options=scaled, curves=(curve,))


def budgets_at(low: Costs, high: Costs, share: float) -> Budgets:
    """The latency at one share of its range, the other budgets at `OTHERS`."""

    def at(field: str, share: float) -> int:
        return int(getattr(low, field) + share * (getattr(high, field) - getattr(low, field)))

    return Budgets(
        latency=f"{at('latency_us', share)} us",
        peak_memory=f"{at('peak_memory_bytes', OTHERS)} B",
        file_size=f"{at('file_bytes', OTHERS)} B",
    )


def compare(
    name: str, space: SearchSpace, costs: DeviceCosts, objective: Objective, options: argparse.Namespace
) -> dict[str, Any]:
    """Solve for all budgets, and let the evolution try the same."""
    low, high = costs.of([space.smallest, space.largest])
    base = float(objective.values(space, np.array([space.encode(space.smallest)]), np.array([float(low.macs)]))[0])
    seconds, cpu_seconds, gaps, shortfalls, nodes, never_below = [], [], [], [], [], True
    for number, share in enumerate(np.linspace(0.05, 0.95, options.budgets)):
        budgets = budgets_at(low, high, float(share))
        started, busy = time.perf_counter(), time.process_time()
        found = solve(objective, [Target(costs=costs, budgets=budgets)], space)
        seconds.append(time.perf_counter() - started)
        cpu_seconds.append(time.process_time() - busy)
        if found.objective is None or found.gap is None or found.status != "optimal":
            raise SystemExit(f"error: {name}, {share:.0%}: the search ended with the status {found.status}")
        gaps.append(found.gap)
        nodes.append(found.nodes)
        evolved = evolution(space, costs, objective, budgets, options.calls, options.seed + number)
        never_below &= found.objective >= evolved - 1e-12  # sums of the same terms in another order
        shortfalls.append((found.objective - max(evolved, base)) / (found.objective - base))
        log(f"{name} {share:.0%}: {seconds[-1]:.2f} s, {found.objective:.4f}, evolution {evolved:.4f}")
    return {
        "median_seconds": round(statistics.median(seconds), 3),
        "worst_seconds": round(max(seconds), 3),
        "cpu_seconds": {"median": round(statistics.median(cpu_seconds), 3), "max": round(max(cpu_seconds), 3)},
        "gap": max(gaps),
        "nodes": {"median": statistics.median(nodes), "max": max(nodes)},
        "never_below": bool(never_below),
        "shortfall": {"median": round(statistics.median(shortfalls), 5), "max": round(max(shortfalls), 5)},
        "choices": len(space.choices),
    }


def evolution(
    space: SearchSpace, costs: DeviceCosts, objective: Objective, budgets: Budgets, calls: int, seed: int
) -> float:
    """The highest objective that the evolution finds inside the budgets."""
    limits = np.array([limit.value for limit in budgets.limits()], dtype=np.float64)

    def judge(vectors: Points) -> Judged:
        found = costs.predict(vectors)
        used = np.stack([found.latency_us, np.floor(found.peak_memory_bytes), found.file_bytes]) / limits[:, None]
        excess = np.maximum(used - 1, 0).sum(axis=0)
        return Judged(
            vectors=vectors, gain=objective.values(space, vectors, found.macs), cost=found.latency_us, excess=excess
        )

    rng = np.random.default_rng(seed)
    levels = np.linspace(0, 1, POPULATION)[:, None]
    sizes = np.array([len(choice.options) for choice in space])
    spread = np.minimum(levels, 1 - levels)
    drawn = np.rint((levels + rng.uniform(-1, 1, (POPULATION, len(sizes))) * spread) * (sizes - 1)).astype(np.int64)
    return nsga(space, np.where(space.existing(drawn), drawn, 0), judge, calls, rng)


def fleet(space: SearchSpace, workloads: Workloads, objective: Objective, targets: int) -> float:
    """Seconds for so many targets: the shipped devices in turn, with latency budgets from tight to loose."""
    names = shipped_profiles()
    started = time.perf_counter()
    for number in range(targets):
        costs = DeviceCosts(workloads, find_profile(names[number % len(names)], Path()))
        low, high = costs.of([space.smallest, space.largest])
        target = Target(costs=costs, budgets=budgets_at(low, high, (number + 0.5) / targets))
        if solve(objective, [target], space).gap != 0:
            raise SystemExit(f"error: target {number} was not solved to the end")
    return time.perf_counter() - started


def print_table(result: dict[str, Any]) -> None:
    """The results as Markdown."""
    print("| space | median | worst | gap | evolution is lower by, median (most) |")
    print("|---|--:|--:|--:|--:|")
    for name, row in result["spaces"].items():
        lower = row["shortfall"]
        print(
            f"| {name} | {row['median_seconds']:.2f} s | {row['worst_seconds']:.2f} s | {row['gap']:g} | "
            f"{lower['median']:.2%} ({lower['max']:.2%}) |"
        )
    print(f"\nfleet {result['fleet_seconds']:.1f} s, arcs traced in {result['trace_seconds']:.1f} s\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
