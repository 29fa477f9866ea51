"""Simulated telemetry rows of devices whose true latencies are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from device_profiles.telemetry.aggregate import DeviceTelemetry, Telemetry, aggregate
from device_profiles.telemetry.rows import read_rows

NOW = 1_795_000_000.0
EXPECTED = {f"{index:02x}" * 32: latency for index, latency in enumerate((900.0, 1600.0, 4200.0, 15000.0))}
DIGESTS = tuple(EXPECTED)


def runs(rng, scale, rows=1000, noise=0.1, outliers=0.05, hot=0.0, factor=1.5, step_us=0.0, shape="lognormal"):
    """Model index and latency in microseconds of each row of one device."""
    model = rng.integers(0, len(EXPECTED), rows)
    latency = scale * np.array(list(EXPECTED.values()))[model]
    if shape == "lognormal":
        latency = latency * np.exp(rng.normal(0, noise, rows))
    else:  # a floor and a long tail to slow runs
        latency = latency * (1 + rng.exponential(noise, rows)) / (1 + noise * np.log(2))
    latency = np.where(rng.random(rows) < hot, latency * factor, latency)
    odd, paused = rng.random(rows) < outliers, rng.random(rows) < 0.7
    gross = np.exp(np.where(paused, rng.uniform(1, 5, rows), rng.uniform(-4, -1, rows)))
    latency = np.where(odd, latency * gross, latency)
    return model, np.rint(latency / step_us) * step_us if step_us else np.rint(latency * 10) / 10


def frame(model, latency, device="maker phone", **columns) -> pd.DataFrame:
    digests = np.array(DIGESTS)[model]
    return pd.DataFrame({"device": device, "model": digests, "latency_us": latency, **columns})


def measured(rows: pd.DataFrame, folder: Path, expected=EXPECTED, **options) -> Telemetry:
    """Aggregate rows that are written to a file and read again."""
    path = folder / "rows.parquet"
    rows.to_parquet(path, index=False)
    return aggregate(read_rows(path, NOW), expected, **options)


def device_of(rows: pd.DataFrame, folder: Path, **options) -> DeviceTelemetry:
    (device,) = measured(rows, folder, **options).devices
    return device


def many(rng, folder, devices=60, **how) -> tuple[np.ndarray, list[DeviceTelemetry]]:
    """Return the true scales of simulated devices and what was found for each."""
    scales = np.exp(rng.uniform(np.log(0.5), np.log(4), devices))
    frames = [frame(*runs(rng, scale, **how), device=f"{number:03}") for number, scale in enumerate(scales)]
    return scales, list(measured(pd.concat(frames), folder).devices)


def errors(scales, devices) -> np.ndarray:
    return np.abs(np.array([device.scale.value for device in devices]) / scales - 1)


def coverage(scales, devices) -> float:
    inside = [device.scale.low <= scale <= device.scale.high for scale, device in zip(scales, devices, strict=True)]
    return float(np.mean(inside))
