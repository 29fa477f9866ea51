"""How well do thousands of rows from the field give back how slow each kind of device is?

    python benchmarks/telemetry.py

Makes rows of `--devices` kinds of devices with `--rows` rows each, of `--models` models in equal shares, from a known
scale per device. Single runs are lognormal (noise 5 to 20 %), and each model of a device is off its scale by some
`--model-std` of its own. On every device 5 % of the rows are gross outliers, pauses of 3 to 300 times and cut runs of
a third to a hundredth. Then, on parts of the devices that may overlap: whole milliseconds (30 %), throttling in 10 to
60 % of the rows by 1.25 to 2.5 times (25 %), a wrong unit or clock (20 %: some rows off by 1000, or all of them; zeros,
negative and infinite values; timestamps of 1970 and of the next century). The file holds what an app would send;
nothing of the truth goes to the estimator but the expected latency of each model.

`seconds` is wall time for reading the file and aggregating it, without making it, in a process of its own, whose peak
memory is `peak_mib` (`start_mib` when it has imported what it needs); `cpu_seconds` is what a busy machine does not
change. `scale_error` is |found / true - 1|
over devices. The baselines see the rows that are above zero and finite: the mean, and the median, over models, of each
model's mean or median over what is expected. The last line of standard output is one JSON object.
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
from numpy.typing import NDArray

from device_profiles.telemetry.aggregate import DeviceTelemetry, Telemetry, aggregate, read_rows

NOW = 1_795_000_000.0
DAY = 86_400.0
OUTLIERS = 0.05
GROUPS = ("rounded", "throttled", "wrong_unit_or_clock")
PARTS = (0.3, 0.25, 0.2)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Fleet:
    """What is made, and the truth.

    Attributes:
        frame: the rows.
        expected_us: of each model, by digest.
        scale: (devices,) true.
        medians_us: (devices, models) true medians of cold runs.
        groups: (devices, `GROUPS`) whether a device is disturbed so.
    """

    frame: pd.DataFrame
    expected_us: dict[str, float]
    scale: NDArray[np.float64]
    medians_us: NDArray[np.float64]
    groups: NDArray[np.bool_]


def main(arguments: list[str]) -> int:
    """Run the benchmark."""
    from paired import surroundings  # imports torch, which the measured process does without

    options = parse(arguments)
    devices, rows = (20, 300) if options.quick else (options.devices, options.rows)
    fleet = make_fleet(np.random.default_rng(options.seed), devices, rows, options.models, options.model_std)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"rows.{options.format}"
        if options.format == "csv":
            fleet.frame.to_csv(path, index=False)
        else:
            fleet.frame.to_parquet(path, index=False)
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
            telemetry, figures = alone.submit(read_and_aggregate, path, fleet.expected_us).result()
    result: dict[str, Any] = {
        **judged(fleet, telemetry),
        **figures,
        "devices": devices,
        "rows": len(fleet.frame),
        "rows_used": telemetry.rows_used,
        "models": options.models,
        "model_std": options.model_std,
        "format": options.format,
        "quick": options.quick,
        **surroundings(options.seed),
    }
    print_groups(result)
    print(json.dumps(result))
    return 0


def read_and_aggregate(path: Path, expected_us: dict[str, float]) -> tuple[Telemetry, dict[str, float]]:
    """What is measured, with its seconds and memory."""
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=1000, help="of each device")
    parser.add_argument("--models", type=int, default=6)
    parser.add_argument("--model-std", type=float, default=0.02, help="by which models differ on a device")
    parser.add_argument("--format", choices=("parquet", "csv"), default="parquet")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="20 devices with 300 rows")
    return parser.parse_args(arguments)


def make_fleet(rng: np.random.Generator, devices: int, rows: int, models: int, model_std: float) -> Fleet:
    """Rows of a fleet in random order."""
    expected = np.sort(np.exp(rng.uniform(np.log(500), np.log(40_000), models)))
    digests = [rng.bytes(32).hex() for _ in range(models)]
    scale = np.exp(rng.uniform(np.log(0.4), np.log(6), devices))
    medians = scale[:, None] * expected * np.exp(rng.normal(0, model_std, (devices, models)))
    groups = rng.random((devices, len(GROUPS))) < PARTS
    frames = [
        device_rows(rng, f"maker phone {index}", medians[index], digests, rows, groups[index])
        for index in range(devices)
    ]
    frame = pd.concat(frames, ignore_index=True)
    return Fleet(
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
    """Rows of one device as its app sends them, in microseconds."""
    model = rng.integers(0, len(digests), rows)
    latency = medians_us[model] * np.exp(rng.normal(0, rng.uniform(0.05, 0.2), rows))
    rounded, throttled, wrong = disturbed
    if throttled:
        hot = rng.random(rows) < rng.uniform(0.1, 0.6)
        latency[hot] *= rng.uniform(1.25, 2.5) * np.exp(rng.normal(0, 0.05, hot.sum()))
    outlying, paused = rng.random(rows) < OUTLIERS, rng.random(rows) < 0.7
    factor = np.exp(np.where(paused, rng.uniform(np.log(3), np.log(300), rows), -rng.uniform(1.1, np.log(100), rows)))
    latency = np.where(outlying, latency * factor, latency)
    latency = np.rint(latency / 1000) * 1000 if rounded else np.rint(latency * 10) / 10
    seconds = NOW - rng.uniform(0, 30 * DAY, rows)
    if wrong:
        latency, seconds = with_wrong_clock(rng, latency, seconds)
    written = np.array([digest[:16] if rng.random() < 0.5 else digest for digest in digests])
    return pd.DataFrame({"device": name, "model": written[model], "latency_us": latency, "timestamp": seconds})


def with_wrong_clock(
    rng: np.random.Generator, latency: NDArray[np.float64], seconds: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Some rows, or all, in another unit; some values that are no latency; some impossible timestamps."""
    share = rng.choice([0.1, 0.3, 0.6, 1.0])
    factor = rng.choice([1e-3, 1e3])
    latency = np.where(rng.random(len(latency)) < share, latency * factor, latency)
    broken = rng.random(len(latency)) < 0.03
    latency = np.where(broken, rng.choice([0.0, -1.0, -5e6, np.inf, np.nan], len(latency)), latency)
    lost = rng.random(len(seconds)) < 0.05
    return latency, np.where(lost, rng.choice([0.0, NOW + 3e9], len(seconds)), seconds)


