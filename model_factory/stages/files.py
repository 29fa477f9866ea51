"""The file of a variant: the search makes it for its last finalists, and what the file shows decides between them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from device_profiles.engine import COMPUTED_IN, ModelInput
from exports.exporter import Converted, ConvertOptions
from exports.exporters import get_exporter
from exports.family.artifact import Images
from exports.family.parity import Runnable, check_parity
from exports.isolation.process import IsolatedProcess, IsolatedSession
from exports.onnx.conversion import CheckImages, Conversion
from factory_base.documents import shaping_values
from factory_base.errors import EngineError
from model_factory.run import Run
from model_factory.stages.cached import Stage
from model_factory.stages.calibrate import evaluation_inputs
from model_factory.stages.fingerprint import space_libraries, subnet_values
from model_factory.stages.materials import CALIBRATION_IMAGES, Materials
from model_factory.stages.train import Trained
from search.scored import Scored
from search.variant import Variant
from supernet.space import SubnetConfig

if TYPE_CHECKING:
    from torch import nn

    from search.decision import Measured
    from search.device_target import Target
    from search.target import Candidate

_VERSION = 2
_ENGINE = "onnxruntime"
_IMAGES_AT_ONCE = 64
_CHECK_BYTES = 2**28
"""Memory for the held-out images that decide about remedies: 400 of 224x224 pixels, and 20,000 of 32x32."""
_PARITY_IMAGES = (128, 2000)
"""Fewest and most held-out images on which a file must compute what the PyTorch module computes, as far as there are so
many: enough for several of each class of a small task, and to show an agreement of 99.9 %."""
_PARITY_MACS = 2e10
"""Between these, as many as take so many MACs: about two seconds in PyTorch and one in the engine."""
HELDOUT_SECONDS = 3600.0
"""What the held-out images may take: hours for the largest networks would be a mistake."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantFile:
    """Facts about the file of a variant. Equal weights, such as biases of 0, are stored once.

    Attributes:
        file_bytes: The size of the file.
        arena_bytes: The most bytes of activations that are live at one step; None if their shapes depend on the data.
        scored: Which held-out images the file labels correctly, in its engine.
        conversion: How the file came about.
    """

    file_bytes: int
    arena_bytes: int | None
    scored: Scored
    conversion: Conversion


class VariantFiles:
    """Makes and measures the files of variants, and keeps them in the run folder. Use it in a `with` statement.

    Args:
        run: The run.
        materials: Its supernet and images.
        trained: The trained supernet.
        calibration_images: Number of training images on which subnets are recalibrated.
    """

    def __init__(self, run: Run, materials: Materials, trained: Trained, calibration_images: int) -> None:
        self._run, self._materials, self._trained = run, materials, trained
        self._calibration_images = calibration_images
        self._process = IsolatedProcess()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.__exit__(kind, error, traceback)

    def measure(self, target: Target, candidate: Candidate) -> Measured:
        """The costs with the size of the file and its activations in place of predictions, and the score of the file.

        See `search.decision.Measure`.

        Raises:
            EngineError: The network cannot be exported in this precision.
            ParityError: A file in another precision than fp32 does not compute what the network computes.
            DiskError: The file cannot be written.
        """
        from device_profiles.cost_models.models import BYTES_PER_ELEMENT
        from search.decision import Measured

        found = self.file(candidate.variant)
        more = 0.0
        if found.arena_bytes is not None:
            width = BYTES_PER_ELEMENT[COMPUTED_IN[candidate.precision]]
            predicted = self._materials.workloads.of(candidate.subnet).arena_elements * width
            more = target.costs.profile.costs.arena_ratio.value * (found.arena_bytes - predicted)
        peak = candidate.costs.peak_memory_bytes + round(more)
        costs = replace(candidate.costs, file_bytes=found.file_bytes, peak_memory_bytes=peak)
        return Measured(costs=costs, scored=found.scored)

    def file(self, variant: Variant) -> VariantFile:
        """The facts about the file of a variant with the supernet's weights.

        Raises:
            EngineError, ParityError, DiskError: See `measure`.
        """
        path = self._run.variant_file(variant.name)
        return _stage(self._run, self._trained, variant).cached(lambda: self._made(variant, path), lambda _: (path,))

    def _made(self, variant: Variant, path: Path) -> VariantFile:
        materials = self._materials
        module = materials.file_module(materials.calibrated(variant.subnet, self._calibration_images))
        exporter = get_exporter(_ENGINE, **self._run.config.export.engine_options())
        shape = materials.file_input_shape(variant.subnet)
        conversion = exporter.convert(module, shape, path, convert_options(self._run, materials, variant))
        if variant.precision != "fp32":
            self._check_parity(module, variant, path)
        return VariantFile(
            file_bytes=path.stat().st_size,
            arena_bytes=_arena_bytes(path),
            scored=self._scored(variant, path),
            conversion=conversion,
        )

    def _check_parity(self, module: nn.Module, variant: Variant, path: Path) -> None:
        """Raise `ParityError` now if the proof would, so that another variant is taken. In fp32 that is a defect."""
        macs = self._materials.workloads.of(variant.subnet).macs
        images = parity_images(self._materials, variant.subnet, macs)
        check_parity(module, self._session(path), images, variant.precision, task=self._materials.task)

    def _session(self, path: Path) -> IsolatedSession:
        threads, classes = self._run.config.threads, len(self._trained.class_names)
        return IsolatedSession(self._process, _ENGINE, path, threads, classes=classes, seconds=HELDOUT_SECONDS)

    def _scored(self, variant: Variant, path: Path) -> Scored:
        """Which held-out images the file labels correctly, in the order in which subnets are scored on them."""
        inputs, labels = self._materials.heldout_inputs(variant.subnet)
        scores = self._materials.heldout_scores_of(outputs_of(self._session(path), inputs), labels)
        return Scored.of_file(variant.subnet, scores.tolist(), variant.precision)


