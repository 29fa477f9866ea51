"""Writing a family: from typed inputs to the files of a release. The manifest is written last."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from pydantic import ValidationError

from device_profiles.engine import ModelInput
from device_profiles.workload.file_size import INPUT_NAME, OUTPUT_NAME
from exports.engines.onnxruntime import OnnxRuntimeEngine
from exports.family.artifact import Artifact, Evaluation
from exports.family.author_checks import refuse_faults
from exports.family.blocks import block_bytes, file_blocks
from exports.family.consistency import churn_between, class_accuracies, class_images, class_quality, neighbours
from exports.family.evaluations import keep_evaluation, model_key
from exports.family.input_form import input_spec, preprocessing
from exports.family.judge import published_metric
from exports.family.labels import check_labels, labels_bytes, labels_name
from exports.family.manifest import (
    FILE_NAME,
    FLOOR,
    MAX_BYTES,
    encode_manifest,
    first_fault,
    manifest_text,
    read_manifest,
)
from exports.family.npy import npy_bytes
from exports.family.proof_records import conversion_record, proof_record
from exports.family.publishing import publish, remove_unnamed
from exports.family.records import (
    IMAGE_FORM_FEATURE,
    LABELS_FEATURE,
    OUTPUTS_FEATURE,
    PIXELS_FEATURE,
    PPM,
    TOKENS_FEATURE,
    Blocks,
    EngineRange,
    EvaluationFiles,
    File,
    InputShape,
    Manifest,
    Model,
    Needs,
    ParityRecord,
    Quality,
    SampleFile,
    Samples,
    SelfTest,
    Subnet,
    Task,
    Tier,
    Tokenizer,
    TokenShape,
    TokenSpec,
)
from exports.family.sample_tensors import SAMPLE_TENSORS, sample_file, tensor_samples, token_samples
from exports.family.samples import (
    EVALUATION,
    EXPECTED,
    MAX_EXPECTED_BYTES,
    SAMPLES,
    TOKENIZER,
    png_bytes,
    run_samples,
    run_tensors,
    tolerance_micro,
)
from exports.family.specs import FamilySpec, ModelSpec, tier_ranks
from exports.family.task_spec import TextSpec, class_output, other_outputs, task_name
from exports.isolation.process import IsolatedProcess, IsolatedSession
from factory_base.errors import ManifestError
from factory_base.files import sha256_bytes
from supernet.tasks.measures import predicted_measures
from supernet.tasks.measures_json import measures_summary

_BlocksOf: TypeAlias = dict[Path, Blocks | None]
_BYTES_PER_LOGIT = 10
"""A logit in millionths as JSON: a sign, up to eight digits and a comma."""
_SAMPLES_SECONDS = 600.0
"""What loading a model and running it on the samples may take before it counts as hanging."""


def write_family(
    folder: Path, spec: FamilySpec, *, source: Path | None = None, process: IsolatedProcess | None = None,
    evaluations: Path | None = None,
) -> Manifest:  # fmt: skip
    """Write models, labels, samples, evaluation and, last, the manifest; then remove what the manifest does not name.

    Until the manifest is written, an earlier family in the folder stays as it was; if anything fails, for good.

    The ranks are those of `tier_ranks`. The model of the floor is the one that needs the least memory, then the fewest
    bytes.

    Args:
        folder: The family's folder.
        spec: The specification of the family.
        source: The folder with the model files; by default the family's folder.
        process: The process that runs the models, which stays open; by default one for this call.
        evaluations: The folder where test labels and predictions are kept, whether they are published or not.

    Returns:
        The manifest as read back from disk.

    Raises:
        ManifestError: The specification is incomplete or contradicts itself, or `author_checks` finds a fault.
        EngineError: A model's engine refuses the samples.
        DiskError: There is too little space, or a file cannot be written.
    """
    if process is None:
        with IsolatedProcess() as own:
            return write_family(folder, spec, source=source, process=own, evaluations=evaluations)
    check_family(spec)
    stored = folder if source is None else source
    expected = {model.artifact.model_id: _expected(stored, model, spec, process) for model in spec.models}
    blocks = {file.path: file_blocks(stored / file.path) for model in spec.models for file in model.artifact.files}
    text, contents = _encoded(spec, expected, blocks, str(folder / FILE_NAME))
    if evaluations is not None:
        _keep(evaluations, spec)
    publish(folder, stored, [file for model in spec.models for file in model.artifact.files], contents, text)
    written = read_manifest(folder)
    remove_unnamed(folder, written)
    return written


def check_family(spec: FamilySpec) -> None:
    """Find out before the models are made whether `write_family` would refuse the family for any other reason.

    Args:
        spec: The specification with invented model files and numbers. What decides are its names, its numbers of
            models, tiers, classes and samples, and the length of its texts.

    Raises:
        ManifestError: The manifest or another file would be too large, a name is not allowed, or `author_checks` finds
            a fault.
    """
    _check(spec)
    samples = len(spec.sample_images if spec.texts is None else spec.texts.samples)
    logits = samples * len(spec.labels) * len(spec.models)
    if logits * _BYTES_PER_LOGIT > MAX_EXPECTED_BYTES:
        raise ManifestError(
            f"the expected outputs of {len(spec.models)} models for {len(spec.labels):,} classes would have about "
            f"{logits * _BYTES_PER_LOGIT:,} bytes, at most {MAX_EXPECTED_BYTES:,} are allowed; name fewer targets"
        )
    expected = {model.artifact.model_id: {"tolerance_micro": 1} for model in spec.models}
    files = [file for model in spec.models for file in model.artifact.files]
    blocks: _BlocksOf = {file.path: _invented_blocks(file.bytes) for file in files}
    _encoded(spec, expected, blocks, f"the manifest of family {spec.family_id!r}")


def _invented_blocks(size: int) -> Blocks:
    """As many blocks as a large file has."""
    block = block_bytes(size)
    return Blocks(bytes=block, sha256=("0" * 64,) * -(-size // block))


def _encoded(
    spec: FamilySpec, expected: dict[str, Any], blocks: _BlocksOf, source: str
) -> tuple[str, dict[str, bytes]]:
    """The text of the manifest, and the contents of every file that it names except the models.

    The labels are in the manifest if they fit there, which keeps the manifests of most families readable by every app.
    """
    try:
        manifest, contents = _contents(spec, expected, blocks)
        if len(manifest_text(manifest).encode()) > MAX_BYTES:
            data = labels_bytes(spec.labels)
            contents[labels_name(data)] = data
            manifest = _with_labels_file(manifest, _file("class_names", labels_name(data), data))
        size = len(manifest_text(manifest).encode())
    except ValidationError as error:
        raise ManifestError(f"family {spec.family_id!r}: {first_fault(error)}") from error
    if size > MAX_BYTES:
        raise ManifestError(
            f"{source}: {len(spec.models)} models for {len(spec.tiers)} tiers take {size:,} bytes, at most "
            f"{MAX_BYTES:,} are allowed; name fewer targets"
        )
    text = encode_manifest(manifest, source)
    refuse_faults(json.loads(text), source)
    return text, contents


def _with_labels_file(manifest: Manifest, file: File) -> Manifest:
    task = manifest.task.model_copy(update={"labels": (), "labels_file": file})
    return manifest.model_copy(update={"task": task, "critical": (*manifest.critical, LABELS_FEATURE)})


def _contents(spec: FamilySpec, expected: dict[str, Any], blocks: _BlocksOf) -> tuple[Manifest, dict[str, bytes]]:
    """The manifest with its labels, and the contents of every file that it names except the models."""
    task = _task(spec)
    # Named by content, like the models, so that an update which fails leaves the earlier family intact.
    samples, contents = _samples(spec, expected)
    evaluation, more = _evaluation(spec)
    tokenizer = {task.tokenizer.file.name: spec.texts.tokenizer} if task.tokenizer and spec.texts else {}
    manifest = Manifest(
        family_id=spec.family_id,
        release=spec.release,
        critical=_critical(spec),
        task=task,
        tiers=_tiers(spec),
        models={
            model.artifact.model_id: _model(model, spec, expected[model.artifact.model_id]["tolerance_micro"], blocks)
            for model in spec.models
        },
        floors=spec.floors,
        samples=samples,
        evaluation=evaluation,
        class_images=_class_images(spec),
        provenance=spec.provenance,
    )
    return manifest, {**tokenizer, **contents, **more}


def _critical(spec: FamilySpec) -> tuple[str, ...]:
    """What an app must know so as not to misread the family."""
    features = {
        IMAGE_FORM_FEATURE: spec.texts is None and not spec.takes_usual_images,
        PIXELS_FEATURE: spec.takes_pixels,
        OUTPUTS_FEATURE: not spec.has_classes,
        TOKENS_FEATURE: spec.texts is not None,
    }
    return tuple(feature for feature, is_needed in features.items() if is_needed)


def _class_images(spec: FamilySpec) -> tuple[int, ...] | None:
    return class_images(spec.test_labels, len(spec.labels)) if spec.has_classes else None


def _samples(spec: FamilySpec, expected: dict[str, Any]) -> tuple[Samples | None, dict[str, bytes]]:
    """The samples that the family publishes, and the contents of their files."""
    if spec.publish.samples == "none":
        return None, {}
    kind = _sample_kind(spec)
    files = _tensor_files(spec) if kind == "tensors" else _image_files(spec)
    text = json.dumps(expected, separators=(",", ":"), sort_keys=True).encode()
    answers, data = _named(EXPECTED, text, ".json", "expected")
    samples = Samples(kind=kind, inputs=tuple(file for file, _ in files), expected=answers)
    return samples, {**{file.name: content for file, content in files}, answers.name: data}


def _sample_kind(spec: FamilySpec) -> Literal["images", "tensors"]:
    """In what form samples are published: texts as the tokens that models take."""
    return "images" if spec.publish.samples == "images" and spec.texts is None else "tensors"


def _sample_inputs(artifact: Artifact, spec: FamilySpec) -> ModelInput:
    """The samples that are tensors, as inputs of a model: invented ones, or texts of the user."""
    if spec.texts is None:
        return tensor_samples(artifact.image_shape, spec.normalise)
    texts = spec.texts.samples if spec.publish.samples == "images" else token_samples(spec.texts)
    tokens: ModelInput = texts[:, : artifact.input_shape[0]]
    return tokens


def _image_files(spec: FamilySpec) -> list[tuple[SampleFile, bytes]]:
    named = [
        _named(f"{SAMPLES}/{index:03}", png_bytes(image), ".png", "sample")
        for index, image in enumerate(spec.sample_images)
    ]
    return [(SampleFile(**file.model_dump()), data) for file, data in named]


def _tensor_files(spec: FamilySpec) -> list[tuple[SampleFile, bytes]]:
    artifacts = {model.artifact.input_shape: model.artifact for model in spec.models}
    return [sample_file(SAMPLES, _sample_inputs(artifacts[shape], spec)) for shape in sorted(artifacts)]


def _evaluation(spec: FamilySpec) -> tuple[EvaluationFiles | None, dict[str, bytes]]:
    """The test labels and predictions, if the family publishes them, and the contents of their files."""
    if not spec.publish.evaluation:
        return None, {}
    labels = _named(f"{EVALUATION}/labels", npy_bytes(spec.test_labels), ".npy", "labels")
    predictions = {
        model.artifact.model_id: _named(
            f"{EVALUATION}/{model.artifact.model_id}", npy_bytes(model.evaluation.predictions), ".npy", "predictions"
        )
        for model in spec.models
    }
    files = EvaluationFiles(
        labels=labels[0],
        predictions={name: file for name, (file, _) in predictions.items()},
        class_images=_class_images(spec),
    )
    return files, {file.name: data for file, data in (labels, *predictions.values())}


def _keep(evaluations: Path, spec: FamilySpec) -> None:
    made = {model_key(file.sha256 for file in model.artifact.files): model.evaluation for model in spec.models}
    predictions = {key: evaluation.predictions for key, evaluation in made.items()}
    confidences = {
        key: evaluation.confidences for key, evaluation in made.items() if evaluation.confidences is not None
    }
    keep_evaluation(evaluations, spec.test_set_sha256, spec.test_labels, predictions, confidences)


def _check(spec: FamilySpec) -> None:
    check_labels(spec.labels)
    ids = [model.artifact.model_id for model in spec.models]
    if not ids or len(set(ids)) < len(ids):
        raise ManifestError(f"family {spec.family_id!r}: has the models {ids}; give at least one, and each id once")
    if len({model.artifact.input_type for model in spec.models}) > 1:
        raise ManifestError(
            f"family {spec.family_id!r}: some models take pixels and others do not; export all in one form"
        )
    for tier in spec.tiers:
        if tier.model_id not in ids:
            raise ManifestError(f"tier {tier.id!r}: names the model {tier.model_id!r}; known: {', '.join(ids)}")
        if tier.id == FLOOR or not tier.selectors:
            raise ManifestError(f"tier {tier.id!r}: needs at least one selector and an id other than {FLOOR!r}")
        for selector in tier.selectors:
            if selector.model_extra:
                raise ManifestError(f"tier {tier.id!r}: a selector has the unknown keys {sorted(selector.model_extra)}")
    images = spec.sample_images
    if spec.texts is not None:
        if any(len(model.artifact.input_shape) != 1 for model in spec.models):
            raise ManifestError(f"family {spec.family_id!r}: some models take no tokens; export all for texts")
    elif images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3) or not len(images):
        raise ManifestError(
            f"the sample images are {images.dtype} {images.shape}, expected uint8 (n, height, width, 1 or 3), n >= 1"
        )
    if spec.test_labels.ndim > 1 or not spec.has_classes:
        if spec.has_classes or spec.test_labels.shape[1:] != (len(spec.labels),):
            raise ManifestError(
                f"the test labels have the shape {spec.test_labels.shape}, which is not that of {spec.judge.kind} for "
                f"the {len(spec.labels)} names"
            )
    elif len(spec.test_labels) and not 0 <= int(spec.test_labels.min()) <= int(spec.test_labels.max()) < len(
        spec.labels
    ):
        raise ManifestError(f"the test labels must be in 0 to {len(spec.labels) - 1}, the indices of the label names")
    for model in spec.models:
        if model.evaluation.images != len(spec.test_labels):
            raise ManifestError(
                f"model {model.artifact.model_id!r}: was evaluated on {model.evaluation.images} images, "
                f"but the test set has {len(spec.test_labels)}; evaluate it on all"
            )


def _task(spec: FamilySpec) -> Task:
    published, texts = spec.judge.task.published(), spec.texts
    task = Task(
        name=task_name(spec.judge.task),
        input=input_spec(spec.takes_pixels, spec.channels) if texts is None else _token_spec(texts),
        output=class_output(OUTPUT_NAME, published),
        outputs=other_outputs(OUTPUT_NAME, published),
        labels=spec.labels,
    )
    if texts is not None:
        file, _ = _named(f"{TOKENIZER}/tokenizer", texts.tokenizer, ".json", "tokenizer")
        return task.model_copy(update={"tokenizer": Tokenizer(file=file)})
    height, width = spec.sample_images.shape[1:3]
    return task.model_copy(
        update={"preprocessing": preprocessing((height, width), spec.normalise, spec.fitting, spec.channels)}
    )


def _token_spec(texts: TextSpec) -> TokenSpec:
    return TokenSpec(
        name=INPUT_NAME, dtype="int64", length=texts.length, padding=texts.padding, vocabulary=texts.vocabulary
    )


def _tiers(spec: FamilySpec) -> tuple[Tier, ...]:
    smallest = min(spec.models, key=lambda m: (m.peak_memory_bytes, m.artifact.bytes, m.artifact.model_id))
    tiers = [Tier(id=FLOOR, platform="any", rank=0, match=(), models=(smallest.artifact.model_id,))]
    ranked = zip(tier_ranks(spec.tiers), spec.tiers, strict=True)
    for rank, tier in sorted(ranked, key=lambda item: (item[1].platform, item[0])):
        tiers.append(Tier(id=tier.id, platform=tier.platform, rank=rank, match=tier.selectors, models=(tier.model_id,)))
    return _with_churn(tiers, spec)


def _with_churn(tiers: Sequence[Tier], spec: FamilySpec) -> tuple[Tier, ...]:
    predictions = {model.artifact.model_id: model.evaluation.predictions for model in spec.models}
    churn = {
        higher.id: churn_between(
            lower.id, spec.judge, spec.test_labels, *(predictions[tier.models[0]] for tier in (lower, higher))
        )
        for lower, higher in neighbours(tiers)
    }
    return tuple(tier.model_copy(update={"churn": churn[tier.id]}) if tier.id in churn else tier for tier in tiers)


def _model(model: ModelSpec, spec: FamilySpec, tolerance: int, blocks: _BlocksOf) -> Model:
    artifact, parity = model.artifact, model.artifact.parity
    return Model(
        files=tuple(
            File(
                role=file.role, name=file.path.as_posix(), bytes=file.bytes, sha256=file.sha256,
                blocks=blocks[file.path],
            )
            for file in artifact.files
        ),
        input=_input_shape(artifact),
        engine=_engine_range(artifact),
        needs=Needs(
            peak_memory_bytes=model.peak_memory_bytes, disk_bytes=artifact.bytes, basis=model.needs_basis,
            load_us=round(artifact.proof.host.load_us), load_basis="measured", load_machine=artifact.proof.host.machine,
        ),
        perf=model.perf,
        quality=_quality(model, spec),
        parity=ParityRecord(
            max_abs_difference_nano=math.ceil(parity.max_abs_difference * 1e9),
            top1_agreement_ppm=round(parity.top1_agreement * PPM),
            images=parity.images,
        ),
        subnet=Subnet(
            supernet_sha256=spec.provenance.supernet_sha256, finetuned_sha256=model.finetuned_sha256,
            values=model.subnet_values, macs=model.macs, parameters=model.parameters,
        ),
        selftest=_selftest(spec, tolerance),
        precision=artifact.precision,
        proof=proof_record(artifact.proof),
        conversion=conversion_record(artifact.conversion),
    )  # fmt: skip


def _input_shape(artifact: Artifact) -> InputShape | TokenShape:
    if artifact.input_type == "int64":
        return TokenShape(length=artifact.input_shape[0])
    channels, height, width = artifact.image_shape
    return InputShape(channels=channels, height=height, width=width)


def _quality(model: ModelSpec, spec: FamilySpec) -> Quality:
    predictions, labels = model.evaluation.predictions, spec.test_labels
    found = spec.judge.estimate(predictions, labels)
    value, low, high = (round(part * PPM) for part in (found.value, found.low, found.high))
    accuracies = class_accuracies(labels, predictions) if spec.has_classes else None
    return Quality(
        metric=published_metric(spec.judge.metric), value_ppm=value, low_ppm=low, high_ppm=high,
        images=model.evaluation.images, test_set_sha256=spec.test_set_sha256, basis="measured", of="exported file",
        classes=class_quality(accuracies, len(spec.labels)) if accuracies else None,
        measures=_measures(spec, model.evaluation),
    )  # fmt: skip


def _measures(spec: FamilySpec, evaluation: Evaluation) -> dict[str, int]:
    found = predicted_measures(evaluation.predictions, spec.test_labels, len(spec.labels), evaluation.confidences)
    return {name: round(value * PPM) for name, value in measures_summary(found).items()}


def _selftest(spec: FamilySpec, tolerance: int) -> SelfTest | None:
    own = len(spec.sample_images if spec.texts is None else spec.texts.samples)
    counts = {"images": own, "tensors": SAMPLE_TENSORS, "none": 0}
    count = counts[spec.publish.samples]
    return SelfTest(samples=count, tolerance_micro=tolerance) if count else None


def _engine_range(artifact: Artifact) -> EngineRange:
    """The engine versions for `artifact`. ONNX Runtime guarantees that newer versions run files of older opsets."""
    tried = tuple(version.split("+")[0] for version in artifact.proof.versions_tried)
    known = artifact.engine == OnnxRuntimeEngine.name
    return EngineRange(
        name=artifact.engine,
        format_version=artifact.format_version,
        min=OnnxRuntimeEngine.oldest_version(artifact.format_version) if known else tried[0],
        max_tested=tried[-1],
        forward_ok=known,
        tried=tried,
    )


def _expected(folder: Path, model: ModelSpec, spec: FamilySpec, process: IsolatedProcess) -> dict[str, Any]:
    """The outputs of the exported file for the samples, and how much those of another machine may differ."""
    artifact = model.artifact
    if artifact.classes != len(spec.labels):
        raise ManifestError(
            f"model {artifact.model_id!r}: has {artifact.classes} outputs, but there are {len(spec.labels)} labels"
        )
    session = IsolatedSession(
        process, artifact.engine, folder / artifact.path, 1, classes=artifact.classes, seconds=_SAMPLES_SECONDS
    )
    if _sample_kind(spec) == "images":
        logits = run_samples(session, spec.sample_images, artifact.image_shape[1:], spec.normalise)
    else:
        logits = run_tensors(session, _sample_inputs(artifact, spec))
    return {
        "logits_micro": np.rint(logits.astype(np.float64) * 1e6).astype(int).tolist(),
        "tolerance_micro": tolerance_micro(logits, artifact.precision),
        **({"top1": logits.argmax(axis=1).tolist()} if spec.has_classes else {}),
    }


def _named(stem: str, data: bytes, suffix: str, role: str) -> tuple[File, bytes]:
    """The description of a file whose name ends with a digest of its contents, and the contents."""
    return _file(role, f"{stem}-{sha256_bytes(data)[:12]}{suffix}", data), data


def _file(role: str, name: str, data: bytes) -> File:
    return File(role=role, name=name, bytes=len(data), sha256=sha256_bytes(data))
