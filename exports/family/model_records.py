"""What the manifest says about a model: its files, what it needs, how good it is, and how it came about."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from device_profiles.engine import Precision
from exports.family.record_fields import (
    MAX_INTEGER,
    Basis,
    Count,
    File,
    Id,
    Name,
    Positive,
    Ppm,
    Record,
    Score,
    Sha256,
    SignedPpm,
    Version,
)


class InputShape(Record):
    """The shape of one input of a model that takes images."""

    channels: Positive
    height: Positive
    width: Positive

    @property
    def is_square(self) -> bool:
        """Whether images are as high as wide."""
        return self.height == self.width


class TokenShape(Record):
    """The shape of one input of a model that takes tokens: how many of the task's it takes, from the first on."""

    length: Positive


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
    """How good the exported file is on the test set, with a 95 % interval.

    Attributes:
        metric: What is measured: `top1_accuracy`, or another metric of the task, such as `f1` or `r2`.
        value_ppm: Its value in parts per million; 1 is the best, and a metric such as `r2` may be below 0.
        low_ppm: The lower end of its interval: for the accuracy Wilson's.
        high_ppm: The upper end.
        images: The number of test examples.
        test_set_sha256: The digest of the test set.
        basis: The provenance of the value.
        of: What was evaluated.
        classes: The accuracy per class, if the answers are classes.
        measures: Further figures of the same evaluation by name, such as `balanced_accuracy`, `macro_f1`,
            `calibration_error` and `majority_accuracy`, which always answering the most frequent class reaches.
    """

    metric: Id
    value_ppm: Score
    low_ppm: Score
    high_ppm: Score
    images: Positive
    test_set_sha256: Sha256
    basis: Literal["measured"]
    of: Literal["exported file"]
    classes: ClassQuality | None = None
    measures: dict[Id, Score] | None = None


class ParityRecord(Record):
    """How close the file is to the PyTorch module.

    Attributes:
        max_abs_difference_nano: The largest difference of an output, in billionths.
        top1_agreement_ppm: The share of the inputs for which both give the same answer: for classes the same class.
        images: The number of inputs that were compared.
    """

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
    """A check that a device can run with the shipped samples: every output is within the tolerance, in millionths."""

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
        max_difference_nano: The largest difference of an output to the PyTorch module, in billionths of their range.
        sqnr_millidb: The signal-to-quantisation-noise ratio in thousandths of a decibel; None without a difference.
        disagreements: The number of images with another answer than the PyTorch module: for classes another class.
        near_ties: The number of images whose answer the largest difference can change: for classes by swapping the two
            best ones.
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
    input: InputShape | TokenShape
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
