"""The clean-up of exported graphs: single operators, no constant ones, the same outputs."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn import functional

from exports.onnx.cleaning.clean import clean_model, compare_outputs
from exports.onnx.cleaning.names import rename
from exports.onnx.onnx_file import export_onnx
from exports.onnx.quantising.precision import convert_precision
from factory_base.errors import EngineError

SHAPE = (3, 8, 8)


class Activated(nn.Module):
    """A convolution, an activation and a classifier."""

    def __init__(self, activation):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.head, self.activation = nn.Conv2d(3, 8, 3), nn.Linear(8, 4), activation

    def forward(self, x):
        return self.head(self.activation(self.conv(x)).mean((2, 3)))


def written(activation, path):
    export_onnx(Activated(activation).eval(), SHAPE, path)
    return onnx.load(path).graph


def model_of(nodes, constants=(), output_shape=(1, 3, 8, 8)):
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, *SHAPE])
    output = helper.make_tensor_value_info("out", TensorProto.FLOAT, output_shape)
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants]
    graph = helper.make_graph(nodes, "net", [image], [output], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def operators(model):
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize(
    ("activation", "operator"),
    [
        (lambda x: x * functional.relu6(x + 3) / 6, "HardSwish"),
        (lambda x: (functional.relu6(x + 3) / 6) * x, "HardSwish"),
        (lambda x: x * torch.clamp(x / 6 + 0.5, 0, 1), "HardSwish"),
        (lambda x: x * functional.hardsigmoid(x), "HardSwish"),
        (lambda x: functional.relu6(x + 3.0) * (1 / 6), "HardSigmoid"),
        (nn.Hardswish(), "HardSwish"),
        (nn.Hardsigmoid(), "HardSigmoid"),
    ],
)
def test_a_hard_activation_is_one_operator_however_it_is_written(activation, operator, tmp_path):
    graph = written(activation, tmp_path / "net.onnx")
    assert [node.op_type for node in graph.node] == ["Conv", operator, "ReduceMean", "Gemm"]


@pytest.mark.parametrize(
    "activation",
    [
        lambda x: x * functional.relu6(x + 3) / 5,
        lambda x: x * functional.relu6(x + 2) / 6,
        lambda x: (x + 1) * functional.relu6(x + 3) / 6,
        lambda x: functional.relu6(x) / 6,
    ],
)
def test_what_only_looks_like_a_hard_activation_stays_as_it_is(activation, tmp_path):
    kinds = {node.op_type for node in written(activation, tmp_path / "net.onnx").node}
    assert "Clip" in kinds
    assert not kinds & {"HardSwish", "HardSigmoid"}


def test_a_value_that_is_read_elsewhere_is_not_swallowed(tmp_path):
    def activation(x):
        gate = functional.relu6(x + 3)
        return x * gate / 6 + gate

    assert "Clip" in {node.op_type for node in written(activation, tmp_path / "net.onnx").node}


def test_shapes_of_static_values_and_what_follows_from_them_are_constants():
    nodes = [
        helper.make_node("Shape", ["image"], ["sizes"]),
        helper.make_node("Gather", ["sizes", "axis"], ["rows"]),
        helper.make_node("Concat", ["one", "rows", "rest"], ["target"], axis=0),
        helper.make_node("Reshape", ["image", "target"], ["out"]),
    ]
    constants = [("axis", np.array([2])), ("one", np.array([1])), ("rest", np.array([-1]))]
    model = model_of(nodes, constants, output_shape=(1, 8, 24))
    clean_model(model)
    assert operators(model) == ["Reshape"]
    assert [tensor.name for tensor in model.graph.initializer] == ["target"]


def test_operators_that_change_nothing_and_those_that_nobody_reads_are_removed():
    nodes = [
        helper.make_node("Identity", ["image"], ["same"]),
        helper.make_node("Relu", ["same"], ["positive"]),
        helper.make_node("Sigmoid", ["same"], ["unread"]),
        helper.make_node("Transpose", ["positive"], ["still"], perm=[0, 1, 2, 3]),
        helper.make_node("Identity", ["still"], ["out"]),
    ]
    model = model_of(nodes, [("unused", np.ones(3, np.float32))])
    clean_model(model)
    assert operators(model) == ["Relu"]
    assert (model.graph.node[0].input[0], model.graph.node[0].output[0]) == ("image", "out")
    assert not model.graph.initializer


def test_a_constant_that_would_make_the_file_larger_stays_an_operator():
    nodes = [
        helper.make_node("Expand", ["number", "sizes"], ["large"]),
        helper.make_node("Add", ["image", "large"], ["out"]),
    ]
    sizes = np.array([1, 3, 800, 8])
    model = model_of(nodes, [("number", np.float32([1])), ("sizes", sizes)], output_shape=(1, 3, 800, 8))
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 800
    clean_model(model)
    assert operators(model) == ["Expand", "Add"]


def test_a_clean_up_that_changes_the_outputs_is_refused():
    clipped = [helper.make_node("Relu", ["image"], ["out"])], [helper.make_node("Sigmoid", ["image"], ["out"])]
    before, after = (model_of(nodes).SerializeToString() for nodes in clipped)
    compare_outputs(before, before)
    with pytest.raises(EngineError, match=r"changed its outputs by up to \d"):
        compare_outputs(before, after)


def test_names_say_what_an_operator_is_and_what_belongs_to_it(tmp_path):
    graph = written(nn.ReLU(), tmp_path / "net.onnx")
    assert [node.name for node in graph.node] == ["Conv_0000", "Relu_0001", "ReduceMean_0002", "Gemm_0003"]
    assert list(graph.node[0].input) == ["image", "w0000", "b0000"]
    assert list(graph.node[3].input) == ["v0002", "w0003", "b0003"]


def test_a_layer_has_the_same_name_in_the_int8_file(tmp_path):
    written(nn.Hardswish(), tmp_path / "net.onnx")
    inputs = np.random.default_rng(0).normal(size=(4, *SHAPE)).astype(np.float32)
    convert_precision(tmp_path / "net.onnx", tmp_path / "int8.onnx", "int8", inputs, None)
    layers = [[n.name for n in onnx.load(tmp_path / f).graph.node] for f in ("net.onnx", "int8.onnx")]
    assert [name for name in layers[1] if "quantize" not in name.lower()] == layers[0]
    assert len(set(layers[1])) == len(layers[1])


def test_names_stay_unique_if_an_operator_has_many_constants():
    names = [f"constant{index}" for index in range(60)]
    node = helper.make_node("Concat", ["image", *names], ["out"], axis=1)
    model = model_of([node], [(name, np.ones((1, 1, 8, 8), np.float32)) for name in names], (1, 63, 8, 8))
    rename(model.graph)
    assert len(set(model.graph.node[0].input)) == 61
    onnx.checker.check_model(model)
