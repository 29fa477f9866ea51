"""Measuring this machine: profiles, tables, resuming, refusals.

Networks are converted and measured once for all tests of a space; a test that measures again starts from a copy of the
converted files.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

import device_profiles.measuring.benchmark as benchmark
import device_profiles.measuring.host_peak as host_peak
import device_profiles.measuring.measure as measure
from device_profiles.cost_models.device_costs import DeviceCosts
from device_profiles.cost_models.models import latency_coefficients
from device_profiles.measuring.benchmark import Setting
from device_profiles.measuring.runner import LocalRunner
from device_profiles.measuring.table_fit import fit_table
from device_profiles.profile import find_profile
from device_profiles.profile_costs import MachinePeak
from device_profiles.profile_writer import write_profile
from device_profiles.workload.samples import sample_networks
from device_profiles.workload.workloads import Workloads
from factory_base.errors import ConfigError, EngineError
from factory_base.processors import usable_cores
from factory_base.progress import silent
from supernet.space import Choice, SearchSpace

ROUNDS = 8
PLAN = measure.Plan(networks=8, held_out=2, rounds=ROUNDS)
FILES = PLAN.networks + PLAN.held_out
TODAY = date(2026, 11, 30)


def run(space, engine, folder: Path, progress=silent, runner=None, **changes) -> measure.MeasuredHost:
    plan = replace(PLAN, **changes)
    return measure.measure_host(space, engine, plan, folder=folder, progress=progress, runner=runner, today=TODAY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A finished measurement of a space.

    Attributes:
        host: Its result.
        folder: Its folder.
        reports: What its progress was called with.
    """

    host: measure.MeasuredHost
    folder: Path
    reports: list[tuple[int, int, str]]

    def copy(self, folder: Path) -> Path:
        """A folder with the converted files alone."""
        shutil.copytree(self.folder, folder, ignore=shutil.ignore_patterns("rounds-*"))
        return folder


