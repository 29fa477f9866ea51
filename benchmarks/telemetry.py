"""How well can the speed of each kind of device be estimated from thousands of rows that apps send?

    python benchmarks/telemetry.py

Simulates `--devices` kinds of devices with `--rows` rows each, spread evenly over `--models` models, from a known scale
per device. Single runs are lognormal (noise 5 to 20 %), and each model on a device deviates from its scale by
`--model-std`. On every device 5 % of the rows are gross outliers: pauses of 3 to 300 times the latency, and aborted
runs of a third to a hundredth of it. Further disturbances affect some of the devices, and may overlap: whole
milliseconds (30 %); throttling by 1.25 to 2.5 times in 10 to 60 % of the rows (25 %); a wrong unit or clock (20 %: some
or all rows wrong by a factor of 1000; zeros, negative and infinite values; timestamps in 1970 and in the next century).
The file contains what an app would send. The estimator gets it and the expected latency of each model, nothing else.

`seconds` is wall-clock time for reading and aggregating the file, without making it, in a process of its own. The peak
memory of that process is `peak_mib`, and `start_mib` after its imports. `cpu_seconds` is its CPU time, which depends
less on other work. `scale_error` is |estimated / true - 1| over devices. The baselines use the rows whose latencies are
positive and finite: per model, the mean or median latency over the expected one, then the mean or median over models.

`--quick` simulates 100 devices instead of 1,000.

The last line of standard output is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from common import environment, make_parser, parse_options
from numpy.typing import NDArray

from device_profiles.telemetry.aggregate import DeviceTelemetry, Telemetry, aggregate
from device_profiles.telemetry.rows import read_rows

NOW = 1_795_000_000.0
"""Time at which the rows are read, in seconds since 1970 (18 November 2026). Fixed, so that rows are reproducible."""

DAY = 86_400.0
OUTLIERS = 0.05
GROUPS = ("rounded", "throttled", "wrong_unit_or_clock")
SHARES = (0.3, 0.25, 0.2)
"""Shares of rows that are outliers, and of devices in each group. These and the numbers of the simulation below are
assumed: worse than one would expect, so bad that a mean is useless (see the baselines)."""

QUICK = {"devices": 100}


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Simulation:
    """Simulated rows, and the truth behind them.

    Attributes:
        frame: The rows.
        expected_us: Expected latency of each model in microseconds, by digest.
        scale: (devices,); true scale.
        medians_us: (devices, models); true median latency of cold runs in microseconds.
        groups: (devices, `GROUPS`); whether a device belongs to each group.
    """

    frame: pd.DataFrame
    expected_us: dict[str, float]
    scale: NDArray[np.float64]
    medians_us: NDArray[np.float64]
    groups: NDArray[np.bool_]


def main(arguments: list[str]) -> int:
    """Run the benchmark."""
    options = parse(arguments)
    rng = np.random.default_rng(options.seed)
    fleet = simulate(rng, options.devices, options.rows, options.models, options.model_std)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"rows.{options.format}"
        if options.format == "csv":
            fleet.frame.to_csv(path, index=False)
        else:
            fleet.frame.to_parquet(path, index=False)
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            telemetry, cost = process.submit(read_and_aggregate, path, fleet.expected_us).result()
    result: dict[str, Any] = {
        **judged(fleet, telemetry),
        **cost,
        "devices": options.devices,
        "rows": len(fleet.frame),
        "rows_used": telemetry.rows_used,
        "models": options.models,
        "model_std": options.model_std,
        "format": options.format,
        "quick": options.quick,
        **environment(options.seed),
    }
    print_groups(result)
    print(json.dumps(result))
    return 0


def read_and_aggregate(path: Path, expected_us: dict[str, float]) -> tuple[Telemetry, dict[str, float]]:
    """What is measured: the telemetry, and the seconds and memory that it took."""
    start, started, processor = peak_mib(), time.perf_counter(), time.process_time()
    rows = read_rows(path, NOW)
    reading = time.perf_counter() - started
    telemetry = aggregate(rows, expected_us)
    seconds = time.perf_counter() - started
    return telemetry, {
        "seconds": round(seconds, 2),
        "reading_seconds": round(reading, 2),
        "cpu_seconds": round(time.process_time() - processor, 2),
        "peak_mib": round(peak_mib()),
        "start_mib": round(start),
    }


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--devices", type=int, default=1000, help="kinds of devices")
    parser.add_argument("--rows", type=int, default=1000, help="rows of each kind of device")
    parser.add_argument("--models", type=int, default=6)
    parser.add_argument("--model-std", type=float, default=0.02, help="relative deviation of a model from its device")
    parser.add_argument("--format", choices=("parquet", "csv"), default="parquet")
    parser.add_argument("--seed", type=int, default=0)
    return parse_options(parser, arguments, QUICK)


def simulate(rng: np.random.Generator, devices: int, rows: int, models: int, model_std: float) -> Simulation:
    """Rows of all devices in random order. Models take 0.5 to 40 ms on a device of scale 1, scales are 0.4 to 6."""
    expected = np.sort(np.exp(rng.uniform(np.log(500), np.log(40_000), models)))
    digests = [rng.bytes(32).hex() for _ in range(models)]
    scale = np.exp(rng.uniform(np.log(0.4), np.log(6), devices))
    medians = scale[:, None] * expected * np.exp(rng.normal(0, model_std, (devices, models)))
    groups = rng.random((devices, len(GROUPS))) < SHARES
    frames = [
        device_rows(rng, f"maker phone {index}", medians[index], digests, rows, groups[index])
        for index in range(devices)
    ]
    frame = pd.concat(frames, ignore_index=True)
    return Simulation(
        frame=frame.iloc[rng.permutation(len(frame))],
        expected_us=dict(zip(digests, expected.tolist(), strict=True)),
        scale=scale,
        medians_us=medians,
        groups=groups,
    )


def device_rows(
    rng: np.random.Generator,
    name: str,
    medians_us: NDArray[np.float64],
    digests: list[str],
    rows: int,
    disturbed: NDArray[np.bool_],
) -> pd.DataFrame:
    """Rows of one device as an app sends them, in microseconds. See the module for the disturbances."""
    model = rng.integers(0, len(digests), rows)
    latency = medians_us[model] * np.exp(rng.normal(0, rng.uniform(0.05, 0.2), rows))
    rounded, throttled, wrong = disturbed
    if throttled:
        hot = rng.random(rows) < rng.uniform(0.1, 0.6)
        latency[hot] *= rng.uniform(1.25, 2.5) * np.exp(rng.normal(0, 0.05, hot.sum()))
    outlying, paused = rng.random(rows) < OUTLIERS, rng.random(rows) < 0.7
    factor = np.exp(np.where(paused, rng.uniform(np.log(3), np.log(300), rows), -rng.uniform(1.1, np.log(100), rows)))
    latency = np.where(outlying, latency * factor, latency)
    latency = np.rint(latency / 1000) * 1000 if rounded else np.rint(latency * 10) / 10  # 1 ms or 0.1 us
    seconds = NOW - rng.uniform(0, 30 * DAY, rows)
    if wrong:
        latency, seconds = with_wrong_clock(rng, latency, seconds)
    # Apps may send only the first digits of a digest; 16 are as many as file names have.
    written = np.array([digest[:16] if rng.random() < 0.5 else digest for digest in digests])
    return pd.DataFrame({"device": name, "model": written[model], "latency_us": latency, "timestamp": seconds})


def with_wrong_clock(
    rng: np.random.Generator, latency: NDArray[np.float64], seconds: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rows of which some or all are in another unit, 3 % are not latencies, and 5 % have impossible timestamps."""
    share = rng.choice([0.1, 0.3, 0.6, 1.0])
    factor = rng.choice([1e-3, 1e3])
    latency = np.where(rng.random(len(latency)) < share, latency * factor, latency)
    broken = rng.random(len(latency)) < 0.03
    latency = np.where(broken, rng.choice([0.0, -1.0, -5e6, np.inf, np.nan], len(latency)), latency)
    lost = rng.random(len(seconds)) < 0.05
    return latency, np.where(lost, rng.choice([0.0, NOW + 3e9], len(seconds)), seconds)


