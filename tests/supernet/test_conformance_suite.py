"""The suite finds what it is for: model spaces that break a law."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from model_factory.base.errors import SpaceError
from supernet.conformance import MaskingConformance, ModelSpaceConformance
from supernet.space import Choice, SearchSpace
from supernet.supernet import Supernet


class DenseSpace:
    """Two linear layers and dropout; `layer` makes the last one."""

    space = SearchSpace((Choice(name="width", options=(4, 8)),))

    def __init__(self, layer: type[nn.Linear] = nn.Linear) -> None:
        self._layer = layer

    def build(self, subnet):
        width = subnet["width"]
        return nn.Sequential(nn.Linear(3, width), nn.Dropout(0.5), self._layer(width, 2))

    def input_shape(self, _subnet):
        return (3,)


class CountingLinear(nn.Linear):
    """Remembers its calls, as no layer of a supernet may."""

    def __init__(self, *sizes: int) -> None:
        super().__init__(*sizes)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return super().forward(x) * self.calls


class NormalisedByWidth(nn.Linear):
    """Divides by its number of inputs, which masking does not change."""

    def forward(self, x):
        return super().forward(x) / self.in_features


class TestPlainNetwork(MaskingConformance):
    def model_space(self):
        return DenseSpace()

    def mask(self, largest, subnet):
        largest[0].weight[subnet["width"] :] = 0
        largest[0].bias[subnet["width"] :] = 0

    def batch(self, subnet):
        return super().batch(subnet) + 0 * subnet["width"]

    def test_the_masked_largest_network_computes_what_the_subnet_computes(self):
        pytest.skip("dropout draws other numbers for other widths")


def suite_of(layer: type[nn.Linear]) -> MaskingConformance:
    class Suite(TestPlainNetwork):
        def model_space(self):
            return DenseSpace(layer)

    return Suite()


def test_state_in_a_layer_is_found() -> None:
    with pytest.raises(AssertionError, match="computes something else after other subnets ran"):
        suite_of(CountingLinear).test_a_pass_of_one_subnet_leaves_no_trace_on_another()


def test_a_network_that_reads_its_own_width_fails_the_oracle() -> None:
    with pytest.raises(AssertionError, match=r"the output of .* differs by"):
        MaskingConformance.test_the_masked_largest_network_computes_what_the_subnet_computes(
            suite_of(NormalisedByWidth)
        )


def test_dropout_rests_in_evaluation_mode_for_every_subnet() -> None:
    supernet = Supernet(DenseSpace()).eval()
    x = torch.ones(5, 3)
    for subnet in (DenseSpace.space.smallest, DenseSpace.space.largest):
        assert torch.equal(supernet(x, subnet), supernet(x, subnet))
        assert torch.equal(supernet(x, subnet), supernet.extract(subnet).eval()(x))
