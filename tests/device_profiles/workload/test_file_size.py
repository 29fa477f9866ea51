"""The arithmetic of file sizes, compared with the bytes that onnx itself writes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from device_profiles.workload.file_size import attribute_bytes, framed, network_bytes, node_bytes, tensor_bytes
from device_profiles.workload.operators import Workload
from device_profiles.workload.tracing import trace


def file_bytes(workload: Workload, precision: str) -> int:
    content = np.array(workload.file_content.of(precision))
    return int(network_bytes(content, workload.input_shape, workload.output_shape))


@pytest.mark.parametrize("value", [0, 1, 127, 128, 16_384, -1, 0.5, "NOTSET", "", (3, 3), (0, 200, -1), ()])
def test_an_attribute_takes_what_onnx_writes(value: int | float | str | tuple[int, ...]) -> None:
    attribute = onnx.AttributeProto(name="pads", type=onnx.AttributeProto.INTS)
    if isinstance(value, str):
        attribute.s = value.encode()
    elif isinstance(value, tuple):
        attribute.ints.extend(value)
    else:
        setattr(attribute, "i" if isinstance(value, int) else "f", value)
    assert attribute_bytes("pads", value) == framed(attribute.ByteSize())


@pytest.mark.parametrize("shape", [(), (1,), (127, 1), (128, 3, 3), (300, 70), (16_384, 2)])
@pytest.mark.parametrize("dtype", [np.int8, np.float32, np.int64])
def test_a_constant_takes_what_onnx_writes(shape: tuple[int, ...], dtype: type) -> None:
    written = numpy_helper.from_array(np.zeros(shape, dtype), "w0007")
    assert tensor_bytes(shape, np.dtype(dtype).itemsize) == framed(written.ByteSize())


@pytest.mark.parametrize(("op_type", "inputs", "axis"), [("Relu", 1, None), ("Concat", 40, 1), ("Softmax", 1, -1)])
def test_a_node_takes_what_onnx_writes(op_type: str, inputs: int, axis: int | None) -> None:
    given = {} if axis is None else {"axis": axis}
    names = [f"v{number:04d}" for number in range(inputs)]
    written = helper.make_node(op_type, names, ["v0100"], f"{op_type}_0012", **given)
    attributes = sum(attribute_bytes(name, value) for name, value in given.items())
    assert node_bytes(op_type, inputs, attributes) == framed(written.ByteSize())


@pytest.mark.parametrize("elements", [1, 100, 10_000, 1_000_000])
@pytest.mark.parametrize(("input_shape", "output_shape"), [((3, 8, 8), (4,)), ((3, 224, 224), (1000,))])
def test_a_network_takes_what_onnx_writes(elements: int, input_shape: tuple, output_shape: tuple) -> None:
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, *shape))
        for name, shape in (("image", input_shape), ("logits", output_shape))
    ]
    constant = numpy_helper.from_array(np.zeros(elements, np.float32), "w0000")
    nodes = [helper.make_node("Add", ["image", "w0000"], ["logits"], "Add_0000")]
    graph = helper.make_graph(nodes, "model", ends[:1], ends[1:], [constant])
    opsets = [helper.make_opsetid("", 20)]
    model = helper.make_model(graph, producer_name="model-factory", opset_imports=opsets, ir_version=9)
    content = np.array([node_bytes("Add", 2) + tensor_bytes((elements,))])
    assert network_bytes(content, input_shape, output_shape) == [model.ByteSize()]


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Hardswish])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8", "int8_weights"])
def test_the_content_of_a_chain_is_the_sum_over_its_parts(activation: type[nn.Module], precision: str) -> None:
    first = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), activation())
    second = nn.Sequential(nn.Conv2d(8, 8, 1, bias=False), activation(), nn.Flatten(), nn.Linear(288, 4))
    parts = [trace(first, (3, 8, 8)), trace(second, (8, 6, 6))]
    whole = trace(nn.Sequential(first, second), (3, 8, 8))
    assert whole.file_content.of(precision) == sum(part.file_content.of(precision) for part in parts)


def test_the_position_of_a_layer_does_not_matter() -> None:
    layer = nn.Conv2d(8, 8, 1)
    contents = [trace(nn.Sequential(*[layer] * count), (8, 6, 6)).file_content.fp32 for count in (1, 2, 20, 200)]
    assert [content / contents[0] for content in contents] == [1, 2, 20, 200]


def test_a_small_weight_counts_once_per_use_and_a_large_one_once() -> None:
    small, large = nn.Conv2d(32, 32, 1, bias=False), nn.Conv2d(33, 33, 1, bias=False)
    once, twice = (trace(nn.Sequential(*[small] * n), (32, 4, 4)).file_content.fp32 for n in (1, 2))
    assert twice == 2 * once
    once, twice = (trace(nn.Sequential(*[large] * n), (33, 4, 4)).file_content.fp32 for n in (1, 2))
    assert twice == 2 * once - tensor_bytes((33, 33, 1, 1))


def test_an_int8_file_takes_a_quarter_of_the_weights_plus_scales_and_pairs() -> None:
    workload = trace(nn.Sequential(nn.Conv2d(256, 512, 1), nn.Flatten(), nn.Linear(512, 100)), (256, 1, 1))
    weights = workload.weight_elements
    assert 4 * weights < file_bytes(workload, "fp32") < 4 * weights + 2000
    assert weights < file_bytes(workload, "int8") < weights + 612 * (12 + 5) + 4000


def test_large_weights_take_two_or_one_bytes_and_what_decodes_them_and_small_ones_stay() -> None:
    large = (8, 3, 4, 4)
    module = nn.Sequential(nn.Conv2d(3, 8, 4), nn.Conv2d(8, 4, 1))
    content = trace(module, (3, 6, 6)).file_content
    cast = helper.make_node("Cast", ["w0000"], ["v0000"], "Cast_0000", to=TensorProto.FLOAT)
    scaled = helper.make_node("Mul", ["v0000", "w0001"], ["v0001"], "Mul_0001")
    rest = content.fp32 - tensor_bytes(large)
    assert content.fp16 == rest + tensor_bytes(large, 2) + framed(cast.ByteSize())
    decoding = tensor_bytes((8, 1, 1, 1)) + framed(cast.ByteSize()) + framed(scaled.ByteSize())
    assert content.int8_weights == rest + tensor_bytes(large, 1) + decoding
    assert trace(module[1], (8, 3, 3)).file_content.fp16 == trace(module[1], (8, 3, 3)).file_content.fp32


def test_calls_that_are_not_in_the_tables_are_overestimated() -> None:
    workload = trace(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Softplus()), (3, 4, 4))
    known = trace(nn.Conv2d(3, 4, 1), (3, 4, 4))
    assert workload.file_content.fp32 == known.file_content.fp32 + 256
