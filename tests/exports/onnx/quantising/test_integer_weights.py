"""Weights as integers: what processors without 8-bit dot products need, and channels that are nearly zero."""

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from exports.onnx.graphs import constant_values
from exports.onnx.onnx_file import export_onnx, read_onnx
from exports.onnx.quantising.layers import find_layers
from exports.onnx.quantising.weights import as_integers, full_scales, safe_scales


class Layers(nn.Module):
    """One layer of each kind."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolutions = nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8), nn.ReLU6(), nn.Conv2d(8, 16, 3, groups=4),
            nn.SiLU(), nn.Conv2d(16, 32, 3, groups=16), nn.Conv2d(32, 40, 1),
        )  # fmt: skip
        self.product, self.head = nn.Linear(4, 16), nn.Linear(640, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.product(self.convolutions(x).flatten(2)).flatten(1))


KINDS = ("odd channels", "depthwise", "grouped", "depth multiplier", "pointwise", "MatMul", "Gemm")


@pytest.fixture(scope="module")
def layers(tmp_path_factory):
    """Each layer and its weight by kind, in order."""
    path = tmp_path_factory.mktemp("layers") / "layers.onnx"
    export_onnx(Layers().eval(), (3, 10, 10), path)
    model = read_onnx(path)
    values = constant_values(model.graph)
    found = find_layers(model)
    assert [layer.op_type for layer in found] == ["Conv"] * 5 + ["MatMul", "Gemm"]
    return {kind: (layer, values[layer.weight]) for kind, layer in zip(KINDS, found, strict=True)}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "depthwise"])
def test_the_products_of_two_neighbours_fit_into_16_bits(layers, kind):
    layer, weight = layers[kind]
    scales = safe_scales(layer, weight)
    integers = np.moveaxis(as_integers(weight, layer.channel_axis, scales).astype(int), layer.channel_axis, 0)
    rows = np.abs(np.moveaxis(integers, 1, -1).reshape(len(integers), -1))
    sums = (rows[:, 1:] + rows[:, :-1]).max(axis=1)
    assert 255 * sums.max() <= np.iinfo(np.int16).max
    assert ((sums >= 126) | (rows.max(axis=1) == 127)).all()  # no smaller scale would do


def test_depthwise_weights_use_all_eight_bits(layers):
    layer, weight = layers["depthwise"]
    integers = as_integers(weight, 0, safe_scales(layer, weight))
    assert (np.abs(integers.astype(int)).max(axis=(1, 2, 3)) == 127).all()


def test_integers_times_scales_are_the_weights_to_half_a_step():
    weight = np.random.default_rng(0).normal(size=(4, 9)).astype(np.float32)
    weight[2] = 0
    scales = full_scales(weight, 0)
    integers = as_integers(weight, 0, scales)
    assert (np.abs(integers * scales[:, None] - weight) <= 0.5001 * scales[:, None]).all()
    assert (scales > 0).all()
    assert not integers[2].any()


def test_what_has_no_integer_form_is_not_a_layer():
    weight = onnx.numpy_helper.from_array(np.ones((2, 3, 4), np.float32), "weight")
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "weight"], ["a"]),
        onnx.helper.make_node("Conv", ["x", "a"], ["b"]),
        onnx.helper.make_node("MatMul", ["a", "b"], ["c"], name="product"),
    ]
    graph = onnx.helper.make_graph(nodes, "model", [], [], [weight])
    layers = find_layers(onnx.helper.make_model(graph))
    assert [(layer.name, layer.reads, layer.weight) for layer in layers] == [("product", ("a", "b"), "")]


def test_activations_that_a_range_implies_are_absorbed(layers):
    activations = [layer.activation for layer, _ in layers.values()]
    assert activations == ["Relu", "Clip", "", "", "", "", ""]
