import numpy as np
import onnx
import pytest
import torch
from torch import nn

from exports.engines import get_engine
from exports.family.parity import check_parity
from exports.onnx.onnx_file import export_onnx, read_onnx, standard_opset
from factory_base.errors import EngineError


class AwkwardNorms(nn.Module):
    """Batch normalisations that no convolution can absorb: before it, on a value used twice, and on a matrix."""

    def __init__(self):
        super().__init__()
        self.before, self.conv, self.twice = nn.BatchNorm2d(3), nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6)
        self.head, self.after = nn.Linear(6, 5), nn.BatchNorm1d(5)

    def forward(self, x):
        y = self.conv(self.before(x))
        return self.after(self.head((self.twice(y) + y).mean((2, 3))))


@pytest.fixture(scope="module")
def exported(tiny_net, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "net.onnx"
    export_onnx(tiny_net, (3, 12, 12), path)
    return path


def test_the_file_contains_no_path_class_name_or_version(exported):
    content = exported.read_bytes()
    for trace in (b"TinyNet", b".py", b"conftest", b"aten", torch.__version__.encode(), b"namespace"):
        assert trace not in content


def test_the_file_has_the_guaranteed_names_shapes_and_opset(exported):
    model = onnx.load(exported)
    shapes = [
        [d.dim_value for d in v.type.tensor_type.shape.dim] for v in (model.graph.input[0], model.graph.output[0])
    ]
    assert (model.graph.input[0].name, model.graph.output[0].name) == ("image", "logits")
    assert shapes == [[1, 3, 12, 12], [1, 4]]
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 20)]
    assert standard_opset(read_onnx(exported)) == 20


def test_all_names_have_one_length_so_that_the_size_of_a_layer_is_independent_of_its_position(exported):
    graph = onnx.load(exported).graph
    names = [tensor.name for tensor in graph.initializer] + [name for node in graph.node for name in node.output]
    assert {len(name) for name in names if name != "logits"} == {5}


def test_only_the_model_is_in_the_folder(exported):
    assert [path.name for path in exported.parent.iterdir()] == ["net.onnx"]


@pytest.mark.parametrize("opset", [18, 23])
def test_batch_norm_is_folded_even_if_no_convolution_can_absorb_it(opset, tmp_path):
    torch.manual_seed(0)
    net = AwkwardNorms().eval()
    for norm in (net.before, net.twice, net.after):
        for value in (norm.running_mean, norm.weight, norm.bias):
            nn.init.normal_(value)
        nn.init.uniform_(norm.running_var, 0.5, 2)
    export_onnx(net, (3, 8, 8), tmp_path / "net.onnx", opset=opset)
    assert "BatchNormalization" not in {node.op_type for node in onnx.load(tmp_path / "net.onnx").graph.node}
    session = get_engine("onnxruntime").load(tmp_path / "net.onnx", 1)
    images = np.random.default_rng(0).normal(size=(16, 3, 8, 8)).astype(np.float32)
    assert check_parity(net, session, images).max_abs_difference < 1e-4


def test_a_module_in_training_mode_is_refused(tmp_path):
    with pytest.raises(EngineError, match="training mode"):
        export_onnx(AwkwardNorms(), (3, 8, 8), tmp_path / "net.onnx")


def test_an_unknown_opset_is_refused(tiny_net, tmp_path):
    with pytest.raises(EngineError, match="opset 9 is not supported; choose 18 to 23"):
        export_onnx(tiny_net, (3, 12, 12), tmp_path / "net.onnx", opset=9)


def test_what_cannot_be_exported_is_one_line_and_no_file(tmp_path):
    class Branching(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(EngineError, match="Branching cannot be exported") as caught:
        export_onnx(Branching().eval(), (3, 8, 8), tmp_path / "net.onnx")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_not_onnx_has_no_opset(tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"hello, I am text")
    with pytest.raises(EngineError, match="is not an ONNX file"):
        read_onnx(tmp_path / "net.onnx")
