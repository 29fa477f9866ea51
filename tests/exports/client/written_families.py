"""The models of families in the forms that the factory writes: of tensors or pixels, float or int8, apart or shared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from device_profiles.engine import ModelInput, Precision
from exports.client.python.preprocess import model_input
from exports.exporter import ConvertOptions, export_artifact
from exports.exporters import get_exporter
from exports.family.artifact import MODELS, Artifact, evaluate_artifact, model_file
from exports.family.specs import FamilySpec
from exports.isolation.process import IsolatedProcess
from exports.onnx.onnx_file import export_onnx
from exports.onnx.shared_weights import SharedTier, share_weights, supernet_values, tier_plans
from supernet.evaluation.evaluation import recalibrate
from supernet.pixels import PixelInput
from supernet.sharing.slicing import Plan
from supernet.sharing.supernet import Supernet
from supernet.space import SubnetConfig
from supernet.spaces.mobilenet import MobileNetSpace
from supernet.spaces.mobilenet_config import MobileNetConfig

SIDE = 16
_STAGES = [{"widths": [8, 16], "depths": [1, 2], "kernels": [3], "expands": [2], "stride": 2}]


def build(
    folder: Path, spec: FamilySpec, precision: Precision, process: IsolatedProcess, *, shared: bool
) -> FamilySpec:
    """Write two networks of a supernet to `folder`; `spec` with these models in place of its own.

    Args:
        folder: The folder that gets the files.
        spec: A family with the models `small` and `large`.
        precision: That of the files.
        process: What runs the models.
        shared: Whether the networks are graphs over one file of weights.
    """
    given, normalised = _images(spec)
    supernet = _supernet(len(spec.labels))
    space = supernet.model_space.space
    subnets = {"small": space.smallest, "large": space.largest}
    networks = {name: _network(supernet, subnet, normalised, spec) for name, subnet in subnets.items()}
    artifacts = {name: _exported(networks[name], folder, name, precision, given) for name in networks}
    if shared:
        plans = {name: tier_plans(supernet, subnet) for name, subnet in subnets.items()}
        artifacts = _shared(folder, spec, supernet, networks, artifacts, plans, given)
    labels = np.zeros(len(given), np.int64)
    models = []
    for model in spec.models:
        artifact = artifacts[model.artifact.model_id]
        evaluation = evaluate_artifact(artifact, folder, given, labels, 1, process=process)
        models.append(replace(model, artifact=artifact, evaluation=evaluation))
    return replace(spec, models=tuple(models), test_labels=labels)


def _supernet(classes: int) -> Supernet:
    """A supernet none of whose blocks is zero, as they are before a training."""
    section = {"resolutions": [SIDE], "stem_width": 8, "stages": _STAGES, "head_width": 32}
    supernet = Supernet(MobileNetSpace(MobileNetConfig.model_validate(section), classes), seed=3)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in supernet.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return supernet


def _images(spec: FamilySpec) -> tuple[ModelInput, ModelInput]:
    """Images as the models take them, and normalised."""
    colours = np.random.default_rng(6).integers(0, 256, (64, 4, 4, 3)).astype(np.uint8)
    pixels = colours.repeat(SIDE // 4, 1).repeat(SIDE // 4, 2)
    normalised = np.concatenate([model_input(image, SIDE, spec.mean_ppm, spec.std_ppm)[None] for image in pixels])
    return (pixels if spec.takes_pixels else normalised), normalised


def _network(supernet: Supernet, subnet: SubnetConfig, normalised: ModelInput, spec: FamilySpec) -> nn.Module:
    network = recalibrate(supernet.extract(subnet), torch.from_numpy(normalised))
    if not spec.takes_pixels:
        return network
    return PixelInput(network, np.array(spec.mean_ppm) / 1e6, np.array(spec.std_ppm) / 1e6)


def _shared(
    folder: Path,
    spec: FamilySpec,
    supernet: Supernet,
    networks: Mapping[str, nn.Module],
    apart: Mapping[str, Artifact],
    plans: Mapping[str, dict[str, Plan]],
    given: ModelInput,
) -> dict[str, Artifact]:
    """The networks as graphs over one file of weights."""
    tiers = []
    for name, artifact in apart.items():
        source = None if artifact.precision == "fp32" else folder / f"{name}.onnx"
        if source:
            export_onnx(networks[name], given.shape[1:], source, input_type=artifact.input_type)
        tiers.append(SharedTier(name=name, path=folder / artifact.path, plans=plans[name], source=source))
    scale = [1e6 / (255 * deviation) for deviation in spec.std_ppm] if spec.takes_pixels else []
    found = share_weights(tiers, supernet_values(supernet), folder / MODELS, scale)
    made = {}
    for name, artifact in apart.items():
        graph = found.graphs[name].path
        proof = get_exporter("onnxruntime").prove(networks[name], graph, artifact.precision, given[:16], 1)
        files = model_file(graph, "graph"), model_file(found.weights)
        made[name] = replace(artifact, files=files, format_version=proof.opset, proof=proof)
    return made


def _exported(network: nn.Module, folder: Path, name: str, precision: Precision, given: ModelInput) -> Artifact:
    options = ConvertOptions(
        precision=precision,
        calibration=given if precision == "int8" else None,
        input_type="uint8" if given.dtype == np.uint8 else "float32",
    )
    exporter = get_exporter("onnxruntime")
    return export_artifact(network, given.shape[1:], folder, exporter, given[:16], 1, options=options, model_id=name)
