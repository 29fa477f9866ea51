"""The index-table suite finds slices that are not those of the architecture."""

from __future__ import annotations

import pytest
from torch import nn

from supernet.conformance import IndexTableConformance
from supernet.sharing.slicing import Segments
from supernet.space import Choice, SearchSpace


class NormalisedSpace:
    """A layer normalisation over an elastic axis of two halves, which no mask can imitate."""

    space = SearchSpace((Choice(name="half", options=(2, 3, 4)),))

    def __init__(self, slicing) -> None:
        self.slicing = slicing

    def build(self, subnet):
        width = 2 * subnet["half"]
        return nn.Sequential(nn.Linear(3, width), nn.LayerNorm(width), nn.Linear(width, 2))

    def input_shape(self, _subnet):
        return (3,)


HALVES = {"[01].*": Segments(axis=0, count=2), "2.weight": Segments(axis=1, count=2)}


class HalvesLaws(IndexTableConformance):
    slicing = HALVES

    def model_space(self):
        return NormalisedSpace(self.slicing)

    def index_table(self, subnet):
        rows = [*range(subnet["half"]), *range(4, 4 + subnet["half"])]
        table = {"0.weight": (rows, range(3)), "0.bias": (rows,), "1.weight": (rows,), "1.bias": (rows,)}
        return table | {"2.weight": (range(2), rows), "2.bias": (range(2),)}


class TestHalves(HalvesLaws):
    pass


class ForgottenRuleLaws(HalvesLaws):
    slicing = {key: rule for key, rule in HALVES.items() if key != "2.weight"}  # noqa: RUF012 - only read


class ForgottenWeightLaws(HalvesLaws):
    def index_table(self, subnet):
        return {name: axes for name, axes in super().index_table(subnet).items() if name != "2.bias"}


def test_a_forgotten_slicing_rule_passes_the_first_law_and_fails_the_oracle() -> None:
    ForgottenRuleLaws().test_an_extracted_subnet_computes_what_the_supernet_computes()
    with pytest.raises(AssertionError, match=r"differs by"):
        ForgottenRuleLaws().test_the_indexed_weights_of_the_largest_network_compute_what_the_subnet_computes()


def test_a_table_must_name_every_parameter() -> None:
    with pytest.raises(AssertionError, match=r"the table and the network differ in \['2\.bias'\]"):
        ForgottenWeightLaws().test_the_indexed_weights_of_the_largest_network_compute_what_the_subnet_computes()
