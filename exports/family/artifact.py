"""One exported model: a file named by its digest, proven to compute what the module computes, and its accuracy."""

from __future__ import annotations

import math
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
from factory_base.progress import Progress, silent

if TYPE_CHECKING:
    from torch import nn

    from device_profiles.engine import Engine

MODELS = "models"
_Z95 = 1.959963984540054


class Images(Protocol):
    """Model inputs: an array, or something that makes them slice by slice when they do not fit into memory."""

    def __len__(self) -> int:
        """How many there are."""

    def __getitem__(self, part: slice, /) -> NDArray[np.float32]:
        """Float32 `(n, *input_shape)`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A file of a release.

    Attributes:
        model_id: `m` and the first 12 hex digits of the digest, unless the caller gave another.
        path: relative to the family's folder, `models/<first 16 hex digits of sha256>.onnx`.
        bytes: its size.
        sha256: of its bytes.
        engine: name of the engine that ran it.
        engine_version: of that engine.
        format_version: the opset.
        input_shape: of one input, `(channels, height, width)`.
        parity: measured on this file.
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
    """What an exported file answers to the test set.

    Attributes:
        predictions: uint16 `(images,)`, top-1 classes.
        correct: how many are right.
        images: how many there are.
    """

    predictions: NDArray[np.uint16]
    correct: int
    images: int

    @property
    def accuracy(self) -> float:
        """The fraction that is right."""
        return self.correct / self.images

    def interval(self) -> tuple[float, float]:
        """The 95 % Wilson score interval of the accuracy."""
        return wilson(self.correct, self.images)


def wilson(correct: int, images: int) -> tuple[float, float]:
    """The 95 % score interval of a fraction (Wilson, JASA 22, 1927)."""
    fraction, z2 = correct / images, _Z95**2 / images
    centre = fraction + z2 / 2
    half = _Z95 * math.sqrt(fraction * (1 - fraction) / images + z2 / (4 * images))
    return max(0.0, (centre - half) / (1 + z2)), min(1.0, (centre + half) / (1 + z2))


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
    """Convert `module`, check its parity, and keep it as `folder/models/<digest>.onnx`. Repeating changes nothing.

    Args:
        module: in evaluation mode, batch norm recalibrated.
        folder: of the family.
        parity_images: float32 `(n, *input_shape)`, images the network was made for.

    Raises:
        EngineError: the engine is missing or refuses the module.
        ParityError: the file does not compute what the module computes.
        DiskError: the file cannot be written.
    """
    temporary = folder / MODELS / f"model{TEMPORARY_MARK}{os.getpid()}.onnx"
    try:
        engine.convert(module, input_shape, temporary)
        parity = check_parity(module, engine.load(temporary, threads), parity_images)
        digest, size = sha256_file(temporary), temporary.stat().st_size
        path = Path(MODELS) / f"{digest[:16]}.onnx"
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
    batch: int = 64,
) -> Evaluation:
    """Run the exported file on the whole test set.

    Args:
        images: model inputs, float32 `(n, *input_shape)`; an array or anything that gives slices of one.
        labels: `(n,)`, classes from 0.

    Raises:
        DataError: no images, or another number of labels.
        EngineError: the engine refuses the file.
    """
    if not len(images) or len(images) != len(labels):
        raise DataError(f"cannot evaluate on {len(images)} images with {len(labels)} labels; give as many of both")
    session = engine.load(folder / artifact.path, threads)
    parts = []
    for start in range(0, len(images), batch):
        parts.append(session.run(images[start : start + batch]).argmax(axis=1).astype(np.uint16))
        progress(min(start + batch, len(images)), len(images), artifact.model_id)
    predictions = np.concatenate(parts)
    return Evaluation(predictions=predictions, correct=int((predictions == labels).sum()), images=len(labels))
