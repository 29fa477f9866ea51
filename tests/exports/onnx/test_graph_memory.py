from pathlib import Path

import numpy as np
import onnx
import pytest
from torch import nn

from device_profiles.workload.tracing import trace
from exports.onnx.graph_memory import GraphMemory, plan_graph
from exports.onnx.onnx_file import export_onnx
from factory_base.errors import EngineError

MAP = 4 * 8 * 8
"""Elements of a map of 4 channels of 8x8."""


@pytest.fixture
def planned(tmp_path):
    """Plans a graph of `name = Op(inputs)` lines with float (1,4,8,8) as `start` and `end`, unless they are given."""

    def plan(
        nodes: str, start: str = "float[1,4,8,8]", end: str = "float[1,4,8,8]", opset: int = 20, **options: object
    ) -> GraphMemory:
        graph = onnx.parser.parse_graph(f"g ({start} image) => ({end} out) {{ {nodes} }}")
        constants = {
            "w": np.zeros((4, 4, 1, 1), np.float32),
            "w8": np.zeros((4, 4, 1, 1), np.int8),
            "wide": np.zeros((12, 4, 1, 1), np.float32),
            "flat": np.array([1, -1], np.int64),
            "low": np.float32(0),
            "six": np.float32(6),
            "s": np.float32(1),
            "z": np.int8(0),
        }
        used = {name for node in graph.node for name in node.input}
        graph.initializer.extend(onnx.numpy_helper.from_array(v, n) for n, v in constants.items() if n in used)
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
        onnx.save(model, tmp_path / "net.onnx")
        return plan_graph(tmp_path / "net.onnx", **options)

    return plan


def test_a_linear_layer_on_tokens_needs_one_tensor_more_than_traced_because_its_bias_is_a_node(tmp_path):
    module = nn.Linear(6, 10).eval()
    export_onnx(module, (5, 6), tmp_path / "net.onnx")
    assert {node.op_type for node in onnx.load(tmp_path / "net.onnx").graph.node} == {"MatMul", "Add"}
    assert 4 * trace(module, (5, 6)).arena_elements == 4 * 5 * (6 + 10)
    assert plan_graph(tmp_path / "net.onnx").arena_bytes == 4 * 5 * (10 + 10)


def test_a_chain_needs_its_largest_pair_of_neighbours(planned):
    memory = planned("a = Conv(image, wide) out = ReduceMax<keepdims=1>(a)", end="float[1,1,1,1]")
    assert memory.arena_bytes == memory.bound_bytes == 4 * (MAP + 3 * MAP)
    assert memory.weight_bytes == 4 * 48


def test_the_input_can_stay_with_the_caller(planned):
    nodes = "a = Conv(image, w) b = Conv(a, w) out = Add(b, image)"
    with_input, without = planned(nodes), planned(nodes, holds_input=False)
    assert (with_input.arena_bytes, without.arena_bytes) == (3 * 4 * MAP, 2 * 4 * MAP)
    assert with_input.input_bytes == without.input_bytes == 4 * MAP
    assert (with_input.holds_input, without.holds_input) == (True, False)


