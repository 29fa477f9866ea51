"""Measuring this machine: profiles, tables, resuming, refusals."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import device_profiles.measuring.bench as bench
import device_profiles.measuring.measure as measure
from device_profiles.cost_models.device_costs import DeviceCosts
from device_profiles.measuring.runner import LocalRunner
from device_profiles.profile import find_profile
from device_profiles.profile_writer import write_profile
from device_profiles.workload.workloads import Workloads
from factory_base.errors import ConfigError, EngineError
from factory_base.progress import silent
from supernet.space import Choice, SearchSpace

ROUNDS = 8
PLAN = measure.Plan(networks=6, held_out=2, rounds=ROUNDS)


def run(space, engine, folder: Path, progress=silent, runner=None, **changes) -> measure.MeasuredHost:
    plan = replace(PLAN, **changes)
    return measure.measure_host(space, engine, plan, folder=folder, progress=progress, runner=runner)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "SUSTAINED_SECONDS", 0.05)


@pytest.fixture
def quiet_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests share their machine; noise has its own tests."""
    monkeypatch.setattr(measure, "NOISE_LIMIT", 10.0)
    monkeypatch.setattr(measure, "SLOWDOWN_LIMIT", 100.0)


@pytest.mark.usefixtures("quiet_machine")
def test_a_measured_profile_predicts_the_machine_and_says_how_well(tiny_space, onnx_engine, tmp_path: Path) -> None:
    found = run(tiny_space, onnx_engine, tmp_path, networks=9)
    costs = found.profile.costs
    assert found.table is None
    assert found.profile.latency_provenance == "measured"
    assert costs.machine.endswith(f"onnxruntime {onnx_engine.version()}, 1 thread")
    assert costs.prediction_error is not None
    assert costs.prediction_error < 0.8
    assert "9 networks in 8 rounds" in costs.run_overhead_us.source


@pytest.mark.usefixtures("quiet_machine")
def test_a_chain_gets_a_table_of_all_its_parts_that_the_profile_finds_again(
    chain_space, onnx_engine, tmp_path: Path
) -> None:
    found = run(chain_space, onnx_engine, tmp_path)
    write_profile(found.profile, tmp_path / "host.yaml", found.table)
    read = find_profile("host.yaml", tmp_path)
    workloads = Workloads(chain_space)
    workloads.chain.trace_all()
    assert read.table == found.table
    assert {part.id for part in read.table.parts} == {part.id for part in workloads.chain.parts}
    assert sum(part.measured for part in read.table.parts) == len(found.measurements.parts)
    small, large = DeviceCosts(workloads, read).of([chain_space.space.smallest, chain_space.space.largest])
    assert small.latency_us < large.latency_us < 100_000
    assert 0 < small.load_us <= large.load_us


@pytest.mark.usefixtures("quiet_machine")
def test_a_profile_tells_spread_load_time_and_peak(chain_space, onnx_engine, tmp_path: Path) -> None:
    costs = run(chain_space, onnx_engine, tmp_path).profile.costs
    assert costs.spread.p95_over_p50 >= 1
    assert costs.spread.sustained_over_p50 > 0
    assert costs.peak.gmacs_per_s > 0.1
    assert costs.peak.gbytes_per_s > 0.1
    assert costs.repeatability_p95 > 0


@pytest.mark.usefixtures("quiet_machine")
def test_parts_that_only_held_out_networks_have_are_not_timed(chain_space, onnx_engine, tmp_path: Path) -> None:
    found = run(chain_space, onnx_engine, tmp_path)
    workloads = Workloads(chain_space)
    rows = workloads.rows(found.measurements.subnets[: found.measurements.fitted])
    fitted = {workloads.chain.parts[number].id for number in np.unique(rows) if number >= 0}
    assert {part.id for part in found.table.parts if part.measured} == fitted


@pytest.mark.usefixtures("quiet_machine")
def test_a_killed_measurement_goes_on_where_it_was(tiny_space, onnx_engine, tmp_path: Path) -> None:
    class KilledError(Exception):
        pass

    def kill_in_round_five(done: int, _: int, detail: str = "") -> None:
        if detail.startswith("timing") and done == 8 + 5:
            raise KilledError

    with pytest.raises(KilledError):
        run(tiny_space, onnx_engine, tmp_path, progress=kill_in_round_five)
    (path,) = tmp_path.glob("*/rounds-*.json")
    kept = json.loads(path.read_text())["rounds"]
    assert len(kept) == 5
    run(tiny_space, onnx_engine, tmp_path)
    assert json.loads(path.read_text())["rounds"][:5] == kept
    assert onnx_engine.conversions == 8


class VanishingRunner(LocalRunner):
    """Is gone after the fourth file of the third round."""

    def __init__(self, engine) -> None:
        super().__init__(engine)
        self.visited = 0

    def visit(self, order):
        for index, times in super().visit(order):
            if self.visited == 2 * 8 + 4:
                raise EngineError("the machine is gone")
            self.visited += 1
            yield index, times


