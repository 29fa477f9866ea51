import random
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from torch import nn

from device_profiles.budgets import BudgetName
from device_profiles.cost_models.models import COST_MODELS, LatencyModel, MemoryModel, costs_of, latency_by_kind
from device_profiles.profile import DeviceProfile, find_profile, shipped_profiles
from device_profiles.workload.tracing import trace
from device_profiles.workload.workloads import Workloads, workload_of


def profile(name: str) -> DeviceProfile:
    return find_profile(name, Path("nowhere")).profile


def test_latency_is_the_sum_over_operators_plus_one_overhead() -> None:
    midrange = profile("midrange")
    kernel = midrange.costs.kernels["pointwise"]
    workload = trace(nn.Conv2d(8, 16, 1), (8, 10, 10))
    macs, moved_bytes = 8 * 16 * 100, 4 * (800 + 1600 + 8 * 16 + 16)
    expected = macs / (kernel.gmacs_per_s.value * 1e3) + moved_bytes / (kernel.gbytes_per_s.value * 1e3)
    expected += kernel.overhead_us.value + midrange.costs.run_overhead_us.value
    assert LatencyModel().predict([workload], midrange) == pytest.approx([expected])


def test_the_latency_of_a_chain_is_the_sum_over_its_parts() -> None:
    device = profile("lowend_1gb")
    first, second = nn.Conv2d(3, 8, 3), nn.Sequential(nn.Conv2d(8, 8, 3, groups=8), nn.Hardswish())
    parts = LatencyModel().predict([trace(first, (3, 12, 12)), trace(second, (8, 10, 10))], device)
    whole = LatencyModel().predict([trace(nn.Sequential(first, second), (3, 12, 12))], device)
    assert whole[0] == pytest.approx(parts.sum() - device.costs.run_overhead_us.value)


def test_the_shares_by_kind_add_up() -> None:
    device = profile("browser")
    workload = trace(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Hardswish(), nn.Flatten(), nn.Linear(288, 4)), (3, 8, 8))
    shares = latency_by_kind(workload, device)
    assert shares["depthwise"] == 0
    total = LatencyModel().predict([workload], device)[0]
    assert sum(shares.values()) == pytest.approx(total - device.costs.run_overhead_us.value)


def test_memory_counts_weights_packed_copies_activations_and_the_engine() -> None:
    device = profile("midrange")
    workload = trace(nn.Linear(100, 10), (100,))
    expected = 4 * (2 * 1010 + device.costs.arena_ratio.value * 110) + device.costs.engine_memory.value
    assert MemoryModel().predict([workload], device) == pytest.approx([expected])


def test_costs_of_many_equal_the_costs_of_each(tiny_space) -> None:
    device = profile("speaker")
    workloads = [workload_of(tiny_space, s) for s in (tiny_space.space.smallest, tiny_space.space.largest)]
    together = costs_of(workloads, device)
    assert together == [costs_of([workload], device)[0] for workload in workloads]
    assert together[0].latency_us < together[1].latency_us
    assert together[0].peak_memory_bytes < together[1].peak_memory_bytes
    assert together[0].file_bytes < together[1].file_bytes
    assert together[1].macs == workloads[1].macs
    assert costs_of([], device) == []


def test_every_budget_has_a_cost_model_or_follows_from_others() -> None:
    assert set(COST_MODELS) == set(get_args(BudgetName)) - {"macs", "energy"}


def test_workloads_are_traced_once_per_subnet(tiny_space) -> None:
    workloads = Workloads(tiny_space)
    subnet = tiny_space.space.sample(random.Random(0))
    assert workloads.of(subnet) is workloads.of(subnet)
    assert workloads.of(subnet) == trace(tiny_space.build(subnet), tiny_space.input_shape(subnet))


def test_tracing_a_subnet_takes_no_random_numbers(tiny_space) -> None:
    before = torch.random.get_rng_state()
    workload_of(tiny_space, tiny_space.space.largest)
    assert torch.equal(before, torch.random.get_rng_state())


def test_devices_rank_networks_in_opposite_order() -> None:
    dense = nn.Sequential(nn.Conv2d(32, 64, 3, padding=1), nn.Conv2d(64, 32, 3, padding=1))
    separable = nn.Sequential(nn.Conv2d(32, 192, 1), nn.Conv2d(192, 192, 7, padding=3, groups=192))
    workloads = [trace(network, (32, 28, 28)) for network in (dense, separable)]
    on_cpu, on_gpu = (LatencyModel().predict(workloads, profile(name)) for name in ("midrange", "glasses"))
    assert on_cpu[1] < on_cpu[0]
    assert on_gpu[0] < on_gpu[1]


def test_weaker_phones_are_slower_on_every_subnet(tiny_space) -> None:
    rng = random.Random(0)
    workloads = [workload_of(tiny_space, tiny_space.space.sample(rng)) for _ in range(5)]
    phones = ("lowend_1gb", "lowend_3gb", "midrange", "midrange_6gb", "highend", "flagship", "flagship_16gb")
    names = ("speaker", *phones)
    latency = np.array([LatencyModel().predict(workloads, profile(name)) for name in names])
    assert (np.diff(latency, axis=0) < 0).all()


@pytest.mark.parametrize("name", shipped_profiles())
def test_networks_of_real_size_take_a_plausible_time(name: str) -> None:
    block = nn.Sequential(nn.Conv2d(64, 256, 1), nn.Conv2d(256, 256, 3, padding=1, groups=256), nn.Conv2d(256, 64, 1))
    workload = trace(nn.Sequential(*[block] * 8), (64, 28, 28))  # 218 MMAC
    least = 100 if profile(name).compute_unit == "npu" else 2e3
    assert least < LatencyModel().predict([workload], profile(name))[0] < 300e3
