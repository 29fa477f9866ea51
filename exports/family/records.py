"""The manifest: the versioned record that an app reads. Each class mirrors one object of the file, field by field.

Readers ignore unknown fields, so that a newer minor version stays readable. A selector keeps its unknown keys, because
they make it not match. Every value that a decision depends on is an integer or a name, never a float.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from device_profiles.engine import Precision

SCHEMA_URN: Literal["urn:model-factory:manifest:1"] = "urn:model-factory:manifest:1"
FORMAT_VERSION = "1.5"
"""1.2 added labels in a file of their own (`LABELS_FEATURE`); 1.3 added the accuracy per class and the churn, 1.4 the
precision, the proof and the conversion of each model; 1.5 the digests of blocks, the floor of each platform, the load
time, samples that are tensors or none, and families without an evaluation. Apps of earlier versions ignore what they do
not know."""
MAX_INTEGER = 2**53 - 1
"""The largest integer that JSON readers with doubles, such as JavaScript, represent exactly (RFC 8259, section 6)."""
PPM = 1_000_000
"""Parts per million: an accuracy of 1."""
PPM_PER_POINT = 10_000
"""A percentage point in parts per million."""

LABELS_FEATURE = "labels_file"
"""The critical feature of a manifest whose labels are in a file of their own."""

PIXELS_FEATURE = "pixel_input"
"""The critical feature of a manifest whose models take pixels and hold the normalisation."""

Id = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.\-]{0,63}$")]
"""A name that is safe in file names, URLs and log lines of all platforms; 64 characters keep such lines short."""
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
RelativePath = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.\-]*(/[A-Za-z0-9_][A-Za-z0-9_.\-]*)*$", max_length=255)
]
"""A path below the manifest's folder, without `..`; 255 bytes is the longest name of common file systems."""
Version = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)*$", max_length=32)]
"""Dotted numbers. 32 characters hold every known version and bound the work of comparing them."""
Count = Annotated[int, Field(ge=0, le=MAX_INTEGER)]
Positive = Annotated[int, Field(ge=1, le=MAX_INTEGER)]
Byte = Annotated[int, Field(ge=0, le=255)]
Ppm = Annotated[int, Field(ge=0, le=PPM)]
SignedPpm = Annotated[int, Field(ge=-PPM, le=PPM)]
Name = Annotated[str, Field(max_length=128)]
Basis = Literal["measured", "few_shot", "modelled", "assumed"]


class Record(BaseModel):
    """The base of every object of the manifest: frozen, without conversion of types; unknown fields are ignored."""

    model_config = ConfigDict(
        extra="ignore", frozen=True, strict=True, allow_inf_nan=False, validate_by_name=True, protected_namespaces=()
    )


class Blocks(Record):
    """The digests of a file's parts, so that a damaged part can be fetched again alone.

    Attributes:
        bytes: The size of a block; the last one may be shorter.
        sha256: The digest of each block.
    """

    bytes: Positive
    sha256: Annotated[tuple[Sha256, ...], Field(min_length=1, max_length=4096)]


class File(Record):
    """One file of the release. `name` is relative to the manifest's folder; small files have no blocks."""

    role: Id
    name: RelativePath
    bytes: Positive
    sha256: Sha256
    blocks: Blocks | None = None


class InputSpec(Record):
    """The model's input tensor, and the image that preprocessing turns into it."""

    name: str
    layout: Literal["NCHW", "NHWC"]
    dtype: Literal["float32", "uint8"]
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
    """Resize an image of any size to the base size: bilinear with antialiasing, in version 2 in integers."""

    op: Literal["resize"] = "resize"
    width: Positive
    height: Positive
    method: Literal["bilinear_antialias", "integer_bilinear_antialias"] = "bilinear_antialias"


class CropStep(Record):
    """Resize an image until it covers the base size, and take the centre: version 3."""

    op: Literal["crop"] = "crop"
    width: Positive
    height: Positive
    method: Literal["integer_bilinear_antialias"] = "integer_bilinear_antialias"


