"""A tiny model space and a small real engine."""

from __future__ import annotations

import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from exports.onnx.onnxruntime_library import onnxruntime_library
from factory_base.files import atomic_path
from supernet.chain import Link
from supernet.space import Choice, SearchSpace


class TinySpace:
    """A stem, some depthwise-separable blocks, a classifier."""

    space = SearchSpace(
        (
            Choice(name="resolution", options=(16, 24)),
            Choice(name="width", options=(8, 16, 32)),
            Choice(name="depth", options=(1, 2)),
            Choice(name="kernel", options=(3, 5)),
        )
    )

    def build(self, subnet):
        width, kernel = subnet["width"], subnet["kernel"]
        layers = [nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        for _ in range(subnet["depth"]):
            layers += [nn.Conv2d(width, width, kernel, 1, kernel // 2, groups=width, bias=False)]
            layers += [nn.BatchNorm2d(width), nn.Hardswish(), nn.Conv2d(width, width, 1), nn.ReLU()]
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 4))

    def input_shape(self, subnet):
        return (3, subnet["resolution"], subnet["resolution"])


class OnnxSession:
    def __init__(self, path: Path, threads: int) -> None:
        onnxruntime = onnxruntime_library()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(self, batch):
        return np.asarray(self._session.run(None, {"image": batch})[0])

    def peak_memory_bytes(self):
        return None

    def kernel_latency_us(self, _batch):
        return None


class OnnxEngine:
    """ONNX Runtime, with the old exporter because it is quick. Counts its conversions."""

    name = "onnxruntime"

    def __init__(self) -> None:
        self.conversions = 0

    def version(self):
        return onnxruntime_library().__version__

    precisions = ("fp32",)

    def convert(self, module, input_shape, path, **_options):
        self.conversions += 1
        self._write(module, input_shape, path)

    def _write(self, module, input_shape, path):
        with warnings.catch_warnings(), atomic_path(path) as temporary:
            warnings.simplefilter("ignore")
            example = torch.zeros(1, *input_shape)
            torch.onnx.export(module, (example,), str(temporary), input_names=["image"], dynamo=False)

    def convert_chain(self, parts, input_shape, path, part_paths, **_options):
        self.conversions += 1
        shape = input_shape
        for part, part_path in zip(parts, part_paths, strict=True):
            if part_path is not None:
                part_path.parent.mkdir(exist_ok=True)
                self._write(part, shape, part_path)
            with torch.no_grad():
                shape = tuple(part(torch.zeros(1, *shape)).shape[1:])
        self._write(torch.nn.Sequential(*parts), input_shape, path)

    def load(self, path, threads):
        return OnnxSession(path, threads)

    def limits(self):
        return ()


class ChainSpace(TinySpace):
    """The same networks, declared as chains: a stem, blocks, a classifier."""

    links = (
        Link(name="stem", choices=("resolution", "width")),
        Link(name="block.0", choices=("resolution", "width", "kernel"), depth_choice="depth", exists_from=1),
        Link(name="block.1", choices=("resolution", "width", "kernel"), depth_choice="depth", exists_from=2),
        Link(name="head", choices=("resolution", "width")),
    )

    def parts(self, network):
        layers = list(network)
        ends = [0, 3, *range(8, len(layers) - 2, 5), len(layers)]
        names = ["stem", *(f"block.{i}" for i in range(len(ends) - 3)), "head"]
        return {name: nn.Sequential(*layers[a:b]) for name, (a, b) in zip(names, pairwise(ends), strict=True)}


@pytest.fixture(scope="module")
def chain_space() -> ChainSpace:
    return ChainSpace()


@pytest.fixture(scope="module")
def tiny_space() -> TinySpace:
    return TinySpace()


@pytest.fixture(scope="module")
def onnx_engine() -> OnnxEngine:
    return OnnxEngine()
