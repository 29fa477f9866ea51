"""How well does a measured table predict the latency of networks that were not used to fit it?

    python benchmarks/host_latency.py
    python benchmarks/host_latency.py --engine mnn
    python benchmarks/host_latency.py --precision int8

Does what `factory profile` does for a wide MobileNet space (elastic resolution, width, depth, kernel and expansion,
128 to 224 pixels): times 40 networks and their parts, interpolates all other parts, and fits the correction. Held-out
networks, spread over the whole range of sizes, are timed in the same rounds. Nothing is fitted to them, and parts that
only they have are not timed. Baselines on the same networks are MACs times a fitted constant, the fitted features of
the correction without a table, and the sum of the parts with nothing fitted. `table_seconds` is wall-clock time without
what the held-out networks cost.

Run it on a quiet machine. With `--folder`, an interrupted run can be resumed.

`--quick` fits 6 networks and judges on 3, in 20 rounds, in a space of shorter networks with all but one of the stages
(`paired.short_wide_space`). It takes CPU time instead of wall-clock time, so that other work on the machine matters
little; therefore `table_seconds` is only approximate. With 6 networks the baseline `features` has as many coefficients
as networks, so it overfits. It keeps within a minute with one thread in fp32; int8 files take longer to convert.

The last line of standard output is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy and torch are imported: their threads would disturb timing

import numpy as np
import torch
from common import environment, log, make_parser, parse_options
from cpu_time_runner import CpuTimeRunner
from numpy.typing import NDArray
from paired import short_wide_space, wide_space

from device_profiles.cost_models.device_costs import DeviceCosts
from device_profiles.latency_table import LatencyTable, part_terms, summed
from device_profiles.measuring.measure import MeasuredHost, Plan, measure_host
from device_profiles.measuring.table_fit import prediction_errors
from device_profiles.profile import FoundProfile
from device_profiles.workload.parts import encoded
from device_profiles.workload.workloads import Workloads
from exports.engines import get_engine
from factory_base.errors import FactoryError
from factory_base.files import read_json, write_json
from supernet.chain import ChainModelSpace
from supernet.spaces.mobilenet import MobileNetSpace

PHASES = ("looking at subnets", "converting network", "loading", "timing", "sustained run", "distinct parts")
"""Words in the progress messages of `measure_host` that identify its phases."""

QUICK = {"networks": 6, "held_out": 3, "rounds": 20}
"""6 is the fewest networks that a cost model is fitted to; for the rounds see `cpu_time_runner`."""


class PhaseTimer:
    """A progress listener that adds up wall-clock time by phase, in a file, so that all parts of a resumed run count.

    Args:
        path: The JSON file with the seconds of each phase.
        fitted: Number of networks that are fitted to; those converted after them are held out.
    """

    def __init__(self, path: Path, fitted: int) -> None:
        self._path, self._fitted = path, fitted
        self.seconds: dict[str, float] = read_json(path) if path.exists() else {}
        self._phase, self._since = "", time.monotonic()

    def __call__(self, done: int, total: int, detail: str = "") -> None:
        """See `Progress`."""
        now = time.monotonic()
        if self._phase:
            self.seconds[self._phase] = self.seconds.get(self._phase, 0.0) + now - self._since
            write_json(self._path, self.seconds)
        phase = next((phase for phase in PHASES if phase in detail), detail)
        held_out = phase == "converting network" and done >= self._fitted
        if phase != self._phase.removesuffix(", held-out"):
            log(f"{done}/{total} {detail}")
        self._phase, self._since = phase + (", held-out" if held_out else ""), now

    def table_seconds(self, found: MeasuredHost, rounds: int) -> float:
        """All phases, without conversions of and visits to held-out networks (a visit has one warm-up run)."""
        self(0, 0)
        total = sum(seconds for phase, seconds in self.seconds.items() if not phase.endswith("held-out"))
        measured = found.measurements
        runs = measured.runs_us[measured.fitted :]
        visits = sum(float(times.sum()) for times in runs)
        warm_ups = sum(float(np.median(times)) * rounds for times in runs)
        return total - (visits + warm_ups) / 1e6


def main(arguments: list[str]) -> int:
    """Run the benchmark; the exit code is 1 if the machine cannot be measured."""
    options = parse(arguments)
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as temporary:
            result = measure(options, options.folder or Path(temporary))
    except FactoryError as error:
        log(f"error: {error}")
        return 1
    print_table(result)
    print(json.dumps(result))
    return 0


def parse(arguments: list[str], description: str | None = __doc__) -> argparse.Namespace:
    """The command line; also that of `modelled_latency.py`, which measures the same networks."""
    parser = make_parser(description)
    parser.add_argument("--engine", default="onnxruntime")
    parser.add_argument("--precision", default="fp32", choices=["fp32", "int8"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--networks", type=int, default=40, help="networks that the table is fitted to")
    parser.add_argument("--held-out", type=int, default=60, help="networks that predictions are judged on")
    parser.add_argument("--rounds", type=int, default=40, help="visits to each network and part")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="keep files and rounds here, and resume from them")
    return parse_options(parser, arguments, QUICK)


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measure this machine; all metrics. Raises `FactoryError`."""
    space, found, timer = measured_host(options, folder, "seconds")
    return {
        **metrics(space, found),
        "table_seconds": round(timer.table_seconds(found, options.rounds), 1),
        "phases": timer.seconds,
        "engine": found.profile.costs.machine,
        "quick": options.quick,
        **environment(options.seed),
    }


