"""The energy of an inference: its arithmetic, its provenance, and sums over parts."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from device_profiles.cost_models.device_costs import DeviceCosts
from device_profiles.cost_models.models import costs_of
from device_profiles.modelling.roofline import profile_of
from device_profiles.modelling.soc import find_sheet
from device_profiles.profile import FoundProfile, find_profile
from device_profiles.profile_costs import EnergyCost, Figure
from device_profiles.workload.parts import encoded
from device_profiles.workload.workloads import Workloads, workload_of


def figure(value: float, provenance: str = "modelled") -> Figure:
    return Figure(value=value, provenance=provenance, source="a page")


def phone(energy: EnergyCost | None) -> FoundProfile:
    found = find_profile("midrange", Path("nowhere"))
    costs = found.profile.costs.model_copy(update={"energy": energy})
    return FoundProfile(profile=found.profile.model_copy(update={"costs": costs}), origin="here", digest="")


PRICES = EnergyCost(pj_per_mac=figure(5), pj_per_byte=figure(40), running_mw=figure(1000))


def some(space, count: int):
    rng = random.Random(0)
    return [space.space.smallest, space.space.largest, *(space.space.sample(rng) for _ in range(count))]


def test_energy_is_that_of_macs_and_bytes_plus_power_times_time(tiny_space) -> None:
    workload = workload_of(tiny_space, tiny_space.space.largest)
    (costs,) = costs_of([workload], phone(PRICES).profile)
    moved = 4 * sum(operator.moved_elements for operator in workload.operators)
    assert costs.energy_uj == pytest.approx((5 * workload.macs + 40 * moved) / 1e6 + costs.latency_us)


def test_a_milliwatt_for_a_second_is_a_millijoule(tiny_space) -> None:
    only_power = EnergyCost(pj_per_mac=figure(1e-12), pj_per_byte=figure(1e-12), running_mw=figure(1))
    (costs,) = costs_of([workload_of(tiny_space, tiny_space.space.smallest)], phone(only_power).profile)
    assert costs.energy_uj == pytest.approx(1e3 * costs.latency_us / 1e6)


def test_without_figures_there_is_no_energy(tiny_space, chain_space) -> None:
    unknown = phone(None)
    assert costs_of([workload_of(tiny_space, tiny_space.space.smallest)], unknown.profile)[0].energy_uj is None
    costs = DeviceCosts(Workloads(chain_space), unknown)
    assert costs.of([chain_space.space.smallest])[0].energy_uj is None
    assert costs.predict(encoded(chain_space.space, [chain_space.space.smallest])).energy_uj is None
    assert unknown.profile.energy_provenance is None


def test_energy_by_part_equals_energy_of_whole_networks(chain_space) -> None:
    device, subnets = phone(PRICES), some(chain_space, 10)
    whole = costs_of([workload_of(chain_space, subnet) for subnet in subnets], device.profile)
    costs = DeviceCosts(Workloads(chain_space), device)
    found = costs.of(subnets)
    assert [c.energy_uj for c in found] == pytest.approx([c.energy_uj for c in whole])
    assert [c.latency_us for c in found] == pytest.approx([c.latency_us for c in whole])
    assert found == [costs.of([subnet])[0] for subnet in subnets]
    assert costs.predict(encoded(chain_space.space, [])).energy_uj.shape == (0,)


def test_knowing_the_energy_changes_no_other_cost(chain_space) -> None:
    vectors = encoded(chain_space.space, some(chain_space, 5))
    with_energy, without = (
        DeviceCosts(Workloads(chain_space), phone(prices)).predict(vectors) for prices in (PRICES, None)
    )
    for name in ("latency_us", "peak_memory_bytes", "file_bytes", "macs"):
        assert np.array_equal(getattr(with_energy, name), getattr(without, name))


def test_an_energy_has_the_weakest_provenance_of_its_numbers() -> None:
    assert phone(PRICES).profile.energy_provenance == "modelled"
    assumed = PRICES.model_copy(update={"running_mw": figure(1000, "assumed")})
    assert phone(assumed).profile.energy_provenance == "assumed"


def test_the_energy_of_a_mac_scales_with_the_process_and_the_precision() -> None:
    sheet = find_sheet("midrange")
    fp32, int8 = (profile_of(sheet).costs_in(precision).energy for precision in ("fp32", "int8"))
    assert fp32.pj_per_mac.value == pytest.approx((3.7 + 0.9 + 2 * 70 / 4) * 7 / 45, rel=0.03)
    assert int8.pj_per_mac.value == pytest.approx((0.2 + 0.1 + 2 * 70 / 16) * 7 / 45, rel=0.03)
    assert fp32.pj_per_byte.value == 40
    assert fp32.running_mw.value == 1000


@pytest.mark.parametrize("name", ["flagship_npu", "glasses", "browser", "host"])
def test_profiles_of_classes_without_figures_state_no_energy(name: str) -> None:
    assert find_profile(name, Path("nowhere")).profile.costs.energy is None


@pytest.mark.parametrize("name", ["speaker", "lowend_1gb", "midrange", "flagship_16gb"])
def test_a_shipped_energy_claims_no_more_than_an_assumption(name: str) -> None:
    assert find_profile(name, Path("nowhere")).profile.energy_provenance == "assumed"
