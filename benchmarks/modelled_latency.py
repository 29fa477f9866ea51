"""How well does a modelled profile of this machine rank and predict latencies that were measured on it?

    python benchmarks/modelled_latency.py
    python benchmarks/modelled_latency.py --precision int8 --threads 2

A modelled profile knows a machine by two figures, its peak and its bandwidth, and by assumed shares of them for each
kind of kernel (`device_profiles/core_classes.py`). For this machine the two are measured in a second. The networks are
those that `host_latency.py` holds out: random subnets of its wide MobileNet space; nothing is fitted to them but one
scale, the best for all, where a row says so. Beside it: MACs times the best constant, which is what MACs alone tell.
Since size decides the order of networks that differ widely in it, the rank correlation of latency per MAC is reported
too: of what MACs do not tell.

`--folder` is that of `host_latency.py`: networks that it converted and rounds that it measured with the same
`--networks`, `--held-out` and `--seed` are taken from there. Otherwise this script measures them, which wants a quiet
machine. The last line of standard output is one JSON object.
"""

from __future__ import annotations

import json
import sys
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from host_latency import Clock, asked, least_squares, parse
from numpy.typing import NDArray
from paired import surroundings

from device_profiles.cost_models.models import LatencyModel, latency_by_kind
from device_profiles.measuring.measure import measure_host
from device_profiles.modelling.modelled_host import host_sheet
from device_profiles.modelling.roofline import profile_of
from device_profiles.profile import DeviceProfile
from device_profiles.workload.operators import KERNEL_KINDS, Workload
from device_profiles.workload.workloads import Workloads
from exports.engines import get_engine


def main(arguments: list[str]) -> int:
    """Run the benchmark."""
    options = parse(arguments, __doc__)
    torch.set_num_threads(1)
    space, plan = asked(options)
    sheet = host_sheet(threads=options.threads, precision=options.precision, engine=options.engine)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        clock = Clock(folder / f"modelled-{options.engine}-{options.precision}-{options.threads}.json", plan.networks)
        engine = get_engine(options.engine)
        found = measure_host(space, engine, plan, folder=folder, progress=clock, today=date.today())
    measured = found.measurements
    workloads = Workloads(space)
    networks = [workloads.of(subnet) for subnet in measured.subnets[measured.fitted :]]
    profile = profile_of(sheet)
    figures = {place: figure.value for place, figure in sheet.figures().items()}
    result = {
        **errors(networks, measured.network_us[measured.fitted :], profile),
        "networks": len(networks),
        "repeatability_p95": round(measured.repeatability_p95, 4),
        "sheet": figures,
        "shares_of_time": shares(networks, profile),
        "engine": found.profile.costs.machine,
        "quick": options.quick,
        **surroundings(options.seed),
    }
    print_table(result)
    print(json.dumps(result))
    return 0


def errors(networks: list[Workload], truth: NDArray[np.float64], profile: DeviceProfile) -> dict[str, Any]:
    """Of the modelled profile as it is, with the best scale, and of MACs with the best constant."""
    modelled = LatencyModel().predict(networks, profile)
    macs = np.array([float(network.macs) for network in networks])
    return {
        "modelled": judged(modelled, truth),
        "modelled_scaled": judged(scaled(modelled, truth), truth),
        "macs_scaled": judged(scaled(macs, truth), truth),
        "scale": round(float(np.median(scaled(modelled, truth) / modelled)), 4),
        "per_mac_spearman": rank_correlation(modelled / macs, truth / macs),
        "relative_std": round(float(np.sqrt(np.mean((modelled / truth - 1) ** 2))), 4),
    }


def scaled(values: NDArray[np.float64], truth: NDArray[np.float64]) -> NDArray[np.float64]:
    """`values` times the constant that makes their relative errors least, in squares."""
    return least_squares(values[:, None], truth, len(truth))


def judged(predicted: NDArray[np.float64], truth: NDArray[np.float64]) -> dict[str, float]:
    """Rank correlation, mean absolute relative error, shares within 10 and 20 %."""
    off = np.abs(predicted / truth - 1)
    return {
        "spearman": rank_correlation(predicted, truth),
        "mape": round(float(off.mean()), 4),
        "within_10": round(float((off <= 0.1).mean()), 4),
        "within_20": round(float((off <= 0.2).mean()), 4),
    }


def rank_correlation(predicted: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    """Spearman's."""
    from scipy.stats import spearmanr

    return round(float(spearmanr(predicted, truth).statistic), 4)


def shares(networks: list[Workload], profile: DeviceProfile) -> dict[str, float]:
    """Where the modelled time of all networks goes."""
    totals = {kind: sum(latency_by_kind(network, profile)[kind] for network in networks) for kind in KERNEL_KINDS}
    return {kind: round(time / sum(totals.values()), 3) for kind, time in totals.items()}


def print_table(result: dict[str, Any]) -> None:
    """The errors as Markdown."""
    print("| prediction | rank correlation | mean error | within 10 % | within 20 % |")
    print("|---|--:|--:|--:|--:|")
    for name in ("modelled", "modelled_scaled", "macs_scaled"):
        row = result[name]
        print(
            f"| {name} | {row['spearman']:.3f} | {row['mape']:.1%} | {row['within_10']:.0%} | {row['within_20']:.0%} |"
        )
    print(
        f"\n{result['engine']}: best scale {result['scale']}, rank correlation of latency per MAC "
        f"{result['per_mac_spearman']}, {result['networks']} networks\n"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
