"""Static int8: the accuracy of a small trained network, and the guarantees about the file."""

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from engine_conformance import TOKENS, batch, convolution_part, token_part
from sklearn.datasets import load_digits
from torch import nn

from exports.engines import get_engine
from exports.family.parity import compare_logits
from exports.onnx.onnx_file import export_onnx
from exports.onnx.quantising.precision import convert_precision
from exports.onnx.quantising.running import logits_of as run_graph
from factory_base.errors import EngineError
from supernet.spaces.mobilenet import MobileNetSpace
from supernet.spaces.mobilenet_config import MobileNetConfig, StageConfig

SHAPE = (3, 16, 16)


def quantise(source, calibration, path):
    return convert_precision(source, path, "int8", calibration, None)


def mobilenet():
    stages = (
        StageConfig(widths=(16,), depths=(2,), expands=(3.0,), stride=2),
        StageConfig(widths=(24,), depths=(2,), expands=(3.0,), stride=2, squeeze_excite=True, activation="hard_swish"),
    )
    space = MobileNetSpace(
        MobileNetConfig(resolutions=(16,), stem_width=8, stem_stride=2, stages=stages, head_width=48), classes=10
    )
    return space.build(space.space.largest)


@pytest.fixture(scope="module")
def digits():
    """Images `(1797, 3, 16, 16)` and labels."""
    data = load_digits()
    images = (data.images / 8 - 1).astype(np.float32).repeat(2, axis=1).repeat(2, axis=2)
    return np.broadcast_to(images[:, None], (len(images), *SHAPE)).copy(), data.target


