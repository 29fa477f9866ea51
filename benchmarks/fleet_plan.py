"""How good and how fast is the choice of a few models for a whole fleet, and what does it gain over simple rules?

    python benchmarks/fleet_plan.py

Synthetic fleets: classes of devices of 8 kinds of processors, in 4 price tiers. Dearer tiers are faster and have more
memory, and fewer of the classes belong to them; within a tier speeds vary by a factor of about two. Budgets are one
latency for all, and the memory and the download that each class can spare. 500 candidates: their metric saturates with
their MACs and varies by half a point between networks of one size; latencies of networks of one size differ between
kinds of processors, as operators do. The smallest candidate runs everywhere. Each fleet has a seed of its own.

For each number of models from 1 to 8 the plan is compared with greedy choice, and for 4 models with one model per price
tier, the best that all classes of the tier can run. `gap` is the largest distance between a value and its bound, in the
unit of the metric: 0.001 is a tenth of a point. Seconds are those of all numbers of models together. `--quick` plans a
fleet of 200 classes and 100 candidates for up to 4 models.

Standard output ends with a Markdown table and, as its last line, one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from typing import Any

import numpy as np
from common import environment, log, make_parser, parse_options
from numpy.typing import NDArray

from search.fleet.heuristics import greedy_models
from search.fleet.problem import FleetProblem
from search.fleet.program import plan_fleet

KINDS, TIERS = 8, 4
QUICK: dict[str, Any] = {"classes": [200], "candidates": 100, "models": 4, "fleets": 1}


def main(arguments: list[str]) -> int:
    """Run the benchmark."""
    options = parse(arguments)
    rows = [measured(count, options) for count in options.classes]
    print("| classes | seconds (median, most) | gap, most | points over greedy (least, most) | over price tiers |")
    print("|--:|--:|--:|--:|--:|")
    for row in rows:
        print(
            f"| {row['classes']:,} | {row['seconds_median']:.1f}, {row['seconds_most']:.1f} | {row['gap']:.6f} | "
            f"{points(row, 'over_greedy')} | {points(row, 'over_tiers')} |"
        )
    result = {
        "benchmark": "fleet_plan",
        "quick": options.quick,
        "candidates": options.candidates,
        "models": options.models,
        "fleets": options.fleets,
        "gap": max(row["gap"] for row in rows),
        "rows": rows,
        **environment(0),
    }
    print(json.dumps(result))
    return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--classes", type=int, nargs="+", default=[1_000, 10_000], help="classes of the fleets")
    parser.add_argument("--candidates", type=int, default=500, help="models to choose among")
    parser.add_argument("--models", type=int, default=8, help="the most models of a plan, at least 4")
    parser.add_argument("--fleets", type=int, default=5, help="fleets of each size, each with a seed of its own")
    return parse_options(parser, arguments, QUICK)


def measured(classes: int, options: argparse.Namespace) -> dict[str, Any]:
    """The plans of all fleets of one size, and what they gain."""
    seconds, gaps, over_greedy, over_tiers = [], [], [], []
    for seed in range(options.fleets):
        problem, tier = fleet(classes, options.candidates, seed)
        started = time.perf_counter()
        plans = [plan_fleet(problem, count) for count in range(1, options.models + 1)]
        seconds.append(time.perf_counter() - started)
        gaps += [plan.gap for plan in plans]
        for count, plan in enumerate(plans, start=1):
            over_greedy.append(plan.value - worth(problem, greedy_models(problem, count)))
        over_tiers.append(plans[TIERS - 1].value - worth(problem, by_tier(problem, tier)))
        log(f"{classes:,} classes, seed {seed}: {seconds[-1]:.1f} s, gap {max(gaps):.6f}")
    return {
        "classes": classes,
        "seconds_median": statistics.median(seconds),
        "seconds_most": max(seconds),
        "gap": max(gaps),
        **spread("over_greedy", over_greedy),
        **spread("over_tiers", over_tiers),
    }


def points(row: dict[str, Any], name: str) -> str:
    """The median and the range of a gain, in points."""
    median, least, most = (100 * row[f"{name}_{which}"] for which in ("median", "least", "most"))
    return f"{median:+.3f} ({least:+.3f}, {most:+.3f})"


def spread(name: str, values: list[float]) -> dict[str, float]:
    """The median and the range."""
    return {f"{name}_median": statistics.median(values), f"{name}_least": min(values), f"{name}_most": max(values)}


def worth(problem: FleetProblem, models: NDArray[np.int64]) -> float:
    """The mean metric with these models."""
    found = problem.worth(models)
    if found is None:
        raise SystemExit("a class is not served, although the smallest candidate runs everywhere")
    return found


def fleet(classes: int, candidates: int, seed: int) -> tuple[FleetProblem, NDArray[np.int64]]:
    """A fleet and the price tier of each class."""
    rng = np.random.default_rng(seed)
    macs = np.sort(np.exp(rng.uniform(np.log(5), np.log(600), candidates)))
    values = 0.80 - 0.35 * (macs / 5) ** -0.45 + rng.normal(0, 0.005, candidates)
    latency = macs * np.exp(rng.normal(0, 0.25, (KINDS, candidates)))  # of a device of speed 1, relative
    memory = 2.0 + 0.15 * macs * np.exp(rng.normal(0, 0.3, candidates))
    sizes = (1e4 * macs**0.8 * np.exp(rng.normal(0, 0.3, candidates)) + 2e5).astype(np.int64)
    tier = rng.choice(TIERS, classes, p=[0.4, 0.3, 0.2, 0.1])
    kind = rng.integers(0, KINDS, classes)
    limit = 25.0 * 2.5**tier * np.exp(rng.normal(0, 0.35, classes))
    spare = 8.0 * 2.0**tier * np.exp(rng.normal(0, 0.3, classes))
    download = 4e5 * 1.8**tier * np.exp(rng.normal(0, 0.4, classes))
    serves = (latency[kind] <= limit[:, None]) & (memory <= spare[:, None]) & (sizes <= download[:, None])
    serves[:, 0] = True
    shares = rng.pareto(1.2, classes) + 0.05
    names = tuple(f"class-{index}" for index in range(classes))
    problem = FleetProblem(classes=names, shares=shares / shares.sum(), serves=serves, values=values, sizes=sizes)
    return problem, tier


def by_tier(problem: FleetProblem, tier: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each price tier, the best model that all of its classes can run."""
    chosen = []
    for one in np.unique(tier):
        running = np.flatnonzero(problem.serves[tier == one].all(axis=0))
        chosen.append(running[problem.values[running].argmax()])
    return np.unique(np.array(chosen, dtype=np.int64))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
