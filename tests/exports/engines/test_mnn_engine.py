import importlib
from pathlib import Path

import numpy as np
import pytest
from engine_conformance import IMAGE, EngineConformance, batch
from torch import nn

from exports.engines import get_engine
from exports.engines.mnn import _convert
from factory_base.errors import EngineError

pytestmark = [pytest.mark.engines, pytest.mark.smoke]

pytest.importorskip("MNN")


class TestMnn(EngineConformance):
    name, module, hint = "mnn", "MNN", r"pip install -e '\.\[mnn\]'"


def test_int8_is_refused_although_it_is_calibrated(tiny_net, tmp_path):
    with pytest.raises(EngineError, match="'mnn' cannot convert to 'int8'; it supports: fp32"):
        get_engine("mnn").convert(tiny_net, IMAGE, tmp_path / "net", precision="int8", calibration=batch(4))


def test_a_dynamic_batch_is_refused():
    with pytest.raises(EngineError, match="batch 1 only; set dynamic_batch to false"):
        get_engine("mnn", dynamic_batch=True)


def test_an_operator_that_it_lacks_is_named(tmp_path):
    import onnx

    value = [onnx.helper.make_tensor_value_info(name, 1, [1, 3, 8, 8]) for name in ("image", "logits")]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Bernoulli", ["image"], ["logits"])], "g", value[:1], value[1:]
    )
    onnx.save(onnx.helper.make_model(graph), tmp_path / "net.onnx")
    with pytest.raises(EngineError, match=r"MNN cannot express the network \(These Op Not Support: ONNX::Bernoulli\)"):
        _convert(tmp_path / "net.onnx", tmp_path / "net.mnn")


def test_peak_memory_grows_with_the_activations(tmp_path):
    module = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 3, 3, padding=1)).eval()
    peaks = []
    for size in (16, 64):
        get_engine("mnn").convert(module, (3, size, size), tmp_path / f"{size}.mnn")
        peaks.append(get_engine("mnn").load(tmp_path / f"{size}.mnn", 1).peak_memory_bytes())
    assert peaks[1] - peaks[0] > 16 * (64**2 - 16**2) * 4


def test_converting_leaves_nothing_in_the_working_directory(tiny_net, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    get_engine("mnn").convert(tiny_net, IMAGE, Path("net.mnn"))
    assert [path.name for path in elsewhere.iterdir()] == ["net.mnn"]


def test_a_missing_converter_says_how_to_install_it(tiny_net, tmp_path, monkeypatch):
    monkeypatch.setitem(importlib.sys.modules, "_tools", None)
    with pytest.raises(EngineError, match=r"pip install -e '\.\[mnn\]'"):
        get_engine("mnn").convert(tiny_net, IMAGE, tmp_path / "net")


def test_many_runs_give_the_same_answer_to_the_same_input(tiny_net, tmp_path):
    get_engine("mnn").convert(tiny_net, IMAGE, tmp_path / "net")
    session = get_engine("mnn").load(tmp_path / "net", 1)
    first = session.run(batch(2))
    for _ in range(50):
        session.run(batch(8))
    np.testing.assert_array_equal(session.run(batch(2)), first)