@pytest.fixture(scope="module")
def trained(digits, tmp_path_factory):
    """The file of a MobileNet that was trained on the first 1400 digits."""
    torch.manual_seed(0)
    network, (images, labels) = mobilenet(), digits
    optimizer = torch.optim.AdamW(network.parameters(), lr=4e-3)
    for step in range(100):
        chosen = np.random.default_rng(step).integers(0, 1400, 64)
        logits = network(torch.from_numpy(images[chosen]))
        loss = nn.functional.cross_entropy(logits, torch.from_numpy(labels[chosen]), label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    path = tmp_path_factory.mktemp("trained") / "net.onnx"
    export_onnx(network.eval(), SHAPE, path)
    return path


def logits_of(path: Path, images: np.ndarray) -> np.ndarray:
    return get_engine("onnxruntime").load(path, 1).run(images).astype(np.float64)


def test_a_trained_network_keeps_its_answers(trained, digits, tmp_path):
    images, labels = digits
    quantise(trained, images[:64], tmp_path / "int8.onnx")
    reference, found = logits_of(trained, images[1400:]), logits_of(tmp_path / "int8.onnx", images[1400:])
    assert np.mean(reference.argmax(axis=1) == labels[1400:]) > 0.85
    parity = compare_logits(reference, found)
    assert parity.sqnr_db > 18
    assert parity.top1_agreement >= 0.95


def test_calibration_on_other_inputs_is_worse(trained, digits, tmp_path):
    images, _ = digits
    ratios = []
    for name, calibration in (("right", images[:32]), ("wrong", images[:32] / 50)):
        quantise(trained, calibration, tmp_path / name)
        parity = compare_logits(logits_of(trained, images[1400:]), logits_of(tmp_path / name, images[1400:]))
        ratios.append(parity.sqnr_db)
    assert ratios[0] > ratios[1] + 10


@pytest.fixture(scope="module")
def part(tmp_path_factory):
    path = tmp_path_factory.mktemp("part") / "part.onnx"
    export_onnx(convolution_part(), (3, 12, 12), path)
    return path


def test_weights_take_a_byte_each(tmp_path):
    module = nn.Sequential(nn.Conv2d(64, 256, 1), nn.ReLU(), nn.Conv2d(256, 64, 1)).eval()
    export_onnx(module, (64, 4, 4), tmp_path / "float.onnx")
    quantise(tmp_path / "float.onnx", batch(2, (64, 4, 4)), tmp_path / "int8.onnx")
    assert (tmp_path / "int8.onnx").stat().st_size < 0.35 * (tmp_path / "float.onnx").stat().st_size


def test_the_file_contains_standard_operators_and_eight_bit_weights(part, tmp_path):
    quantise(part, batch(4), tmp_path / "int8.onnx")
    model = onnx.load(tmp_path / "int8.onnx")
    assert {entry.domain for entry in model.opset_import} == {node.domain for node in model.graph.node} == {""}
    assert (model.producer_name, list(model.metadata_props)) == ("model-factory", [])
    values = [onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer]
    weights = [value for value in values if value.dtype == np.int8 and value.ndim == 4]
    assert len(weights) == 3
    assert max(np.abs(weight).max() for weight in weights) == 127


def test_only_the_output_of_a_product_stays_float(part, tmp_path):
    export_onnx(nn.Sequential(nn.Flatten(), nn.Linear(12, 4)).eval(), (12,), tmp_path / "product.onnx")
    lasts = []
    for source, inputs in ((part, batch(2)), (tmp_path / "product.onnx", batch(2, (12,)))):
        quantise(source, inputs, tmp_path / "int8.onnx")
        lasts.append(onnx.load(tmp_path / "int8.onnx").graph.node[-1].op_type)
    assert lasts == ["DequantizeLinear", "Gemm"]


def test_a_part_on_tokens_can_be_quantised(tmp_path):
    export_onnx(token_part(), TOKENS, tmp_path / "float.onnx")
    quantise(tmp_path / "float.onnx", batch(8, TOKENS), tmp_path / "int8.onnx")
    found, reference = (logits_of(tmp_path / name, batch(4, TOKENS)) for name in ("int8.onnx", "float.onnx"))
    assert 0 < np.abs(found - reference).max() < 0.1 * np.abs(reference).max()


@pytest.mark.parametrize(
    "wrong", [batch(2).astype(np.float64), batch(2)[:, :2], batch(2)[0], batch(2)[:0], batch(2).repeat(2, axis=3)]
)
def test_calibration_inputs_of_another_shape_or_type_are_refused(part, wrong, tmp_path):
    with pytest.raises(EngineError, match=r"part\.onnx: got calibration inputs .* expected float32 \('n', 3, 12, 12\)"):
        quantise(part, wrong, tmp_path / "int8.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_calibration_inputs_that_are_not_finite_are_refused(part, value, tmp_path):
    inputs = batch(4)
    inputs[1, 2, 3, 4] = value
    with pytest.raises(EngineError, match="calibration inputs contain NaN or infinity"):
        quantise(part, inputs, tmp_path / "int8.onnx")
    assert not list(tmp_path.iterdir())


def test_a_damaged_file_is_refused(part, tmp_path):
    (tmp_path / "broken.onnx").write_bytes(part.read_bytes()[:200])
    with pytest.raises(EngineError, match=r"broken\.onnx: ") as caught:
        quantise(tmp_path / "broken.onnx", batch(2), tmp_path / "int8.onnx")
    assert "\n" not in str(caught.value)


def test_a_missing_engine_says_how_to_install_it(part, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(EngineError, match="pip install onnxruntime"):
        quantise(part, batch(2), tmp_path / "int8.onnx")


def test_it_is_silent(part, tmp_path, capfd, caplog):
    quantise(part, batch(2), tmp_path / "int8.onnx")
    assert (capfd.readouterr(), caplog.text) == (("", ""), "")


def test_the_same_network_and_inputs_give_the_same_bytes(trained, digits, tmp_path):
    for name in ("first", "second"):
        quantise(trained, digits[0][:32], tmp_path / name)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


def with_pixel_input(path: Path, source: Path) -> Path:
    """The network of `source` behind the preprocessing of uint8 pixels (n, height, width, 3)."""
    model = onnx.load(source)
    for name, value in (("mean", 120.0), ("factor", 0.02)):
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.full((3, 1, 1), value, np.float32), name))
    nodes = [
        onnx.helper.make_node("Cast", ["image"], ["cast"], to=onnx.TensorProto.FLOAT),
        onnx.helper.make_node("Transpose", ["cast"], ["planes"], perm=(0, 3, 1, 2)),
        onnx.helper.make_node("Sub", ["planes", "mean"], ["centred"]),
        onnx.helper.make_node("Mul", ["centred", "factor"], ["normalised"]),
    ]
    for node in model.graph.node:
        node.input[:] = ["normalised" if name == "image" else name for name in node.input]
    nodes += model.graph.node
    del model.graph.node[:], model.graph.input[:]
    model.graph.node.extend(nodes)
    model.graph.input.append(onnx.helper.make_tensor_value_info("image", onnx.TensorProto.UINT8, (1, 12, 12, 3)))
    onnx.save(model, path)
    return path


def test_preprocessing_of_pixels_stays_float_before_the_first_convolution(part, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (16, 12, 12, 3), dtype=np.uint8)
    source = with_pixel_input(tmp_path / "pixels.onnx", part)
    quantise(source, pixels, tmp_path / "int8.onnx")
    model = onnx.load(tmp_path / "int8.onnx")
    assert [node.op_type for node in model.graph.node][:5] == ["Cast", "Transpose", "Sub", "Mul", "QuantizeLinear"]
    expected, found = (run_graph(onnx.load(path), pixels) for path in (source, tmp_path / "int8.onnx"))
    assert 0 < np.abs(found - expected).max() < 0.05 * np.ptp(expected)


def test_pixels_of_another_type_are_refused(part, tmp_path):
    source = with_pixel_input(tmp_path / "pixels.onnx", part)
    with pytest.raises(EngineError, match=r"got calibration inputs float32 .* expected uint8 \('n', 12, 12, 3\)"):
        quantise(source, np.zeros((2, 12, 12, 3), np.float32), tmp_path / "int8.onnx")


def test_calibration_inputs_of_zeros_are_refused(part, tmp_path):
    with pytest.raises(EngineError, match=r"part\.onnx: the calibration inputs are all zeros"):
        quantise(part, np.zeros((4, 3, 12, 12), np.float32), tmp_path / "int8.onnx")
    assert not list(tmp_path.iterdir())


def test_calibration_inputs_are_needed(part, tmp_path):
    with pytest.raises(EngineError, match=r"part\.onnx: int8 needs calibration inputs"):
        quantise(part, None, tmp_path / "int8.onnx")


def graph_file(path: Path, nodes, **constants) -> Path:
    """An ONNX file of these nodes, from `image` (1, 4) to `logits` (1, 4)."""
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, (1, 4)) for name in ("image", "logits")]
    tensors = [onnx.numpy_helper.from_array(value.astype(np.float32), name) for name, value in constants.items()]
    graph = onnx.helper.make_graph(nodes, "model", ends[:1], ends[1:], tensors)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=9), path)
    return path


