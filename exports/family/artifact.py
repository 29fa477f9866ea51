"""One exported model: a file named by its digest, checked to compute what the module computes, and its accuracy."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from exports.family.parity import Parity, check_parity
from exports.onnx.onnx_file import opset_of
from factory_base.errors import DataError, DiskError
from factory_base.files import TEMPORARY_MARK, sha256_file
from factory_base.intervals import wilson
from factory_base.progress import Progress, silent

if TYPE_CHECKING:
    from torch import nn

    from device_profiles.engine import Engine

MODELS = "models"
"""The folder of model files in a family's folder."""

_LOGITS_AT_ONCE = 64
"""Images per call of the engine: a progress report after each, and few enough for any memory."""


class Images(Protocol):
    """Model inputs: an array, or an object that makes them slice by slice if they do not fit into memory."""

    def __len__(self) -> int:
        """The number of inputs."""

    def __getitem__(self, part: slice, /) -> NDArray[np.float32]:
        """The inputs of a slice, float32 `(n, *input_shape)`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A model file of a release.

    Attributes:
        model_id: The id in the manifest, by default `m` and the first 12 hex digits of the digest.
        path: The path relative to the family's folder, `models/<first 16 hex digits of sha256>.onnx`.
        bytes: The size of the file.
        sha256: The digest of the file.
        engine: The name of the engine that ran it.
        engine_version: The version of that engine.
        format_version: The ONNX opset.
        input_shape: The shape of one input, `(channels, height, width)`.
        parity: The parity that was measured on this file.
    """

    model_id: str
    path: Path
    bytes: int
    sha256: str
    engine: str
    engine_version: str
    format_version: int
    input_shape: tuple[int, ...]
    parity: Parity


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Evaluation:
    """The predictions of an exported file for the test images.

    Attributes:
        predictions: Top-1 classes, uint16 `(images,)`.
        correct: The number of correct predictions.
        images: The number of images.
    """

    predictions: NDArray[np.uint16]
    correct: int
    images: int

    @property
    def accuracy(self) -> float:
        """The fraction of correct predictions, in [0, 1]."""
        return self.correct / self.images

    def interval(self) -> tuple[float, float]:
        """The 95 % Wilson score interval of the accuracy."""
        return wilson(self.correct, self.images)


def export_artifact(
    module: nn.Module,
    input_shape: tuple[int, ...],
    folder: Path,
    engine: Engine,
    parity_images: NDArray[np.float32],
    threads: int,
    *,
    model_id: str = "",
) -> Artifact:
    """Convert `module`, check its parity, and store it as `folder/models/<digest>.onnx`. Repeating changes nothing.

    >>> import tempfile, torch
    >>> from pathlib import Path
    >>> from exports import export_artifact, get_engine
    >>> from supernet import MobileNetConfig, StageConfig, Supernet, make_model_space, recalibrate
    >>> stages = (StageConfig(widths=(8, 16), depths=(1,), stride=2),)
    >>> config = MobileNetConfig(resolutions=(16,), stem_width=8, stages=stages, head_width=32)
    >>> model_space = make_model_space(config, classes=10)
    >>> images = torch.rand(64, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    >>> network = recalibrate(Supernet(model_space).extract(model_space.space.smallest), images)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     artifact = export_artifact(
    ...         network, (3, 16, 16), Path(folder), get_engine("onnxruntime"), images.numpy(), threads=1
    ...     )
    >>> artifact.parity.top1_agreement, artifact.parity.sqnr_db > 90, artifact.format_version
    (1.0, True, 20)

    Args:
        module: A network in evaluation mode with recalibrated batch normalisation.
        input_shape: The shape of one input, without the batch.
        folder: The family's folder.
        engine: The engine that converts and runs the file.
        parity_images: Inputs of the kind that the network was trained on, float32 `(n, *input_shape)`, n >= 2.
        threads: The number of threads of the engine, at least 1.
        model_id: The id in the manifest; by default it is derived from the digest.

    Raises:
        EngineError: The engine is not installed or refuses the module.
        ParityError: The file does not compute what the module computes.
        DiskError: The file cannot be written.
    """
    temporary = folder / MODELS / f"model{TEMPORARY_MARK}{os.getpid()}.onnx"
    try:
        engine.convert(module, input_shape, temporary)
        parity = check_parity(module, engine.load(temporary, threads), parity_images)
        digest, size = sha256_file(temporary), temporary.stat().st_size
        path = Path(MODELS) / f"{digest[:16]}.onnx"  # 64 bits distinguish the files of all releases
        format_version = opset_of(temporary)
        temporary.replace(folder / path)
    except OSError as error:
        raise DiskError(f"{folder / MODELS}: cannot be written ({error.strerror or error})") from error
    finally:
        temporary.unlink(missing_ok=True)
    return Artifact(
        model_id=model_id or f"m{digest[:12]}", path=path, bytes=size, sha256=digest, engine=engine.name,
        engine_version=engine.version(), format_version=format_version, input_shape=input_shape, parity=parity,
    )  # fmt: skip


def evaluate_artifact(
    artifact: Artifact,
    folder: Path,
    engine: Engine,
    images: Images,
    labels: NDArray[np.integer],
    threads: int,
    progress: Progress = silent,
    *,
    batch: int = _LOGITS_AT_ONCE,
) -> Evaluation:
    """Run the exported file on the whole test set.

    Args:
        artifact: The model.
        folder: The family's folder.
        engine: The engine that runs the file.
        images: The test images as model inputs, float32 `(n, *input_shape)`.
        labels: The classes of the images, `(n,)`, counted from 0.
        threads: The number of threads of the engine, at least 1.
        progress: Called after each batch.
        batch: The number of images per call of the engine.

    Raises:
        DataError: There are no images, or not as many labels as images.
        EngineError: The engine refuses the file.
    """
    if not len(images) or len(images) != len(labels):
        raise DataError(
            f"cannot evaluate on {len(images)} images with {len(labels)} labels; pass one label per image, at least one"
        )
    session = engine.load(folder / artifact.path, threads)
    parts = []
    for start in range(0, len(images), batch):
        parts.append(session.run(images[start : start + batch]).argmax(axis=1).astype(np.uint16))
        progress(min(start + batch, len(images)), len(images), artifact.model_id)
    predictions = np.concatenate(parts)
    return Evaluation(predictions=predictions, correct=int((predictions == labels).sum()), images=len(labels))
