import numpy as np
import pytest
import torch
from torch import nn

from exports.engines import get_engine
from exports.family.parity import check_parity, compare_logits
from factory_base.errors import ParityError


def images(count=16):
    generator = np.random.default_rng(0)
    return (generator.normal(size=(count, 3, 12, 12)) + generator.normal(size=(count, 3, 1, 1))).astype(np.float32)


@pytest.fixture(scope="module")
def session(tiny_net, tmp_path_factory):
    path = tmp_path_factory.mktemp("parity") / "net.onnx"
    engine = get_engine("onnxruntime")
    engine.convert(tiny_net, (3, 12, 12), path)
    return engine.load(path, 1)


def test_a_file_agrees_with_the_module_it_was_made_from(tiny_net, session):
    parity = check_parity(tiny_net, session, images())
    assert parity.max_abs_difference < 1e-4
    assert (parity.top1_agreement, parity.images) == (1.0, 16)
    assert parity.sqnr_db > 90
    assert parity.logit_spread > 0.01


def test_a_file_of_other_weights_is_refused(tiny_net, session):
    other = nn.Sequential(tiny_net, nn.Linear(4, 4))
    with pytest.raises(ParityError, match=r"largest difference \S+ of the logit range \(at most 0.001\); another"):
        check_parity(other.eval(), session, images())


def test_collapsed_logits_are_refused_although_they_agree(tmp_path):
    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(3, 4)
            nn.init.normal_(self.head.weight, std=1e-6)

        def forward(self, x):
            return self.head(x.mean((2, 3)))

    engine, module = get_engine("onnxruntime"), Constant().eval()
    engine.convert(module, (3, 12, 12), tmp_path / "net.onnx")
    with pytest.raises(ParityError, match="collapsed"):
        check_parity(module, engine.load(tmp_path / "net.onnx", 1), images())


def test_logits_that_are_not_finite_are_refused(tiny_net, session):
    broken = images()
    broken[3] = np.nan
    with pytest.raises(ParityError, match="not finite"):
        check_parity(tiny_net, session, broken)


def test_a_single_image_is_not_enough(tiny_net, session):
    with pytest.raises(ParityError, match="at least 2 images"):
        check_parity(tiny_net, session, images(1))


def test_the_ratio_counts_only_what_differs_between_images():
    reference = np.array([[1000.0, 0.0], [1001.0, 1.0], [999.0, 2.0], [1000.0, 3.0]])
    found = reference + np.array([[0.1, -0.1]] * 4)
    signal = np.mean((reference - reference.mean(axis=0)) ** 2)
    parity = compare_logits(reference, found)
    assert parity.sqnr_db == pytest.approx(10 * np.log10(signal / 0.01))
    assert parity.max_abs_difference == pytest.approx(0.1)


def test_equal_logits_have_an_infinite_ratio():
    values = torch.eye(4).double().numpy()
    assert compare_logits(values, values).sqnr_db == np.inf


def test_logits_of_another_shape_are_refused():
    with pytest.raises(ParityError, match=r"logits \(4, 3\), the module \(4, 4\)"):
        compare_logits(np.eye(4), np.eye(4)[:, :3])
