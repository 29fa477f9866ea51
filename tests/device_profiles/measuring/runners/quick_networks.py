"""Small networks that convert and run quickly, for runners that time them on other machines."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import torch
from torch import nn

from exports.engines.onnxruntime import OnnxRuntimeEngine
from supernet.space import Choice, SearchSpace


class TinySpace:
    """A few small convolutional networks that are not chains of parts."""

    def __init__(self, *widths: int, depthwise: bool = False) -> None:
        self._depthwise = depthwise
        self.space = SearchSpace(
            (
                Choice(name="resolution", options=(16, 24)),
                Choice(name="width", options=widths),
                Choice(name="kernel", options=(3, 5)),
            )
        )

    def build(self, subnet):
        return network(subnet["width"], subnet["kernel"], depthwise=self._depthwise)

    def input_shape(self, subnet):
        return (3, subnet["resolution"], subnet["resolution"])


def network(width: int, kernel: int = 3, *, depthwise: bool = False) -> nn.Module:
    groups = width if depthwise else 1
    layers = [nn.Conv2d(3, width, kernel), nn.ReLU(), nn.Conv2d(width, width, kernel, groups=groups), nn.Hardswish()]
    layers += [nn.Conv2d(width, width, 1)] if depthwise else []
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 4)).eval()


def write_onnx(module: nn.Module, input_shape: tuple[int, ...], path: Path) -> None:
    """Convert a network with the old exporter, which is quick."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (torch.zeros(1, *input_shape),), str(path), input_names=["image"], dynamo=False)


class QuickEngine(OnnxRuntimeEngine):
    """Converts with the old exporter, and only networks that are not chains."""

    def convert_chain(self, parts, input_shape, path, _part_paths, **_options):
        write_onnx(nn.Sequential(*parts), input_shape, path)


def copied(folder: Path, target: Path) -> Path:
    """A copy of the folder of a measurement, with its converted files and without its rounds."""
    shutil.copytree(folder, target, ignore=shutil.ignore_patterns("rounds-*"))
    return target
