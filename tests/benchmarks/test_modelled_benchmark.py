"""`benchmarks/modelled_latency.py`: its metrics, on networks whose latencies are known."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from torch import nn

from device_profiles.cost_models.models import LatencyModel
from device_profiles.profile import DeviceProfile, find_profile
from device_profiles.workload.operators import Workload
from device_profiles.workload.tracing import trace


@pytest.fixture
def script(load) -> ModuleType:
    return load("modelled_latency")


@pytest.fixture
def networks() -> list[Workload]:
    widths = (8, 12, 20, 32, 48)
    return [trace(nn.Sequential(nn.Conv2d(3, w, 3), nn.Conv2d(w, w, 1)), (3, 400 // w, 400 // w)) for w in widths]


@pytest.fixture
def host() -> DeviceProfile:
    return find_profile("host", Path("nowhere")).profile


def test_latencies_that_are_twice_the_modelled_ones_need_a_scale_of_two(script, networks, host) -> None:
    found = script.errors(networks, 2 * LatencyModel().predict(networks, host), host)
    assert found["scale"] == pytest.approx(2)
    assert found["modelled"] == {"spearman": 1, "mape": 0.5, "within_10": 0, "within_20": 0}
    assert found["modelled_scaled"] == {"spearman": 1, "mape": 0, "within_10": 1, "within_20": 1}
    assert found["relative_std"] == pytest.approx(0.5)
    assert found["macs_scaled"]["mape"] > 0
    assert found["per_mac_spearman"] == 1


def test_latencies_in_the_opposite_order_have_a_rank_correlation_of_minus_one(script, networks, host) -> None:
    modelled = LatencyModel().predict(networks, host)
    found = script.errors(networks, 1e6 / modelled, host)
    assert found["modelled"]["spearman"] == found["modelled_scaled"]["spearman"] == pytest.approx(-1)


def test_the_shares_of_time_add_up(script, networks, host) -> None:
    shares = script.shares(networks, host)
    assert sum(shares.values()) == pytest.approx(1, abs=0.01)
    assert shares["depthwise"] == 0
    assert np.all(np.array(list(shares.values())) >= 0)
