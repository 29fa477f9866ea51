"""How well does a measured table predict the latency of networks that it has never seen?

    python benchmarks/host_latency.py
    python benchmarks/host_latency.py --engine mnn
    python benchmarks/host_latency.py --precision int8

Does what `factory profile` does for a wide MobileNet space (elastic resolution, width, depth, kernel and expansion,
128 to 224 pixels): times 40 networks and their parts, interpolates all other parts, fits the correction. Further
networks, spread over the whole range of sizes, are timed in the same rounds; nothing is fitted to them, and no part is
timed because they have it. Two baselines see the same networks: MACs times a constant, and the features of the
correction without a table. `table_seconds` is wall time without what the held-out networks cost.

Run it on a quiet machine. With `--folder` an interrupted run goes on; the last line of standard output is one JSON
object.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from paired import TINY, surroundings

from device_profiles.cost_models.device_costs import DeviceCosts
from device_profiles.latency_table import LatencyTable, part_terms, summed
from device_profiles.measuring.measure import MeasuredHost, Plan, measure_host
from device_profiles.measuring.table_fit import prediction_errors
from device_profiles.profile import FoundProfile
from device_profiles.workload.parts import ChainParts, encoded
from device_profiles.workload.workloads import Workloads
from exports.engines import get_engine
from factory_base.files import read_json, write_json
from supernet.chain import ChainModelSpace
from supernet.spaces.mobilenet import MobileNetSpace
from supernet.spaces.mobilenet_config import MobileNetConfig

PHASES = ("looking at subnets", "converting network", "loading", "timing", "sustained run", "distinct parts")


def wide_space() -> MobileNetSpace:
    """A MobileNet space with elastic widths, for 1000 classes."""
    options: dict[str, Any] = {"depths": [1, 2, 3], "kernels": [3, 5, 7], "expands": [3, 4, 6]}
    stages: list[dict[str, Any]] = [
        {"widths": [16, 24], "depths": [1], "kernels": [3], "expands": [1]},
        {"widths": [16, 24, 32], "stride": 2, **options},
        {"widths": [24, 40, 56], "stride": 2, "squeeze_excite": True, **options},
        {"widths": [48, 80, 112], "stride": 2, "activation": "hard_swish", **options},
        {"widths": [64, 112, 160], "squeeze_excite": True, "activation": "hard_swish", **options},
        {"widths": [96, 160, 224], "stride": 2, "squeeze_excite": True, "activation": "hard_swish", **options},
    ]
    section = {"resolutions": [128, 160, 192, 224], "stem_width": 16, "stem_stride": 2, "stages": stages}
    return MobileNetSpace(MobileNetConfig.model_validate({**section, "head_width": 960}), 1000)


class Clock:
    """Wall time by phase, kept in a file, so that a run in several goes is counted whole. A listener of progress."""

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
            print(f"{done}/{total} {detail}", file=sys.stderr, flush=True)
        self._phase, self._since = phase + (", held-out" if held_out else ""), now

    def table_seconds(self, found: MeasuredHost, rounds: int) -> float:
        """All phases, without the conversion and the visits of held-out networks (one warm-up run a visit)."""
        self(0, 0)
        total = sum(seconds for phase, seconds in self.seconds.items() if not phase.endswith("held-out"))
        measured = found.measurements
        runs = measured.runs_us[measured.fitted :]
        visits = sum(float(times.sum()) for times in runs)
        warm_ups = sum(float(np.median(times)) * rounds for times in runs)
        return total - (visits + warm_ups) / 1e6


def main(arguments: list[str]) -> int:
    """Run the benchmark."""
    options = parse(arguments)
    torch.set_num_threads(1)
    space, plan = asked(options)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        clock = Clock(folder / f"seconds-{options.engine}-{options.precision}-{options.threads}.json", plan.networks)
        engine = get_engine(options.engine)
        found = measure_host(space, engine, plan, folder=folder, progress=clock, today=date.today())
        seconds = clock.table_seconds(found, plan.rounds)
    if found.table is None:
        raise SystemExit("error: the space is no chain of parts")
    result = figures(space, found, found.table) | {"table_seconds": round(seconds, 1), "phases": clock.seconds}
    result |= {"engine": found.profile.costs.machine, "quick": options.quick, **surroundings(options.seed)}
    print_table(result)
    print(json.dumps(result))
    return 0


def parse(arguments: list[str], described: str | None = __doc__) -> argparse.Namespace:
    """The command line; also of `modelled_latency.py`, which measures the same networks."""
    parser = argparse.ArgumentParser(description=described, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", default="onnxruntime")
    parser.add_argument("--precision", default="fp32", choices=["fp32", "int8"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--networks", type=int, default=40, help="that are fitted to")
    parser.add_argument("--held-out", type=int, default=60, help="that predictions are judged on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="keep files and rounds here, and go on from them")
    parser.add_argument("--quick", action="store_true", help="a tiny space, few networks")
    return parser.parse_args(arguments)


def asked(options: argparse.Namespace) -> tuple[MobileNetSpace, Plan]:
    """The model space, and what is measured of it."""
    space = MobileNetSpace(MobileNetConfig.model_validate(TINY), 10) if options.quick else wide_space()
    plan = Plan(
        threads=options.threads,
        precision=options.precision,
        networks=6 if options.quick else options.networks,
        held_out=2 if options.quick else options.held_out,
        seed=options.seed,
    )
    return space, plan


def figures(space: ChainModelSpace, found: MeasuredHost, table: LatencyTable) -> dict[str, Any]:
    """Errors of the table and of the baselines on the held-out networks."""
    measured, chain = found.measurements, ChainParts(space)
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
        "arc_sum_difference": arc_sum_difference(space, found, table),
        "slowdown": round(measured.timing.slowdown, 3),
        "fastest_us": round(float(truth.min()), 1),
        "slowest_us": round(float(truth.max()), 1),
        "parts_timed": len(measured.parts),
        "parts": table.part_count,
        "fitted": fitted,
        "coefficients": [round(c, 5) for c in (table.constant_us, *table.coefficients)],
    }


def arc_sum_difference(space: ChainModelSpace, found: MeasuredHost, table: LatencyTable) -> float:
    """Largest relative difference between the sum of a network's arcs and its predicted latency."""
    device = FoundProfile(profile=found.profile, origin="this measurement", digest="", table=table)
    costs = DeviceCosts(Workloads(space), device)
    arcs, worst = costs.arcs(), 0.0
    for subnet in found.measurements.subnets:
        values, total = subnet.to_dict(), costs.constant_us
        for arc, link in zip(arcs, space.links, strict=True):
            if not link.depth_choice or values[link.depth_choice] >= link.exists_from:
                total += arc.latency_us[tuple(choice.options.index(values[choice.name]) for choice in arc.choices)]
        worst = max(worst, abs(total / costs.of([subnet])[0].latency_us - 1))
    return worst


def least_squares(features: NDArray[np.float64], truth: NDArray[np.float64], fitted: int) -> NDArray[np.float64]:
    """Predictions for all rows from a fit of relative errors to the first `fitted` ones."""
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
