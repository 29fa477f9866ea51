"""The laws of weight sharing for the vision transformer, with a hand-written index table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pytest
import torch

from factory_base.documents import parse_document
from factory_base.errors import ConfigError
from supernet.conformance import IndexTableConformance
from supernet.model_space import ModelSpace
from supernet.space import SubnetConfig
from supernet.spaces.transformer_config import VisionTransformerConfig
from supernet.spaces.vit import VisionTransformerSpace, grid_positions

MODEL = {
    "resolutions": [8, 12, 16],
    "patch": 4,
    "widths": [12, 16, 24],
    "depths": [1, 2, 3],
    "heads": [1, 2, 3],
    "head_dim": 5,
    "mlp_ratios": [1, 2],
    "dropout": 0.1,
}
LARGEST_HEADS, HEAD_DIM = 3, 5


class TestVisionTransformer(IndexTableConformance):
    random_subnets = 16

    def model_space(self) -> ModelSpace:
        return VisionTransformerSpace(parse_document(MODEL, VisionTransformerConfig, "test"), classes=5)

    def index_table(self, subnet: SubnetConfig) -> Mapping[str, tuple[Sequence[int], ...]]:
        values = subnet.to_dict()
        width = range(values["width"])
        table = {"patches.weight": (width, range(3), range(4), range(4)), "patches.bias": (width,)}
        table |= {"norm.weight": (width,), "norm.bias": (width,)}
        table |= {"classifier.weight": (range(5), width), "classifier.bias": (range(5),)}
        for i in range(values["depth"]):
            hidden = range(max(8, 8 * round(values["width"] * values[f"blocks.{i}.mlp_ratio"] / 8)))
            table |= block_table(f"blocks.{i}", width, values[f"blocks.{i}.heads"], hidden)
        return table


def block_table(name: str, width: range, heads: int, hidden: range) -> dict[str, tuple[Sequence[int], ...]]:
    """The fused matrix has all queries (head by head), then all keys, then all values as rows."""
    used = range(heads * HEAD_DIM)
    fused = [part * LARGEST_HEADS * HEAD_DIM + row for part in range(3) for row in used]
    weights = {
        "attention_norm": (width,),
        "attention.qkv": (fused, width),
        "attention.project": (width, used),
        "mlp_norm": (width,),
        "mlp_expand": (hidden, width),
        "mlp_project": (width, hidden),
    }
    biases = {f"{name}.{layer}.bias": axes[:1] for layer, axes in weights.items()}
    return biases | {f"{name}.{layer}.weight": axes for layer, axes in weights.items()}


def test_the_subnets_checked_differ_in_every_choice() -> None:
    suite = TestVisionTransformer()
    seen = [subnet.to_dict() for subnet in suite.subnets()]
    for choice in suite.model_space().space:
        assert {values[choice.name] for values in seen} == set(choice.options), choice.name


def test_a_narrower_table_of_positions_is_the_leading_part_of_a_wider_one() -> None:
    assert torch.equal(grid_positions((3, 3), 10, finest=4), grid_positions((3, 3), 24, finest=4)[:, :10])


def test_positions_differ_between_patches_and_encode_their_place_in_the_picture() -> None:
    table = grid_positions((4, 4), 8, finest=4)
    distances = torch.cdist(table, table) + 10 * torch.eye(16)
    assert distances.min() > 0.1
    first, second = (0.5 / 4, 1.5 / 4)  # centres of the first two patches of a side
    expected = [math.sin(math.pi * first), math.cos(math.pi * first)]
    expected += [math.sin(math.pi * second), math.cos(math.pi * second)]
    assert table[1, :4].tolist() == pytest.approx(expected, abs=1e-6)


def test_the_order_of_patches_matters_to_the_output() -> None:
    space = TestVisionTransformer().model_space()
    torch.manual_seed(0)
    network = space.build(space.space.largest).eval()
    image = torch.randn(1, 3, 16, 16)
    with torch.no_grad():
        assert not torch.allclose(network(image), network(image.roll(4, dims=3)), atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resolutions": [8, 14]}, "resolution 14 is not a multiple of patch 4; choose multiples of it"),
        ({"heads": []}, "'heads': .*at least 1 entry"),
        ({"depths": [2, 1]}, r"options \[2, 1\] must be ascending and distinct"),
        ({"mlp_ratio": [2]}, "unknown key 'mlp_ratio'; did you mean 'mlp_ratios'"),
        ({"dropout": 1}, "'dropout': must be at least 0 and below 1, got 1"),
    ],
)
def test_a_wrong_section_is_named_in_one_line(change: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parse_document(MODEL | change, VisionTransformerConfig, "factory.yaml")
    assert "\n" not in str(caught.value)
