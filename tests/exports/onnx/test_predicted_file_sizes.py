"""The file sizes that `device_profiles` predicts, compared with the files that are written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from space_files import as_trained
from torch import nn

from device_profiles.engine import Precision
from device_profiles.workload.file_size import network_bytes
from device_profiles.workload.tracing import trace
from exports.onnx.onnx_file import export_onnx
from exports.onnx.quantising.precision import convert_precision


class ManyOperators(nn.Module):
    """Layers that the shipped spaces do not use."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.conv = nn.BatchNorm2d(3), nn.Conv2d(3, 8, 3, groups=1, bias=False)
        self.norm, self.pool, self.average = nn.BatchNorm2d(8), nn.MaxPool2d(2), nn.AvgPool2d(2)
        self.shared, self.up = nn.Conv2d(8, 8, 1), nn.ConvTranspose2d(8, 8, 2, 2)
        self.head = nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.silu(self.norm(self.conv(self.before(x))))
        x = self.pool(nn.functional.pad(x, (0, 1, 0, 1)))
        x = self.average(self.up(self.shared(self.shared(x).relu_()) * 0.5 + 1))
        x = torch.cat([x, nn.functional.leaky_relu(x.sigmoid())], 1)
        return self.head(x.mean((2, 3))).softmax(-1)


class WrittenOut(nn.Module):
    """A convolution and an activation that is written out as sums, clips and products."""

    def __init__(self, activation: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.conv, self.head, self.activation = nn.Conv2d(3, 8, 3), nn.Linear(8, 4), activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.activation(self.conv(x)).mean((2, 3)))


def sizes(path: Path, shape: tuple[int, ...], folder: Path) -> dict[str, int]:
    """The sizes of the float32 file at `path` in all precisions."""
    inputs = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    found = {}
    for precision in get_args(Precision):
        file = folder / f"{precision}.onnx"
        convert_precision(path, file, precision, inputs if precision == "int8" else None, None)
        found[precision] = file.stat().st_size
    return found


def predicted(content: int, shape: tuple[int, ...], output_shape: tuple[int, ...]) -> int:
    return int(network_bytes(np.array(content), shape, output_shape))


def test_many_other_operators_are_known_to_the_byte(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, shape = as_trained(ManyOperators()), (3, 14, 14)
    workload = trace(module, shape)
    export_onnx(module, shape, tmp_path / "float.onnx")
    for precision, size in sizes(tmp_path / "float.onnx", shape, tmp_path).items():
        assert predicted(workload.file_content.of(precision), shape, (5,)) == size


@pytest.mark.parametrize(
    "activation",
    [
        lambda x: x * nn.functional.relu6(x + 3) / 6,
        lambda x: (nn.functional.relu6(x + 3) / 6) * x,
        lambda x: x * torch.clamp(x / 6 + 0.5, 0, 1),
        lambda x: x * nn.functional.hardsigmoid(x),
        lambda x: nn.functional.relu6(x + 3) * (1 / 6),
        lambda x: torch.clamp(x * 0.2 + 0.5, 0, 1),
        lambda x: x * nn.functional.relu6(x + 3) / 5,
        lambda x: nn.functional.relu6(x + 3) / 6 * x + x,
        lambda x: (gate := nn.functional.relu6(x + 3)) * x / 6 + gate,
    ],
)
def test_written_out_activations_are_known_to_the_byte(
    activation: Callable[[torch.Tensor], torch.Tensor], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    module, shape = as_trained(WrittenOut(activation)), (3, 8, 8)
    workload = trace(module, shape)
    export_onnx(module, shape, tmp_path / "float.onnx")
    assert predicted(workload.file_content.fp32, shape, (4,)) == (tmp_path / "float.onnx").stat().st_size


def test_a_bias_of_zeros_makes_a_file_smaller_than_predicted(tmp_path: Path) -> None:
    module, shape = as_trained(nn.Sequential(nn.Conv2d(3, 8, 1), nn.Flatten(), nn.Linear(8 * 16, 4))), (3, 4, 4)
    nn.init.zeros_(module[0].bias)
    export_onnx(module, shape, tmp_path / "net.onnx")
    real = (tmp_path / "net.onnx").stat().st_size
    assert predicted(trace(module, shape).file_content.fp32, shape, (4,)) > real
