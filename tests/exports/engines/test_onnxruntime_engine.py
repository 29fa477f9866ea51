import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from engine_conformance import IMAGE, EngineConformance, batch, convolution_part
from torch import nn

from device_profiles.measuring.kernel_times import kernel_latency_us, kind_of
from exports.engines import get_engine
from factory_base.errors import EngineError


class TestOnnxRuntime(EngineConformance):
    name, module, hint = "onnxruntime", "onnxruntime", "pip install onnxruntime"


@pytest.fixture(scope="module")
def converted(tiny_net, tmp_path_factory):
    path = tmp_path_factory.mktemp("engine") / "net.onnx"
    get_engine("onnxruntime").convert(tiny_net, IMAGE, path)
    return path


def node(op_type, *inputs, group=1):
    return onnx.helper.make_node(op_type, ["x", *inputs], ["y"], group=group)


def events(name, *durations):
    return [{"cat": "Node", "name": f"{name}_kernel_time", "dur": duration} for duration in durations]


def test_an_unknown_engine_names_the_nearest():
    with pytest.raises(EngineError, match=r"'onnxruntme' is unknown; did you mean 'onnxruntime'\?"):
        get_engine("onnxruntme")


def test_a_dynamic_file_gives_what_the_static_one_gives(converted, tiny_net, tmp_path):
    engine = get_engine("onnxruntime", dynamic_batch=True)
    engine.convert(tiny_net, IMAGE, tmp_path / "dynamic.onnx")
    dynamic, static = (engine.load(path, 1) for path in (tmp_path / "dynamic.onnx", converted))
    for count in (1, 7):
        np.testing.assert_allclose(dynamic.run(batch(count)), static.run(batch(count)), atol=1e-6)
    assert dynamic.kernel_latency_us(batch(3)).keys() == static.kernel_latency_us(batch(3)).keys()


def test_peak_memory_is_known(converted):
    assert get_engine("onnxruntime").load(converted, 1).peak_memory_bytes() is not None


def test_int8_needs_calibration_inputs(tiny_net, tmp_path):
    with pytest.raises(EngineError, match="int8 needs calibration inputs"):
        get_engine("onnxruntime").convert(tiny_net, IMAGE, tmp_path / "net.onnx", precision="int8")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("dynamic", [False, True])
def test_an_int8_file_answers_like_the_module(dynamic, tmp_path):
    module, engine = convolution_part(), get_engine("onnxruntime", dynamic_batch=dynamic)
    engine.convert(module, IMAGE, tmp_path / "part.onnx", precision="int8", calibration=batch(16))
    found = engine.load(tmp_path / "part.onnx", 1).run(batch(4))
    with torch.no_grad():
        expected = module(torch.from_numpy(batch(4))).numpy()
    assert 0 < np.abs(found - expected).max() < 0.05 * np.abs(expected).max()


def test_kinds_of_int8_convolutions_are_distinguished(tmp_path):
    path = tmp_path / "part.onnx"
    get_engine("onnxruntime").convert(convolution_part(), IMAGE, path, precision="int8", calibration=batch(4))
    times = get_engine("onnxruntime").load(path, 1).kernel_latency_us(batch(1))
    assert {"pointwise", "depthwise", "elementwise"} <= times.keys()
    assert not {"conv", "linear"} & times.keys()


def test_the_kernel_with_most_macs_takes_most_time(tmp_path):
    module = nn.Sequential(nn.Conv2d(3, 32, 3, 2), nn.ReLU(), nn.Conv2d(32, 64, 1), nn.Conv2d(64, 64, 3)).eval()
    get_engine("onnxruntime").convert(module, (3, 96, 96), tmp_path / "net.onnx")
    session = get_engine("onnxruntime").load(tmp_path / "net.onnx", 1)
    inputs = batch(1, (3, 96, 96))
    fastest_us = min(session._run_us(inputs) for _ in range(20))
    times = session.kernel_latency_us(inputs)
    assert sum(times.values()) > fastest_us / 2
    assert times["conv"] > times["pointwise"] > times.get("elementwise", 0) / 2


@pytest.mark.parametrize(
    ("made", "kind"),
    [
        (node("Conv", "dense"), "conv"),
        (node("Conv", "grouped", group=2), "conv"),
        (node("Conv", "grouped_1x1", group=2), "conv"),
        (node("Conv", "channelwise", group=8), "depthwise"),
        (node("QLinearConv", "scale", "one", "scale"), "pointwise"),
        (node("Conv", "grey"), "conv"),
        (node("MatMul"), "linear"),
        (node("FusedMatMul"), "linear"),
        (node("QGemm"), "linear"),
        (node("ReduceMean"), "pool"),
        (node("QLinearGlobalAveragePool"), "pool"),
        (node("ReorderInput"), "elementwise"),
        (node("QuantizeLinear"), "elementwise"),
        (node("LayerNormalization"), "elementwise"),
    ],
)
def test_the_weight_of_a_node_determines_its_kind(made, kind):
    shapes = {
        "dense": (8, 4, 3, 3), "grouped": (8, 2, 3, 3), "grouped_1x1": (8, 2, 1, 1), "channelwise": (8, 1, 3, 3),
        "one": (8, 4, 1, 1), "grey": (8, 1, 3, 3), "scale": (),
    }  # fmt: skip
    assert kind_of(made, shapes) == kind


def kinds_of(run_us):
    nodes = [SimpleNamespace(name=name, op_type=op) for name, op in (("a", "MatMul"), ("b", "Add"), ("c", "Add"))]
    noted = [*events("a", 900, 104, 106, 105), *events("b", 900, 25, 25, 25), *events("c", 900, 2, 2, 2)]
    return kernel_latency_us(noted, nodes, {}, warm_up=1, run_us=run_us)


def test_the_overhead_of_the_profiler_is_subtracted_from_all_kernels_alike():
    assert kinds_of(run_us=122.0) == {"linear": 101.0, "elementwise": 21.0}


def test_nothing_is_subtracted_if_a_run_is_slower_than_its_kernels():
    assert kinds_of(run_us=500.0) == {"linear": 105.0, "elementwise": 27.0}


def test_a_machine_that_became_busier_changes_no_proportions():
    assert kinds_of(run_us=60.0) == {"linear": 50.0, "elementwise": 10.0}


def test_describing_needs_neither_torch_nor_an_engine():
    heavy = "{'torch', 'onnxruntime', 'onnx', 'MNN', 'pandas', 'scipy'}"
    code = (
        "import sys, exports.family.family, exports.family.verify, exports.family.diff; "
        f"print(sorted({heavy} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
