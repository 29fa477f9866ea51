"""How far from the best subnet inside a latency budget does a search end, and how well is accuracy predicted?

    python benchmarks/search_regret.py
    python benchmarks/search_regret.py --remake --data PATH/cifar10 --work DIR    # first make the table anew

All 1,296 subnets of a small MobileNet space were scored once, on 2,000 held-out CIFAR-10 images and, as the truth, on
the 10,000 test images; the table `search_regret.npz` beside this file holds the results. So a search takes a second,
and the regret of its pick is known: the difference in true accuracy, in points, to the best subnet inside the budget.

Every method is the product's own search function, unmodified, with another `search.sampler`; its scores come from the
table. A run has one target, a budget of latency on one device, and 20, 40 or 80 evaluations, which are the subnets
that are scored. `exact` spends half of them on the subnets that are scored first; the other samplers have the fewest
that the config allows, 4, and propose the rest. `gp` is slow, so it has up to 40 evaluations and fewer seeds. All
propose in rounds of `--batch` and end in the same finals: half of the held-out images are kept back to tell the best
apart. Intervals (95 %) resample the subnets: all runs that pick the same subnet are drawn together, because they share
its error.

The predictor is fitted to the subnets that the product scores first, and predicts all others. `rmse_points` includes
the difference that all subnets have in common between the two sets of images, `rmse_without_offset` does not; no search
depends on it. `rmse_of_scores` is the same for the held-out scores themselves: what a predictor that knew every score
would reach. `noise_points` is the binomial standard error of one score on all held-out images.

`--quick` runs two samplers once for 2 of the 12 budgets with 20 evaluations, and predicts from one design. With
`--remake` it trains for 2 steps on 400 images and scores 6 subnets, in a table of its own that is not searched.

The last line of standard output is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import environment, log, make_parser, parse_options
from numpy.typing import NDArray
from search_table import TABLE, Table, remake

METHODS = ("exact", "gp", "tpe", "nsga2", "random")
GP_EVALUATIONS = 40
"""`gp` takes half a minute of processor time for 40 evaluations and twice that for 80, the others at most a second."""
SMALLEST_DESIGN = 4
"""Subnets scored first for samplers that do not need a design; `SearchConfig` allows no fewer."""
BUDGET_QUANTILE = 0.05
"""The tightest budget lets this share of all subnets in. The loosest lets all in, and the others lie between them,
evenly on a logarithmic scale."""
BAND = 0.1
"""Relative difference in MACs up to which two subnets are compared for `tau_band`."""
RESAMPLES = 2000
QUICK: dict[str, Any] = {
    "methods": ["exact", "random"], "budgets": 12, "every": 6, "seeds": 1, "evaluations": [20], "processes": 1,
}  # fmt: skip


@dataclass(frozen=True)
class Run:
    """One search: the method, the number of evaluations, the budget by its place, and the seed."""

    method: str
    evaluations: int
    budget: int
    seed: int


def main(arguments: list[str]) -> int:
    """Run the benchmark."""
    options = parse(arguments)
    os.environ["OMP_NUM_THREADS"] = "1"
    if options.remake:
        with tempfile.TemporaryDirectory() as temporary:
            make_table(options, Path(temporary))
    result = {"benchmark": "search_regret", "quick": options.quick, **measure(options)}
    print_tables(result)
    print(json.dumps(result))
    return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--evaluations", type=int, nargs="+", default=[20, 40, 80])
    parser.add_argument("--budgets", type=int, default=12, help="number of latency budgets")
    parser.add_argument("--every", type=int, default=1, help="use only every so many-th of them")
    parser.add_argument("--seeds", type=int, default=10, help="searches for each budget")
    parser.add_argument("--gp-seeds", type=int, default=3, help="searches of the slow method `gp` for each budget")
    parser.add_argument("--batch", type=int, default=4, help="proposals in a round")
    parser.add_argument("--device", default="midrange", help="a shipped profile (default %(default)s)")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--table", type=Path, default=TABLE, help="the table to use, and to write with --remake")
    parser.add_argument("--remake", action="store_true", help="make the table first, which needs --data and --work")
    parser.add_argument("--data", type=Path, help="folder with train.parquet and test.parquet of CIFAR-10")
    parser.add_argument("--work", type=Path, help="where an interrupted --remake goes on")
    parser.add_argument("--epochs", type=float, help="epochs of the training in place of those of the recipe")
    parser.add_argument("--seed", type=int, default=0, help="seed of the training")
    options = parse_options(parser, arguments, QUICK)
    if options.remake and not options.data:
        parser.error("--remake needs --data")
    return options


def make_table(options: argparse.Namespace, temporary: Path) -> None:
    """Make the table; in the quick form a small one that is thrown away."""
    made = argparse.Namespace(**vars(options), limit=None, subnets=None)
    made.work = options.work or temporary
    if options.quick:
        made.table, made.limit, made.epochs, made.subnets = temporary / "table.npz", 400, 0.7, 6
    remake(made)
    log(f"accuracies of the table: {np.round(Table.load(made.table).truth[:6], 3)}")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Search and predict."""
    bench = Bench(options)
    runs = [
        Run(method, evaluations, budget, seed)
        for seed in range(options.seeds)
        for budget in range(0, options.budgets, options.every)
        for evaluations in options.evaluations
        for method in options.methods
        if method != "gp" or (seed < options.gp_seeds and evaluations <= GP_EVALUATIONS)
    ]
    started = time.monotonic()
    picks = np.array(bench.search_all(runs))
    regrets = bench.regrets(runs, picks)
    result = {"regret": summary(runs, picks, regrets), "predictor": bench.prediction_errors(), **bench.noise()}
    last = result["predictor"][max(result["predictor"], key=int)]
    result |= {key: last[key] for key in ("rmse_points", "rmse_without_offset", "tau", "tau_band")}
    result |= comparisons(runs, picks, regrets, result["noise_points"])
    result |= {"seconds": round(time.monotonic() - started), "searches": len(runs), "table": bench.table.about}
    return result | environment(options.seed)


