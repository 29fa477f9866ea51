"""The files of networks of all shipped spaces, one export each: their size, memory and quantisation."""

import numpy as np
import pytest
from space_files import SPACES, export_space

from device_profiles.workload.file_size import network_bytes
from device_profiles.workload.tracing import trace
from exports.engines import get_engine
from exports.onnx.graph_memory import plan_graph
from exports.onnx.quantising.precision import convert_precision


@pytest.fixture(scope="module", params=SPACES)
def net(request, tmp_path_factory):
    return export_space(request.param, tmp_path_factory.mktemp(request.param) / "float.onnx")


@pytest.fixture(scope="module")
def inputs(net):
    return np.random.default_rng(0).normal(size=(4, *net.shape)).astype(np.float32)


@pytest.fixture(scope="module")
def quantised(net, inputs):
    convert_precision(net.path, net.path.with_name("int8.onnx"), "int8", inputs, None)
    return net.path.with_name("int8.onnx")


@pytest.fixture(scope="module")
def files(net, quantised):
    """The files in all precisions, by precision."""
    found = {"fp32": net.path, "int8": quantised}
    for precision in ("fp16", "int8_weights"):
        found[precision] = net.path.with_name(f"{precision}.onnx")
        convert_precision(net.path, found[precision], precision, None, None)
    return found


@pytest.fixture(scope="module")
def workload(net):
    return trace(net.module, net.shape)


def test_the_size_of_a_file_is_the_sum_over_the_parts_to_the_byte(net, files, workload):
    parts, shape = [], net.shape
    for part in net.space.parts(net.module).values():
        parts.append(trace(part, shape))
        shape = parts[-1].output_shape
    for precision, path in files.items():
        contents = workload.file_content.of(precision), sum(part.file_content.of(precision) for part in parts)
        predicted = [int(network_bytes(np.array(content), net.shape, shape)) for content in contents]
        assert predicted == [path.stat().st_size] * 2


def test_the_exported_network_needs_the_memory_that_was_predicted_from_its_trace(net, workload):
    memory = plan_graph(net.path)
    assert memory.is_optimal
    assert memory.input_bytes == 4 * workload.input_elements
    assert 0.99 < memory.weight_bytes / (4 * workload.weight_elements) < 1.02
    if not net.name.startswith("vit"):  # on tokens, the bias of a linear layer is a node: see test_graph_memory
        assert memory.bound_bytes == 4 * workload.arena_elements


def test_a_quantised_network_runs_and_answers_much_like_the_float_one(net, quantised, inputs):
    found, reference = (get_engine("onnxruntime").load(path, 1).run(inputs) for path in (quantised, net.path))
    assert found.shape == reference.shape
    assert 0 < np.abs(found - reference).max() < 0.5 * np.abs(reference).max()
