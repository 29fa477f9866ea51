"""Exporting a network: convert it to a file, prove the file, and store it. The protocol of what does so for an engine.

An exporter follows four rules, which `tests/exports/exporter_conformance.py` checks for each of them:

* What PyTorch does (tracing, exporting) happens in this process; everything native that follows (quantising, running,
  timing) happens in another one with limits on time and memory (`exports.isolation`), because converters crash.
* The same network, precision and calibration inputs give the same bytes, or `limits` says that they do not.
* A file that is refused, or does not pass its proof, is not there afterwards.
* Every failure is a `FactoryError` that says what to do.

`Engine.convert` of the engines is another thing: it writes whatever is to be timed, parts and networks with random
weights included, without remedies, and nothing that it writes is shipped.

To add an engine, implement `Exporter`, list it in `exports.exporters`, add the jobs that it needs to
`exports.isolation.jobs`, and let a test class inherit the conformance suite.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from device_profiles.engine import InputType, ModelInput, Precision, input_type_of
from exports.family.artifact import MODELS, Artifact, model_file
from exports.family.proof import Proof
from exports.onnx.conversion import DROP_LIMIT, CheckImages, Conversion
from factory_base.errors import DiskError
from factory_base.files import TEMPORARY_MARK
from factory_base.progress import Progress, silent

if TYPE_CHECKING:
    from torch import nn

    from supernet.tasks.task import Task


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ConvertOptions:
    """What a network is to be converted to, and with which images.

    Attributes:
        precision: The precision of the file.
        calibration: Training images, as model inputs; needed for `int8`.
        check: Held-out images; None if the loss of accuracy is not measured and the simplest conversion is taken.
        drop_limit: The largest loss of accuracy in percentage points before another way of converting is tried.
        input_type: The type of the network's input, and of these images: `uint8` for a `PixelInput`, `int64` for
            tokens.
    """

    precision: Precision = "fp32"
    calibration: ModelInput | None = None
    check: CheckImages | None = None
    drop_limit: float = DROP_LIMIT
    input_type: InputType = "float32"


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """A file that was made of a network.

    Attributes:
        path: The file.
        conversion: How it came about.
    """

    path: Path
    conversion: Conversion


class Exporter(Protocol):
    """Writes and proves the files of one engine."""

    @property
    def name(self) -> str:
        """The name of the engine, as profiles and manifests write it."""

    @property
    def suffix(self) -> str:
        """The ending of its files, with the dot."""

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """The precisions that `convert` can write."""

    def convert(
        self,
        module: nn.Module,
        input_shape: tuple[int, ...],
        path: Path,
        options: ConvertOptions,
        progress: Progress = silent,
    ) -> Conversion:
        """Write `module` as a file.

        Args:
            module: A network in evaluation mode with recalibrated batch normalisation.
            input_shape: The shape of one input, without the batch.
            path: The file to write, atomically.
            options: The precision, the images and the limits.
            progress: Reports what takes long.

        Raises:
            EngineError: The engine is not installed, cannot express the network or does not have this precision; or
                calibration inputs are missing or have another shape; or the converter crashed or took too long.
            DiskError: The file cannot be written.
        """

    def prove(
        self, module: nn.Module, path: Path, precision: Precision, images: ModelInput, threads: int,
        progress: Progress = silent, *, task: Task | None = None,
    ) -> Proof:  # fmt: skip
        """Run a converted file in its engine and compare it with its module.

        Args:
            module: The network that the file was converted from.
            path: The file.
            precision: Its precision.
            images: Held-out images as model inputs, `(n, *input_shape)`, n >= 2.
            threads: The number of threads of the engine, at least 1.
            progress: Reports what takes long.
            task: What the network learnt; None for classes.

        Raises:
            EngineError: The engine refuses the file, crashes or takes too long; or the file has another precision.
            ParityError: The file does not compute what the module computes.
        """

    def limits(self) -> tuple[str, ...]:
        """The limitations of the engine, one short sentence each."""

    def versions_tried(self) -> tuple[str, ...]:
        """The versions of the engine that run each file before it is published, oldest first. Raises `EngineError`."""


def export_artifact(
    module: nn.Module,
    input_shape: tuple[int, ...],
    folder: Path,
    exporter: Exporter,
    parity_images: ModelInput,
    threads: int,
    *,
    task: Task | None = None,
    options: ConvertOptions | None = None,
    converted: Converted | None = None,
    model_id: str = "",
    progress: Progress = silent,
) -> Artifact:
    """Convert `module`, prove the file, and store it as `folder/models/<digest>.onnx`. Repeating gives the same file.

    >>> import tempfile, torch
    >>> from pathlib import Path
    >>> from exports import export_artifact, get_exporter
    >>> from supernet import MobileNetConfig, StageConfig, Supernet, make_model_space, recalibrate
    >>> stages = (StageConfig(widths=(8, 16), depths=(1,), stride=2),)
    >>> config = MobileNetConfig(resolutions=(16,), stem_width=8, stages=stages, head_width=32)
    >>> model_space = make_model_space(config, classes=10)
    >>> images = torch.rand(64, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    >>> network = recalibrate(Supernet(model_space).extract(model_space.space.smallest), images)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     artifact = export_artifact(
    ...         network, (3, 16, 16), Path(folder), get_exporter("onnxruntime"), images.numpy(), threads=1
    ...     )
    >>> artifact.parity.top1_agreement, artifact.parity.sqnr_db > 90, artifact.format_version
    (1.0, True, 20)

    Args:
        module: A network in evaluation mode with recalibrated batch normalisation.
        input_shape: The shape of one input, without the batch.
        folder: The folder that gets the file: that of the family, or one where it waits for the others.
        exporter: What converts and runs the file.
        parity_images: Held-out images as model inputs, `(n, *input_shape)`, n >= 2.
        threads: The number of threads of the engine, at least 1.
        task: What the network learnt; None for classes.
        options: The precision, the images and the limits of the conversion; by default float32.
        converted: What `exporter` made of `module` before, with these options; None to convert it now.
        model_id: The id in the manifest; by default it is derived from the digest.
        progress: Reports what takes long.

    Raises:
        EngineError: The engine is not installed or refuses the module, or crashed.
        ParityError: The file does not compute what the module computes.
        DiskError: The file cannot be written.
    """
    options = options or ConvertOptions(input_type=input_type_of(parity_images))
    temporary = folder / MODELS / f"model{TEMPORARY_MARK}{os.getpid()}{exporter.suffix}"
    try:
        if converted is None:
            conversion = exporter.convert(module, input_shape, temporary, options, progress)
        else:
            conversion = converted.conversion
            temporary.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(converted.path, temporary)
        proof = exporter.prove(module, temporary, options.precision, parity_images, threads, progress, task=task)
        file = model_file(temporary)
        temporary.replace(folder / file.path)
    except OSError as error:
        raise DiskError(f"{folder / MODELS}: cannot be written ({error.strerror or error})") from error
    finally:
        temporary.unlink(missing_ok=True)
    return Artifact(
        model_id=model_id or f"m{file.sha256[:12]}", files=(file,), engine=exporter.name,
        engine_version=proof.host.engine_version, format_version=proof.opset, input_shape=input_shape,
        input_type=options.input_type, classes=proof.classes, proof=proof, conversion=conversion,
    )  # fmt: skip
