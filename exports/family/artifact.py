"""One exported model: its files, named by their digests, the proof of what they compute, and their accuracy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from device_profiles.engine import InputType, ModelInput, Precision
from exports.family.judge import Predictions
from exports.family.parity import Parity
from exports.family.proof import Proof
from exports.isolation.process import IsolatedProcess, IsolatedSession
from exports.onnx.conversion import Conversion
from factory_base.errors import DataError
from factory_base.files import sha256_file
from factory_base.progress import Progress, silent
from supernet.tasks.class_measures import confidences
from supernet.tasks.label_measures import probabilities

if TYPE_CHECKING:
    from supernet.tasks.task import Task

MODELS = "models"
"""The folder of model files in a family's folder, and in the folder where they wait for the family."""

_LOGITS_AT_ONCE = 64
"""Images per call of the engine: a progress report after each, and few enough for any memory."""
_SECONDS_PER_IMAGE = 10.0
"""What a model may take per image before it counts as hanging: a thousand times what the largest takes on a phone."""


class Images(Protocol):
    """Model inputs: an array, or an object that makes them slice by slice if they do not fit into memory."""

    def __len__(self) -> int:
        """The number of inputs."""

    def __getitem__(self, part: slice, /) -> ModelInput:
        """The inputs of a slice, `(n, *input_shape)`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """A file of a model.

    Attributes:
        role: What it is: `weights` for a file with weights, `graph` for one that has its weights in another file.
        path: The path relative to the family's folder, `models/<first 16 hex digits of sha256>.onnx`.
        bytes: The size of the file.
        sha256: The digest of the file.
    """

    role: str
    path: Path
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A model of a release: the file that its engine opens, and the files that this one refers to.

    Attributes:
        model_id: The id in the manifest, by default `m` and the first 12 hex digits of the digest.
        files: The file that the engine opens, then those that it refers to, which other models may refer to as well.
        engine: The name of the engine that ran it.
        engine_version: The version of that engine.
        format_version: The ONNX opset.
        input_shape: The shape of one input, `(channels, height, width)`; with `uint8` `(height, width, channels)`; of
            tokens `(length,)`.
        input_type: The type of the input.
        classes: The number of outputs, one per label.
        proof: What was measured of it.
        conversion: How it came about.
    """

    model_id: str
    files: tuple[ModelFile, ...]
    engine: str
    engine_version: str
    format_version: int
    input_shape: tuple[int, ...]
    input_type: InputType
    classes: int
    proof: Proof
    conversion: Conversion

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The channels, the height and the width of one input, whatever their order in the tensor."""
        if self.input_type == "uint8":
            height, width, channels = self.input_shape
        else:
            channels, height, width = self.input_shape
        return channels, height, width

    @property
    def path(self) -> Path:
        """The path of the file that the engine opens, relative to the family's folder."""
        return self.files[0].path

    @property
    def sha256(self) -> str:
        """The digest of that file, which identifies the model."""
        return self.files[0].sha256

    @property
    def bytes(self) -> int:
        """The size of all its files."""
        return sum(file.bytes for file in self.files)

    @property
    def precision(self) -> Precision:
        """The precision of the file."""
        return self.proof.precision

    @property
    def parity(self) -> Parity:
        """How close the file is to its module."""
        return self.proof.parity


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Evaluation:
    """The predictions of an exported file for the test images, or texts.

    Attributes:
        predictions: The answers: classes as uint16 `(images,)`, or what else the task predicts, see `judge`.
        correct: The number of correct predictions; None if the answers are not classes.
        images: The number of images.
        confidences: The softmax probability of each predicted class, float32 `(images,)`; of several labels the
            probability of each, `(images, labels)`; None of values, or if it was not kept.
    """

    predictions: Predictions
    correct: int | None
    images: int
    confidences: NDArray[np.float32] | None = None


def model_file(path: Path, role: str = "weights") -> ModelFile:
    """The description of the file at `path`, under the name that it gets in a family."""
    digest = sha256_file(path)
    name = Path(MODELS) / f"{digest[:16]}{path.suffix}"  # 64 bits distinguish the files of all releases
    return ModelFile(role=role, path=name, bytes=path.stat().st_size, sha256=digest)


def evaluate_artifact(
    artifact: Artifact,
    folder: Path,
    images: Images,
    labels: Predictions,
    threads: int,
    progress: Progress = silent,
    *,
    task: Task | None = None,
    batch: int = _LOGITS_AT_ONCE,
    process: IsolatedProcess | None = None,
) -> Evaluation:
    """Run the exported file on the whole test set, in a process of its own.

    Args:
        artifact: The model.
        folder: The folder that `artifact.path` is relative to.
        images: The test images as model inputs, `(n, *input_shape)`.
        labels: The labels of the images, of the kind that the task has: classes `(n,)`, counted from 0.
        threads: The number of threads of the engine, at least 1.
        progress: Called after each batch.
        task: What the model learnt; None for classes.
        batch: The number of images per call of the engine.
        process: The process that runs the model, which stays open; by default one for this call.

    Raises:
        DataError: There are no images, or not as many labels as images.
        EngineError: The engine refuses the file, or crashes.
    """
    if not len(images) or len(images) != len(labels):
        raise DataError(
            f"cannot evaluate on {len(images)} images with {len(labels)} labels; pass one label per image, at least one"
        )
    if process is None:
        with IsolatedProcess() as own:
            return evaluate_artifact(
                artifact, folder, images, labels, threads, progress, task=task, batch=batch, process=own
            )
    session = IsolatedSession(
        process, artifact.engine, folder / artifact.path, threads, classes=artifact.classes,
        seconds=60 + _SECONDS_PER_IMAGE * len(images),
    )  # fmt: skip
    predicted: list[Predictions] = []
    stated: list[NDArray[np.float32]] = []
    for start in range(0, len(images), batch):
        outputs = session.run(images[start : start + batch])
        if task is None or task.labels == "class":
            predicted.append(outputs.argmax(axis=1).astype(np.uint16))
            stated.append(confidences(outputs))
        else:
            predicted.append(task.predictions(outputs))
            if task.labels == "classes":
                stated.append(probabilities(outputs).astype(np.float32))
        progress(min(start + batch, len(images)), len(images), artifact.model_id)
    predictions = np.concatenate(predicted)
    return Evaluation(
        predictions=predictions,
        correct=int((predictions == labels).sum()) if predictions.ndim == 1 else None,
        images=len(labels),
        confidences=np.concatenate(stated) if stated else None,
    )