def judged(fleet: Simulation, telemetry: Telemetry) -> dict[str, Any]:
    """Errors and coverage, over all devices and within each group."""
    numbers = [int(device.device.split()[-1]) for device in telemetry.devices]
    scale, groups = fleet.scale[numbers], fleet.groups[numbers]
    found = np.array([device.scale.value if device.scale else np.nan for device in telemetry.devices])
    error = np.abs(found / scale - 1)
    covered = np.array([covers(device, true) for device, true in zip(telemetry.devices, scale, strict=True)])
    medians = [model_covered(fleet, device, n) for device, n in zip(telemetry.devices, numbers, strict=True)]
    seen = np.array([device.throttling is not None for device in telemetry.devices])
    inside = {"undisturbed": ~groups.any(axis=1)} | {name: groups[:, i] for i, name in enumerate(GROUPS)}
    by_group = {
        name: {"devices": int(members.sum()), **errors(error[members]), "coverage_95": ratio(covered[members])}
        for name, members in inside.items()
    }
    hot = groups[:, GROUPS.index("throttled")]
    return {
        **{f"scale_error_{key}": value for key, value in errors(error).items()},
        "coverage_95": ratio(covered),
        "half_width_median": round(float(np.median([half_width(device) for device in telemetry.devices])), 4),
        "cold_latency_coverage_95": ratio(np.concatenate(medians)),
        "throttling_seen": ratio(seen[hot]),
        "throttling_seen_wrongly": ratio(seen[~hot]),
        "groups": by_group,
        "baselines": baselines(fleet),
    }