@pytest.fixture(scope="module")
def short() -> Iterator[None]:
    """Short measurements. Tests share their machine, so noise is accepted; refusing it has its own tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(benchmark, "SUSTAINED_SECONDS", 0.05)
        patch.setattr(host_peak, "ATTEMPTS", 2)
        patch.setattr(host_peak, "_SECONDS", 0.0)
        patch.setattr(host_peak, "COPIED_BYTES", 2**24)
        patch.setattr(measure, "NOISE_LIMIT", 10.0)
        patch.setattr(measure, "SLOWDOWN_LIMIT", 100.0)
        yield


@pytest.fixture(autouse=True)
def short_everywhere(short) -> None:
    del short


@pytest.fixture
def fresh_engine(onnx_engine):
    """One that has converted nothing."""
    return type(onnx_engine)()


def measured(space, engine, folder: Path, **changes) -> Measured:
    reports: list[tuple[int, int, str]] = []
    host = run(space, engine, folder, progress=lambda *report: reports.append(report), **changes)
    return Measured(host=host, folder=folder, reports=reports)


@pytest.fixture(scope="module")
def tiny(short, tiny_space, onnx_engine, tmp_path_factory) -> Measured:
    """Networks that are not chains."""
    del short
    return measured(tiny_space, onnx_engine, tmp_path_factory.mktemp("tiny") / "measured")


@pytest.fixture(scope="module")
def chain(short, chain_space, onnx_engine, tmp_path_factory) -> Measured:
    """Chains of parts."""
    del short
    return measured(chain_space, onnx_engine, tmp_path_factory.mktemp("chain") / "measured", networks=6)


def rounds_of(folder: Path) -> dict:
    (path,) = folder.glob("*/rounds-*.json")
    return json.loads(path.read_text())


def test_a_measured_profile_predicts_the_machine_and_says_how_well(tiny: Measured, onnx_engine) -> None:
    costs = tiny.host.profile.costs
    assert tiny.host.table is None
    assert tiny.host.profile.latency_provenance == "measured"
    assert costs.machine.endswith(f"onnxruntime {onnx_engine.version()}, 1 thread")
    assert costs.measured_on == TODAY
    assert costs.prediction_error is not None
    assert costs.prediction_error < 0.8
    assert "8 networks in 8 rounds" in costs.run_overhead_us.source


def test_progress_never_exceeds_its_total(tiny: Measured) -> None:
    assert all(0 <= done <= total for done, total, _ in tiny.reports)
    assert (FILES + ROUNDS, FILES + ROUNDS + 1, "sustained run") in tiny.reports


def test_a_chain_gets_a_table_of_all_its_parts_that_the_profile_finds_again(
    chain: Measured, chain_space, tmp_path: Path
) -> None:
    found = chain.host
    write_profile(found.profile, tmp_path / "host.yaml", [found.table])
    read = find_profile("host.yaml", tmp_path)
    workloads = Workloads(chain_space)
    workloads.chain.trace_all()
    assert read.table == found.table
    assert read.table.measured_on == TODAY
    assert {part.id for part in read.table.parts} == {part.id for part in workloads.chain.parts}
    assert sum(part.measured for part in read.table.parts) == len(found.measurements.parts)
    small, large = DeviceCosts(workloads, read).of([chain_space.space.smallest, chain_space.space.largest])
    assert small.latency_us < large.latency_us < 100_000
    assert 0 < small.load_us <= large.load_us


def test_a_profile_states_spread_load_time_and_peak(chain: Measured) -> None:
    costs = chain.host.profile.costs
    assert costs.spread.p95_over_p50 >= 1
    assert costs.spread.sustained_over_p50 > 0
    assert costs.peak.gmacs_per_s > 0.1
    assert costs.peak.gbytes_per_s > 0.1
    assert costs.peak.cached_gbytes_per_s >= costs.peak.gbytes_per_s
    assert costs.repeatability_p95 > 0


def test_the_peak_is_at_least_what_a_timed_network_reached(chain: Measured, chain_space) -> None:
    workloads, found = Workloads(chain_space), chain.host.measurements
    sample_networks(chain_space.space, workloads, 6, PLAN.held_out, PLAN.seed, silent)  # traces parts in the same order
    known = [workloads.of(subnet) for subnet in found.subnets]
    low = MachinePeak(gmacs_per_s=1e-6, gbytes_per_s=1)
    best = max(w.macs / us for w, us in zip(known, found.network_us, strict=True)) / 1e3
    assert measure._with_reached(low, workloads, found, known).gmacs_per_s >= 0.999 * best
    assert measure._with_reached(None, workloads, found, known) is None


@pytest.mark.parametrize(
    ("peak", "precision", "macs", "bytes_moved"),
    [
        (MachinePeak(gmacs_per_s=60, gbytes_per_s=10, cached_gbytes_per_s=50), "fp32", "modelled", "modelled"),
        (MachinePeak(gmacs_per_s=60, gbytes_per_s=10, cached_gbytes_per_s=50), "int8", "measured", "modelled"),
        (MachinePeak(gmacs_per_s=200, gbytes_per_s=5000), "fp32", "measured", "measured"),
        (None, "fp32", "measured", "modelled"),
    ],
)
def test_a_fitted_rate_that_the_machine_does_not_reach_is_not_measured(
    peak, precision, macs, bytes_moved, tmp_path: Path
) -> None:
    profile = find_profile("midrange", tmp_path).profile
    fitted = latency_coefficients(profile)
    fitted[:3] = 1e-3 / 100, 1e-3 / 4114, 1.0
    kernels = measure._kernels(fitted, np.ones(len(fitted), bool), "fit", measure._limits(peak, precision))
    conv = kernels["conv"]
    assert (conv.gmacs_per_s.provenance, conv.gbytes_per_s.provenance) == (macs, bytes_moved)
    assert conv.overhead_us.provenance == "measured"
    assert ("above the peak of" in conv.gbytes_per_s.source) == (bytes_moved == "modelled")


def test_a_fit_whose_error_is_stated_is_measured_even_if_one_of_its_rates_is_not(chain: Measured) -> None:
    profile = chain.host.profile
    conv = profile.costs.kernels["pointwise"]
    fused = conv.model_copy(update={"gbytes_per_s": conv.gbytes_per_s.model_copy(update={"provenance": "modelled"})})
    every = dict.fromkeys(profile.costs.kernels, fused)
    for error, provenance in ((0.1, "measured"), (None, "modelled")):
        update = {"kernels": every, "prediction_error": error, "table": None}
        changed = profile.model_copy(update={"costs": profile.costs.model_copy(update=update)})
        assert changed.latency_provenance == provenance


def test_networks_that_are_not_chains_have_no_latency_table(tiny: Measured, tiny_space, onnx_engine) -> None:
    setting = Setting(engine=onnx_engine, threads=1, precision="fp32", rounds=ROUNDS, seed=0)
    machine, kernels = LocalRunner(onnx_engine).machine(), np.ones(1)
    with pytest.raises(ConfigError, match="TinySpace is not a chain of parts, which a latency table needs"):
        fit_table(Workloads(tiny_space), tiny.host.measurements, setting, kernels, machine, silent, today=TODAY)


def test_parts_that_only_held_out_networks_have_are_not_timed(chain: Measured, chain_space) -> None:
    found = chain.host
    workloads = Workloads(chain_space)
    rows = workloads.rows(found.measurements.subnets[: found.measurements.fitted])
    fitted = {workloads.chain.parts[number].id for number in np.unique(rows) if number >= 0}
    assert {part.id for part in found.table.parts if part.measured} == fitted


class KilledError(Exception):
    pass


def test_a_killed_measurement_resumes_where_it_was(tiny: Measured, tiny_space, fresh_engine, tmp_path: Path) -> None:
    def kill_in_round_five(done: int, _: int, detail: str = "") -> None:
        if detail.startswith("timing") and done == FILES + 5:
            raise KilledError

    folder = tiny.copy(tmp_path / "m")
    next(folder.glob("*/*.onnxruntime")).unlink()
    with pytest.raises(KilledError):
        run(tiny_space, fresh_engine, folder, progress=kill_in_round_five)
    kept = rounds_of(folder)["rounds"]
    assert len(kept) == 5
    run(tiny_space, fresh_engine, folder)
    assert rounds_of(folder)["rounds"][:5] == kept
    assert fresh_engine.conversions == 1


class VanishingRunner(LocalRunner):
    """Disappears after the fourth file of the third round."""

    def __init__(self, engine) -> None:
        super().__init__(engine)
        self.visited = 0

    def visit(self, order):
        for index, times in super().visit(order):
            if self.visited == 2 * FILES + 4:
                raise EngineError("the machine is gone")
            self.visited += 1
            yield index, times


def test_a_machine_that_disappears_loses_nothing_that_was_measured(
    tiny: Measured, tiny_space, onnx_engine, tmp_path: Path
) -> None:
    folder = tiny.copy(tmp_path / "m")
    with pytest.raises(EngineError, match="is gone"):
        run(tiny_space, onnx_engine, folder, runner=VanishingRunner(onnx_engine))
    kept = rounds_of(folder)
    assert (len(kept["rounds"]), len(kept["unfinished"])) == (2, 4)
    run(tiny_space, onnx_engine, folder)
    third = rounds_of(folder)["rounds"][2]["networks"]
    assert all(third[index] == times for index, times in kept["unfinished"])


class LyingRunner(LocalRunner):
    """Its second round is `visits(order)`."""

    def __init__(self, engine, visits) -> None:
        super().__init__(engine)
        self.rounds, self.visits = 0, visits

    def visit(self, order):
        self.rounds += 1
        return self.visits(order) if self.rounds == 2 else super().visit(order)


@pytest.mark.parametrize(
    ("visits", "words"),
    [
        (
            lambda order: [(i, [1.0, float("nan")]) for i in order],
            r"its times of file \d+: '1': .*, got nan; check that",
        ),
        (lambda order: [(i, [-1.0]) for i in order], ".*, got -1.0"),
        (lambda order: [(i, [10**400]) for i in order], r"its times of file \d+: '0': input should be"),
        (lambda order: [(order[0], [1.0]), (order[0], [1.0])], r"sent times of file \d+, which was not its turn"),
        (lambda order: [(FILES, [1.0]) for _ in order], f"sent times of file {FILES}, which was not its turn"),
        (lambda order: [(order[0], [1.0])], f"ended a round with {FILES - 1} files left"),
    ],
)
def test_nothing_that_cannot_be_true_is_kept(
    tiny: Measured, tiny_space, onnx_engine, tmp_path: Path, visits, words
) -> None:
    folder = tiny.copy(tmp_path / "m")
    with pytest.raises(EngineError, match=rf"onnxruntime .*, 1 thread: {words}"):
        run(tiny_space, onnx_engine, folder, runner=LyingRunner(onnx_engine, visits), rounds=4)
    kept = rounds_of(folder)
    assert len(kept["rounds"]) == 1
    assert all(times == [1.0] for _, times in kept.get("unfinished", []))


def test_rounds_of_an_earlier_version_that_hold_nan_are_measured_again(
    tiny: Measured, tiny_space, onnx_engine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "m"
    shutil.copytree(tiny.folder, folder)
    (path,) = folder.glob("*/rounds-*.json")
    before = json.loads(path.read_text())["rounds"]
    spoilt = [*before[:4], before[4] | {"networks": [[float("nan")]] * FILES}, *before[5:]]
    path.write_text(json.dumps({"rounds": spoilt}))
    run(tiny_space, onnx_engine, folder)
    after = json.loads(path.read_text())["rounds"]
    assert after[: ROUNDS - 1] == [*before[:4], *before[5:]]
    assert "'networks.0.0': input should be a finite number, got nan" in caplog.text


def test_another_seed_does_not_reuse_converted_networks(
    tiny: Measured, tiny_space, fresh_engine, tmp_path: Path
) -> None:
    def kill_at_the_second_network(done: int, _: int, detail: str = "") -> None:
        if detail.startswith("converting") and done == 1:
            raise KilledError

    folder = tiny.copy(tmp_path / "m")
    with pytest.raises(KilledError):
        run(tiny_space, fresh_engine, folder, progress=kill_at_the_second_network, seed=1)
    assert fresh_engine.conversions == 1
    assert len(list(folder.iterdir())) == 2


def disturbed(monkeypatch: pytest.MonkeyPatch, factors) -> None:
    """Rounds take the time that `factors(round, sessions)` returns, and noise is refused."""
    monkeypatch.setattr(measure, "NOISE_LIMIT", 0.10)
    monkeypatch.setattr(measure, "SLOWDOWN_LIMIT", 1.25)
    rounds = iter(range(100))
    monkeypatch.setattr(LocalRunner, "visit", lambda _, order: enumerate(factors(next(rounds), len(order))))


def test_a_noisy_machine_is_refused_and_its_rounds_are_dropped(
    tiny: Measured, tiny_space, onnx_engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(0)
    disturbed(monkeypatch, lambda _, count: noise.lognormal(4, 2, (count, 3)).tolist())
    folder = tiny.copy(tmp_path / "m")
    with pytest.raises(EngineError, match=r"too noisy to be measured: .* at most 10% is allowed; stop other programs"):
        run(tiny_space, onnx_engine, folder)
    assert not list(folder.glob("*/rounds-*.json"))


def test_a_machine_that_throttles_half_way_is_refused(
    tiny: Measured, tiny_space, onnx_engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disturbed(monkeypatch, lambda index, count: [[100.0 * (1 if index < ROUNDS / 2 else 1.6)]] * count)
    words = r"became 1.60 times slower while it was measured, at most 1.25 times is allowed; let it cool"
    with pytest.raises(EngineError, match=words):
        run(tiny_space, onnx_engine, tiny.copy(tmp_path / "m"))


@pytest.mark.parametrize("threads", [0, -1, usable_cores() + 1])
def test_threads_that_the_machine_lacks_are_refused(tiny_space, onnx_engine, tmp_path: Path, threads: int) -> None:
    with pytest.raises(ConfigError, match=rf"{threads} threads cannot be measured .* choose 1 to"):
        run(tiny_space, onnx_engine, tmp_path, threads=threads)


def test_too_few_networks_are_refused(tiny_space, onnx_engine, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"5 networks to fit and 2 to evaluate are too few .* at least 6 and 2"):
        run(tiny_space, onnx_engine, tmp_path, networks=5)


def test_a_precision_that_the_engine_lacks_is_refused(tiny_space, onnx_engine, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="engine 'onnxruntime' does not support precision int8; choose fp32"):
        run(tiny_space, onnx_engine, tmp_path, precision="int8")


def test_a_space_that_is_too_small_is_refused(
    tiny_space, onnx_engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny_space, "space", SearchSpace((Choice(name="width", options=(8, 16, 32)),)))
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
