"""The manifest: the versioned record that an app reads. Each class mirrors one object of the file, field by field.

Readers ignore fields they do not know, so that a newer minor version stays readable; a selector keeps its unknown
keys, because they make it not match. Whatever a decision reads is an integer or a name, never a float.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_URN: Literal["urn:model-factory:manifest:1"] = "urn:model-factory:manifest:1"
FORMAT_VERSION = "1.1"
MAX_INTEGER = 2**53 - 1
PPM = 1_000_000

Id = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.\-]{0,63}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
RelativePath = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.\-]*(/[A-Za-z0-9_][A-Za-z0-9_.\-]*)*$", max_length=255)
]
Version = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)*$", max_length=32)]
Count = Annotated[int, Field(ge=0, le=MAX_INTEGER)]
Positive = Annotated[int, Field(ge=1, le=MAX_INTEGER)]
Ppm = Annotated[int, Field(ge=0, le=PPM)]
Basis = Literal["measured", "few_shot", "modelled", "assumed"]


class Record(BaseModel):
    """Base of every object of the manifest: frozen, no conversion of types, unknown fields ignored."""

    model_config = ConfigDict(
        extra="ignore", frozen=True, strict=True, allow_inf_nan=False, validate_by_name=True, protected_namespaces=()
    )


class File(Record):
    """One file of the release. `name` is relative to the manifest's folder."""

    role: Id
    name: RelativePath
    bytes: Positive
    sha256: Sha256


class InputSpec(Record):
    """The model's input tensor, and the image from which preprocessing makes it."""

    name: str
    layout: Literal["NCHW"]
    dtype: Literal["float32"]
    channels: Positive
    colour: Literal["RGB"]
    image_min: Count
    image_max: Count


class OutputSpec(Record):
    """The model's output tensor: one logit per label."""

    name: str
    dtype: Literal["float32"]
    classes: Positive


class ResizeStep(Record):
    """Any image to the base size: bilinear with antialiasing."""

    op: Literal["resize"] = "resize"
    width: Positive
    height: Positive
    method: Literal["bilinear_antialias"] = "bilinear_antialias"


class ResizeToModelStep(Record):
    """The base size to the model's input: bilinear, half-pixel centres, no antialiasing."""

    op: Literal["resize_to_model"] = "resize_to_model"
    method: Literal["bilinear"] = "bilinear"


class ScaleStep(Record):
    """Divide by `divisor`."""

    op: Literal["scale"] = "scale"
    divisor: Positive = 255


class NormaliseStep(Record):
    """Subtract the mean, divide by the standard deviation, per channel, in millionths."""

    op: Literal["normalise"] = "normalise"
    mean_ppm: tuple[int, ...]
    std_ppm: tuple[Positive, ...]


Step = Annotated[ResizeStep | ResizeToModelStep | ScaleStep | NormaliseStep, Field(discriminator="op")]


class Preprocessing(Record):
    """What turns pixels into the input, in order. The app must implement this `version`."""

    version: Positive
    steps: tuple[Step, ...]


class Task(Record):
    """What the family does."""

    name: Literal["image_classification"]
    input: InputSpec
    output: OutputSpec
    preprocessing: Preprocessing
    labels: tuple[str, ...]


class Soc(Record):
    """A system on a chip. An empty `model` stands for all of the maker."""

    maker: str
    model: str = ""


class Selector(Record):
    """A rule over device facts; every key that is present must hold. RAM classes in MiB, see `resolver.ram_class_mib`.

    Attributes:
        ram_class_min: inclusive.
        ram_class_max: exclusive.
        strict: whether a device that does not tell is excluded by `soc_exclude`.
    """

    model_config = ConfigDict(extra="allow")

    platforms: tuple[Id, ...] | None = None
    ram_class_min: Positive | None = None
    ram_class_max: Positive | None = None
    cores_min: Positive | None = None
    os_min: Version | None = None
    soc_include: tuple[Soc, ...] | None = None
    soc_exclude: tuple[Soc, ...] | None = None
    strict: bool | None = None


