"""What is read from a model file without running it, and the configuration of a build that runs nothing else."""

from __future__ import annotations

import itertools
import os

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from device_profiles.workload.tracing import trace
from exports.onnx.graph_memory import memory_timeline, plan_graph
from exports.onnx.graph_summary import summarise
from exports.onnx.onnx_file import export_onnx
from exports.onnx.quantising.precision import convert_precision
from exports.onnx.reduced_build import reduced_build_config
from factory_base.errors import EngineError

SHAPE = (3, 12, 12)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 16, 3, 2), nn.ReLU(), nn.Conv2d(16, 16, 3, groups=16), nn.Hardswish()
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5)).eval()


@pytest.fixture(scope="module")
def files(net, tmp_path_factory):
    folder = tmp_path_factory.mktemp("summary")
    export_onnx(net, SHAPE, folder / "fp32.onnx")
    inputs = np.random.default_rng(0).normal(size=(4, *SHAPE)).astype(np.float32)
    convert_precision(folder / "fp32.onnx", folder / "int8.onnx", "int8", inputs, None)
    return folder


def stored_as_float16(model):
    """Weights as float16 that a Cast decodes at load."""
    nodes = []
    for tensor in list(model.graph.initializer):
        if tensor.data_type != TensorProto.FLOAT or len(tensor.dims) < 2:
            continue
        value = numpy_helper.to_array(tensor).astype(np.float16)
        stored = f"{tensor.name}_stored"
        nodes.append(helper.make_node("Cast", [stored], [tensor.name], to=TensorProto.FLOAT))
        tensor.CopyFrom(numpy_helper.from_array(value, stored))
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *rest])


def test_layers_have_the_macs_of_the_trace_and_the_bytes_of_the_file(net, files):
    summary = summarise(files / "fp32.onnx")
    assert summary.macs == trace(net, SHAPE).macs
    assert sum(layer.weight_bytes for layer in summary.layers) == summary.weight_bytes
    assert summary.weight_bytes == plan_graph(files / "fp32.onnx").weight_bytes
    assert [(layer.name, layer.shape) for layer in summary.layers[:2]] == [
        ("Conv_0000", (1, 16, 5, 5)),
        ("Relu_0001", (1, 16, 5, 5)),
    ]
    assert (summary.precision, summary.opset, summary.inputs[0].shape) == ("fp32", 20, (1, *SHAPE))


def test_an_int8_file_has_integer_layers_and_conversions_only_where_they_run(files):
    summary = summarise(files / "int8.onnx")
    precisions = {layer.name: layer.precision for layer in summary.layers}
    assert (precisions["Conv_0000"], precisions["HardSwish_0003"]) == ("int8", "fp32")
    assert (
        0
        < sum("Quantize" in name or "Dequantize" in name for name in precisions)
        < summary.operators["DequantizeLinear"] + summary.operators["QuantizeLinear"]
    )
    assert sum(layer.weight_bytes for layer in summary.layers) == summary.weight_bytes
    assert summary.macs == summarise(files / "fp32.onnx").macs


def test_weights_that_are_decoded_at_load_count_as_they_are_stored(files, tmp_path):
    model = onnx.load(files / "fp32.onnx")
    stored_as_float16(model)
    onnx.save(model, tmp_path / "fp16.onnx")
    summary, plain = summarise(tmp_path / "fp16.onnx"), summarise(files / "fp32.onnx")
    assert summary.precision == "fp16 weights"
    assert summary.layers[0].weight_bytes == plain.layers[0].weight_bytes - 2 * 16 * 3 * 9
    assert len(summary.layers) == len(plain.layers)
    assert "Cast" in reduced_build_config([tmp_path / "fp16.onnx"])


def test_weights_beside_the_file_are_counted_and_may_not_be_missing(files, tmp_path):
    model = onnx.load(files / "fp32.onnx")
    onnx.save(model, tmp_path / "net.onnx", save_as_external_data=True, location="weights.bin", size_threshold=500)
    summary = summarise(tmp_path / "net.onnx")
    assert summary.external_bytes == {"weights.bin": (tmp_path / "weights.bin").stat().st_size}
    assert 0.5 < summary.weight_share < 1
    os.truncate(tmp_path / "weights.bin", 100)
    with pytest.raises(EngineError, match=r"weights\.bin is truncated"):
        summarise(tmp_path / "net.onnx")
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(EngineError, match=r"its weights are in weights\.bin, which is not beside it"):
        summarise(tmp_path / "net.onnx")


def test_activations_that_live_at_the_same_time_do_not_overlap_in_the_timeline(files):
    timeline = memory_timeline(files / "fp32.onnx")
    assert timeline.names == ("Conv_0000", "Conv_0002", "HardSwish_0003", "ReduceMean_0004", "Gemm_0006")
    assert max(timeline.live_bytes()) == timeline.bound_bytes
    for one, other in itertools.combinations(timeline.activations, 2):
        in_time = one.buffer.first <= other.buffer.last and other.buffer.first <= one.buffer.last
        in_space = one.offset < other.offset + other.buffer.size_bytes and other.offset < (
            one.offset + one.buffer.size_bytes
        )
        assert not (in_time and in_space)


def test_a_reduced_build_has_the_operators_before_and_after_fusion_and_their_types(files, tmp_path):
    from onnxruntime.tools.reduced_build_config_parser import parse_config

    config = tmp_path / "operators.config"
    config.write_text(reduced_build_config([files / "fp32.onnx", files / "int8.onnx"]))
    operators, types = parse_config(str(config), enable_type_reduction=True)
    found = {name for versions in operators["ai.onnx"].values() for name in versions}
    assert {"Conv", "Relu", "Gemm", "QuantizeLinear", "DequantizeLinear"} <= found
    assert operators["com.microsoft"][1] >= {"FusedConv"}
    assert types.is_typed_registration_needed("ai.onnx", "Gemm", "float")
    assert not types.is_typed_registration_needed("ai.onnx", "Gemm", "double")


@pytest.mark.parametrize("content", [b"", b"no model", None])
def test_what_is_no_model_is_one_line(content, tmp_path):
    if content is not None:
        (tmp_path / "net.onnx").write_bytes(content)
    with pytest.raises(EngineError, match=r"net\.onnx: ") as caught:
        summarise(tmp_path / "net.onnx")
    assert "\n" not in str(caught.value)