class Bench:
    """The table, and the device whose latencies are limited."""

    def __init__(self, options: argparse.Namespace) -> None:
        from device_profiles.cost_models.device_costs import DeviceCosts
        from device_profiles.profile import find_profile
        from device_profiles.workload.workloads import Workloads

        self.options, self.table = options, Table.load(options.table)
        self.space = self.table.space.space
        self.workloads = Workloads(self.table.space)
        self.costs = DeviceCosts(self.workloads, find_profile(options.device, Path()))
        self.latencies = np.array([costs.latency_us for costs in self.costs.of(self.table.subnets)])
        tightest = np.quantile(self.latencies, BUDGET_QUANTILE)
        self.limits = np.ceil(np.geomspace(tightest, self.latencies.max() + 1, options.budgets))

    def search_all(self, runs: list[Run]) -> list[int]:
        """The rows of the picks."""
        if self.options.processes == 1:
            return [self.search(run) for run in runs]
        context = multiprocessing.get_context("fork")
        with context.Pool(self.options.processes, _begin, (self,)) as pool:
            found = []
            for pick in pool.imap(_search, runs, chunksize=4):
                found.append(pick)
                if len(found) % 50 == 0:
                    log(f"{len(found)}/{len(runs)} searches")
            return found

    def search(self, run: Run) -> int:
        """The row of the pick."""
        from device_profiles.budgets import Budgets
        from search.config import SearchConfig
        from search.device_target import Target
        from search.rounds import search_targets

        shared = run.evaluations // 2 if run.method == "exact" else SMALLEST_DESIGN
        proposed = run.evaluations - shared
        config = SearchConfig(
            sampler=run.method,  # type: ignore[arg-type]
            shared_subnets=shared,
            trials_per_target=proposed,
            rounds=-(-proposed // self.options.batch),
        )
        target = Target(costs=self.costs, budgets=Budgets(latency=f"{self.limits[run.budget]:.0f} us"))
        images = self.table.correct.shape[1]
        found = search_targets([(target,)], self.space, self.workloads, self.table.score, images, config, run.seed)
        return self.table.rows[found.targets[0].pick.subnet]

    def regrets(self, runs: list[Run], picks: NDArray[np.int64]) -> NDArray[np.float64]:
        """The regret of each run in points, (runs,)."""
        best = [self.table.truth[self.latencies <= self.limits[run.budget]].max() for run in runs]
        return np.asarray(100 * (np.array(best) - self.table.truth[picks]))

    def prediction_errors(self) -> dict[str, dict[str, float]]:
        """Errors on subnets that were not scored, by the number that were: means over the seeds."""
        vectors = np.array([self.space.encode(subnet) for subnet in self.table.subnets])
        macs = self.workloads.macs_of(vectors)
        found = {}
        for count in self.options.evaluations:
            errors = [self._prediction_error(count, seed, vectors, macs) for seed in range(self.options.seeds)]
            found[str(count)] = {key: round(float(np.mean([e[key] for e in errors])), 3) for key in errors[0]}
        return found

    def _prediction_error(
        self, count: int, seed: int, vectors: NDArray[np.int64], macs: NDArray[np.float64]
    ) -> dict[str, float]:
        from search.design import shared_subnets
        from search.predicting.predictor import AccuracyPredictor

        subnets = shared_subnets(self.space, self.workloads, count, seed)
        known = [self.table.scores[self.table.rows[subnet]] for subnet in subnets]
        unseen = np.setdiff1d(np.arange(len(vectors)), [self.table.rows[subnet] for subnet in subnets])
        predictor = AccuracyPredictor(self.space, self.workloads, known)
        result = {}
        for suffix, predict in (("", predictor.refine), ("_linear", predictor.predict)):
            mean, std = predict(vectors[unseen], macs[unseen])
            truth = self.table.truth[unseen]
            error = mean - truth
            result |= {
                f"rmse_points{suffix}": 100 * float(np.sqrt((error**2).mean())),
                f"rmse_without_offset{suffix}": 100 * float(error.std()),
                f"within_one_std{suffix}": float((np.abs(error - error.mean()) < std).mean()),
                **{f"{key}{suffix}": value for key, value in ranks(mean, truth, macs[unseen]).items()},
            }
        return result

    def noise(self) -> dict[str, float]:
        """The noise of one score, and how far all held-out scores are from the truth, in points."""
        held_out = self.table.correct.mean(axis=1) - self.table.truth
        return {
            "noise_points": round(100 * float(np.mean([scored.std for scored in self.table.scores])), 3),
            "offset_points": round(100 * float(held_out.mean()), 3),
            "rmse_of_scores": round(100 * float(np.sqrt((held_out**2).mean())), 3),
            "rmse_of_scores_without_offset": round(100 * float(held_out.std()), 3),
        }


_bench: list[Bench] = []
"""In a process of the pool: the benchmark that it works for."""


def _begin(bench: Bench) -> None:
    _bench[:] = [bench]


def _search(run: Run) -> int:
    return _bench[0].search(run)


def ranks(predicted: NDArray[np.float64], truth: NDArray[np.float64], macs: NDArray[np.float64]) -> dict[str, float]:
    """Kendall's tau over all pairs, and over pairs of nearly equal MACs."""
    first, second = np.triu_indices(len(truth), 1)
    agree = np.sign(predicted[first] - predicted[second]) * np.sign(truth[first] - truth[second])
    close = np.abs(np.log(macs[first] / macs[second])) <= np.log1p(BAND)
    return {"tau": float(agree[agree != 0].mean()), "tau_band": float(agree[close & (agree != 0)].mean())}


def summary(runs: list[Run], picks: NDArray[np.int64], regrets: NDArray[np.float64]) -> dict[str, Any]:
    """Mean regret and its interval, by method and evaluations."""
    found: dict[str, Any] = {}
    for run in dict.fromkeys(Run(run.method, run.evaluations, 0, 0) for run in runs):
        chosen = selected(runs, run.method, run.evaluations)
        low, high = np.quantile(resampled(picks, regrets, chosen), [0.025, 0.975])
        values = {"mean": regrets[chosen].mean(), "low": low, "high": high, "worst": regrets[chosen].max()}
        found.setdefault(run.method, {})[str(run.evaluations)] = {k: round(float(v), 3) for k, v in values.items()}
    return found


def selected(runs: list[Run], method: str, evaluations: int) -> NDArray[np.bool_]:
    """Which runs are of this kind."""
    return np.array([run.method == method and run.evaluations == evaluations for run in runs])


def resampled(picks: NDArray[np.int64], regrets: NDArray[np.float64], chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mean regrets of the chosen runs over draws of the subnets; the same draws for all kinds of runs, (draws,)."""
    subnets = int(picks.max()) + 1
    drawn = np.random.default_rng(0).poisson(1.0, (RESAMPLES, subnets))[:, picks[chosen]]
    return np.asarray((drawn @ regrets[chosen]) / np.maximum(drawn.sum(axis=1), 1))


def comparisons(
    runs: list[Run], picks: NDArray[np.int64], regrets: NDArray[np.float64], noise: float
) -> dict[str, Any]:
    """What is to be reached: at 40 evaluations below the others, at 80 below the noise of one score."""

    def means(method: str, evaluations: int) -> NDArray[np.float64]:
        return resampled(picks, regrets, selected(runs, method, evaluations))

    known = {(run.method, run.evaluations) for run in runs}
    found: dict[str, Any] = {}
    if ("exact", 40) in known:
        exact, mean = means("exact", 40), regrets[selected(runs, "exact", 40)].mean()
        for other in ("random", "tpe", "nsga2", "gp"):
            if (other, 40) in known:
                low, high = np.quantile(exact - means(other, 40), [0.025, 0.975])
                found[f"minus_{other}_40"] = [round(float(low), 3), round(float(high), 3)]
                found["not_worse_than_gp" if other == "gp" else f"below_{other}"] = bool(
                    (low if other == "gp" else high) < 0
                )
        if ("random", 40) in known:
            found["half_of_random"] = bool(mean <= regrets[selected(runs, "random", 40)].mean() / 2)
    if ("exact", 80) in known:
        found["regret_80"] = round(float(regrets[selected(runs, "exact", 80)].mean()), 3)
        found["regret_80_below_noise"] = bool(found["regret_80"] <= noise)
    return found


def print_tables(result: dict[str, Any]) -> None:
    """Two Markdown tables."""
    counts = list(result["predictor"])
    print(f"| regret, points | {' | '.join(f'{count} evaluations' for count in counts)} |")
    print("|---|" + "--:|" * len(counts))
    for method, by_count in result["regret"].items():
        known = [by_count.get(count) for count in counts]
        cells = [f"{r['mean']:.2f} ({r['low']:.2f} to {r['high']:.2f})" if r else "" for r in known]
        print(f"| {method} | {' | '.join(cells)} |")
    print("\n| predictor, subnets scored | RMSE | without the offset | tau | tau, equal MACs |\n|---|--:|--:|--:|--:|")
    for count, errors in result["predictor"].items():
        row = [f"{errors[key]:.2f}" for key in ("rmse_points", "rmse_without_offset", "tau", "tau_band")]
        print(f"| {count} | {' | '.join(row)} |")
    print()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
