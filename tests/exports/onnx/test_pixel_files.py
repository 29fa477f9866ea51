"""Files that take pixels: their size and memory are those that the workloads with a preprocessing predict."""

import numpy as np
import pytest
from space_files import SPACES, as_trained
from torch import nn

from device_profiles.workload.file_size import network_bytes
from device_profiles.workload.pixel_input import pixel_input
from device_profiles.workload.tracing import trace
from device_profiles.workload.workloads import Workloads
from exports.onnx.graph_memory import plan_graph
from exports.onnx.onnx_file import export_onnx
from exports.onnx.quantising.precision import convert_precision
from supernet.pixels import PixelInput

MEAN, STD = (0.5, 0.45, 0.4), (0.2, 0.25, 0.3)


def sizes(network, shape, folder):
    """The sizes of the float32 file and of the int8 file of `network` with pixels as its input."""
    pixels = np.random.default_rng(0).integers(0, 256, (2, *shape[1:], 3)).astype(np.uint8)
    export_onnx(PixelInput(network, MEAN, STD), (*shape[1:], 3), folder / "net.onnx", input_type="uint8")
    convert_precision(folder / "net.onnx", folder / "int8.onnx", "int8", pixels, None)
    return {"fp32": (folder / "net.onnx").stat().st_size, "int8": (folder / "int8.onnx").stat().st_size}


@pytest.mark.parametrize("name", ["mobilenet", "vit"])
def test_sizes_and_memory_are_predicted(name, tmp_path):
    space = SPACES[name]()
    subnet = space.space.smallest
    workload = Workloads(space, pixels=True).of(subnet)
    for precision, size in sizes(as_trained(space.build(subnet)), space.input_shape(subnet), tmp_path).items():
        content = np.array(workload.file_content.of(precision))
        assert network_bytes(content, workload.input_shape, workload.output_shape) == size
    memory = plan_graph(tmp_path / "net.onnx")
    assert memory.input_bytes == 4 * workload.input_elements
    if name != "vit":  # on tokens, the bias of a linear layer is a node: see test_graph_memory
        assert memory.bound_bytes == 4 * workload.arena_elements


def test_a_network_that_cannot_take_the_scale_has_one_more_operator(tmp_path):
    network, shape = as_trained(nn.Sequential(nn.Flatten(), nn.Linear(192, 5))), (3, 8, 8)
    network_alone = trace(network, shape)
    before = pixel_input(network_alone)
    assert len(before.operators) == 4
    for precision, size in sizes(network, shape, tmp_path).items():
        content = before.file_content.of(precision) + network_alone.file_content.of(precision)
        assert network_bytes(np.array(content), before.input_shape, (5,)) == size
