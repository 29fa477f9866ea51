import json
import os
from pathlib import Path

import numpy as np
import pytest

import device_profiles.measure as measure
from device_profiles.costs import costs_of, workload_of
from device_profiles.profile import DeviceProfile, find_profile
from model_factory.base.errors import ConfigError, EngineError
from model_factory.base.progress import silent
from supernet.space import Choice, SearchSpace


def run(space, engine, folder: Path, **changes) -> DeviceProfile:
    arguments = {"threads": 1, "subnets": 6, "seed": 0, "progress": silent} | changes
    return measure.measure_host(space, engine, folder=folder, **arguments)


@pytest.fixture
def quiet_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests share their machine; noise has its own test."""
    monkeypatch.setattr(measure, "NOISE_LIMIT", 10.0)


@pytest.mark.usefixtures("quiet_machine")
def test_a_measured_profile_predicts_the_machine_and_says_how_well(tiny_space, onnx_engine, tmp_path: Path) -> None:
    profile = run(tiny_space, onnx_engine, tmp_path, subnets=12)
    assert profile.latency_provenance == "measured"
    assert profile.costs.machine.endswith(f"onnxruntime {onnx_engine.version()}, 1 thread")
    assert profile.costs.prediction_error is not None
    assert profile.costs.prediction_error < 0.5
    costs = costs_of(
        [workload_of(tiny_space, s) for s in (tiny_space.space.smallest, tiny_space.space.largest)], profile
    )
    assert 1 < costs[0].latency_us < costs[1].latency_us < 100_000
    assert "9 networks in 20 rounds" in profile.costs.run_overhead_us.source


@pytest.mark.usefixtures("quiet_machine")
def test_a_killed_measurement_goes_on_where_it_was(tiny_space, onnx_engine, tmp_path: Path) -> None:
    class KilledError(Exception):
        pass

    def kill_in_round_five(done: int, _: int, detail: str = "") -> None:
        if detail == "timing" and done == 6 + 5:
            raise KilledError

    with pytest.raises(KilledError):
        run(tiny_space, onnx_engine, tmp_path, progress=kill_in_round_five)
    (path,) = tmp_path.glob("*/rounds.json")
    kept = json.loads(path.read_text())["rounds_us"]
    assert len(kept) == 5
    profile = run(tiny_space, onnx_engine, tmp_path)
    assert json.loads(path.read_text())["rounds_us"][:5] == kept
    assert onnx_engine.conversions == 6
    assert run(tiny_space, onnx_engine, tmp_path) == profile


@pytest.mark.usefixtures("quiet_machine")
def test_another_seed_does_not_reuse_measurements(tiny_space, onnx_engine, tmp_path: Path) -> None:
    run(tiny_space, onnx_engine, tmp_path)
    run(tiny_space, onnx_engine, tmp_path, seed=1)
    assert len(list(tmp_path.glob("*/rounds.json"))) == 2


def test_a_noisy_machine_is_refused_and_its_rounds_are_dropped(
    tiny_space, onnx_engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(0)
    monkeypatch.setattr(measure, "time_round", lambda sessions, *_: noise.lognormal(4, 2, len(sessions)).tolist())
    with pytest.raises(EngineError, match=r"too noisy to be measured: .* allowed 15%; stop other programs"):
        run(tiny_space, onnx_engine, tmp_path)
    assert not list(tmp_path.glob("*/rounds.json"))


@pytest.mark.usefixtures("quiet_machine")
def test_progress_counts_up_to_its_total(tiny_space, onnx_engine, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    run(tiny_space, onnx_engine, tmp_path, progress=lambda *report: seen.append(report[:2]))
    assert [done for done, _ in seen] == list(range(6 + 20 + 1))
    assert {total for _, total in seen} == {26}


@pytest.mark.parametrize("threads", [0, -1, (os.cpu_count() or 1) + 1])
def test_threads_that_the_machine_lacks_are_refused(tiny_space, onnx_engine, tmp_path: Path, threads: int) -> None:
    with pytest.raises(ConfigError, match=rf"{threads} threads cannot be measured .* choose 1 to"):
        run(tiny_space, onnx_engine, tmp_path, threads=threads)


def test_too_few_subnets_are_refused(tiny_space, onnx_engine, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="5 subnets are too few to fit a cost model; choose 6 or more"):
        run(tiny_space, onnx_engine, tmp_path, subnets=5)


def test_a_space_that_is_too_small_is_refused(tiny_space, onnx_engine, tmp_path: Path) -> None:
    tiny_space.space = SearchSpace((Choice(name="width", options=(8, 16, 32)),))
    with pytest.raises(ConfigError, match="the space has 3 subnets, too few"):
        run(tiny_space, onnx_engine, tmp_path)


@pytest.mark.parametrize("name", ["midrange", "glasses", "speaker", "flagship", "browser"])
def test_a_written_profile_is_read_back_equal_and_in_human_units(name: str, tmp_path: Path) -> None:
    shipped = find_profile(name, tmp_path)
    measure.write_profile(shipped.profile, tmp_path / "copy.yaml")
    copy = find_profile("copy.yaml", tmp_path)
    assert copy.profile == shipped.profile
    assert copy.digest == shipped.digest
    assert f"latency: {shipped.profile.budgets.latency_us // 1000} ms" in (tmp_path / "copy.yaml").read_text()


def test_odd_quantities_survive_writing(tmp_path: Path) -> None:
    profile = find_profile("midrange", tmp_path).profile
    odd = profile.model_copy(update={"budgets": type(profile.budgets)(latency="1234 us", file_size="1000001 B")})
    measure.write_profile(odd, tmp_path / "odd.yaml")
    assert find_profile("odd.yaml", tmp_path).profile == odd
