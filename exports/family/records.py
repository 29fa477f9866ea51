"""The manifest: the versioned record that an app reads. Each class mirrors one object of the file, field by field.

Readers ignore unknown fields, so that a newer minor version stays readable. A selector keeps its unknown keys, because
they make it not match. Every value that a decision depends on is an integer or a name, never a float.

This module has the whole file and gives the names of all records; their parts are in `task_records`, `tier_records` and
`model_records`, over `record_fields`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from exports.family.model_records import (
    AttemptRecord,
    ClassQuality,
    ConversionRecord,
    DropRecord,
    EngineRange,
    HostRun,
    InputShape,
    Model,
    Needs,
    ParityRecord,
    Perf,
    ProofRecord,
    Quality,
    SelfTest,
    Subnet,
    TokenShape,
    WorstClass,
)
from exports.family.record_fields import (
    MAX_INTEGER,
    PPM,
    PPM_PER_POINT,
    Basis,
    Blocks,
    Count,
    File,
    Id,
    Positive,
    Record,
    Sha256,
)
from exports.family.task_records import (
    IMAGE_FORM_FEATURE,
    OUTPUTS_FEATURE,
    TOKENS_FEATURE,
    CropStep,
    GrayStep,
    InputSpec,
    LabelsDecoding,
    LetterboxStep,
    NormaliseStep,
    Output,
    OutputSpec,
    Preprocessing,
    ResizeStep,
    ResizeToModelStep,
    ScaleStep,
    Task,
    TaskName,
    Tokenizer,
    TokenSpec,
    ValuesDecoding,
)
from exports.family.tier_records import (
    Churn,
    Device,
    PlatformFloor,
    Probe,
    Selector,
    Soc,
    Tier,
)

__all__ = [
    "FORMAT_VERSION",
    "IMAGE_FORM_FEATURE",
    "LABELS_FEATURE",
    "MAX_INTEGER",
    "OUTPUTS_FEATURE",
    "PIXELS_FEATURE",
    "PPM",
    "PPM_PER_POINT",
    "SCHEMA_URN",
    "TOKENS_FEATURE",
    "AttemptRecord",
    "Basis",
    "Blocks",
    "Churn",
    "ClassQuality",
    "ConversionRecord",
    "CropStep",
    "Device",
    "DropRecord",
    "EngineRange",
    "EvaluationFiles",
    "File",
    "GrayStep",
    "HostRun",
    "InputShape",
    "InputSpec",
    "LabelsDecoding",
    "LetterboxStep",
    "Manifest",
    "Model",
    "Needs",
    "NormaliseStep",
    "Output",
    "OutputSpec",
    "ParityRecord",
    "Perf",
    "PlatformFloor",
    "Preprocessing",
    "Probe",
    "ProofRecord",
    "Provenance",
    "Quality",
    "ResizeStep",
    "ResizeToModelStep",
    "SampleFile",
    "Samples",
    "ScaleStep",
    "Selector",
    "SelfTest",
    "Soc",
    "Subnet",
    "Task",
    "TaskName",
    "Tier",
    "TokenShape",
    "TokenSpec",
    "Tokenizer",
    "ValuesDecoding",
    "WorstClass",
]

SCHEMA_URN: Literal["urn:model-factory:manifest:1"] = "urn:model-factory:manifest:1"
FORMAT_VERSION = "1.6"
"""1.2 added labels in a file of their own (`LABELS_FEATURE`); 1.3 added the accuracy per class and the churn, 1.4 the
precision, the proof and the conversion of each model; 1.5 the digests of blocks, the floor of each platform, the load
time, samples that are tensors or none, and families without an evaluation; 1.6 tasks other than image classification
(`OUTPUTS_FEATURE`, `TOKENS_FEATURE`), gray images and images that are not square (`IMAGE_FORM_FEATURE`), and metrics
other than the accuracy. Apps of earlier versions ignore what they do not know, and refuse what they would misread."""

LABELS_FEATURE = "labels_file"
"""The critical feature of a manifest whose labels are in a file of their own."""

PIXELS_FEATURE = "pixel_input"
"""The critical feature of a manifest whose models take pixels and hold the normalisation."""


class SampleFile(File):
    """A sample, or several. The other fields are those of tensors, and missing for an image.

    Attributes:
        height: The height of the inputs; None for text.
        width: The width of the inputs; None for text.
        length: The number of tokens of the inputs; None for images.
        dtype: The type of their values, which are little-endian.
        count: The number of inputs in the file.
    """

    height: Positive | None = None
    width: Positive | None = None
    length: Positive | None = None
    dtype: Literal["float32", "uint8", "int64"] | None = None
    count: Positive | None = None


class Samples(Record):
    """Inputs and the outputs of each model for them.

    Attributes:
        kind: `images`: test images as PNG at base size, which an app preprocesses. `tensors`: inputs that go to the
            models as they are, in the layout of the task's input, one file for each size of input: invented ones, or
            test texts if the family publishes those.
        inputs: The files.
        expected: The file with the outputs.
    """

    kind: Literal["images", "tensors"] = "images"
    inputs: Annotated[tuple[SampleFile, ...], Field(min_length=1)]
    expected: File


class EvaluationFiles(Record):
    """The test labels and each model's predictions for the test set, in NPY format.

    Classes are uint16 `(n,)`; of several labels each is 0 or 1, uint8 `(n, labels)`; values are float32 `(n, values)`.
    `class_images` is that of the manifest, where readers of formats before 1.5 look for it.
    """

    labels: File
    predictions: dict[Id, File]
    class_images: tuple[Count, ...] | None = None


class Provenance(Record):
    """The digests of what the family was made from, and the version of the tool that made it."""

    supernet_sha256: Sha256
    config_sha256: Sha256
    dataset_sha256: Sha256
    tool_version: str


class Manifest(Record):
    """The whole file. The module `manifest` has the rules of its encoding.

    `class_images` is the number of test images of each class; None if there are more than 100 classes, or before 1.5.
    """

    schema_urn: Annotated[Literal["urn:model-factory:manifest:1"], Field(alias="schema")] = SCHEMA_URN
    manifest_version: Annotated[str, Field(pattern=r"^[0-9]+\.[0-9]+$")] = FORMAT_VERSION
    critical: tuple[str, ...] = ()
    family_id: Id
    release: Positive
    task: Task
    tiers: Annotated[tuple[Tier, ...], Field(min_length=1)]
    models: Annotated[dict[Id, Model], Field(min_length=1)]
    floors: Annotated[tuple[PlatformFloor, ...], Field(max_length=64)] = ()
    samples: Samples | None = None
    evaluation: EvaluationFiles | None = None
    class_images: tuple[Count, ...] | None = None
    provenance: Provenance

    def files(self) -> tuple[File, ...]:
        """Every file that the manifest names, without repeats."""
        models = [file for model in self.models.values() for file in model.files]
        samples = [*self.samples.inputs, self.samples.expected] if self.samples else []
        evaluation = [self.evaluation.labels, *self.evaluation.predictions.values()] if self.evaluation else []
        return tuple({file.name: file for file in [*models, *self.task.files(), *samples, *evaluation]}.values())