class Tier(Record):
    """A rank within a platform: any selector of `match` takes a device; models in order of preference.

    Rank 0 is the floor, without selectors, for any platform; it takes whatever is left.
    """

    id: Id
    platform: Id
    rank: Count
    match: Annotated[tuple[Selector, ...], Field(max_length=8)]
    models: Annotated[tuple[Id, ...], Field(min_length=1)]


class InputShape(Record):
    """One input of one model."""

    channels: Positive
    height: Positive
    width: Positive


class EngineRange(Record):
    """The engine versions that may run the model.

    Attributes:
        format_version: of the file; for ONNX the opset.
        min: the oldest version.
        max_tested: the version that ran the file when the family was made.
        forward_ok: whether newer versions are promised to run it.
    """

    name: Id
    format_version: Positive
    min: Version
    max_tested: Version
    forward_ok: bool = False


class Needs(Record):
    """What must be free."""

    peak_memory_bytes: Count
    disk_bytes: Positive
    basis: Basis


class Perf(Record):
    """One latency. `machine` names the computer that was measured; "" where nothing was."""

    device: Id
    threads: Positive
    compute_unit: Id
    latency_us: Positive
    basis: Basis
    machine: str = ""


class Quality(Record):
    """Accuracy of the exported file on the test set, with its 95 % Wilson interval."""

    metric: Literal["top1_accuracy"]
    value_ppm: Ppm
    low_ppm: Ppm
    high_ppm: Ppm
    images: Positive
    test_set_sha256: Sha256
    basis: Literal["measured"]
    of: Literal["exported file"]


class ParityRecord(Record):
    """How close the file is to the PyTorch module; the difference of logits in billionths."""

    max_abs_difference_nano: Count
    top1_agreement_ppm: Ppm
    images: Positive


class Subnet(Record):
    """Where the model comes from; no decision reads it.

    Attributes:
        supernet_sha256: of the supernet's checkpoint.
        finetuned_sha256: of the subnet's own weights, where it was trained further; else it has the supernet's.
        values: the subnet's JSON form.
        macs: of one inference.
        parameters: how many.
    """

    supernet_sha256: Sha256
    finetuned_sha256: Sha256 | None = None
    values: dict[str, int | float]
    macs: Positive
    parameters: Positive


class SelfTest(Record):
    """What a device can check by itself with the shipped samples: every logit within the tolerance, in millionths."""

    samples: Positive
    tolerance_micro: Positive


class Model(Record):
    """One exported subnet."""

    files: Annotated[tuple[File, ...], Field(min_length=1)]
    input: InputShape
    engine: EngineRange
    needs: Needs
    perf: tuple[Perf, ...]
    quality: Quality
    parity: ParityRecord
    subnet: Subnet
    selftest: SelfTest


class Samples(Record):
    """Real inputs (PNG at base size) and what each model answers to them."""

    inputs: Annotated[tuple[File, ...], Field(min_length=1)]
    expected: File


class EvaluationFiles(Record):
    """Test labels and each model's predictions for them: uint16 arrays in NPY format."""

    labels: File
    predictions: dict[Id, File]


class Provenance(Record):
    """What the family was made from."""

    supernet_sha256: Sha256
    config_sha256: Sha256
    dataset_sha256: Sha256
    tool_version: str


class Manifest(Record):
    """The whole file. See `manifest` for the rules of its encoding."""

    schema_urn: Annotated[Literal["urn:model-factory:manifest:1"], Field(alias="schema")] = SCHEMA_URN
    manifest_version: Annotated[str, Field(pattern=r"^[0-9]+\.[0-9]+$")] = FORMAT_VERSION
    critical: tuple[str, ...] = ()
    family_id: Id
    release: Positive
    task: Task
    tiers: Annotated[tuple[Tier, ...], Field(min_length=1)]
    models: Annotated[dict[Id, Model], Field(min_length=1)]
    samples: Samples
    evaluation: EvaluationFiles
    provenance: Provenance

    def files(self) -> tuple[File, ...]:
        """Every file that the manifest names, each name once."""
        models = [file for model in self.models.values() for file in model.files]
        evaluation = [self.evaluation.labels, *self.evaluation.predictions.values()]
        named = [*models, *self.samples.inputs, self.samples.expected, *evaluation]
        return tuple({file.name: file for file in named}.values())