def errors(error: NDArray[np.float64]) -> dict[str, float | None]:
    """Median and 95th percentile; None if there are no devices."""
    if not len(error):
        return {"median": None, "p95": None}
    return {"median": round(float(np.median(error)), 5), "p95": round(float(np.quantile(error, 0.95)), 5)}


def ratio(flags: NDArray[np.bool_]) -> float | None:
    """The share that is true; None if there are no flags."""
    return round(float(flags.mean()), 4) if len(flags) else None


def covers(device: DeviceTelemetry, true: float) -> bool:
    """Whether the 95 % interval of the scale contains the true scale."""
    return device.scale is not None and device.scale.low <= true <= device.scale.high


def half_width(device: DeviceTelemetry) -> float:
    """Relative half-width of the interval of the scale."""
    return float(np.log(device.scale.high / device.scale.low) / 2) if device.scale else float("nan")


def model_covered(fleet: Simulation, device: DeviceTelemetry, number: int) -> NDArray[np.bool_]:
    """For each model, whether its true median is within 1.96 standard deviations (95 %) of its cold latency."""
    digests = list(fleet.expected_us)
    return np.array(
        [
            abs(np.log(model.cold_us / fleet.medians_us[number, digests.index(model.model)]))
            <= 1.96 * model.relative_std
            for model in device.models
        ],
        dtype=np.bool_,
    )


def baselines(fleet: Simulation) -> dict[str, Any]:
    """Errors of a naive mean and of a plain median, which ignore units, clocks, outliers and throttling."""
    rows = fleet.frame[(fleet.frame["latency_us"] > 0) & np.isfinite(fleet.frame["latency_us"])]
    known = {digest[:length]: latency for digest, latency in fleet.expected_us.items() for length in (16, 64)}
    relative = rows["latency_us"] / rows["model"].map(known)
    by_model = relative.groupby([rows["device"], rows["model"]])
    found = {}
    for name, of_models in (("mean", by_model.mean()), ("median", by_model.median())):
        scale = of_models.groupby("device").mean() if name == "mean" else of_models.groupby("device").median()
        true = fleet.scale[[int(device.split()[-1]) for device in scale.index]]
        error = np.abs(scale.to_numpy() / true - 1)
        right = ~fleet.groups[[int(device.split()[-1]) for device in scale.index]].any(axis=1)
        found[name] = {**errors(error), "undisturbed": errors(error[right])}
    return found


def peak_mib() -> float:
    """The peak memory of this process; NaN if the system does not report it."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return math.nan
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), math.nan)


def print_groups(result: dict[str, Any]) -> None:
    """The errors as Markdown."""
    print("| devices | number | error of the scale, median | p95 | coverage |\n|---|--:|--:|--:|--:|")
    every = {"devices": result["devices"], "median": result["scale_error_median"], "p95": result["scale_error_p95"]}
    for name, group in {"all": every | {"coverage_95": result["coverage_95"]}, **result["groups"]}.items():
        if group["devices"]:
            cells = (group["median"], group["p95"], group["coverage_95"])
            print(f"| {name} | {group['devices']} | " + " | ".join(f"{cell:.2%}" for cell in cells) + " |")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
