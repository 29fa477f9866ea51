"""The share of the machine's peak that kernels reach."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from torch import nn

from device_profiles.cost_models.models import LatencyModel
from device_profiles.cost_models.utilisation import utilisation
from device_profiles.measuring import host_peak
from device_profiles.measuring.host_peak import measure_peak
from device_profiles.profile import DeviceProfile, find_profile
from device_profiles.profile_costs import MachinePeak
from device_profiles.workload.tracing import trace

NETWORK = trace(nn.Sequential(nn.Conv2d(3, 16, 1), nn.Hardswish(), nn.Conv2d(16, 16, 3, groups=16)), (3, 20, 20))


def device(peak: MachinePeak | None) -> DeviceProfile:
    found = find_profile("midrange", Path("nowhere")).profile
    return found.model_copy(update={"costs": found.costs.model_copy(update={"peak": peak})})


def test_a_kernel_at_its_rate_reaches_its_share_of_the_peak() -> None:
    profile = device(MachinePeak(gmacs_per_s=100, gbytes_per_s=2, cached_gbytes_per_s=40))
    uses = {use.kind: use for use in utilisation(NETWORK, profile)}
    macs = 3 * 16 * 400
    assert uses["pointwise"].share_of_peak == pytest.approx(macs / uses["pointwise"].latency_us / 1e3 / 100)
    moved = 4 * 2 * 16 * 400
    assert uses["elementwise"].share_of_peak == pytest.approx(moved / uses["elementwise"].latency_us / 1e3 / 40)
    assert set(uses) == {"pointwise", "depthwise", "elementwise"}


def test_the_times_add_up_to_the_latency_and_the_slowest_comes_first() -> None:
    profile = device(MachinePeak(gmacs_per_s=100, gbytes_per_s=10))
    times = [use.latency_us for use in utilisation(NETWORK, profile)]
    total = LatencyModel().predict([NETWORK], profile)[0] - profile.costs.run_overhead_us.value
    assert sum(times) == pytest.approx(total)
    assert times == sorted(times, reverse=True)


def test_a_rate_above_the_peak_is_no_share() -> None:
    profile = device(MachinePeak(gmacs_per_s=0.001, gbytes_per_s=0.001))
    assert {use.share_of_peak for use in utilisation(NETWORK, profile)} == {None}


def test_without_a_measured_peak_nothing_is_claimed() -> None:
    assert utilisation(NETWORK, device(None)) == ()


def test_the_peak_of_this_machine_is_plausible() -> None:
    peak = measure_peak(1)
    assert 0.5 < peak.gmacs_per_s < 5000
    assert 0.2 < peak.gbytes_per_s <= peak.cached_gbytes_per_s == peak.fastest_gbytes_per_s < 20_000


def test_the_peak_is_the_best_of_all_kernels(monkeypatch) -> None:
    monkeypatch.setattr(host_peak, "_SECONDS", 0.0)
    seconds = {"slow": 0.004, "fast": 0.001}
    kernels = [(1e6, lambda kind=kind: time.sleep(seconds[kind])) for kind in ("slow", "fast", "slow")]
    assert 0.3 < host_peak._best_rate(kernels) <= 1.0
    products = {work for work, _ in host_peak._products()}
    assert len(products) == len(host_peak._products()) == 4