def outputs_of(session: Runnable, inputs: Images) -> NDArray[np.float32]:
    """The outputs of a loaded file for each image, `(n, outputs)`. Raises `EngineError`."""
    parts = (slice(start, start + _IMAGES_AT_ONCE) for start in range(0, len(inputs), _IMAGES_AT_ONCE))
    return np.concatenate([session.run(inputs[part]) for part in parts])


def known_file(run: Run, trained: Trained, variant: Variant) -> Converted | None:
    """The file of a variant that the search made; None if there is none, or it was changed."""
    found = _stage(run, trained, variant).load()
    return Converted(path=run.variant_file(variant.name), conversion=found.conversion) if found else None


def convert_options(run: Run, materials: Materials, variant: Variant) -> ConvertOptions:
    """How a variant is converted: with ranges from training images, and remedies that held-out images decide about."""
    if variant.precision != "int8":
        return ConvertOptions(precision=variant.precision, input_type=materials.file_input_type)
    return ConvertOptions(
        precision=variant.precision,
        calibration=materials.calibration_inputs(variant.subnet, CALIBRATION_IMAGES),
        check=check_images(materials, variant.subnet),
        drop_limit=run.config.export.drop_limit,
        input_type=materials.file_input_type,
    )


def parity_images(materials: Materials, subnet: SubnetConfig, macs: int) -> ModelInput:
    """The held-out images on which a network of so many MACs is compared with its file."""
    count = min(max(int(_PARITY_MACS / max(macs, 1)), _PARITY_IMAGES[0]), _PARITY_IMAGES[1])
    return materials.inputs(materials.splits.heldout, subnet)[:count]


def check_images(materials: Materials, subnet: SubnetConfig) -> CheckImages:
    """The held-out images on which the drop of a subnet's int8 file is measured."""
    inputs, labels = materials.heldout_inputs(subnet)
    images = max(1, min(len(labels), _CHECK_BYTES // inputs[0:1].nbytes))
    task, metric = materials.task, materials.metric
    return CheckImages(inputs=inputs[:images], labels=labels[:images], task=task, metric=metric)


def _stage(run: Run, trained: Trained, variant: Variant) -> Stage[VariantFile]:
    return Stage(
        run=run,
        name=f"file-{variant.name}",
        version=_VERSION,
        inputs={
            **evaluation_inputs(run, trained),
            "export": shaping_values(run.config.export),
            "subnet": subnet_values(variant.subnet),
            "precision": variant.precision,
        },
        libraries=("torch", "onnx", "onnxscript", "onnxruntime", *space_libraries(run.config.model)),
        codec=TypeAdapter(VariantFile),
    )


def _arena_bytes(path: Path) -> int | None:
    from exports.onnx.graph_memory import plan_graph

    try:
        return plan_graph(path).bound_bytes
    except EngineError:
        return None
