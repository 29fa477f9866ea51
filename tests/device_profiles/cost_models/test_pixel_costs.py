"""The costs of a preprocessing of pixels in the graph: the same one by one, by the thousand and arc by arc."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from device_profiles.cost_models.device_costs import DeviceCosts
from device_profiles.cost_models.models import costs_of
from device_profiles.profile import find_profile
from device_profiles.workload.parts import encoded
from device_profiles.workload.workloads import Workloads
from supernet.spaces import make_model_space
from supernet.spaces.mobilenet_config import MobileNetConfig

STAGE = {"widths": [8, 16], "depths": [1, 2], "kernels": [3], "expands": [2]}
SPACE = make_model_space(
    MobileNetConfig.model_validate(
        {"resolutions": [16, 24], "stem_width": 8, "stages": [STAGE, {**STAGE, "stride": 2}], "head_width": 32}
    ),
    5,
)
PHONE = find_profile("midrange", Path("nowhere"))


@pytest.fixture
def subnets():
    rng = random.Random(0)
    return [SPACE.space.smallest, SPACE.space.largest, *(SPACE.space.sample(rng) for _ in range(6))]


@pytest.fixture
def costs() -> DeviceCosts:
    return DeviceCosts(Workloads(SPACE, pixels=True), PHONE)


def test_costs_by_part_equal_costs_of_whole_networks(costs, subnets) -> None:
    workloads = Workloads(SPACE, pixels=True)
    whole = costs_of([workloads.of(subnet) for subnet in subnets], PHONE.profile)
    for found, expected in zip(costs.of(subnets), whole, strict=True):
        assert found.latency_us == pytest.approx(expected.latency_us)
        assert found.energy_uj == pytest.approx(expected.energy_uj)
        assert (found.peak_memory_bytes, found.file_bytes, found.macs) == (
            expected.peak_memory_bytes, expected.file_bytes, expected.macs,
        )  # fmt: skip


def test_costs_by_arc_equal_costs_by_part(costs, subnets) -> None:
    vectors = encoded(SPACE.space, subnets)
    found, expected = costs.sum_of_arcs(costs.arcs(), vectors), costs.predict(vectors)
    np.testing.assert_array_equal(found.file_bytes, expected.file_bytes)
    np.testing.assert_array_equal(found.macs, expected.macs)
    for name in ("latency_us", "peak_memory_bytes", "energy_uj", "latency_std_us"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name))


def test_it_adds_time_by_the_number_of_pixels_and_the_same_bytes_to_every_file(costs, subnets) -> None:
    without = DeviceCosts(Workloads(SPACE), PHONE).of(subnets)
    more = [(with_.latency_us - none.latency_us) for with_, none in zip(costs.of(subnets), without, strict=True)]
    resolutions = [SPACE.input_shape(subnet)[-1] for subnet in subnets]
    small, large = (np.array(more)[np.array(resolutions) == size] for size in (16, 24))
    overhead = 3 * PHONE.profile.costs.kernels["elementwise"].overhead_us.value
    np.testing.assert_allclose((large - overhead) / (small[0] - overhead), (24 / 16) ** 2, rtol=1e-2)
    file_bytes = {with_.file_bytes - none.file_bytes for with_, none in zip(costs.of(subnets), without, strict=True)}
    assert file_bytes <= {175, 176}  # a graph's length takes one more byte from 16 KiB on


def test_parts_and_the_largest_workload_are_those_that_tables_were_measured_for() -> None:
    with_pixels, without = Workloads(SPACE, pixels=True), Workloads(SPACE)
    assert with_pixels.of_largest() == without.of_largest()
    assert (with_pixels.rows([SPACE.space.largest]) == without.rows([SPACE.space.largest])).all()
    assert with_pixels.chain is not None
    assert without.chain is not None
    assert [part.id for part in with_pixels.chain.parts] == [part.id for part in without.chain.parts]
