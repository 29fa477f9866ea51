"""The laws of weight sharing for the text encoder, with a hand-written index table, and padding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
import torch
from torch import Tensor

from factory_base.documents import parse_document
from factory_base.errors import ConfigError
from supernet.conformance import IndexTableConformance
from supernet.model_space import ModelSpace
from supernet.sharing.macs import count_macs
from supernet.space import SubnetConfig
from supernet.spaces.text_encoder import TextEncoderSpace
from supernet.spaces.transformer_config import TextEncoderConfig

MODEL = {
    "vocabulary": 30,
    "lengths": [4, 7],
    "widths": [8, 12, 16],
    "depths": [1, 2],
    "heads": [1, 2],
    "head_dim": 6,
    "mlp_ratios": [1, 3],
}


def text_space() -> TextEncoderSpace:
    return TextEncoderSpace(parse_document(MODEL, TextEncoderConfig, "test"), classes=3)


class TestTextEncoder(IndexTableConformance):
    random_subnets = 16

    def model_space(self) -> ModelSpace:
        return text_space()

    def batch(self, subnet: SubnetConfig) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        tokens = torch.randint(1, 30, (4, subnet["length"]), generator=generator)
        tokens[0, 2:] = 0  # a short text
        tokens[1] = 0  # no words at all
        return tokens

    def index_table(self, subnet: SubnetConfig) -> Mapping[str, tuple[Sequence[int], ...]]:
        values = subnet.to_dict()
        width = range(values["width"])
        table = {"words.weight": (range(30), width), "places.weight": (range(values["length"]), width)}
        table |= {"norm.weight": (width,), "norm.bias": (width,)}
        table |= {"classifier.weight": (range(3), width), "classifier.bias": (range(3),)}
        for i in range(values["depth"]):
            used = range(6 * values[f"blocks.{i}.heads"])
            hidden = range(max(8, 8 * round(values["width"] * values[f"blocks.{i}.mlp_ratio"] / 8)))
            weights = {
                "attention_norm": (width,),
                "attention.qkv": ([*used, *(12 + row for row in used), *(24 + row for row in used)], width),
                "attention.project": (width, used),
                "mlp_norm": (width,),
                "mlp_expand": (hidden, width),
                "mlp_project": (width, hidden),
            }
            table |= {f"blocks.{i}.{layer}.weight": axes for layer, axes in weights.items()}
            table |= {f"blocks.{i}.{layer}.bias": axes[:1] for layer, axes in weights.items()}
        return table


def test_padding_changes_nothing() -> None:
    space = text_space()
    network = space.build(space.space.largest).eval()
    short = torch.tensor([[5, 9, 2]])
    padded = torch.tensor([[5, 9, 2, 0, 0, 0, 0]])
    with torch.no_grad():
        assert torch.allclose(network(short), network(padded), atol=1e-6)


def test_the_order_of_words_matters_once_positions_have_weights() -> None:
    space = text_space()
    network = space.build(space.space.largest).eval()
    with torch.no_grad():
        network.places.weight.normal_()
        assert not torch.allclose(network(torch.tensor([[5, 9, 2]])), network(torch.tensor([[2, 9, 5]])), atol=1e-3)


def test_a_text_without_words_has_finite_logits_and_gradients() -> None:
    space = text_space()
    network = space.build(space.space.largest)
    logits = network(torch.zeros(2, 7, dtype=torch.int64))
    logits.sum().backward()
    assert logits.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


def test_macs_are_counted_without_computing_and_grow_with_length() -> None:
    space = text_space()
    values = space.space.smallest.to_dict()
    short, long = (count_macs(space, space.space.subnet(values | {"length": length})) for length in (4, 7))
    width, attended, hidden = 8, 6, 8
    per_token = 3 * attended * width + attended * width + 2 * hidden * width
    assert short == 4 * per_token + 2 * 4 * 4 * attended + 3 * width
    assert long > short


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vocabulary": 2}, "'vocabulary': must be from 3 to 100000000, got 2"),
        ({"lengths": [0, 4]}, "'lengths.0': must be from 1 to 65536, got 0"),
        ({"length": [4]}, "unknown key 'length'; did you mean 'lengths'"),
    ],
)
def test_a_wrong_section_of_a_text_encoder_is_named_in_one_line(change: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_document(MODEL | change, TextEncoderConfig, "factory.yaml")