class LetterboxStep(Record):
    """Resize an image until it fits into the base size, on a plain colour (RGB, 0 to 255): version 3."""

    op: Literal["letterbox"] = "letterbox"
    width: Positive
    height: Positive
    method: Literal["integer_bilinear_antialias"] = "integer_bilinear_antialias"
    colour: tuple[Byte, Byte, Byte]


class ResizeToModelStep(Record):
    """Resize the base size to the model's input size: bilinear, half-pixel centres, no antialiasing."""

    op: Literal["resize_to_model"] = "resize_to_model"
    method: Literal["bilinear", "integer_bilinear"] = "bilinear"


class ScaleStep(Record):
    """Divide by `divisor`."""

    op: Literal["scale"] = "scale"
    divisor: Positive = 255


class NormaliseStep(Record):
    """Subtract the mean and divide by the standard deviation, per channel; both in millionths."""

    op: Literal["normalise"] = "normalise"
    mean_ppm: tuple[int, ...]
    std_ppm: tuple[Positive, ...]


Step = Annotated[
    ResizeStep | CropStep | LetterboxStep | ResizeToModelStep | ScaleStep | NormaliseStep, Field(discriminator="op")
]


class Preprocessing(Record):
    """The steps that turn pixels into the input, in order. The app must implement this `version`: 1 to 3."""

    version: Positive
    steps: tuple[Step, ...]


class Task(Record):
    """The task of the family. If `labels_file` is given, it holds the labels, and `labels` is empty; see `labels`."""

    name: Literal["image_classification"]
    input: InputSpec
    output: OutputSpec
    preprocessing: Preprocessing
    labels: tuple[str, ...]
    labels_file: File | None = None


class Soc(Record):
    """A system on a chip. An empty `model` stands for all models of the maker."""

    maker: str
    model: str = ""


class Device(Record):
    """A device by its maker and model, as the operating system names them. An empty `model` stands for all models."""

    maker: str
    model: str = ""


class Probe(Record):
    """A measurement that the app makes on the device itself: which one, and the least score."""

    id: Id
    score: Positive


class Selector(Record):
    """A condition on device facts; all given keys must hold. RAM classes are in MiB, see `resolver.ram_class_mib`.

    Attributes:
        platforms: The accepted platforms.
        ram_class_min: The smallest class of RAM, inclusive.
        ram_class_max: The largest class of RAM, exclusive.
        cores_min: The smallest number of processor cores.
        os_min: The oldest version of the operating system; on Android the API level.
        soc_include: The accepted systems on a chip.
        soc_exclude: The excluded systems on a chip.
        device_include: The accepted devices.
        device_exclude: The excluded devices.
        features_all: What the device must have; the app and the author agree on the names.
        features_none: What the device must not have.
        probe_min: The least score of a measurement by the app.
        strict: Whether the excluding keys also exclude devices of which the fact is unknown.
    """

    model_config = ConfigDict(extra="allow")

    platforms: tuple[Id, ...] | None = None
    ram_class_min: Positive | None = None
    ram_class_max: Positive | None = None
    cores_min: Positive | None = None
    os_min: Version | None = None
    soc_include: tuple[Soc, ...] | None = None
    soc_exclude: tuple[Soc, ...] | None = None
    device_include: tuple[Device, ...] | None = None
    device_exclude: tuple[Device, ...] | None = None
    features_all: tuple[Id, ...] | None = None
    features_none: tuple[Id, ...] | None = None
    probe_min: Probe | None = None
    strict: bool | None = None


class Churn(Record):
    """How the predictions of a tier's first model differ from those of a lower tier's, as shares of all test images.

    Attributes:
        against: The id of the lower tier.
        changed_ppm: The share for which the two models predict different classes.
        gained_ppm: The share for which the lower tier's model is wrong and this tier's is right.
        lost_ppm: The share for which the lower tier's model is right and this tier's is wrong.
    """

    against: Id
    changed_ppm: Ppm
    gained_ppm: Ppm
    lost_ppm: Ppm


class Tier(Record):
    """A rank within a platform. A device gets it if any selector of `match` holds; models are in order of preference.

    Rank 0 is the floor, without selectors and for any platform; it is for all remaining devices. `churn` is that
    against the next lower tier of the platform; the lowest tier and the floor have none.
    """

    id: Id
    platform: Id
    rank: Count
    match: Annotated[tuple[Selector, ...], Field(max_length=8)]  # bounds the work of an app at launch
    models: Annotated[tuple[Id, ...], Field(min_length=1)]
    churn: Churn | None = None


