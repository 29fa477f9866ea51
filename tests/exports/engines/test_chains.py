"""A network that is a chain of parts: one export gives its file and the file of each part, in every engine."""

import numpy as np
import pytest
import torch
from engine_conformance import IMAGE, batch
from torch import nn

from exports.engines import get_engine
from factory_base.errors import EngineError


def parts() -> list[nn.Module]:
    """Three parts in evaluation mode, from images `IMAGE` to two logits."""
    torch.manual_seed(0)
    stem = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, bias=False), nn.BatchNorm2d(4), nn.ReLU())
    block = nn.Sequential(nn.Conv2d(4, 6, 1), nn.Hardswish())
    return [
        part.eval() for part in (stem, block, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2)))
    ]


@pytest.mark.parametrize(("engine", "precision"), [("onnxruntime", "fp32"), ("onnxruntime", "int8"), ("mnn", "fp32")])
def test_the_parts_compute_together_what_the_network_computes(engine, precision, tmp_path):
    pytest.importorskip("MNN" if engine == "mnn" else engine)
    paths = [tmp_path / f"part{index}" for index in range(3)]
    get_engine(engine).convert_chain(
        parts(), IMAGE, tmp_path / "whole", paths, precision=precision, calibration=batch(8)
    )
    value = batch(2)
    with torch.no_grad():
        expected = nn.Sequential(*parts())(torch.from_numpy(value)).numpy()
    for path in paths:
        value = get_engine(engine).load(path, 1).run(value)
    whole = get_engine(engine).load(tmp_path / "whole", 1).run(batch(2))
    tolerance = 1e-5 if precision == "fp32" else 0.05 * np.abs(expected).max()
    np.testing.assert_allclose(whole, expected, atol=tolerance)
    np.testing.assert_allclose(value, expected, atol=2 * tolerance)


def test_the_network_of_a_chain_is_the_file_of_the_whole_network(tmp_path):
    engine = get_engine("onnxruntime")
    engine.convert_chain(parts(), IMAGE, tmp_path / "chain", [None, None, tmp_path / "head"])
    engine.convert(nn.Sequential(*parts()).eval(), IMAGE, tmp_path / "whole")
    assert (tmp_path / "chain").read_bytes() == (tmp_path / "whole").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["chain", "head", "whole"]


def test_a_part_that_changes_nothing_is_refused(tmp_path):
    chain = [parts()[0], nn.Identity().eval(), *parts()[1:]]
    with pytest.raises(EngineError, match="a part returns its input unchanged"):
        get_engine("onnxruntime").convert_chain(chain, IMAGE, tmp_path / "net", [tmp_path / str(i) for i in range(4)])


def test_a_part_in_training_mode_is_refused(tmp_path):
    chain = [parts()[0], parts()[1].train(), parts()[2]]
    with pytest.raises(EngineError, match="training mode"):
        get_engine("onnxruntime").convert_chain(chain, IMAGE, tmp_path / "net", [None] * 3)


def test_a_value_that_bypasses_a_part_is_refused(tmp_path):
    class Remembering(nn.Module):
        """Adds what the first part kept aside, which is not an output of the part before it."""

        def __init__(self, first: nn.Module) -> None:
            super().__init__()
            self.first = [first]

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.first[0].kept

    class Keeping(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.kept = x * 2
            return x.relu()

    first = Keeping().eval()
    chain = [first, nn.Conv2d(3, 3, 1).eval(), Remembering(first).eval()]
    with pytest.raises(EngineError, match=r"not a chain: .* bypasses a part"):
        get_engine("onnxruntime").convert_chain(chain, IMAGE, tmp_path / "net", [tmp_path / str(i) for i in range(3)])
