"""fp16 and int8_weights: fewer bytes in the file, and in the engine the graph of the float32 file."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from engine_conformance import TOKENS, batch
from torch import nn

from exports.engines import get_engine
from exports.onnx.file_facts import file_facts
from exports.onnx.onnx_file import export_onnx
from exports.onnx.quantising.precision import convert_precision
from factory_base.errors import EngineError

SHAPE = (16, 12, 12)
STORED = ("fp16", "int8_weights")


def convolutions() -> nn.Module:
    torch.manual_seed(0)
    depthwise = nn.Conv2d(64, 64, 3, padding=1, groups=64)
    layers = (nn.Conv2d(16, 64, 1), nn.ReLU(), depthwise, nn.Hardswish(), nn.Conv2d(64, 48, 3), nn.Flatten())
    return nn.Sequential(*layers, nn.Linear(4800, 3)).eval()


def tokens() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 64), nn.GELU(), nn.Linear(64, 8)).eval()


@pytest.fixture(scope="module", params=[(convolutions, SHAPE), (tokens, TOKENS)], ids=["convolutions", "tokens"])
def exported(request, tmp_path_factory):
    """The float32 file, and the shape of its input."""
    make, shape = request.param
    path = tmp_path_factory.mktemp("stored") / "net.onnx"
    export_onnx(make(), shape, path)
    return path, shape


@pytest.fixture(scope="module", params=STORED)
def stored(request, exported):
    path, _ = exported
    convert_precision(path, path.with_name(request.param), request.param, None, None)
    return request.param, path.with_name(request.param)


def optimised(path: Path, folder: Path) -> list[str]:
    """The operators that the engine runs, in order."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return [node.op_type for node in onnx.load(folder / "optimised.onnx").graph.node]


def test_the_engine_runs_the_graph_of_the_float_file(exported, stored, tmp_path):
    assert optimised(stored[1], tmp_path) == optimised(exported[0], tmp_path)


def test_the_file_takes_about_two_bytes_or_one_per_weight(exported, stored):
    weights = sum(np.prod(t.dims) for t in onnx.load(exported[0]).graph.initializer if np.prod(t.dims) >= 256)
    saved = exported[0].stat().st_size - stored[1].stat().st_size
    assert 0.8 < saved / (weights * {"fp16": 2, "int8_weights": 3}[stored[0]]) <= 1


def test_the_answers_are_those_of_the_float_file(exported, stored):
    inputs = batch(8, exported[1])
    expected, found = (get_engine("onnxruntime").load(path, 1).run(inputs) for path in (exported[0], stored[1]))
    error = np.abs(found - expected).max() / np.ptp(expected)
    assert 0 < error < {"fp16": 1e-3, "int8_weights": 0.02}[stored[0]]


def test_the_engine_converts_to_both(tmp_path):
    for precision in STORED:
        get_engine("onnxruntime").convert(tokens(), TOKENS, tmp_path / precision, precision=precision)
        types = {tensor.data_type for tensor in onnx.load(tmp_path / precision).graph.initializer}
        assert {"fp16": onnx.TensorProto.FLOAT16, "int8_weights": onnx.TensorProto.INT8}[precision] in types


def test_a_weight_beyond_float16_stays_float32(tmp_path):
    module = nn.Sequential(nn.Flatten(), nn.Linear(32, 16)).eval()
    module[1].weight.data[3, 4] = 7e4
    export_onnx(module, (32,), tmp_path / "net.onnx")
    convert_precision(tmp_path / "net.onnx", tmp_path / "fp16.onnx", "fp16", None, None)
    assert (tmp_path / "fp16.onnx").read_bytes() == (tmp_path / "net.onnx").read_bytes()


def test_channels_of_zeros_stay_zero(tmp_path):
    module = nn.Sequential(nn.Flatten(), nn.Linear(32, 16)).eval()
    module[1].weight.data[3] = 0
    export_onnx(module, (32,), tmp_path / "net.onnx")
    convert_precision(tmp_path / "net.onnx", tmp_path / "stored.onnx", "int8_weights", None, None)
    found = get_engine("onnxruntime").load(tmp_path / "stored.onnx", 1).run(batch(2, (32,)))
    np.testing.assert_allclose(found[:, 3], module[1].bias[3].item(), rtol=1e-6)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8_weights", "int8"])
def test_a_truncated_file_is_refused(exported, precision, tmp_path):
    (tmp_path / "cut.onnx").write_bytes(exported[0].read_bytes()[:-999])
    with pytest.raises(EngineError, match=r"cut\.onnx: "):
        convert_precision(tmp_path / "cut.onnx", tmp_path / "made", precision, batch(2, exported[1]), None)
    assert not (tmp_path / "made").exists()


def test_a_file_without_large_weights_can_be_in_any_precision_that_only_stores(tmp_path):
    export_onnx(nn.Sequential(nn.Flatten(), nn.Linear(32, 4)).eval(), (32,), tmp_path / "small.onnx")
    convert_precision(tmp_path / "small.onnx", tmp_path / "half.onnx", "fp16", None, None)
    assert file_facts(tmp_path / "half.onnx").precisions == ("fp32", "fp16", "int8_weights")
    export_onnx(nn.Sequential(nn.Flatten(), nn.Linear(32, 16)).eval(), (32,), tmp_path / "large.onnx")
    assert file_facts(tmp_path / "large.onnx").precisions == ("fp32",)
