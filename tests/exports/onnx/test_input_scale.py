import numpy as np
import onnx
import pytest
import torch
from torch import nn

from exports.engines.onnxruntime import OnnxRuntimeEngine
from exports.family.parity import check_parity
from exports.onnx.onnx_file import export_onnx
from supernet.pixels import PixelInput

PIXELS = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 3)).astype(np.uint8)


class Twice(nn.Module):
    """Uses a convolution on the image, and the image itself or the same weights again."""

    def __init__(self, again):
        super().__init__()
        self.conv, self.again = nn.Conv2d(3, 3, 3, padding=1), again

    def forward(self, x):
        y = self.conv(x)
        return ((self.conv(y) if self.again == "weights" else x) + y).flatten(1)


def layers(*modules):
    torch.manual_seed(0)
    return nn.Sequential(*modules, nn.Flatten()).eval()


def nodes_of(network, path):
    """The operators of the file of `network`, which is checked to compute what the module computes."""
    module = PixelInput(network, (0.5, 0.45, 0.4), (0.2, 0.25, 0.3))
    export_onnx(module, (8, 8, 3), path, input_type="uint8")
    assert check_parity(module, OnnxRuntimeEngine().load(path, 1), PIXELS).sqnr_db > 100
    return [node.op_type for node in onnx.load(path).graph.node]


@pytest.mark.parametrize("groups", [1, 3])
def test_the_weights_of_a_padded_convolution_take_the_factor(tmp_path, groups):
    network = layers(nn.Conv2d(3, 6, 3, padding=1, groups=groups, bias=False), nn.BatchNorm2d(6), nn.ReLU())
    assert nodes_of(network, tmp_path / "net.onnx")[:5] == ["Transpose", "Cast", "Sub", "Conv", "Relu"]


def test_the_transpose_works_on_bytes(tmp_path):
    nodes_of(layers(nn.Conv2d(3, 6, 3)), tmp_path / "net.onnx")
    graph = onnx.load(tmp_path / "net.onnx").graph
    assert graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert graph.node[0].input[0] == graph.input[0].name == "image"


@pytest.mark.parametrize(
    "network",
    [
        layers(nn.Conv2d(3, 6, 3, padding=1, padding_mode="circular")),
        layers(nn.ReLU(), nn.Conv2d(3, 6, 3)),
        layers(nn.Flatten(), nn.Linear(192, 4)),
        Twice("weights").eval(),
        Twice("image").eval(),
    ],
    ids=["another padding", "another operator first", "a matrix product", "weights used twice", "image used twice"],
)
def test_otherwise_the_multiplication_stays(tmp_path, network):
    assert nodes_of(network, tmp_path / "net.onnx")[:4] == ["Transpose", "Cast", "Sub", "Mul"]


def test_a_file_of_any_batch_size_takes_pixels_too(tmp_path):
    module = PixelInput(layers(nn.Conv2d(3, 6, 3)), (0.5, 0.45, 0.4), (0.2, 0.25, 0.3))
    export_onnx(module, (8, 8, 3), tmp_path / "net.onnx", dynamic_batch=True, input_type="uint8")
    assert onnx.load(tmp_path / "net.onnx").graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert check_parity(module, OnnxRuntimeEngine().load(tmp_path / "net.onnx", 1), PIXELS).sqnr_db > 100