class PlatformFloor(Record):
    """What the devices of a platform get that match no tier. Platforms without one get the tier of rank 0.

    Attributes:
        platform: The platform.
        action: `model`: one of `models`; `cloud`: a server computes; `off`: nothing runs.
        models: The models in order of preference; empty unless the action is `model`.
    """

    platform: Id
    action: Literal["model", "cloud", "off"]
    models: tuple[Id, ...] = ()


class InputShape(Record):
    """The shape of one input of a model."""

    channels: Positive
    height: Positive
    width: Positive


class EngineRange(Record):
    """The engine versions that may run the model.

    Attributes:
        name: The name of the engine.
        format_version: The version of the file format; for ONNX the opset.
        min: The oldest version that runs the model.
        max_tested: The newest version that ran the model when the family was made.
        forward_ok: Whether the engine guarantees that newer versions run it.
        tried: The versions that ran the model when the family was made; empty in manifests before 1.4.
    """

    name: Id
    format_version: Positive
    min: Version
    max_tested: Version
    forward_ok: bool = False
    tried: tuple[Version, ...] = ()


class Needs(Record):
    """The memory and the disk space that must be available, and how long loading takes.

    Attributes:
        peak_memory_bytes: The peak memory of one inference, weights included.
        disk_bytes: The size of all files.
        basis: The provenance of the peak memory.
        load_us: The time from the file to a session that is ready to run; None in manifests before 1.5.
        load_basis: The provenance of the load time.
        load_machine: The computer on which the load time was measured; None if it was not measured.
    """

    peak_memory_bytes: Count
    disk_bytes: Positive
    basis: Basis
    load_us: Count | None = None
    load_basis: Basis | None = None
    load_machine: Name | None = None


class Perf(Record):
    """One latency. `machine` names the computer on which it was measured; "" if it was not measured."""

    device: Id
    threads: Positive
    compute_unit: Id
    latency_us: Positive
    basis: Basis
    machine: str = ""


class WorstClass(Record):
    """The class of lowest accuracy, as the index of its label, with the number of its test images."""

    index: Count
    value_ppm: Ppm
    images: Positive


class ClassQuality(Record):
    """Accuracy of the exported file per class, over the classes of which there are test images.

    Attributes:
        worst: The class of lowest accuracy.
        lowest_decile_ppm: The accuracy that one class in ten does not exceed.
        correct: The number of correctly labelled test images of each class, of the manifest's `class_images`; None if
            there are more than 100 classes.
    """

    worst: WorstClass
    lowest_decile_ppm: Ppm
    correct: tuple[Count, ...] | None = None


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
    classes: ClassQuality | None = None


class ParityRecord(Record):
    """How close the file is to the PyTorch module; the largest difference of a logit is in billionths."""

    max_abs_difference_nano: Count
    top1_agreement_ppm: Ppm
    images: Positive


class Subnet(Record):
    """The origin of the model; no decision depends on it.

    Attributes:
        supernet_sha256: The digest of the supernet's checkpoint.
        finetuned_sha256: The digest of the subnet's own weights if it was fine-tuned; otherwise it has the supernet's.
        values: The JSON form of the subnet.
        macs: The MACs of one inference.
        parameters: The number of parameters.
    """

    supernet_sha256: Sha256
    finetuned_sha256: Sha256 | None = None
    values: dict[str, int | float]
    macs: Positive
    parameters: Positive


class SelfTest(Record):
    """A check that a device can run with the shipped samples: every logit is within the tolerance, in millionths."""

    samples: Positive
    tolerance_micro: Positive


