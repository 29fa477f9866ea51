"""The file sizes that `device_profiles` predicts, compared with the files that are written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from device_profiles.workload.file_size import network_bytes
from device_profiles.workload.tracing import trace
from exports.onnx.onnx_file import export_onnx
from exports.onnx.quantise import quantise_onnx
from supernet.chain import ChainModelSpace
from supernet.spaces.mobilenet import MobileNetSpace
from supernet.spaces.mobilenet_config import MobileNetConfig, StageConfig
from supernet.spaces.ofa import OfaSpace
from supernet.spaces.ofa_config import OfaMbv3Config, OfaProxylessConfig
from supernet.spaces.transformer_config import VisionTransformerConfig
from supernet.spaces.vit import VisionTransformerSpace


class ManyOperators(nn.Module):
    """Layers that the shipped spaces do not use."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.conv = nn.BatchNorm2d(3), nn.Conv2d(3, 8, 3, groups=1, bias=False)
        self.norm, self.pool, self.average = nn.BatchNorm2d(8), nn.MaxPool2d(2), nn.AvgPool2d(2)
        self.shared, self.up = nn.Conv2d(8, 8, 1), nn.ConvTranspose2d(8, 8, 2, 2)
        self.head = nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(nn.functional.silu(self.norm(self.conv(self.before(x)))))
        x = self.average(self.up(self.shared(self.shared(x).relu_()) * 0.5 + 1))
        x = torch.cat([x, nn.functional.leaky_relu(x.sigmoid())], 1)
        return self.head(x.mean((2, 3))).softmax(-1)


def mobilenet() -> ChainModelSpace:
    stages = (
        StageConfig(widths=(8,), depths=(2,), expands=(2.0,), stride=2),
        StageConfig(widths=(16,), depths=(1,), expands=(3.0,), squeeze_excite=True, activation="hard_swish"),
        StageConfig(widths=(136,), depths=(1,), kernels=(5,), expands=(9.0,), squeeze_excite=True),
    )
    config = MobileNetConfig(resolutions=(16,), stem_width=8, stages=stages, head_width=1280)
    return MobileNetSpace(config, classes=130)


def vit() -> ChainModelSpace:
    config = VisionTransformerConfig(resolutions=(32,), patch=8, widths=(64,), depths=(2,), heads=(2,))
    return VisionTransformerSpace(config, classes=10)


SPACES = {
    "mobilenet": mobilenet,
    "ofa_mbv3": lambda: OfaSpace(OfaMbv3Config(resolutions=(64,), depths=(2,), width_mult=0.5), 10),
    "ofa_proxyless": lambda: OfaSpace(OfaProxylessConfig(resolutions=(64,), depths=(2,)), 10),
    "vit": vit,
}


def as_trained(module: nn.Module) -> nn.Module:
    """In evaluation mode, with no two constants alike and no bias of zeros, which the exporter would leave out."""
    torch.manual_seed(0)
    for values in (*module.parameters(), *module.buffers()):
        if values.is_floating_point():
            nn.init.uniform_(values, 0.05, 0.1)
    return module.eval()


def written(module: nn.Module, shape: tuple[int, ...], folder: Path) -> dict[str, int]:
    """Real file sizes by precision."""
    paths = {precision: folder / f"{precision}.onnx" for precision in ("fp32", "int8")}
    export_onnx(module, shape, paths["fp32"])
    quantise_onnx(paths["fp32"], np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32), paths["int8"])
    return {precision: path.stat().st_size for precision, path in paths.items()}


def predicted(content: int, shape: tuple[int, ...], output_shape: tuple[int, ...]) -> int:
    return int(network_bytes(np.array(content), shape, output_shape))


@pytest.mark.parametrize("name", SPACES)
def test_the_size_of_a_file_is_the_sum_over_the_parts_to_the_byte(name: str, tmp_path: Path) -> None:
    space = SPACES[name]()
    subnet = space.space.smallest
    module, shape = as_trained(space.build(subnet)), space.input_shape(subnet)
    real, whole, parts, at = written(module, shape, tmp_path), trace(module, shape), [], shape
    for part in space.parts(module).values():
        parts.append(trace(part, at))
        at = parts[-1].output_shape
    for precision, size in real.items():
        assert predicted(whole.file_content.of(precision), shape, at) == size
        assert predicted(sum(part.file_content.of(precision) for part in parts), shape, at) == size


def test_many_other_operators_are_known_to_the_byte(tmp_path: Path) -> None:
    module, shape = as_trained(ManyOperators()), (3, 14, 14)
    workload = trace(module, shape)
    for precision, size in written(module, shape, tmp_path).items():
        assert predicted(workload.file_content.of(precision), shape, (5,)) == size


def test_a_bias_of_zeros_makes_a_file_smaller_than_predicted(tmp_path: Path) -> None:
    module, shape = as_trained(nn.Sequential(nn.Conv2d(3, 8, 1), nn.Flatten(), nn.Linear(8 * 16, 4))), (3, 4, 4)
    nn.init.zeros_(module[0].bias)
    export_onnx(module, shape, tmp_path / "net.onnx")
    real = (tmp_path / "net.onnx").stat().st_size
    assert predicted(trace(module, shape).file_content.fp32, shape, (4,)) > real
