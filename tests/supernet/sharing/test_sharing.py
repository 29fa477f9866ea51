"""How a supernet makes networks out of its weights: blueprints, copies, gradients."""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor, nn

from supernet.sharing.blueprint import Blueprint, build_unweighted
from supernet.sharing.supernet import Supernet
from supernet.space import Choice, SearchSpace, SubnetConfig
from supernet.spaces.mobilenet import MobileNetSpace

CPU = torch.device("cpu")


class OneLayerSpace:
    """A space of one layer of elastic width, made by `make(width)`."""

    def __init__(self, make: type[nn.Module]) -> None:
        self._make = make
        self.space = SearchSpace((Choice(name="width", options=(2, 4)),))

    def build(self, subnet: SubnetConfig) -> nn.Module:
        return self._make(int(subnet["width"]))

    def input_shape(self, _: SubnetConfig) -> tuple[int, ...]:
        return (3,)


class Table(nn.Module):
    """A layer with a table that is not a parameter, and tied weights."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer, self.again = nn.Linear(3, width), nn.Linear(3, width, bias=False)
        self.again.weight = self.layer.weight
        self.register_buffer("table", torch.arange(float(width)))
        self.names = ["a", "b"]

    def forward(self, x: Tensor) -> Tensor:
        return (self.layer(x) + 2 * self.again(x)) * self.table


class Closure(nn.Module):
    """Holds a function that refers to it: a copy of its attributes would compute with another network's weights."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = nn.Linear(3, width)
        self.compute = lambda x: self.layer(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.compute(x)


class RandomTable(nn.Module):
    """Has a table that is drawn after the weights."""

    def __init__(self, width: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(3, width)
        self.register_buffer("table", torch.rand(width))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) * self.table


KINDS = [Table, Closure, RandomTable]


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_extracted_twice_computes_the_same_and_shares_nothing(kind: type[nn.Module]) -> None:
    supernet, x = Supernet(OneLayerSpace(kind)), torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    for subnet in (supernet.model_space.space.smallest, supernet.model_space.space.largest):
        first, second, third = (supernet.extract(subnet) for _ in range(3))
        with torch.no_grad():
            expected = supernet(x, subnet)
            torch.testing.assert_close(first(x), expected)
            torch.testing.assert_close(second(x), expected)
            for tensor in (*first.state_dict().values(), *second.state_dict().values()):
                tensor.zero_()
            torch.testing.assert_close(third(x), expected)
            torch.testing.assert_close(supernet(x, subnet), expected)


def test_tied_weights_stay_tied_and_lists_are_not_shared() -> None:
    supernet = Supernet(OneLayerSpace(Table))
    first, second = (supernet.extract(supernet.model_space.space.smallest) for _ in range(2))
    assert first.again.weight is first.layer.weight
    first.names.append("c")
    assert second.names == ["a", "b"]


def test_a_random_table_is_that_of_an_ordinary_build() -> None:
    space = OneLayerSpace(RandomTable)
    with torch.random.fork_rng(devices=[]):
        expected = space.build(space.space.largest)
    found = build_unweighted(space, space.space.largest)
    assert torch.equal(found.table, expected.table)


def test_building_leaves_the_global_random_generator_alone(small_space: MobileNetSpace) -> None:
    before = torch.get_rng_state()
    Blueprint(small_space, small_space.space.largest, CPU)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_blueprint_gives_networks_the_given_weights_and_fresh_statistics(small_space: MobileNetSpace) -> None:
    subnet = small_space.space.smallest
    built, blueprint = small_space.build(subnet), Blueprint(small_space, subnet, CPU)
    weights = {name: nn.Parameter(torch.ones(p.shape)) for name, p in built.named_parameters()}
    network = blueprint.network(weights)
    assert all(weights[name] is parameter for name, parameter in network.named_parameters())
    assert network.stem.norm.running_var.tolist() == [1.0] * 8
    assert repr(network) == repr(built)


def test_frozen_parameters_stay_frozen() -> None:
    class Frozen(nn.Linear):
        def __init__(self, width: int) -> None:
            super().__init__(3, width)
            self.bias.requires_grad_(False)

    supernet = Supernet(OneLayerSpace(Frozen))
    module = supernet.extract(supernet.model_space.space.smallest)
    assert {name: p.requires_grad for name, p in module.named_parameters()} == {"weight": True, "bias": False}


def test_gradients_of_several_subnets_add_up(small_space: MobileNetSpace) -> None:
    supernet, rng = Supernet(small_space).train(), random.Random(0)
    subnets = [small_space.space.sample(rng) for _ in range(3)]
    alone = []
    for subnet in subnets:
        supernet.zero_grad()
        supernet(torch.ones(4, *small_space.input_shape(subnet)), subnet).square().sum().backward()
        alone.append({n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in supernet.named_parameters()})
    supernet.zero_grad()
    for subnet in subnets:
        supernet(torch.ones(4, *small_space.input_shape(subnet)), subnet).square().sum().backward()
    for name, parameter in supernet.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(parameter.grad, sum(gradients[name] for gradients in alone))


def test_slices_of_channels_last_weights_are_channels_last(small_space: MobileNetSpace) -> None:
    supernet = Supernet(small_space).to(memory_format=torch.channels_last)
    subnet = small_space.space.smallest
    supernet(torch.ones(2, *small_space.input_shape(subnet)), subnet).sum().backward()
    weights = [p for p in supernet.parameters() if p.dim() == 4 and p.grad is not None]
    assert all(p.grad.is_contiguous(memory_format=torch.channels_last) for p in weights)
    assert all(p.is_contiguous() for p in supernet.extract(subnet).parameters())


def test_moving_the_supernet_drops_skeletons_whose_buffers_stayed_behind() -> None:
    supernet = Supernet(OneLayerSpace(Table))
    subnet = supernet.model_space.space.smallest
    supernet(torch.ones(1, 3), subnet)
    assert supernet.to("meta").extract(subnet).table.device.type == "meta"
