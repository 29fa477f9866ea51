"""The conformance suite finds model spaces that break a law."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from supernet.conformance import MaskingConformance, ModelSpaceConformance
from supernet.sharing.supernet import Supernet
from supernet.space import Choice, SearchSpace


class DenseSpace:
    """Two linear layers of class `last`, with a layer of class `between` in between; the first layer is ordinary."""

    space = SearchSpace((Choice(name="width", options=(4, 6, 8)),))

    def __init__(self, between: type[nn.Module] = nn.ReLU, last: type[nn.Linear] = nn.Linear) -> None:
        self._between, self._last = between, last

    def build(self, subnet):
        return nn.Sequential(nn.Linear(3, subnet["width"]), self._between(), self._last(subnet["width"], 2))

    def input_shape(self, _subnet):
        return (3,)


class CountingLinear(nn.Linear):
    """Counts its calls, which no layer of a supernet may do."""

    def __init__(self, *sizes: int) -> None:
        super().__init__(*sizes)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return super().forward(x) * self.calls


class AveragingLinear(nn.Linear):
    """Divides by its own width, which a masked network does not know."""

    def forward(self, x):
        return super().forward(x) / self.in_features


class DenseLaws(MaskingConformance):
    last: type[nn.Linear] = nn.Linear

    def model_space(self):
        return DenseSpace(last=self.last)

    def mask(self, largest, subnet):
        largest[0].weight[subnet["width"] :] = 0
        largest[0].bias[subnet["width"] :] = 0


class TestDenseSpace(DenseLaws):
    pass


class TestDenseSpaceWithDropout(ModelSpaceConformance):
    def model_space(self):
        return DenseSpace(between=nn.Dropout)


class CountingLaws(DenseLaws):
    last = CountingLinear


class AveragingLaws(DenseLaws):
    last = AveragingLinear


def test_state_in_a_layer_is_found() -> None:
    with pytest.raises(AssertionError, match="computes something else after other subnets have run"):
        CountingLaws().test_a_pass_of_one_subnet_leaves_no_trace_on_another()


def test_a_network_that_reads_its_own_width_fails_the_oracle() -> None:
    AveragingLaws().test_an_extracted_subnet_computes_what_the_supernet_computes()
    with pytest.raises(AssertionError, match=r"the output of .* differs by"):
        AveragingLaws().test_the_masked_largest_network_computes_what_the_subnet_computes()


def test_dropout_is_off_in_evaluation_mode_for_every_subnet() -> None:
    space = DenseSpace(between=nn.Dropout)
    supernet = Supernet(space).eval()
    x = torch.ones(5, 3)
    for subnet in (space.space.smallest, space.space.largest):
        assert torch.equal(supernet(x, subnet), supernet.extract(subnet).eval()(x))


def test_neither_a_forward_pass_nor_an_extraction_draws_global_random_numbers() -> None:
    space = DenseSpace()
    supernet = Supernet(space)
    before = torch.random.get_rng_state()
    supernet(torch.ones(2, 3), space.space.smallest)
    supernet.extract(space.space.smallest)
    assert torch.equal(torch.random.get_rng_state(), before)
