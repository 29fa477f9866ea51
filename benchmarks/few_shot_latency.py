"""How well do 5 or 10 measured networks predict the latencies of a device that was never measured before?

    python benchmarks/few_shot_latency.py --data PATH/help_fbnet
    python benchmarks/few_shot_latency.py --data PATH/help_fbnet --folder /tmp/wide      # and on this machine

First, on published latencies (5,000 networks of the FBNet space on 27 devices, HELP, NeurIPS 2021). HELP's nine source
devices are the prior, and all hyper-parameters are chosen on them by leave-one-out. On each of its three test devices,
10 random or 5 chosen networks are "measured", in 20 draws each; for chosen networks, the 400 to choose from are drawn.
Then each device whose latencies are real measurements is left out in turn, with 10 random networks. The predictions are
compared with MACs alone and with ridge regression from scratch, whose strength is chosen by leave-one-out.

With `--folder`, on this machine too: the wide MobileNet space of `host_latency.py` is measured in several settings
(engine, precision, threads). Each setting is held back in turn, and 10 of its networks and the tables of the other
settings predict 60 further networks. The folder keeps files and rounds, and reuses those of `host_latency.py --folder`,
so an interrupted run can be resumed.

`--quick` takes 3 draws instead of 20. On this machine it measures one setting, as `host_latency.py --quick` does: 5 of
6 networks predict 3 others, in a space of shorter networks. One setting is what can be measured within a minute, so the
shipped profiles replace the tables of other settings, as in every call with a single setting.

The last line of standard output is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from statistics import NormalDist
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy and torch are imported: their threads would disturb timing

import numpy as np
from common import environment, log, make_parser, parse_options
from cpu_time_runner import CpuTimeRunner
from host_latency import QUICK as HOST_QUICK
from numpy.typing import NDArray
from paired import short_wide_space, wide_space

from device_profiles.cost_models.device_costs import DeviceCosts
from device_profiles.few_shot.network_tables import MeasuredNetworks
from device_profiles.few_shot.onboarding import CONFIDENCE, Fleet
from device_profiles.few_shot.posterior import KnownDevice, Prior, fit_costs, fit_prior, stretch_of, suggest, update
from device_profiles.measuring.measure import MeasuredHost, Plan, measure_host
from device_profiles.profile import FoundProfile, find_profile, shipped_profiles
from device_profiles.workload.workloads import Workloads
from exports.engines import get_engine
from factory_base.errors import FactoryError
from factory_base.progress import silent
from supernet.spaces.mobilenet import MobileNetSpace

SOURCES = (
    "1080ti_1", "1080ti_32", "1080ti_64", "silver_4114", "silver_4210r", "samsung_a50", "pixel3", "essential_ph_1",
    "samsung_s7",
)  # fmt: skip
TESTS = ("raspi4", "eyeriss", "fpga")
"""Source and test devices of HELP (Lee et al., 2021, table 2)."""

SUMS = ("raspi4", "fpga", "eyeriss", "pixel3")
"""Devices whose latencies are sums of a table of blocks, as the README beside the data states."""

SETTINGS = ("onnxruntime:fp32:1", "onnxruntime:fp32:2", "mnn:fp32:1", "mnn:fp32:2",
            "onnxruntime:int8:1", "onnxruntime:int8:2")  # fmt: skip
RANDOM, CHOSEN = 10, 5
"""Networks measured on a new device, as many as HELP takes, and half as many when they are chosen."""

POOL = 400
"""Networks to choose from, as many as `Fleet.suggest` draws."""

BOUND = 0.9
"""Probability with which a latency should stay below its bound."""

RIDGES = tuple(10.0**power for power in range(-3, 4))
"""Strengths of the ridge regression from scratch: from next to none to almost the mean; design columns are 0 or 1."""

FBNET_STAGES = ((16, 1, 1), (24, 4, 2), (32, 4, 2), (64, 4, 2), (112, 4, 1), (184, 4, 2), (352, 1, 1))
"""Width, number of blocks and stride of each stage (Wu et al., 2019, table 1), after 16 channels at 112 x 112."""

FBNET_OPERATORS = ((3, 1, 1), (3, 1, 2), (3, 3, 1), (3, 6, 1), (5, 1, 1), (5, 1, 2), (5, 3, 1), (5, 6, 1), None)
"""Kernel, expansion, and groups of the pointwise convolutions, of each operator; the last one skips its block."""

FBNET_REST = 3 * 16 * 9 * 112 * 112 + 352 * 1984 * 7 * 7 + 1984 * 1000
"""MACs outside the blocks: stem, last pointwise convolution, classifier (Wu et al., 2019, table 1)."""

QUICK = {"draws": 3, "settings": ["onnxruntime:fp32:1"], "measured": 5, **HOST_QUICK}
"""Each draw takes some seconds for all devices; for the measured networks see `host_latency`."""

Matrix = NDArray[np.float64]


class Published:
    """The designs, MACs and latencies of the networks in the file of published latencies.

    Attributes:
        design: (networks, columns); which operator each block has, one-hot, and 1 for the constant.
        macs: (networks,).
        latency_us: Latencies (networks,) in microseconds, by device.
    """

    def __init__(self, folder: Path) -> None:
        import pandas as pd

        frame = pd.read_parquet(folder / "latency.parquet")
        blocks = frame[[name for name in frame if name.startswith("block_")]].to_numpy()
        kinds = len(FBNET_OPERATORS)
        one_hot = [(blocks[:, [block]] == np.arange(kinds)).astype(np.float64) for block in range(blocks.shape[1])]
        self.design = np.column_stack([*one_hot, np.ones(len(blocks))])
        costs = fbnet_macs()
        self.macs = FBNET_REST + costs[np.arange(blocks.shape[1]), blocks].sum(axis=1)
        prefix = "latency_ms."
        names = [name.removeprefix(prefix) for name in frame if name.startswith(prefix)]
        self.latency_us: dict[str, Matrix] = {name: 1e3 * frame[prefix + name].to_numpy() for name in names}

    def known(self, name: str) -> KnownDevice:
        """A device on which all networks were measured."""
        latency_us = self.latency_us[name]
        start = np.full(self.design.shape[1], latency_us.mean() / self.design[0].sum())
        costs = fit_costs(self.design, latency_us, start, own=1.0)
        return KnownDevice(name=name, costs_us=costs, design=self.design, latency_us=latency_us)


def fbnet_macs() -> Matrix:
    """MACs of each operator in each block of the FBNet space, (blocks, operators)."""
    rows, width, side = [], 16, 112
    for out_width, blocks, first_stride in FBNET_STAGES:
        for block in range(blocks):
            stride = first_stride if block == 0 else 1
            out = side // stride
            row = []
            for operator in FBNET_OPERATORS:
                if operator is None:
                    row.append(0 if (stride, width) == (1, out_width) else width * out_width * out * out)
                    continue
                kernel, expand, groups = operator
                middle = width * expand
                pointwise = (width * middle * side * side + middle * out_width * out * out) // groups
                row.append(pointwise + middle * kernel * kernel * out * out)
            rows.append(row)
            width, side = out_width, out
    return np.array(rows, dtype=np.float64)


def main(arguments: list[str]) -> int:
    """Run the benchmark; the exit code is 1 if this machine cannot be measured."""
    options = parse(arguments)
    result: dict[str, Any] = {"benchmark": "few_shot_latency"}
    if options.data:
        published = Published(options.data)
        result |= source_split(published, options.draws, options.seed)
        result |= left_out(published, options.draws, options.seed)
    if options.folder:
        try:
            result |= own_machine(options)
        except FactoryError as error:
            log(f"error: {error}")
            return 1
    result |= {"draws": options.draws, "quick": options.quick, **environment(options.seed)}
    print(json.dumps(result))
    return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--data", type=Path, help="folder with latency.parquet")
    parser.add_argument("--folder", type=Path, help="measure this machine too, and keep what was measured here")
    parser.add_argument("--settings", nargs="+", default=list(SETTINGS), help="settings, as engine:precision:threads")
    parser.add_argument(
        "--networks", type=int, default=40, help="networks that tables are fitted to and draws are from"
    )
    parser.add_argument("--held-out", type=int, default=60, help="networks that predictions are judged on")
    parser.add_argument("--measured", type=int, default=RANDOM, help="networks of a draw, on this machine")
    parser.add_argument("--rounds", type=int, default=40, help="visits to each network and part")
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parse_options(parser, arguments, QUICK)
    if not (options.data or options.folder):
        parser.error("nothing to measure: give --data, --folder or both")
    return options


def source_split(published: Published, draws: int, seed: int) -> dict[str, Any]:
    """Scores on HELP's test devices, whose prior is HELP's source devices."""
    devices = [published.known(name) for name in SOURCES]
    prior = fit_prior(devices, seed=seed)
    print("| device | 10 random: rank, within 10 %, below 90 % bound | 5 chosen: the same |\n|---|--:|--:|")
    rows: dict[str, tuple[Matrix, Matrix]] = {}
    for name in TESTS:
        rng = np.random.default_rng(seed)
        random = [rng.choice(len(published.design), RANDOM, replace=False) for _ in range(draws)]
        pools = [rng.choice(len(published.design), POOL, replace=False) for _ in range(draws)]
        chosen = [pool[suggest(prior, published.design[pool], CHOSEN)] for pool in pools]
        rows[name] = (judged(published, name, prior, devices, random), judged(published, name, prior, devices, chosen))
        ten, five = (means.mean(axis=0) for means in rows[name])
        print(f"| {name} | {cell(ten)} | {cell(five)} |")
    ten, five = (np.stack([rows[name][i] for name in TESTS]) for i in range(2))  # (devices, draws, 3)
    return {
        "mean_spearman_10": round(float(ten[..., 0].mean()), 4),
        "mean_spearman_10_spread": round(float(ten[..., 0].mean(axis=0).std(ddof=1)), 4) if draws > 1 else None,
        "share_within_10_of_10": round(float(ten[..., 1].mean()), 4),
        "below_90_bound_10": round(float(ten[..., 2].mean()), 4),
        "mean_spearman_5": round(float(five[..., 0].mean()), 4),
        "mean_spearman_5_spread": round(float(five[..., 0].mean(axis=0).std(ddof=1)), 4) if draws > 1 else None,
        "share_within_10_of_5": round(float(five[..., 1].mean()), 4),
        "below_90_bound_5": round(float(five[..., 2].mean()), 4),
        "freedom": {"own": prior.freedom.own, "structure": prior.freedom.structure},
    }


def judged(
    published: Published, name: str, prior: Prior, devices: Sequence[KnownDevice], draws: Sequence[NDArray[np.int64]]
) -> Matrix:
    """(draws, 3): Rank correlation, share within 10 %, share below the 90 % bound, over all networks not measured."""
    stretch = stretch_of(devices, prior, len(draws[0]))
    return np.array([one_draw(published, name, prior, stretch, rows) for rows in draws])


def one_draw(
    published: Published, name: str, prior: Prior, stretch: float, rows: NDArray[np.int64]
) -> tuple[float, float, float]:
    """One row of `judged`, for the measured networks `rows`."""
    latency_us = published.latency_us[name]
    others = np.setdiff1d(np.arange(len(latency_us)), rows)
    posterior = update(prior, published.design[rows], latency_us[rows], stretch)
    mean, std = posterior.predict(published.design[others])
    rank, _, within = scores(mean, latency_us[others])
    return rank, within, float(np.mean(latency_us[others] <= mean + NormalDist().inv_cdf(BOUND) * std))


def scores(predicted: Matrix, truth: Matrix) -> tuple[float, float, float]:
    """Rank correlation, mean relative error, share of networks within 10 %."""
    from scipy.stats import spearmanr

    error = np.abs(predicted / truth - 1)
    return float(spearmanr(predicted, truth).statistic), float(error.mean()), float((error <= 0.1).mean())


def cell(row: Matrix) -> str:
    """Three values as one cell of a table."""
    return f"{row[0]:.3f}, {row[1]:.1%}, {row[2]:.1%}"


def left_out(published: Published, draws: int, seed: int) -> dict[str, Any]:
    """Each device with real measurements is left out in turn; all other such devices are the prior."""
    names = [name for name in published.latency_us if name not in SUMS]
    devices = {name: published.known(name) for name in names}
    print("\n| device | few-shot: rank, error, within 10 % | MACs alone | ridge from scratch |\n|---|--:|--:|--:|")
    found: dict[str, Matrix] = {}
    for name in names:
        prior = fit_prior([devices[other] for other in names if other != name], seed=seed)
        rng = np.random.default_rng(seed)
        rows = [rng.choice(len(published.design), RANDOM, replace=False) for _ in range(draws)]
        found[name] = np.mean([compared(published, name, prior, chosen) for chosen in rows], axis=0)
        cells = [f"{rank:.3f}, {error:.1%}, {within:.0%}" for rank, error, within in found[name]]
        print(f"| {name} | {' | '.join(cells)} |")
    ranks, mapes = (np.array([row[:, column] for row in found.values()]) for column in (0, 1))
    return {
        "left_out_devices": len(names),
        "left_out_spearman_mean": [round(float(v), 4) for v in ranks.mean(axis=0)],
        "left_out_spearman_worst": [round(float(v), 4) for v in ranks.min(axis=0)],
        "left_out_error_mean": [round(float(v), 4) for v in mapes.mean(axis=0)],
        "left_out_error_worst": [round(float(v), 4) for v in mapes.max(axis=0)],
        "better_rank_on_every_device": bool((ranks[:, [0]] > ranks[:, 1:]).all()),
        "smaller_error_on_every_device": bool((mapes[:, [0]] < mapes[:, 1:]).all()),
    }


def compared(
    published: Published, name: str, prior: Prior, rows: NDArray[np.int64]
) -> list[tuple[float, float, float]]:
    """Scores of the few-shot prediction, of MACs times a constant, and of ridge regression from scratch."""
    latency_us = published.latency_us[name]
    others = np.setdiff1d(np.arange(len(latency_us)), rows)
    few = update(prior, published.design[rows], latency_us[rows]).predict(published.design[others])[0]
    rate = np.median(latency_us[rows] / published.macs[rows])
    scratch = ridge_from_scratch(published.design[rows], latency_us[rows], published.design[others])
    predictions = (few, rate * published.macs[others], scratch)
    return [scores(prediction, latency_us[others]) for prediction in predictions]


def ridge_from_scratch(design: Matrix, latency_us: Matrix, others: Matrix) -> Matrix:
    """Predictions of a ridge regression on the same columns, with an unpenalised mean.

    The strength is chosen by leave-one-out.
    """
    centre, level = design.mean(axis=0), latency_us.mean()
    shifted = design - centre
    kernel = shifted @ shifted.T

    def left_out_error(ridge: float) -> float:
        hat = kernel @ np.linalg.inv(kernel + ridge * np.eye(len(design))) + 1 / len(design)
        return float(np.mean(((latency_us - level - hat @ (latency_us - level)) / (1 - np.diag(hat))) ** 2))

    best = min(RIDGES, key=left_out_error)
    weights = shifted.T @ np.linalg.solve(kernel + best * np.eye(len(design)), latency_us - level)
    return np.asarray(level + (others - centre) @ weights)


def own_machine(options: argparse.Namespace) -> dict[str, Any]:
    """Scores on this machine, each setting being held back in turn. Raises `FactoryError`."""
    space = short_wide_space() if options.quick else wide_space()
    found = {setting: measured_setting(setting, space, options) for setting in options.settings}
    workloads = Workloads(space)
    print("\n| held back | rank | mean error | within 10 % | below 90 % bound |\n|---|--:|--:|--:|--:|")
    rows, seconds = {}, []
    for held_back in options.settings:
        fleet = Fleet(workloads, silent, options.seed)
        for profile in known_devices({name: host for name, host in found.items() if name != held_back}):
            fleet.add_profile(profile)
        draws = [
            held_back_draw(fleet, workloads, found[held_back], options.measured, options.seed + draw)
            for draw in range(options.draws)
        ]
        rows[held_back] = np.mean([draw[0] for draw in draws], axis=0)
        seconds += [draw[1] for draw in draws]
        rank, error, within, below = rows[held_back]
        print(f"| {held_back} | {rank:.3f} | {error:.1%} | {within:.1%} | {below:.0%} |")
    everything = np.stack(list(rows.values()))
    return {
        "within_10": round(float(everything[:, 2].mean()), 4),
        "within_10_worst": round(float(everything[:, 2].min()), 4),
        "own_spearman": round(float(everything[:, 0].mean()), 4),
        "own_error": round(float(everything[:, 1].mean()), 4),
        "own_below_90_bound": round(float(everything[:, 3].mean()), 4),
        "few_shot_seconds": round(float(np.median(seconds)), 3),
        "few_shot_seconds_worst": round(float(np.max(seconds)), 3),
        "repeatability_p95": {s: round(host.measurements.repeatability_p95, 4) for s, host in found.items()},
        "settings": list(options.settings),
    }


def known_devices(others: Mapping[str, MeasuredHost]) -> list[FoundProfile]:
    """The tables of the other settings; the shipped profiles if there is no other setting."""
    if not others:
        return [find_profile(name, Path()) for name in shipped_profiles()]
    return [
        FoundProfile(
            profile=host.profile,
            origin=setting,
            digest="",
            tables={table.precision: table for table in [host.table] if table is not None},
        )
        for setting, host in others.items()
    ]


def measured_setting(setting: str, space: MobileNetSpace, options: argparse.Namespace) -> MeasuredHost:
    """The table and the measured networks of one setting. Raises `FactoryError`."""
    engine_name, precision, threads = setting.split(":")
    engine = get_engine(engine_name)
    plan = Plan(
        threads=int(threads),
        precision="int8" if precision == "int8" else "fp32",
        networks=options.networks,
        held_out=options.held_out,
        rounds=options.rounds,
        seed=options.seed,
    )

    def show(done: int, total: int, detail: str = "") -> None:
        print(f"\r{setting}: {done}/{total} {detail:60}", end="", file=sys.stderr, flush=True)

    runner = CpuTimeRunner(engine) if options.quick else None
    today = date.today()
    return measure_host(space, engine, plan, folder=options.folder, progress=show, today=today, runner=runner)


def held_back_draw(
    fleet: Fleet, workloads: Workloads, host: MeasuredHost, count: int, seed: int
) -> tuple[list[float], float]:
    """Scores on held-out networks after `count` of the others were measured, and the seconds of the onboarding."""
    measured = host.measurements
    chosen = np.random.default_rng(seed).permutation(measured.fitted)[:count]
    few = MeasuredNetworks(
        subnets=tuple(measured.subnets[i] for i in chosen), latency_us=measured.network_us[chosen], rows=len(chosen)
    )
    start = time.perf_counter()
    found = fleet.onboard(few, host.profile, "held-back", today=date.today())
    seconds = time.perf_counter() - start
    tables = {found.table.precision: found.table}
    device = FoundProfile(profile=found.profile, origin="few-shot", digest="", tables=tables)
    costs = DeviceCosts(workloads, device).of(measured.subnets[measured.fitted :])
    truth = measured.network_us[measured.fitted :]
    below = truth <= np.array([cost.latency_bound_us(CONFIDENCE) for cost in costs])
    return [*scores(np.array([cost.latency_us for cost in costs]), truth), float(below.mean())], seconds


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
