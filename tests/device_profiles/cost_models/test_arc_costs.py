"""The costs of arcs: whoever sums them as `sum_of_arcs` does gets the costs of whole networks."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from device_profiles.cost_models.device_costs import DeviceCosts
from device_profiles.cost_models.models import costs_of
from device_profiles.profile import FoundProfile, find_profile
from device_profiles.workload.parts import encoded
from device_profiles.workload.workloads import Workloads, workload_of
from factory_base.errors import SpaceError
from supernet.chain import Link
from supernet.space import Choice, SearchSpace
from supernet.spaces import make_model_space
from supernet.spaces.mobilenet_config import MobileNetConfig
from supernet.spaces.ofa_config import OfaMbv3Config
from supernet.spaces.transformer_config import VisionTransformerConfig

STAGE = {"widths": [8, 16], "depths": [1, 2], "kernels": [3, 5], "expands": [2, 4], "squeeze_excite": True}
CONFIGS = {
    "mobilenet": MobileNetConfig.model_validate(
        {"resolutions": [16, 100], "stem_width": 8, "stages": [STAGE, {**STAGE, "stride": 2}], "head_width": 32}
    ),
    "ofa_mbv3": OfaMbv3Config(resolutions=(64,), width_mult=0.25, kernels=(3,), expands=(3, 6)),
    "vit": VisionTransformerConfig.model_validate(
        {"resolutions": [16, 32], "patch": 8, "widths": [16, 32], "depths": [1, 2], "heads": [1, 2],
         "mlp_ratios": [1, 2], "head_dim": 8}
    ),
}  # fmt: skip


class NestedSpace:
    """The first part may be missing; the depth of a branch exists only in deep networks."""

    space = SearchSpace(
        (
            Choice(name="grey", options=(0, 1)),
            Choice(name="depth", options=(1, 2)),
            Choice(name="inner", options=(1, 2), depth_choice="depth", exists_from=2),
            Choice(name="kernel", options=(1, 3, 5), depth_choice="inner", exists_from=2),
        )
    )
    links = (
        Link(name="blur", choices=(), depth_choice="grey", exists_from=1),
        Link(name="body", choices=("grey", "depth")),
        Link(name="inner.0", choices=("grey", "depth"), depth_choice="inner", exists_from=1),
        Link(name="inner.1", choices=("grey", "depth", "kernel"), depth_choice="inner", exists_from=2),
        Link(name="head", choices=("grey", "depth")),
    )

    def build(self, subnet):
        layers = {"blur": nn.AvgPool2d(2)} if subnet["grey"] else {}
        layers["body"] = nn.Sequential(nn.Conv2d(3, 8, subnet["depth"]), nn.ReLU())
        if subnet["depth"] == 2:
            layers["inner.0"] = nn.Sequential(nn.Conv2d(8, 8, 1), nn.ReLU())
            if subnet["inner"] == 2:
                layers["inner.1"] = nn.Sequential(
                    nn.Conv2d(8, 8, subnet["kernel"], padding=subnet["kernel"] // 2), nn.ReLU()
                )
        layers["head"] = nn.Sequential(nn.Conv2d(8, 8, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
        network = nn.Sequential(*layers.values())
        network.names = tuple(layers)
        return network

    def input_shape(self, _subnet):
        return (3, 100, 100)

    def parts(self, network):
        return dict(zip(network.names, network, strict=True))


@pytest.fixture(scope="module", params=[*CONFIGS, "nested"])
def workloads(request: pytest.FixtureRequest) -> Workloads:
    name = request.param
    return Workloads(NestedSpace() if name == "nested" else make_model_space(CONFIGS[name], 5))


@pytest.fixture
def any_space(workloads: Workloads):
    return workloads.model_space


@pytest.fixture(params=["midrange", "flagship_npu"])
def device(request: pytest.FixtureRequest) -> FoundProfile:
    """A device at fp32 with energy costs, and one at int8 without."""
    return find_profile(request.param, Path("nowhere"))


def some(space: SearchSpace, count: int):
    rng = random.Random(0)
    return [space.smallest, space.largest, *(space.sample(rng) for _ in range(count))]


def test_arcs_sum_to_the_costs_of_whole_networks(workloads, any_space, device) -> None:
    costs, subnets = DeviceCosts(workloads, device), some(any_space.space, 12)
    found = costs.sum_of_arcs(costs.arcs(), encoded(any_space.space, subnets))
    for row, whole in enumerate(costs_of([workload_of(any_space, subnet) for subnet in subnets], device.profile)):
        assert found.latency_us[row] == pytest.approx(whole.latency_us)
        assert int(found.peak_memory_bytes[row] + 1e-6) == whole.peak_memory_bytes
        assert (found.file_bytes[row], found.macs[row]) == (whole.file_bytes, whole.macs)
        if device.profile.costs.energy is not None:
            assert found.energy_uj[row] == pytest.approx(whole.energy_uj)


def test_arcs_sum_to_the_prediction(workloads, any_space, device) -> None:
    costs, vectors = DeviceCosts(workloads, device), encoded(any_space.space, some(any_space.space, 200))
    predicted, found = costs.predict(vectors), costs.sum_of_arcs(costs.arcs(), vectors)
    assert (found.file_bytes == predicted.file_bytes).all()
    assert (found.macs == predicted.macs).all()
    assert found.latency_us == pytest.approx(predicted.latency_us)
    assert found.peak_memory_bytes == pytest.approx(predicted.peak_memory_bytes)
    assert (found.energy_uj is None) == (predicted.energy_uj is None) == (device.profile.costs.energy is None)
    if found.energy_uj is not None:
        assert found.energy_uj == pytest.approx(predicted.energy_uj)


def test_the_bound_of_the_deviation_is_an_upper_bound(workloads, any_space) -> None:
    device = find_profile("midrange", Path("nowhere"))
    costs, vectors = DeviceCosts(workloads, device), encoded(any_space.space, some(any_space.space, 20))
    exact, bound = costs.predict(vectors).latency_std_us, costs.sum_of_arcs(costs.arcs(), vectors).latency_std_us
    assert (exact is None) == (bound is None)
    assert exact is None or (bound >= exact * (1 - 1e-9)).all()


def test_a_limit_on_the_file_is_an_exact_limit_on_the_sum_of_arcs(workloads, any_space, device) -> None:
    costs, vectors = DeviceCosts(workloads, device), encoded(any_space.space, some(any_space.space, 30))
    arcs, files = costs.arcs(), costs.predict(vectors).file_bytes
    sums = sum(arc.of(arc.file_bytes, any_space.space, vectors) for arc in arcs)
    for file, total in zip(files, sums, strict=True):
        assert costs.most_file_bytes(int(file)) == total
        assert costs.most_file_bytes(int(file) - 1) < total
    assert all((arc.file_bytes == np.round(arc.file_bytes)).all() for arc in arcs)


def test_presence_follows_depth_choices_to_the_root() -> None:
    space = NestedSpace()
    arcs = {arc.link: arc for arc in DeviceCosts(Workloads(space), find_profile("midrange", Path("nowhere"))).arcs()}
    presence = {name: [(p.choice.name, p.first) for p in arc.presence] for name, arc in arcs.items()}
    assert presence == {
        "blur": [("grey", 1)], "body": [], "inner.0": [("inner", 0), ("depth", 1)],
        "inner.1": [("inner", 1), ("depth", 1)], "head": [],
    }  # fmt: skip
    vectors = encoded(space.space, [space.space.smallest, space.space.largest])
    assert [list(arc.present(space.space, vectors)) for arc in arcs.values()] == [
        [False, True], [True, True], [False, True], [False, True], [True, True],
    ]  # fmt: skip


def test_a_space_without_links_has_no_arcs(tiny_space) -> None:
    with pytest.raises(SpaceError, match="TinySpace has no costs for each arc: it declares no chain of parts"):
        DeviceCosts(Workloads(tiny_space), find_profile("midrange", Path("nowhere"))).arcs()