def measured_host(
    options: argparse.Namespace, folder: Path, name: str
) -> tuple[MobileNetSpace, MeasuredHost, PhaseTimer]:
    """The model space, what was measured of it, and the time that it took; `name` begins the timer's file name.

    Raises:
        FactoryError: The engine refuses a network, or the machine is too noisy.
    """
    space, engine = short_wide_space() if options.quick else wide_space(), get_engine(options.engine)
    plan = Plan(
        threads=options.threads,
        precision=options.precision,
        networks=options.networks,
        held_out=options.held_out,
        rounds=options.rounds,
        seed=options.seed,
    )
    suffix = "-quick" if options.quick else ""
    timer_file = folder / f"{name}-{options.engine}-{options.precision}-{options.threads}{suffix}.json"
    timer = PhaseTimer(timer_file, plan.networks)
    runner = CpuTimeRunner(engine) if options.quick else None
    found = measure_host(space, engine, plan, folder=folder, progress=timer, today=date.today(), runner=runner)
    return space, found, timer


def metrics(space: ChainModelSpace, found: MeasuredHost) -> dict[str, Any]:
    """Errors of the table and of the baselines on the held-out networks."""
    measured, workloads = found.measurements, Workloads(space)
    table, chain = found.table, workloads.chain
    if table is None or chain is None:
        raise SystemExit("error: networks of the space are not chains of parts, so there is no latency table")
    chain.trace_all()
    rows = chain.rows(encoded(space.space, measured.subnets))
    alone = {part.id: part.alone_us for part in table.parts}
    sums = summed(rows, part_terms(chain.parts, np.array([alone[part.id] for part in chain.parts])))
    macs = summed(rows, np.array([[float(part.workload.macs)] for part in chain.parts]))
    truth, fitted = measured.network_us, measured.fitted
    predictions = {
        "table": table.network_latency_us(rows, chain.parts),
        "sum_of_parts": sums[:, 0],
        "macs": least_squares(macs, truth, fitted),
        "features": least_squares(np.column_stack([np.ones(len(sums)), sums[:, 1:]]), truth, fitted),
    }
    errors = {
        name: {k: round(v, 4) for k, v in prediction_errors(values[fitted:], truth[fitted:]).model_dump().items()}
        for name, values in predictions.items()
    }
    return {
        **errors["table"],
        "baselines": {name: errors[name] for name in ("sum_of_parts", "macs", "features")},
        "repeatability_p95": round(measured.repeatability_p95, 4),
        "arc_sum_difference": arc_sum_difference(workloads, space, found, table),
        "slowdown": round(measured.timing.slowdown, 3),
        "fastest_us": round(float(truth.min()), 1),
        "slowest_us": round(float(truth.max()), 1),
        "parts_timed": len(measured.parts),
        "parts": table.part_count,
        "fitted": fitted,
        "coefficients": [round(c, 5) for c in (table.constant_us, *table.coefficients)],
    }


def arc_sum_difference(workloads: Workloads, space: ChainModelSpace, found: MeasuredHost, table: LatencyTable) -> float:
    """The largest relative difference between the sum of a network's arcs and its predicted latency."""
    device = FoundProfile(profile=found.profile, origin="this measurement", digest="", tables={table.precision: table})
    costs = DeviceCosts(workloads, device)
    vectors = encoded(space.space, found.measurements.subnets)
    sums = costs.sum_of_arcs(costs.arcs(), vectors).latency_us
    return float(np.abs(sums / costs.predict(vectors).latency_us - 1).max())


def least_squares(features: NDArray[np.float64], truth: NDArray[np.float64], fitted: int) -> NDArray[np.float64]:
    """Predictions for all rows, from coefficients that minimise the relative errors of the first `fitted` rows."""
    system = features[:fitted] / truth[:fitted, None]
    coefficients, *_ = np.linalg.lstsq(system, np.ones(fitted), rcond=None)
    return np.asarray(features @ coefficients)


def print_table(result: dict[str, Any]) -> None:
    """The errors as Markdown."""
    print("| prediction | mean error | within 5 % | within 10 % | rank correlation |")
    print("|---|--:|--:|--:|--:|")
    for name, row in (("table", result), *result["baselines"].items()):
        print(
            f"| {name} | {row['mape']:.1%} | {row['within_5']:.0%} | {row['within_10']:.0%} | {row['spearman']:.3f} |"
        )
    print(f"\nrepeatability p95 {result['repeatability_p95']:.1%}, table made in {result['table_seconds']} s\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