@pytest.mark.usefixtures("quiet_machine")
def test_a_machine_that_disappears_loses_nothing_that_was_measured(tiny_space, onnx_engine, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="is gone"):
        run(tiny_space, onnx_engine, tmp_path, runner=VanishingRunner(onnx_engine))
    (path,) = tmp_path.glob("*/rounds-*.json")
    kept = json.loads(path.read_text())
    assert (len(kept["rounds"]), len(kept["unfinished"])) == (2, 4)
    run(tiny_space, onnx_engine, tmp_path)
    third = json.loads(path.read_text())["rounds"][2]["networks"]
    assert all(third[index] == times for index, times in kept["unfinished"])


@pytest.mark.usefixtures("quiet_machine")
def test_another_seed_does_not_reuse_measurements(tiny_space, onnx_engine, tmp_path: Path) -> None:
    run(tiny_space, onnx_engine, tmp_path)
    run(tiny_space, onnx_engine, tmp_path, seed=1)
    assert len(list(tmp_path.glob("*/rounds-*.json"))) == 2


def disturbed(monkeypatch: pytest.MonkeyPatch, factors) -> None:
    """Rounds take the time that `factors(round, sessions)` says."""
    rounds = iter(range(100))
    monkeypatch.setattr(LocalRunner, "visit", lambda _, order: enumerate(factors(next(rounds), len(order))))


def test_a_noisy_machine_is_refused_and_its_rounds_are_dropped(
    tiny_space, onnx_engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(0)
    disturbed(monkeypatch, lambda _, count: noise.lognormal(4, 2, (count, 3)).tolist())
    with pytest.raises(EngineError, match=r"too noisy to be measured: .* allowed 10%; stop other programs"):
        run(tiny_space, onnx_engine, tmp_path)
    assert not list(tmp_path.glob("*/rounds-*.json"))


def test_a_machine_that_throttles_half_way_is_refused(
    tiny_space, onnx_engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disturbed(monkeypatch, lambda index, count: [[100.0 * (1 if index < ROUNDS / 2 else 1.6)]] * count)
    with pytest.raises(EngineError, match=r"became 1.60 times slower while it was measured, allowed 1.25; let it cool"):
        run(tiny_space, onnx_engine, tmp_path)


@pytest.mark.usefixtures("quiet_machine")
def test_progress_never_exceeds_its_total(tiny_space, onnx_engine, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    run(tiny_space, onnx_engine, tmp_path, progress=lambda *report: seen.append(report[:2]))
    assert all(0 <= done <= total for done, total in seen)
    assert (8 + ROUNDS, 8 + ROUNDS + 1) in seen


@pytest.mark.parametrize("threads", [0, -1, (os.cpu_count() or 1) + 1])
def test_threads_that_the_machine_lacks_are_refused(tiny_space, onnx_engine, tmp_path: Path, threads: int) -> None:
    with pytest.raises(ConfigError, match=rf"{threads} threads cannot be measured .* choose 1 to"):
        run(tiny_space, onnx_engine, tmp_path, threads=threads)


def test_too_few_networks_are_refused(tiny_space, onnx_engine, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"5 networks to fit and 2 to judge are too few .* at least 6 and 2"):
        run(tiny_space, onnx_engine, tmp_path, networks=5)


def test_a_precision_that_the_engine_lacks_is_refused(tiny_space, onnx_engine, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="engine 'onnxruntime' has no precision int8; it has fp32"):
        run(tiny_space, onnx_engine, tmp_path, precision="int8")


def test_a_space_that_is_too_small_is_refused(tiny_space, onnx_engine, tmp_path: Path) -> None:
    tiny_space.space = SearchSpace((Choice(name="width", options=(8, 16, 32)),))
    with pytest.raises(ConfigError, match="the space has 3 subnets, too few"):
        run(tiny_space, onnx_engine, tmp_path)


@pytest.mark.parametrize("name", ["midrange", "glasses", "speaker", "flagship", "browser"])
def test_a_written_profile_is_read_back_equal_and_in_human_units(name: str, tmp_path: Path) -> None:
    shipped = find_profile(name, tmp_path)
    write_profile(shipped.profile, tmp_path / "copy.yaml")
    copy = find_profile("copy.yaml", tmp_path)
    assert copy.profile == shipped.profile
    assert copy.digest == shipped.digest
    assert f"latency: {shipped.profile.budgets.latency_us // 1000} ms" in (tmp_path / "copy.yaml").read_text()


def test_odd_quantities_survive_writing(tmp_path: Path) -> None:
    profile = find_profile("midrange", tmp_path).profile
    odd = profile.model_copy(update={"budgets": type(profile.budgets)(latency="1234 us", file_size="1000001 B")})
    write_profile(odd, tmp_path / "odd.yaml")
    assert find_profile("odd.yaml", tmp_path).profile == odd
