"""Sorting by importance: what moves, what stays, and what it is good for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from factory_base.errors import SpaceError
from supernet.conformance import ModelSpaceConformance
from supernet.model_space import ModelSpace
from supernet.sharing.importance import SortGroup, UnitAxis, sort_by_importance
from supernet.sharing.supernet import Supernet
from supernet.space import Choice, SearchSpace, SubnetConfig
from supernet.spaces.mobilenet import MobileNetSpace
from supernet.spaces.mobilenet_config import MobileNetConfig
from supernet.spaces.ofa import OfaSpace
from supernet.spaces.ofa_config import OfaMbv3Config, OfaProxylessConfig
from supernet.spaces.text_encoder import TextEncoderSpace
from supernet.spaces.transformer_config import TextEncoderConfig, VisionTransformerConfig
from supernet.spaces.vit import VisionTransformerSpace

BLOCKS = {"widths": [16], "depths": [1, 2], "heads": [1, 2, 3], "head_dim": 4, "mlp_ratios": [1, 2]}
OFA = {"resolutions": [32], "width_mult": 0.25, "depths": [2], "kernels": [3, 5], "expands": [3, 4]}


def mobilenet() -> ModelSpace:
    stage = {"widths": [8, 24], "depths": [1, 2], "expands": [1, 3], "squeeze_excite": True}
    config = {"resolutions": [12], "stem_width": 8, "stages": [stage, {**stage, "stride": 2}], "head_width": 16}
    return MobileNetSpace(MobileNetConfig.model_validate(config), classes=4)


def vit() -> VisionTransformerSpace:
    config = {**BLOCKS, "resolutions": [8], "patch": 4}
    return VisionTransformerSpace(VisionTransformerConfig.model_validate(config), classes=4)


def text() -> ModelSpace:
    config = {**BLOCKS, "vocabulary": 12, "lengths": [6]}
    return TextEncoderSpace(TextEncoderConfig.model_validate(config), classes=4)


def ofa() -> ModelSpace:
    return OfaSpace(OfaMbv3Config.model_validate(OFA), classes=4)


def proxyless() -> ModelSpace:
    return OfaSpace(OfaProxylessConfig.model_validate(OFA), classes=4)


SPACES: list[Callable[[], ModelSpace]] = [mobilenet, vit, text, ofa, proxyless]


class TwoLayers:
    """Four neurons between three inputs and two classes; `groups` is what it declares as sortable."""

    def __init__(self, groups: tuple[SortGroup, ...] | None = None) -> None:
        whole = SortGroup(ranked_by=(UnitAxis("2.weight", 1),), along=(UnitAxis("0.weight"), UnitAxis("0.bias")))
        self.sortable = (whole,) if groups is None else groups
        self.space = SearchSpace((Choice(name="neurons", options=(1, 2, 4)),))

    def build(self, subnet: SubnetConfig) -> nn.Module:
        neurons = int(subnet["neurons"])
        return nn.Sequential(nn.Linear(3, neurons), nn.ReLU(), nn.Linear(neurons, 2))

    def input_shape(self, subnet: SubnetConfig) -> tuple[int, ...]:  # noqa: ARG002 - the same for all
        return (3,)


def supernet_with_noise(space: ModelSpace) -> Supernet:
    """A supernet with random weights everywhere, so that no weight that is initialised to zero can hide a fault."""
    supernet = Supernet(space)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in supernet.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return supernet


def batch(space: ModelSpace) -> tuple[Tensor, Tensor]:
    shape, generator = space.input_shape(space.space.largest), torch.Generator().manual_seed(1)
    if len(shape) == 1 and not isinstance(space, TwoLayers):
        inputs = torch.randint(0, 12, (8, *shape), generator=generator)
    else:
        inputs = torch.randn(8, *shape, generator=generator)
    return inputs, torch.arange(8) % 2


def test_units_of_a_fused_matrix_are_summed_and_moved_in_every_segment() -> None:
    axis = UnitAxis("qkv", axis=0, block=2, segments=2)  # two heads of two channels, in queries and in keys
    rows = torch.tensor([1.0, 2, 30, 40, 500, 600, 7000, 8000])[:, None].expand(8, 3)
    assert axis.per_unit(rows).tolist() == [3 * 1103, 3 * 15070]
    assert axis.reordered(rows, torch.tensor([1, 0]))[:, 0].tolist() == [30, 40, 1, 2, 7000, 8000, 500, 600]


@pytest.mark.parametrize("by_gradient", [False, True])
@pytest.mark.parametrize("make", SPACES)
def test_sorting_keeps_the_function_of_the_largest_network_and_changes_its_subnets(
    make: Callable[[], ModelSpace], by_gradient: bool
) -> None:
    space = make()
    supernet, examples = supernet_with_noise(space).eval(), batch(space)
    with torch.no_grad():
        largest, smallest = supernet(examples[0], space.space.largest), supernet(examples[0], space.space.smallest)
        sort_by_importance(supernet, [examples], by_gradient=by_gradient)
        after = supernet(examples[0], space.space.largest)
        assert (after - largest).abs().max() <= 1e-5 * max(1.0, float(largest.abs().max()))
        assert not torch.allclose(supernet(examples[0], space.space.smallest), smallest, rtol=1e-3)


@pytest.mark.parametrize("make", SPACES)
def test_units_end_up_in_the_order_of_the_weights_that_read_them(make: Callable[[], ModelSpace]) -> None:
    supernet = supernet_with_noise(make())
    sort_by_importance(supernet, [batch(supernet.model_space)])
    parameters = dict(supernet.largest.named_parameters())
    for group in supernet.model_space.sortable:
        scores = sum(axis.per_unit(parameters[axis.name].detach().abs()) for axis in group.ranked_by)
        assert (scores.diff() <= 1e-4).all(), group.ranked_by


def test_the_head_that_is_read_most_becomes_the_first_with_its_queries_keys_and_values() -> None:
    supernet = Supernet(vit())
    attention = supernet.largest.blocks[0].attention
    with torch.no_grad():
        attention.project.weight[:, 8:] *= 10  # the last of three heads of four channels
        before = attention.qkv.weight.reshape(3, 3, 4, 16).clone()
        sort_by_importance(supernet, [batch(supernet.model_space)])
        after = attention.qkv.weight.reshape(3, 3, 4, 16)
    assert torch.equal(after[:, 0], before[:, 2])


def test_a_neuron_that_never_fires_is_last_by_gradient_and_first_by_its_heavy_weights() -> None:
    for by_gradient, place in ((False, 0), (True, 3)):
        supernet = Supernet(TwoLayers())
        first, _, last = supernet.largest
        with torch.no_grad():
            first.bias.fill_(1)
            first.bias[2] = -100
            last.weight[:, 2] = 9
        sort_by_importance(supernet, [batch(supernet.model_space)], by_gradient=by_gradient)
        assert first.bias[place] == -100


def test_sorting_leaves_gradients_and_the_mode_of_the_network_alone() -> None:
    supernet = Supernet(TwoLayers()).train()
    sort_by_importance(supernet, [batch(supernet.model_space)], by_gradient=True)
    assert supernet.largest.training
    assert all(parameter.grad is None for parameter in supernet.parameters())


OUT, BIAS, IN = UnitAxis("0.weight"), UnitAxis("0.bias"), UnitAxis("2.weight", 1)


@pytest.mark.parametrize(
    ("group", "message"),
    [
        (
            SortGroup(ranked_by=(IN,), along=(UnitAxis("0.wieght"), BIAS)),
            "no parameter '0.wieght'; did you mean '0.weight'?",
        ),
        (
            SortGroup(ranked_by=(IN,), along=(UnitAxis("0.weight", 1), BIAS)),
            "axis 1 of '0.weight' holds 3 units but .* 4",
        ),
        (SortGroup(ranked_by=(IN,), along=(OUT, UnitAxis("0.bias", 1))), r"'0.bias' of shape \(4,\) has no axis 1"),
        (
            SortGroup(ranked_by=(IN,), along=(UnitAxis("0.weight", block=3),)),
            "4 indices on axis 0, which do not divide",
        ),
        (SortGroup(ranked_by=(), along=(OUT, BIAS)), "nothing in ranked_by"),
        (SortGroup(ranked_by=(IN,), along=(OUT, BIAS, OUT)), "axis 0 of '0.weight' is named 2 times"),
        (SortGroup(ranked_by=(IN,), along=(OUT,)), "changes the outputs of the largest network by .*lacks a parameter"),
    ],
)
def test_a_wrong_group_is_refused_and_no_weight_moves(group: SortGroup, message: str) -> None:
    supernet = supernet_with_noise(TwoLayers((group,)))
    with torch.no_grad():
        supernet.largest[2].weight.copy_(torch.tensor([[1.0, 2, 3, 4], [1, 2, 3, 4]]))
    before = [parameter.clone() for parameter in supernet.parameters()]
    with pytest.raises(SpaceError, match=message):
        sort_by_importance(supernet, [batch(supernet.model_space)])
    assert all(map(torch.equal, before, supernet.parameters()))


def test_a_space_without_sortable_groups_says_so() -> None:
    with pytest.raises(
        SpaceError, match=r"declares nothing that can be sorted; set training.sort_by_importance to false"
    ):
        sort_by_importance(Supernet(TwoLayers(())), [batch(TwoLayers())])


def test_the_conformance_suite_finds_a_group_that_lacks_a_parameter() -> None:
    class Suite(ModelSpaceConformance):
        groups: Any = None

        def model_space(self) -> ModelSpace:
            return TwoLayers(self.groups)

    suite = Suite()
    suite.test_units_that_the_space_declares_as_sortable_can_be_permuted()
    suite.groups = (SortGroup(ranked_by=(IN,), along=(OUT,)),)
    with pytest.raises(AssertionError, match=r"\['2.weight'\] in another order, the output differs by"):
        suite.test_units_that_the_space_declares_as_sortable_can_be_permuted()