def test_a_network_without_a_layer_to_quantise_is_refused_by_the_names_of_its_nodes(tmp_path):
    nodes = [
        onnx.helper.make_node("Relu", ["image"], ["a"], name="Relu_0"),
        onnx.helper.make_node("Gemm", ["a", "a"], ["logits"], name="square_1", transA=1),
    ]
    source = graph_file(tmp_path / "none.onnx", nodes)
    with pytest.raises(EngineError, match=r"none\.onnx: cannot be quantised: .*\(Relu_0, square_1\); use fp32"):
        quantise(source, batch(4, (4,)), tmp_path / "int8.onnx")


def two_products(path: Path, first: np.ndarray) -> Path:
    nodes = [
        onnx.helper.make_node("Gemm", ["image", "first"], ["a"], name="first_product"),
        onnx.helper.make_node("Relu", ["a"], ["b"], name="activation"),
        onnx.helper.make_node("Gemm", ["b", "second"], ["logits"], name="second_product"),
    ]
    return graph_file(path, nodes, first=first, second=np.eye(4))


@pytest.mark.parametrize("precision", ["fp16", "int8_weights", "int8"])
def test_weights_that_are_not_finite_are_refused_by_the_name_of_the_layer(precision, tmp_path):
    source = two_products(tmp_path / "net.onnx", np.full((4, 4), np.nan))
    with pytest.raises(EngineError, match=r"net\.onnx: the weights of first_product contain NaN or infinity"):
        convert_precision(source, tmp_path / "made.onnx", precision, batch(4, (4,)), None)


def test_a_layer_whose_output_is_always_zero_is_refused_by_name(tmp_path):
    source = two_products(tmp_path / "dead.onnx", np.zeros((4, 4)))
    with pytest.raises(EngineError, match="the output of first_product is 0 for all 4 calibration inputs"):
        quantise(source, batch(4, (4,)), tmp_path / "int8.onnx")


def test_a_channel_without_weights_gives_its_bias(tmp_path):
    module = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 4, 1)).eval()
    with torch.no_grad():
        module[0].weight[2], module[0].bias[2] = 0, 0.7
        module[2].weight[:] = 0
        module[2].weight[0, 2] = 1
    export_onnx(module, (3, 4, 4), tmp_path / "net.onnx")
    quantise(tmp_path / "net.onnx", batch(8, (3, 4, 4)), tmp_path / "int8.onnx")
    expected, found = (logits_of(path, batch(2, (3, 4, 4))) for path in (tmp_path / "net.onnx", tmp_path / "int8.onnx"))
    np.testing.assert_allclose(found, expected, atol=0.01)