class HostRun(Record):
    """How the model ran in its engine on the machine that made the family, one input at a time.

    Attributes:
        machine: The name of the processor.
        threads: The number of threads of the engine.
        engine_version: The version of the engine.
        latency_p50_us: The median latency.
        latency_p95_us: The 95th percentile of the latency.
        runs: The number of timed runs.
        load_us: The time from the file to a session that is ready to run.
        peak_memory_bytes: By how much the memory of a process grew at most while it loaded and ran the model; None if
            it could not be found out.
    """

    machine: Name
    threads: Positive
    engine_version: Version
    latency_p50_us: Count
    latency_p95_us: Count
    runs: Positive
    load_us: Count
    peak_memory_bytes: Count | None = None


class ProofRecord(Record):
    """What was measured of the file before it was published, on held-out images that `parity` counts.

    Attributes:
        max_difference_nano: The largest difference of a logit to the PyTorch module, in billionths of the logit range.
        sqnr_millidb: The signal-to-quantisation-noise ratio in thousandths of a decibel; None without a difference.
        disagreements: The number of images with another top-1 class than the PyTorch module.
        near_ties: The number of images whose two best classes are so close that the largest difference can swap them.
        operators: The names of the operators in the file, sorted, each once.
        host: How it ran.
    """

    max_difference_nano: Count
    sqnr_millidb: Annotated[int, Field(ge=-MAX_INTEGER, le=MAX_INTEGER)] | None = None
    disagreements: Count
    near_ties: Count
    operators: Annotated[tuple[Name, ...], Field(max_length=256)]
    host: HostRun


class DropRecord(Record):
    """How much accuracy a conversion cost on the same images, with its 95 % interval; negative if it gained some."""

    drop_ppm: SignedPpm
    low_ppm: SignedPpm
    high_ppm: SignedPpm
    images: Positive


class AttemptRecord(Record):
    """One way of quantising that was tried; `float_layers` is the number of layers that compute in float32."""

    ranges: Id
    equalised: bool
    float_layers: Count
    finetuned: bool
    drop: DropRecord


class ConversionRecord(Record):
    """How the file came about.

    Attributes:
        attempts: What was tried, in this order; empty if nothing was to be chosen.
        chosen: The index of the attempt that the file holds; None without attempts.
        float_layers: The names of the layers that compute in float32 although the others do not.
    """

    attempts: Annotated[tuple[AttemptRecord, ...], Field(max_length=32)] = ()
    chosen: Count | None = None
    float_layers: tuple[Name, ...] = ()


class Model(Record):
    """One exported subnet.

    The engine opens the first of `files`; this one may refer to the others, which other models may name as well.
    `precision`, `proof` and `conversion` are missing in manifests before 1.4, `selftest` if there are no samples.
    """

    files: Annotated[tuple[File, ...], Field(min_length=1)]
    input: InputShape
    engine: EngineRange
    needs: Needs
    perf: tuple[Perf, ...]
    quality: Quality
    parity: ParityRecord
    subnet: Subnet
    selftest: SelfTest | None = None
    precision: Precision | None = None
    proof: ProofRecord | None = None
    conversion: ConversionRecord | None = None


class SampleFile(File):
    """A sample, or several. The other fields are those of tensors, and missing for an image.

    Attributes:
        height: The height of the inputs.
        width: The width of the inputs.
        dtype: The type of their values, which are little-endian.
        count: The number of inputs in the file.
    """

    height: Positive | None = None
    width: Positive | None = None
    dtype: Literal["float32", "uint8"] | None = None
    count: Positive | None = None


class Samples(Record):
    """Inputs and the outputs of each model for them.

    Attributes:
        kind: `images`: test images as PNG at base size, which an app preprocesses. `tensors`: invented inputs, one file
            for each size of input, in the layout of the task's input, which go to the models as they are.
        inputs: The files.
        expected: The file with the outputs.
    """

    kind: Literal["images", "tensors"] = "images"
    inputs: Annotated[tuple[SampleFile, ...], Field(min_length=1)]
    expected: File


class EvaluationFiles(Record):
    """The test labels and each model's predictions for the test images: uint16 arrays in NPY format.

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
        labels = [self.task.labels_file] if self.task.labels_file else []
        samples = [*self.samples.inputs, self.samples.expected] if self.samples else []
        evaluation = [self.evaluation.labels, *self.evaluation.predictions.values()] if self.evaluation else []
        return tuple({file.name: file for file in [*models, *labels, *samples, *evaluation]}.values())