def test_a_shortcut_is_held_until_it_is_added(planned):
    short = planned("a = Conv(image, w) b = Conv(a, w) c = Conv(b, w) out = Add(c, b)")
    long = planned("a = Conv(image, w) b = Conv(a, w) c = Conv(b, w) d = Conv(c, w) out = Add(d, b)")
    plain = planned("a = Conv(image, w) b = Conv(a, w) c = Conv(b, w) out = Conv(c, w)")
    assert [m.arena_bytes // (4 * MAP) for m in (plain, short, long)] == [2, 3, 3]


@pytest.mark.parametrize("activation", ["Relu(a)", "Clip(a, low, six)", "HardSigmoid(a)"])
def test_an_activation_after_a_convolution_is_part_of_it_unless_the_engine_fuses_nothing(activation, planned):
    nodes = f"x = Conv(image, w) a = Conv(x, wide) b = {activation} out = ReduceMax<keepdims=1>(b)"
    fused = planned(nodes, end="float[1,1,1,1]")
    portable = planned(nodes, end="float[1,1,1,1]", executor="portable")
    assert (fused.arena_bytes, portable.arena_bytes) == (4 * (MAP + 3 * MAP), 4 * (3 * MAP + 3 * MAP))
    assert (fused.executor, portable.executor) == ("fused", "portable")


@pytest.mark.parametrize(
    "tail",
    [
        "out = Add(a, b)",  # reads what was before the activation too
        "c = Relu(b) out = Mul(c, image)",  # a second activation
    ],
)
def test_an_activation_is_an_operator_if_it_is_not_the_only_reader_or_comes_second(tail, planned):
    assert planned(f"a = Conv(image, w) b = Relu(a) {tail}").arena_bytes == 3 * 4 * MAP


@pytest.mark.parametrize(
    "view",
    ["Reshape(a, flat)", "Flatten(a)", "Identity(a)", "Transpose<perm=[1, 0, 2, 3]>(a)"],
)
def test_a_view_is_free_and_keeps_what_it_views(view, planned):
    nodes = f"a = Conv(image, w) v = {view} b = Conv(image, w) c = Conv(b, w) d = Relu(v) out = Identity(c)"
    memory = planned(nodes, end="float[1,4,8,8]")
    assert memory.arena_bytes == 3 * 4 * MAP


@pytest.mark.parametrize(("permutation", "maps"), [("0, 2, 3, 1", 3), ("3, 1, 2, 0", 3), ("1, 0, 2, 3", 2)])
def test_a_transposition_is_a_view_only_if_it_moves_no_data(permutation, maps, planned):
    nodes = f"""
        t = Transpose<perm=[{permutation}]>(image) b = Relu(image)
        r = ReduceMax<keepdims=0>(t) q = ReduceMax<keepdims=0>(b) out = Add(r, q)
    """
    assert planned(nodes, end="float").arena_bytes // (4 * MAP) == maps


def test_a_dynamic_batch_is_one_image(planned):
    nodes = "a = Conv(image, w) out = Conv(a, w)"
    dynamic = planned(nodes, start="float[batch,4,8,8]", end="float[batch,4,8,8]")
    assert dynamic == planned(nodes)
    assert dynamic.arena_bytes == 2 * 4 * MAP


QUANTISED = """
    q = QuantizeLinear(image, s, z) d = DequantizeLinear(q, s, z) k = DequantizeLinear(w8, s, z)
    a = Conv(d, k) {activation} qa = QuantizeLinear({last}, s, z) da = DequantizeLinear(qa, s, z)
    b = Conv(da, k) qb = QuantizeLinear(b, s, z) db = DequantizeLinear(qb, s, z)
    c = {reader} qc = QuantizeLinear(c, s, z) out = DequantizeLinear(qc, s, z)
"""


@pytest.mark.parametrize(("activation", "last"), [("", "a"), ("r = Relu(a)", "r"), ("r = Clip(a, low, six)", "r")])
def test_a_quantised_network_holds_bytes_between_its_ends(activation, last, planned):
    nodes = QUANTISED.format(activation=activation, last=last, reader="Add(da, db)")
    memory = planned(nodes)
    assert memory.arena_bytes == MAP + 4 * MAP  # the input and its int8 form, or the result and its int8 form
    assert planned(nodes, start="float[1,4,8,8]", holds_input=False, executor="portable").arena_bytes == 3 * 4 * MAP
    assert memory.weight_bytes - memory.weight_bytes % 16 == 16


def test_inside_a_quantised_network_a_shortcut_and_its_sum_are_bytes(planned):
    tail = "m = MaxPool<kernel_shape=[8,8]>(out) "
    inside = QUANTISED.format(activation="", last="a", reader="Add(da, db)") + tail
    inside = inside.replace("out) ", "out) qm = QuantizeLinear(m, s, z) result = DequantizeLinear(qm, s, z)")
    graph = inside.replace("out = Deq", "dc = Deq").replace("(out)", "(dc)").replace("result", "out")
    assert planned(graph, end="float[1,4,1,1]", holds_input=False).arena_bytes == 3 * MAP


def test_the_floats_exist_too_if_there_is_no_int8_kernel(planned):
    nodes = QUANTISED.format(activation="", last="a", reader="HardSwish(db)")
    assert planned(nodes, holds_input=False).arena_bytes == 4 * MAP + 4 * MAP  # dequantised, and its hard-swish


def test_bytes_are_shared_by_readers_that_need_them_as_floats_and_those_that_do_not(planned):
    nodes = """
        q = QuantizeLinear(image, s, z) d = DequantizeLinear(q, s, z) k = DequantizeLinear(w8, s, z)
        h = HardSwish(d) a = Conv(d, k) qa = QuantizeLinear(a, s, z) da = DequantizeLinear(qa, s, z)
        out = Add(h, da)
    """
    assert planned(nodes, holds_input=False).arena_bytes == 3 * 4 * MAP  # h, da, out; while h is made: q, d, h


def test_portable_kernels_make_hard_swish_in_steps_of_three_tensors(planned):
    nodes = "a = Conv(image, w) b = HardSwish(a) out = Conv(b, w)"
    fused, portable = planned(nodes, holds_input=False), planned(nodes, holds_input=False, executor="portable")
    assert (fused.arena_bytes, portable.arena_bytes) == (2 * 4 * MAP, 3 * 4 * MAP)


def test_constants_computed_from_constants_need_no_arena(planned):
    nodes = "twice = Add(w, w) out = Conv(image, twice)"
    assert planned(nodes).arena_bytes == 2 * 4 * MAP


def test_the_plan_is_described_in_one_phrase(planned):
    memory = planned("a = Conv(image, w) out = Conv(a, w)")
    assert (memory.describe(), memory.over_bound) == ("arena 2 KiB, optimal", 1)
    loose = GraphMemory(
        executor="fused", holds_input=True, arena_bytes=2_726_298, bound_bytes=2_453_668, input_bytes=0, weight_bytes=0
    )
    assert loose.describe() == "arena 2.6 MiB, 1.11 times the lower bound"


def test_a_plan_just_over_the_bound_is_not_called_equal_to_it():
    sizes = {"arena_bytes": 1001, "bound_bytes": 1000, "input_bytes": 0, "weight_bytes": 0}
    memory = GraphMemory(executor="fused", holds_input=True, **sizes)
    assert memory.describe() == "arena 1001 B, less than 1.01 times the lower bound"


def test_shapes_that_depend_on_data_are_refused(planned):
    with pytest.raises(EngineError, match=r"net\.onnx: the shape of 'out' depends on data"):
        planned("out = NonZero(image)", end="int64[rank,found]")


def test_branches_are_refused(planned):
    branch = "then_branch = yes () => (float[1] y) { y = Constant<value_floats=[1.0]>() }"
    nodes = f"""
        m = ReduceMax<keepdims=0>(image) c = Cast<to=9>(m)
        out = If(c) <{branch}, else_branch = no () => (float[1] n) {{ n = Constant<value_floats=[2.0]>() }}>
    """
    with pytest.raises(EngineError, match="has the operator If; memory can be planned without branches only"):
        planned(nodes, end="float[1]")


def test_shapes_that_contradict_each_other_are_refused(planned):
    with pytest.raises(EngineError, match="the shapes cannot be inferred"):
        planned("out = MatMul(image, wide)")


def test_a_file_that_is_not_onnx_is_refused(tmp_path: Path):
    (tmp_path / "net.onnx").write_bytes(b"hello, I am text")
    with pytest.raises(EngineError, match="is not an ONNX file"):
        plan_graph(tmp_path / "net.onnx")
