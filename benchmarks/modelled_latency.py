"""How well does a modelled profile of this machine rank and predict latencies that were measured on it?

    python benchmarks/modelled_latency.py
    python benchmarks/modelled_latency.py --precision int8 --threads 2

A modelled profile describes a machine by two numbers, its peak and its bandwidth, and by assumed shares of them for
each kind of kernel (`device_profiles/modelling/core_classes.py`). Both are measured on this machine, in a second or
two. The networks are those that `host_latency.py` holds out: random subnets of its wide MobileNet space. Nothing is
fitted to them except one scale, the best one for all networks, in rows that say so. The baseline is MACs times the best
constant, which is all that MACs alone can predict. Among networks that differ widely in size, size decides the order;
therefore the rank correlation of latency per MAC is reported too, which shows what the model adds to MACs.

`--folder` is that of `host_latency.py`: networks that it converted and rounds that it measured with the same
`--networks`, `--held-out`, `--rounds` and `--seed` are reused. Without them this script measures the networks, which
needs a quiet machine.

`--quick` times the networks of `host_latency.py --quick`, 3 of them held out, in 20 rounds: shorter networks, in CPU
time. Peak and bandwidth are measured in wall-clock time as in the full form, so other work on the machine changes the
scale.

The last line of standard output is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import environment, log
from host_latency import least_squares, measured_host, parse
from numpy.typing import NDArray

from device_profiles.cost_models.models import LatencyModel, latency_by_kind
from device_profiles.modelling.modelled_host import host_sheet
from device_profiles.modelling.roofline import profile_of
from device_profiles.profile import DeviceProfile
from device_profiles.workload.operators import KERNEL_KINDS, Workload
from device_profiles.workload.workloads import Workloads
from factory_base.errors import FactoryError


def main(arguments: list[str]) -> int:
    """Run the benchmark; the exit code is 1 if the machine cannot be measured."""
    options = parse(arguments, __doc__)
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


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Model and measure this machine; all metrics. Raises `FactoryError`."""
    sheet = host_sheet(threads=options.threads, engine=options.engine)
    space, found, _ = measured_host(options, folder, "modelled")
    measured = found.measurements
    workloads = Workloads(space)
    networks = [workloads.of(subnet) for subnet in measured.subnets[measured.fitted :]]
    profile = profile_of(sheet, (options.precision,))
    return {
        **errors(networks, measured.network_us[measured.fitted :], profile),
        "networks": len(networks),
        "repeatability_p95": round(measured.repeatability_p95, 4),
        "sheet": {place: figure.value for place, figure in sheet.figures().items()},
        "shares_of_time": shares(networks, profile),
        "engine": found.profile.costs.machine,
        "quick": options.quick,
        **environment(options.seed),
    }


def errors(networks: list[Workload], truth: NDArray[np.float64], profile: DeviceProfile) -> dict[str, Any]:
    """Errors of the modelled profile as it is and with the best scale, and of MACs with the best constant."""
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
    """`values` times the constant that minimises the sum of their squared relative errors."""
    return least_squares(values[:, None], truth, len(truth))


def judged(predicted: NDArray[np.float64], truth: NDArray[np.float64]) -> dict[str, float]:
    """Rank correlation, mean absolute relative error, shares of networks within 10 and 20 %."""
    off = np.abs(predicted / truth - 1)
    return {
        "spearman": rank_correlation(predicted, truth),
        "mape": round(float(off.mean()), 4),
        "within_10": round(float((off <= 0.1).mean()), 4),
        "within_20": round(float((off <= 0.2).mean()), 4),
    }


def rank_correlation(predicted: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    """Spearman's rank correlation."""
    from scipy.stats import spearmanr

    return round(float(spearmanr(predicted, truth).statistic), 4)


def shares(networks: list[Workload], profile: DeviceProfile) -> dict[str, float]:
    """Share of the modelled time of all networks, by kind of kernel."""
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
