"""A tiny network whose outputs differ between images, images for it, and a family of two models."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from exports.client.python.preprocess import model_input, resize
from exports.exporter import export_artifact
from exports.exporters import get_exporter
from exports.family.artifact import evaluate_artifact
from exports.family.family import write_family
from exports.family.judge import classes_judge
from exports.family.records import Perf, Provenance, Selector
from exports.family.specs import FamilySpec, ModelSpec, Publish, TierSpec
from exports.isolation.process import IsolatedProcess
from supernet.pixels import PixelInput

LABELS = ("cat", "dog", "owl", "yak")
MEAN, STD = (500_000, 450_000, 400_000), (250_000, 260_000, 270_000)
SHA = "ab" * 32


class TinyNet(nn.Module):
    """Convolutions with batch normalisation, an activation that ONNX decomposes, a residual sum and a classifier."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU6())
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.activation = nn.Hardswish()
        self.classifier = nn.Linear(width, len(LABELS))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = x + self.activation(self.norm(self.depthwise(x)))
        return self.classifier(x.mean((2, 3)))


def spread_out(module: nn.Module, seed: int) -> nn.Module:
    """`module` with seeded weights and the statistics of random inputs, so that its logits differ between images."""
    torch.manual_seed(seed)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    module.train()
    with torch.no_grad():
        for _ in range(5):
            module(torch.randn(16, 3, 12, 12) + torch.randn(16, 3, 1, 1))
    return module.eval()


def base_images(count: int, seed: int) -> np.ndarray:
    """Images, uint8 `(count, 16, 16, 3)`, each with its own colour and some texture."""
    generator = np.random.default_rng(seed)
    colours = generator.integers(0, 256, (count, 1, 1, 3))
    return np.clip(colours + generator.normal(0, 20, (count, 16, 16, 3)), 0, 255).astype(np.uint8)


def inputs(images: np.ndarray, size: int) -> np.ndarray:
    return np.stack([model_input(image, size, MEAN, STD) for image in images])


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_net():
    return spread_out(TinyNet(8), seed=1)


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """A folder with two exported models, and the specification of their family. Tests copy the folder."""
    return build_family(tmp_path_factory.mktemp("built"), pixels=False)


@pytest.fixture(scope="session")
def built_for_pixels(tmp_path_factory):
    """As `built`, with models that take pixels."""
    return build_family(tmp_path_factory.mktemp("built_for_pixels"), pixels=True)


def build_family(folder: Path, *, pixels: bool) -> tuple[Path, FamilySpec]:
    exporter, images = get_exporter("onnxruntime"), base_images(200, seed=3)
    labels = np.random.default_rng(4).integers(0, len(LABELS), 200)
    models = []
    for name, width, size in (("small", 4, 8), ("large", 8, 12)):
        module, shape, given = spread_out(TinyNet(width), seed=width), (3, size, size), inputs(images, size)
        if pixels:
            mean, std = (np.array(values) / 1e6 for values in (MEAN, STD))
            module, shape, given = PixelInput(module, mean, std), (size, size, 3), resize(images, size, size)
        artifact = export_artifact(module, shape, folder, exporter, given[:16], 1, model_id=name)
        evaluation = evaluate_artifact(artifact, folder, given, labels, 1)
        perf = Perf(device="phone", threads=1, compute_unit="cpu", latency_us=100 * width, basis="modelled")
        models.append(
            ModelSpec(
                artifact=artifact,
                evaluation=evaluation,
                subnet_values={"width": width, "ratio": 0.5},
                macs=1000 * width,
                parameters=100 * width,
                peak_memory_bytes=10_000 * width,
                needs_basis="modelled",
                perf=(perf,),
            )
        )
    tiers = (
        TierSpec(id="phone", platform="android", selectors=(Selector(ram_class_min=4096),), model_id="large"),
        TierSpec(id="entry", platform="android", selectors=(Selector(ram_class_min=2048),), model_id="small"),
        TierSpec(id="computer", platform="linux", selectors=(Selector(cores_min=1),), model_id="large"),
    )
    spec = FamilySpec(
        family_id="animals", release=1, judge=classes_judge(LABELS), mean_ppm=MEAN, std_ppm=STD,
        sample_images=base_images(8, seed=5), test_labels=labels, test_set_sha256=SHA, models=tuple(models),
        tiers=tiers,
        provenance=Provenance(supernet_sha256=SHA, config_sha256=SHA, dataset_sha256=SHA, tool_version="0.1.0"),
        publish=Publish(samples="images", evaluation=True),
    )  # fmt: skip
    return folder, spec


@pytest.fixture(scope="session")
def process():
    """One process for the models of all tests."""
    with IsolatedProcess() as process:
        yield process


@pytest.fixture
def make_family(built, tmp_path, process):
    """Writes the family to a new folder, with changes to its specification."""
    return maker(built, tmp_path, process)


@pytest.fixture
def make_pixel_family(built_for_pixels, tmp_path, process):
    """As `make_family`, with models that take pixels."""
    return maker(built_for_pixels, tmp_path, process)


def maker(built: tuple[Path, FamilySpec], tmp_path: Path, process: IsolatedProcess) -> Callable[..., Path]:
    import shutil

    def make(name: str = "family", **changes: object) -> Path:
        source, spec = built
        folder = tmp_path / name
        shutil.copytree(source / "models", folder / "models")
        write_family(folder, dataclasses.replace(spec, **changes), process=process)
        return folder

    return make


@pytest.fixture
def spec(built):
    return built[1]
