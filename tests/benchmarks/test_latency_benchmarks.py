"""`host_latency.py` and `few_shot_latency.py` on this machine, in a tiny space; the runner of their quick forms."""

from __future__ import annotations

import time
from types import ModuleType

import numpy as np
import pytest
from torch import nn

from device_profiles.measuring.runner import TimedFile
from device_profiles.profile import shipped_profiles
from exports.engines import get_engine

SMALL = ("--networks", 6, "--held-out", 2, "--rounds", 4)


@pytest.fixture
def tiny(load, monkeypatch: pytest.MonkeyPatch) -> None:
    """Latencies of a tiny space, however noisy this machine is."""
    measure = load("device_profiles.measuring.measure")
    monkeypatch.setattr(measure, "NOISE_LIMIT", np.inf)
    monkeypatch.setattr(measure, "SLOWDOWN_LIMIT", np.inf)
    for script in ("host_latency", "few_shot_latency"):
        monkeypatch.setattr(load(script), "short_wide_space", load("paired").tiny_space)


@pytest.mark.usefixtures("tiny")
def test_a_table_and_few_networks_predict_networks_that_were_held_out(quick, tmp_path):
    table = quick("host_latency", *SMALL, "--folder", tmp_path)
    assert (table["fitted"], table["networks"]) == (6, 2)
    assert table["arc_sum_difference"] < 1e-9
    assert set(table["baselines"]) == {"sum_of_parts", "macs", "features"}
    few = quick("few_shot_latency", *SMALL, "--folder", tmp_path, "--draws", 1)
    assert 0 <= few["within_10"] <= 1
    assert few["repeatability_p95"] == {"onnxruntime:fp32:1": table["repeatability_p95"]}  # the same rounds


def test_without_another_setting_the_shipped_profiles_are_the_known_devices(load):
    found = load("few_shot_latency").known_devices({})
    assert [profile.profile.name for profile in found] == list(shipped_profiles())


def test_the_runner_of_quick_forms_takes_cpu_time(load, tmp_path):
    engine, path = get_engine("onnxruntime"), tmp_path / "model.onnx"
    engine.convert(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()).eval(), (3, 64, 64), path)
    cpu_time_runner: ModuleType = load("cpu_time_runner")
    runner = cpu_time_runner.CpuTimeRunner(engine)
    assert runner.open([TimedFile(path=path, input_shape=(3, 64, 64))], 1, 1, 0).shape == (1,)
    started = time.process_time()
    ((file, (latency_us,)),) = runner.visit([0])
    assert file == 0
    assert 0 < latency_us <= (time.process_time() - started) * 1e6
    assert len(runner.run_for(0, 0.01)) >= 1
    assert runner.kernel_latency_us(0) is runner.peak(1) is None
    assert runner.machine().engine_version == engine.version()
