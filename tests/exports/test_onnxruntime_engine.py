import subprocess
import sys

import numpy as np
import pytest
import torch

from exports.engines import ENGINES, get_engine
from model_factory.base.errors import EngineError


@pytest.fixture(scope="module")
def converted(tiny_net, tmp_path_factory):
    path = tmp_path_factory.mktemp("engine") / "net.onnx"
    get_engine("onnxruntime").convert(tiny_net, (3, 12, 12), path)
    return path


def batch(count):
    return np.random.default_rng(0).normal(size=(count, 3, 12, 12)).astype(np.float32)


def test_an_unknown_engine_names_the_nearest():
    with pytest.raises(EngineError, match=r"'onnxruntme' is unknown; did you mean 'onnxruntime'\?"):
        get_engine("onnxruntme")


def test_a_static_file_answers_to_any_number_of_inputs(converted, tiny_net):
    logits = get_engine("onnxruntime").load(converted, 1).run(batch(5))
    with torch.no_grad():
        expected = tiny_net(torch.from_numpy(batch(5))).numpy()
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    assert logits.dtype == np.float32


def test_a_dynamic_file_gives_what_the_static_one_gives(converted, tiny_net, tmp_path):
    engine = get_engine("onnxruntime", dynamic_batch=True)
    engine.convert(tiny_net, (3, 12, 12), tmp_path / "dynamic.onnx")
    dynamic, static = (engine.load(path, 1) for path in (tmp_path / "dynamic.onnx", converted))
    for count in (1, 7):
        np.testing.assert_allclose(dynamic.run(batch(count)), static.run(batch(count)), atol=1e-6)


def test_the_same_input_gives_the_same_bits(converted):
    engine = get_engine("onnxruntime")
    first, second = engine.load(converted, 2), engine.load(converted, 2)
    assert first.run(batch(4)).tobytes() == first.run(batch(4)).tobytes() == second.run(batch(4)).tobytes()


def test_peak_memory_holds_at_least_the_largest_activation(converted):
    peak = get_engine("onnxruntime").load(converted, 1).peak_memory_bytes()
    assert peak is not None
    assert 8 * 12 * 12 * 4 <= peak < 1 << 20


@pytest.mark.parametrize("wrong", [batch(1).astype(np.float64), batch(1)[:, :2], batch(1)[0], batch(1)[:0]])
def test_an_input_of_another_shape_or_type_is_refused(converted, wrong):
    with pytest.raises(EngineError, match=r"expected float32 \('n', 3, 12, 12\)"):
        get_engine("onnxruntime").load(converted, 1).run(wrong)


@pytest.mark.parametrize("content", [b"", b"not a model", None])
def test_a_file_it_cannot_read_is_refused_in_one_line(converted, tmp_path, content):
    path = tmp_path / "broken.onnx"
    path.write_bytes(converted.read_bytes()[:700] if content is None else content)
    with pytest.raises(EngineError, match=r"broken\.onnx: ONNX Runtime refuses the file") as caught:
        get_engine("onnxruntime").load(path, 1)
    assert "\n" not in str(caught.value)


def test_no_threads_are_refused(converted):
    with pytest.raises(EngineError, match="0 threads"):
        get_engine("onnxruntime").load(converted, 0)


def test_a_missing_engine_says_how_to_install_it(converted, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    for ask in (get_engine("onnxruntime").version, lambda: get_engine("onnxruntime").load(converted, 1)):
        with pytest.raises(EngineError, match="pip install onnxruntime"):
            ask()


@pytest.mark.parametrize("name", sorted(ENGINES))
def test_every_engine_states_its_name_version_and_limits(name):
    engine = get_engine(name)
    assert engine.name == name
    assert engine.version()[0].isdigit()
    assert engine.limits()


def test_describing_needs_neither_torch_nor_an_engine():
    heavy = "{'torch', 'onnxruntime', 'onnx', 'pandas', 'scipy'}"
    code = f"import sys, exports.family, exports.verify, exports.diff; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
