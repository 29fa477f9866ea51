"""The laws of weight sharing for the once-for-all spaces, with a hand-written masking and kernel transform oracle."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch
from torch import nn

from factory_base.documents import parse_document
from factory_base.errors import ConfigError, SpaceError
from supernet.conformance import MaskingConformance
from supernet.model_space import ModelSpace
from supernet.sharing.kernel_transform import KernelTransform
from supernet.sharing.supernet import Supernet
from supernet.space import SubnetConfig
from supernet.spaces import MODEL_SPACES, make_model_space
from supernet.spaces.ofa_config import OfaConfig, make_divisible

SMALL = {"width_mult": 0.1, "resolutions": [48, 64]}


def section(space: str, **options: Any) -> OfaConfig:
    config = parse_document({"space": space, **SMALL, **options}, MODEL_SPACES[space].config, "factory.yaml")
    assert isinstance(config, OfaConfig)
    return config


class OfaLaws(MaskingConformance):
    random_subnets = 2
    tolerance = 1e-4
    name: ClassVar[str]
    options: ClassVar[dict[str, Any]] = {}

    def model_space(self) -> ModelSpace:
        return make_model_space(section(self.name, **self.options), classes=5)

    def mask(self, largest: nn.Module, subnet: SubnetConfig) -> None:
        inputs = len(largest.trunk.first_block.project.norm.weight)
        for i, stage in enumerate(largest.trunk.stages):
            for j, block in enumerate(stage):
                if j >= subnet[f"stages.{i}.depth"]:
                    _silence(block.project.norm, 0)
                    continue
                ratio, kernel = (int(subnet[f"stages.{i}.blocks.{j}.{name}"]) for name in ("expand", "kernel"))
                _mask_channels(block, _to_eights(inputs * ratio))
                _shrink_kernel(block, kernel)
                inputs = len(block.project.norm.weight)


class TestMobileNetV3(OfaLaws):
    name = "ofa_mbv3"


class TestProxyless(OfaLaws):
    name = "ofa_proxyless"


class TestKernelsThreeAndFive(OfaLaws):
    random_subnets = 1
    name, options = "ofa_proxyless", {"kernels": [3, 5], "depths": [2, 3]}


def test_the_subnets_checked_differ_in_every_choice() -> None:
    suite = TestMobileNetV3()
    seen = [subnet.to_dict() for subnet in suite.subnets()]
    for choice in suite.model_space().space:
        assert {values[choice.name] for values in seen} >= {choice.options[0], choice.options[-1]}, choice.name


@pytest.mark.parametrize(("space", "stages"), [("ofa_mbv3", 5), ("ofa_proxyless", 5)])
def test_a_space_has_the_published_number_of_subnets(space: str, stages: int) -> None:
    per_stage = sum(9**depth for depth in (2, 3, 4))
    assert make_model_space(section(space), 5).space.count() == 2 * per_stage**stages * (9 if "prox" in space else 1)


def test_only_the_largest_network_has_kernel_matrices_and_they_start_as_the_identity() -> None:
    model_space = make_model_space(section("ofa_mbv3"), 5)
    largest = model_space.build(model_space.space.largest)
    matrices = {name: p for name, p in largest.named_parameters() if "kernel_matrices" in name}
    assert len(matrices) == 40
    assert all(torch.equal(matrix, torch.eye(len(matrix))) for matrix in matrices.values())
    smallest = model_space.build(model_space.space.smallest)
    assert not [name for name, _ in smallest.named_parameters() if "kernel_matrices" in name]


@pytest.mark.parametrize(
    ("kernels", "matrices"),
    [([3, 7], {"7to5", "5to3"}), ([5, 7], {"7to5"}), ([3, 5], {"5to3"}), ([5], set())],
)
def test_a_space_has_the_matrices_that_its_kernels_need(kernels: list[int], matrices: set[str]) -> None:
    model_space = make_model_space(section("ofa_mbv3", kernels=kernels), 5)
    names = (name for name, _ in model_space.build(model_space.space.largest).named_parameters())
    assert {name.rpartition(".")[2] for name in names if "kernel_matrices" in name} == matrices


@pytest.mark.parametrize(("kernel", "trained"), [(3, {"7to5", "5to3"}), (5, {"7to5"}), (7, set())])
def test_gradients_reach_the_matrices_on_the_way_to_a_kernel(kernel: int, trained: set[str]) -> None:
    supernet = Supernet(make_model_space(section("ofa_mbv3"), 5))
    nn.init.ones_(supernet.largest.trunk.stages[0][1].project.norm.weight)  # zero would make all gradients zero
    space = supernet.model_space.space
    subnet = space.subnet(space.smallest.to_dict() | {"stages.0.blocks.1.kernel": kernel})
    supernet(torch.randn(2, 3, 64, 64), subnet).square().sum().backward()
    block = supernet.largest.trunk.stages[0][1]
    assert block.depthwise.conv.weight.grad.any()
    assert {name for name, matrix in block.kernel_matrices.items() if matrix.grad is not None} == trained
    assert all(block.kernel_matrices[name].grad.any() for name in trained)


def test_a_kernel_without_a_common_centre_is_refused() -> None:
    rule = KernelTransform(weight="conv.weight", matrices="matrices")
    with pytest.raises(SpaceError, match="a kernel of 4 has no common centre with one of 7"):
        rule.plan((8, 1, 7, 7), (8, 1, 4, 4), "block.conv.weight")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernels": [3, 9]}, r"'kernels': options \[3, 9\] must be among \[3, 5, 7\]"),
        ({"kernels": [5, 3]}, r"'kernels': options \[5, 3\] must be ascending"),
        ({"depths": []}, "'depths': .*at least 1 entry"),
        ({"expands": [2]}, r"'expands': options \[2\] must be among \[3, 4, 6\]"),
        ({"width_mult": 0}, "'width_mult': must be above 0 and at most 4, got 0"),
        ({"kernel": [3]}, "unknown key 'kernel'; did you mean 'kernels'"),
    ],
)
def test_a_wrong_option_is_named_in_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        section("ofa_mbv3", **options)


def test_channels_are_rounded_to_multiples_of_8_but_never_far_down() -> None:
    assert [make_divisible(channels) for channels in (1, 11, 12, 18, 19.2, 134.4)] == [8, 16, 16, 24, 24, 136]


def _shrink_kernel(block: Any, kernel: int) -> None:
    """Replace the kernel by its transform, padded with zeros: a 7x7 convolution that computes the smaller one."""
    weight = block.depthwise.conv.weight
    size, small = weight.shape[-1], weight.clone()
    while small.shape[-1] > kernel:
        matrix = block.kernel_matrices[f"{small.shape[-1]}to{small.shape[-1] - 2}"]
        centre = small[:, :, 1:-1, 1:-1]
        small = torch.einsum("oi,nci->nco", matrix, centre.reshape(*centre.shape[:2], -1)).reshape(centre.shape)
    rim = (size - kernel) // 2
    weight.zero_()
    weight[:, :, rim : size - rim, rim : size - rim] = small


def _mask_channels(block: Any, hidden: int) -> None:
    _silence(block.expand.norm, hidden)
    _silence(block.depthwise.norm, hidden)
    if block.squeeze_excite is not None:
        squeezed = _to_eights(hidden // 4)
        block.squeeze_excite.squeeze.weight[squeezed:] = 0
        block.squeeze_excite.squeeze.bias[squeezed:] = 0


def _silence(norm: Any, used: int) -> None:
    """Make the output of all channels from `used` on zero for every input."""
    norm.weight[used:] = 0
    norm.bias[used:] = 0


def _to_eights(channels: int) -> int:
    eights = max(1, (channels + 4) // 8)
    return 8 * (eights + 1 if 80 * eights < 9 * channels else eights)
