"""Tracing all parts with few networks gives what tracing every combination on its own gives."""

from __future__ import annotations

import numpy as np
import pytest
from torch import nn

from device_profiles.workload.covering import covering, each_combination
from device_profiles.workload.parts import ChainParts, encoded
from supernet.chain import Link
from supernet.space import Choice, SearchSpace
from supernet.spaces import make_model_space
from supernet.spaces.mobilenet_config import MobileNetConfig
from supernet.spaces.ofa_config import OfaProxylessConfig
from supernet.spaces.transformer_config import VisionTransformerConfig

STAGE = {"widths": [8, 16], "depths": [1, 2], "kernels": [3, 5], "expands": [2, 4], "squeeze_excite": True}


class OptionalSpace:
    """The head reads the width of a block that may be absent, and a link names the choice of its own depth."""

    space = SearchSpace(
        (
            Choice(name="depth", options=(0, 1, 2)),
            Choice(name="width", options=(8, 16), depth_choice="depth", exists_from=1),
            Choice(name="kernel", options=(1, 3), depth_choice="depth", exists_from=2),
            Choice(name="never", options=(1, 3), depth_choice="depth", exists_from=3),
        )
    )
    links = (
        Link(name="stem", choices=()),
        Link(name="block", choices=("depth", "width", "kernel"), depth_choice="depth", exists_from=1),
        Link(name="extra", choices=("width",), depth_choice="depth", exists_from=3),
        Link(name="head", choices=("width",)),
    )

    def build(self, subnet):
        width = subnet["width"] if subnet["depth"] else 8
        layers = {"stem": nn.Conv2d(3, 8, 1)}
        if subnet["depth"]:
            layers["block"] = nn.Conv2d(8, width, subnet["kernel"], subnet["depth"], subnet["kernel"] // 2)
        layers["head"] = nn.Sequential(nn.Conv2d(width, 8, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        return nn.ModuleDict(layers)

    def input_shape(self, _subnet):
        return (3, 1, 1)

    def parts(self, network):
        return dict(network.items())


SPACES = {
    "mobilenet": MobileNetConfig.model_validate(
        {"resolutions": [16, 24], "stem_width": 8, "stages": [STAGE, {**STAGE, "stride": 2}], "head_width": 32}
    ),
    "ofa_proxyless": OfaProxylessConfig(resolutions=(32, 64), width_mult=0.25, kernels=(3,), expands=(3,)),
    "vit": VisionTransformerConfig.model_validate(
        {"resolutions": [16, 32], "patch": 8, "widths": [16, 32], "depths": [1, 2], "heads": [1, 2],
         "mlp_ratios": [1, 2], "head_dim": 8}
    ),
    "optional": None,
}  # fmt: skip


@pytest.fixture(scope="module", params=SPACES)
def space(request: pytest.FixtureRequest):
    config = SPACES[request.param]
    return OptionalSpace() if config is None else make_model_space(config, 5)


def places_of(chain: ChainParts):
    return chain._places


def test_few_networks_give_the_parts_numbers_and_subnets_of_many(space) -> None:
    together, one_by_one = ChainParts(space), ChainParts(space)
    together.trace_all()
    one_by_one.learn(each_combination(places_of(one_by_one), len(space.space.choices)))
    assert together.parts == one_by_one.parts
    for found, expected in zip(places_of(together), places_of(one_by_one), strict=True):
        assert (found.table == expected.table).all()


def test_tracing_the_rest_changes_nothing_that_is_known(space) -> None:
    chain, fresh = ChainParts(space), ChainParts(space)
    known = chain.rows(encoded(space.space, [space.space.largest]))
    before = list(chain.parts)
    chain.trace_all()
    fresh.trace_all()
    assert chain.parts[: len(before)] == before
    assert (chain.rows(encoded(space.space, [space.space.largest])) == known).all()
    assert {part.id for part in chain.parts} == {part.id for part in fresh.parts}
    count = len(chain.parts)
    chain.trace_all(lambda *_: pytest.fail("nothing is left to trace"))
    assert len(chain.parts) == count


def test_every_vector_has_a_new_part_and_all_together_have_every_part(space) -> None:
    places = places_of(ChainParts(space))
    vectors = np.array(list(covering(places, len(space.space.choices))))
    seen = [set() for _ in places]
    for vector in vectors:
        ahead = sum(len(found) for found in seen)
        for place, found in zip(places, seen, strict=True):
            found.update({at for at in place.index(vector[None]) if at < place.combinations})
        assert sum(len(found) for found in seen) > ahead
    assert [len(found) for found in seen] == [int(place.missing().sum()) for place in places]


def test_an_elastic_stage_takes_as_many_networks_as_its_widest_link_has_combinations() -> None:
    space = make_model_space(SPACES["mobilenet"], 5)
    places = places_of(ChainParts(space))
    assert len(list(covering(places, len(space.space.choices)))) == max(place.combinations for place in places)


def test_an_option_of_a_block_that_may_be_absent_is_traced_where_it_exists() -> None:
    chain = ChainParts(OptionalSpace())
    chain.trace_all()
    _, numbers = chain.arcs(3)
    assert [chain.parts[number].workload.macs for number in numbers] == [64, 128]
    assert (chain.arcs(2)[1] == -1).all()
