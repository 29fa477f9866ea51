"""Slices: which of the supernet's weights a subnet has, and what is refused because no slice is right."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from factory_base.errors import SpaceError
from supernet.sharing.slicing import plan_module, plan_slices, take
from supernet.sharing.supernet import Supernet
from supernet.space import Choice, SearchSpace


def test_channels_are_taken_from_the_front_and_kernels_from_the_centre() -> None:
    full = torch.arange(8 * 6 * 7 * 7).reshape(8, 6, 7, 7)
    plans = {"weight": plan_slices((8, 6, 7, 7), (4, 3, 3, 5), "weight")}
    assert torch.equal(take({"weight": full}, plans)["weight"], full[:4, :3, 2:5, 1:6])


def test_a_slice_is_a_view_so_that_gradients_flow() -> None:
    full = torch.ones(4, requires_grad=True)
    take({"bias": full}, {"bias": plan_slices((4,), (2,), "bias")})["bias"].sum().backward()
    assert full.grad is not None
    assert full.grad.tolist() == [1, 1, 0, 0]


@pytest.mark.parametrize("part", [(9, 6), (8, 7), (8,), (8, 6, 1)])
def test_a_shape_that_does_not_fit_is_refused(part: tuple[int, ...]) -> None:
    with pytest.raises(SpaceError, match=r"'head.weight': shape .* does not fit into the largest network's \(8, 6\)"):
        plan_slices((8, 6), part, "head.weight")


def test_kernels_without_a_common_centre_are_refused() -> None:
    with pytest.raises(SpaceError, match="a kernel of 4 has no common centre with one of 7"):
        plan_slices((8, 8, 7, 7), (8, 8, 7, 4), "conv.weight")


def test_an_optional_layer_inside_a_sequential_is_refused() -> None:
    largest = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    subnet = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    with pytest.raises(SpaceError, match=r"'1.weight' belongs to Linear in a subnet but to LayerNorm in the largest"):
        plan_module(largest, subnet)


def test_a_parameter_that_the_largest_network_lacks_is_refused() -> None:
    with pytest.raises(SpaceError, match=r"'2.weight' of a subnet does not exist in the largest network"):
        plan_module(nn.Sequential(nn.Linear(4, 4)), nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)))


def test_a_convolution_that_changes_its_stride_is_refused() -> None:
    with pytest.raises(SpaceError, match=r"stride=\(2, 2\).*stride=\(1, 1\)"):
        plan_module(nn.Sequential(nn.Conv2d(4, 4, 3)), nn.Sequential(nn.Conv2d(4, 4, 3, stride=2)))


def test_a_dense_convolution_is_not_part_of_a_depthwise_one() -> None:
    with pytest.raises(SpaceError, match=r"dense.*in a subnet but to.*groups of 1 to 1 channels"):
        plan_module(nn.Sequential(nn.Conv2d(4, 4, 3, groups=4)), nn.Sequential(nn.Conv2d(1, 4, 3)))


def test_narrower_groups_are_refused_because_channels_would_change_their_group() -> None:
    with pytest.raises(SpaceError, match=r"groups of 2 to 2 channels.*groups of 4 to 4 channels"):
        plan_module(nn.Sequential(nn.Conv2d(8, 8, 3, groups=2)), nn.Sequential(nn.Conv2d(4, 4, 3, groups=2)))


def test_fewer_groups_of_the_same_width_compute_the_leading_channels() -> None:
    largest, part = nn.Conv2d(8, 8, 3, groups=4, bias=False), nn.Conv2d(4, 4, 3, groups=2, bias=False)
    plans = plan_module(nn.Sequential(largest), nn.Sequential(part))
    part.load_state_dict(take(dict(largest.named_parameters()), {"weight": plans["0.weight"]}))
    x = torch.randn(1, 8, 5, 5)
    assert torch.allclose(part(x[:, :4]), largest(x)[:, :4], atol=1e-6)


class ShiftingSpace:
    """Leaves a layer out of an `nn.Sequential`, so that the names of later layers shift."""

    space = SearchSpace((Choice(name="normalise", options=(0, 1)),))

    def build(self, subnet):
        middle = [nn.LayerNorm(4)] if subnet["normalise"] else []
        return nn.Sequential(nn.Linear(3, 4), *middle, nn.Linear(4, 2))

    def input_shape(self, _subnet):
        return (3,)


def test_a_supernet_of_a_faulty_space_refuses_to_run_and_to_extract() -> None:
    supernet = Supernet(ShiftingSpace())
    smallest = ShiftingSpace.space.smallest
    with pytest.raises(SpaceError, match="give optional layers names of their own"):
        supernet(torch.ones(2, 3), smallest)
    with pytest.raises(SpaceError, match="give optional layers names of their own"):
        supernet.extract(smallest)