def judged(fleet: Fleet, telemetry: Telemetry) -> dict[str, Any]:
    """Errors and coverage, of all devices and of each group."""
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
    """Median and 95th percentile; None without devices."""
    if not len(error):
        return {"median": None, "p95": None}
    return {"median": round(float(np.median(error)), 5), "p95": round(float(np.quantile(error, 0.95)), 5)}


def ratio(flags: NDArray[np.bool_]) -> float | None:
    """The share that is true; None of none."""
    return round(float(flags.mean()), 4) if len(flags) else None


def covers(device: DeviceTelemetry, true: float) -> bool:
    """Whether the interval of the scale holds the truth."""
    return device.scale is not None and device.scale.low <= true <= device.scale.high


def half_width(device: DeviceTelemetry) -> float:
    """Of the interval of the scale, relative."""
    return float(np.log(device.scale.high / device.scale.low) / 2) if device.scale else float("nan")


def model_covered(fleet: Fleet, device: DeviceTelemetry, number: int) -> NDArray[np.bool_]:
    """Of each model, whether its cold latency plus and minus 1.96 standard deviations holds the true median."""
    digests = list(fleet.expected_us)
    return np.array(
        [
            abs(np.log(model.cold_us / fleet.medians_us[number, digests.index(model.model)]))
            <= 1.96 * model.relative_std
            for model in device.models
        ],
        dtype=np.bool_,
    )


def baselines(fleet: Fleet) -> dict[str, Any]:
    """Errors of a naive mean and of a plain median, without any care for units, clocks, outliers or throttling."""
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
    """The most memory that this process has held; NaN where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return math.nan
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), math.nan)


def print_groups(result: dict[str, Any]) -> None:
    """A table for people."""
    print("| devices | number | error of the scale, median | p95 | covered |\n|---|--:|--:|--:|--:|")
    every = {"devices": result["devices"], "median": result["scale_error_median"], "p95": result["scale_error_p95"]}
    for name, group in {"all": every | {"coverage_95": result["coverage_95"]}, **result["groups"]}.items():
        if group["devices"]:
            cells = (group["median"], group["p95"], group["coverage_95"])
            print(f"| {name} | {group['devices']} | " + " | ".join(f"{cell:.2%}" for cell in cells) + " |")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
