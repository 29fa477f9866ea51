"""Running every model of a family on the samples that it ships, with limits on their size and on the time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from device_profiles.engine import ModelInput
from exports.family.checks import Check
from exports.family.files import read_file
from exports.family.input_form import base_size, normalisation
from exports.family.records import File, LabelsDecoding, Manifest, Model, SampleFile, ValuesDecoding
from exports.family.samples import MAX_EXPECTED_BYTES, decode_png, run_samples, run_tensors
from exports.family.tensor_form import MAX_SIDE, tensor_form
from exports.family.verify_facts import DESCRIBED, facts_check
from exports.isolation.process import IsolatedProcess, IsolatedSession, JobTimeoutError
from factory_base.errors import FactoryError, ForeignError, ManifestError
from factory_base.foreign import parse_json

_MAX_EXPECTED_VALUES = 8_000_000
MAX_SAMPLE_BYTES = 1 << 26
"""The largest sample that is read: an image of `MAX_SIDE` that cannot be compressed."""
MAX_SAMPLE_PIXELS = 1 << 27
"""The most pixels of all samples together: 8 images of `MAX_SIDE`, 400 MB."""
MAX_TENSOR_BYTES = 1 << 28
"""The most bytes of all samples that are tensors."""
_SECONDS = 60.0
_MACS_PER_SECOND = 2e8
_MAX_SECONDS = 600.0
"""What a model may take: a minute to load, and the time of its MACs on a core that is ten times slower than any phone's
today, but at most ten minutes, because the number of MACs may be made up as well."""
_ANSWERS: Final = {"classes": "top-1", "labels": "labels", "values": "values"}
_Images: TypeAlias = list[NDArray[np.uint8]]
_Contents: TypeAlias = list[tuple[SampleFile, bytes]]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Expected:
    """The expected outputs of a model.

    Attributes:
        outputs_micro: In millionths, `(n, labels)`.
        top1: The classes, `(n,)`; None if the outputs mean something else.
        tolerance_micro: How much an output may differ.
    """

    outputs_micro: NDArray[np.int64]
    top1: NDArray[np.int64] | None
    tolerance_micro: int


def sample_checks(folder: Path, manifest: Manifest, damaged: set[str], process: IsolatedProcess) -> Iterator[Check]:
    """Describe every model's file and run it on the samples.

    Args:
        folder: The family's folder.
        manifest: Its manifest.
        damaged: The names of files that are not what the manifest states, whose models are not run.
        process: The process that runs the models.
    """
    try:
        inputs = _inputs(folder, manifest)
        expected = _expected_outputs(folder, manifest.samples.expected) if manifest.samples else {}
    except FactoryError as error:
        yield Check(name="samples", ok=False, detail=str(error))
        return
    late = ""
    for name, model in manifest.models.items():
        if any(file.name in damaged for file in model.files):
            yield Check(name=f"samples {name}", ok=False, detail="not run, because its file is damaged")
        elif late:
            yield Check(name=f"samples {name}", ok=False, detail=f"not run, because {late} did not finish")
        else:
            try:
                if model.engine.name in DESCRIBED:
                    yield facts_check(folder, name, model, process)
                yield _run(folder, manifest, name, inputs, expected.get(name), process)
            except JobTimeoutError as error:
                late = name
                yield Check(name=f"samples {name}", ok=False, detail=str(error))


def _inputs(folder: Path, manifest: Manifest) -> _Images | _Contents | None:
    """The samples: images, or files of tensors; None if the family has none."""
    samples = manifest.samples
    if samples is None:
        return None
    if samples.kind == "images":
        return _images(folder, manifest, samples.inputs)
    values = sum(file.bytes for file in samples.inputs)
    if values > MAX_TENSOR_BYTES:
        raise ManifestError(f"the samples have {values:,} bytes, at most {MAX_TENSOR_BYTES:,} are tried")
    return [(file, read_file(folder, file, MAX_SAMPLE_BYTES)) for file in samples.inputs]


def _images(folder: Path, manifest: Manifest, inputs: Sequence[File]) -> _Images:
    """The images, at the base size of the preprocessing."""
    steps = manifest.task.preprocessing
    if steps is None:
        raise ManifestError("the samples are images, but the models take none")
    size = base_size(steps)
    normalisation(steps)
    if max(size) > MAX_SIDE or len(inputs) * size[0] * size[1] > MAX_SAMPLE_PIXELS:
        raise ManifestError(
            f"{len(inputs)} samples of {size[1]} x {size[0]} pixels are too large to be tried; "
            f"at most {MAX_SIDE} a side and {MAX_SAMPLE_PIXELS:,} in all"
        )
    channels = getattr(manifest.task.input, "channels", 3)
    found = [decode_png(read_file(folder, file, MAX_SAMPLE_BYTES), size, file.name) for file in inputs]
    return [image[..., :channels] for image in found]


def _expected_outputs(folder: Path, file: File) -> dict[str, Any]:
    data = read_file(folder, file, MAX_EXPECTED_BYTES)
    try:
        value = parse_json(data, file.name, max_bytes=MAX_EXPECTED_BYTES, max_depth=8, max_values=_MAX_EXPECTED_VALUES)
    except ForeignError as error:
        raise ManifestError(str(error)) from error
    if not isinstance(value, dict):
        raise ManifestError(f"{file.name}: does not hold the outputs of each model")
    return value


def _run(
    folder: Path, manifest: Manifest, name: str, inputs: _Images | _Contents | None, outputs: Any,
    process: IsolatedProcess,
) -> Check:  # fmt: skip
    model = manifest.models[name]
    try:
        form = tensor_form(manifest.task, model)
        if inputs is None:
            return _finite(name, _outputs(folder, manifest, model, form.empty(), process))
        given = _images_of(inputs) or _tensors(manifest, model, inputs)
        expected = _expected(outputs, model, len(given), manifest.task.output_count, manifest.task.decoding)
        found = _outputs(folder, manifest, model, given, process)
    except JobTimeoutError:
        raise
    except FactoryError as error:
        return Check(name=f"samples {name}", ok=False, detail=str(error))
    worst = float(np.abs(found - expected.outputs_micro / 1e6).max())
    tolerance = expected.tolerance_micro / 1e6
    same = int(_same_answers(found, expected, manifest.task.decoding).sum())
    kind = _ANSWERS[manifest.task.decoding.kind if manifest.task.decoding else "classes"]
    detail = f"largest difference {worst:.1e} (at most {tolerance:.1e}), same {kind} on {same} of {len(given)}"
    return Check(name=f"samples {name}", ok=worst <= tolerance and same == len(given), detail=detail)


def _finite(name: str, found: NDArray[np.float32]) -> Check:
    """Whether a model of a family without samples runs at all: on an empty input, as a client tries it."""
    finite = bool(np.isfinite(found).all())
    how = "" if finite else "not "
    detail = f"the family has no samples; with an input of zeros its outputs are {how}finite"
    return Check(name=f"samples {name}", ok=finite, detail=detail)


def _images_of(inputs: _Images | _Contents) -> _Images:
    return [image for image in inputs if isinstance(image, np.ndarray)]


def _tensors(manifest: Manifest, model: Model, inputs: _Images | _Contents) -> ModelInput:
    form = tensor_form(manifest.task, model)
    for entry in inputs:
        if isinstance(entry, tuple) and form.takes(entry[0]):
            return form.read(entry[1], entry[0])
    raise ManifestError(f"there are no samples of {form.size}, which the model takes")


def _same_answers(
    found: NDArray[np.float32], expected: _Expected, decoding: LabelsDecoding | ValuesDecoding | None
) -> NDArray[np.bool_]:
    """For each sample, whether its answer is the expected one, or one that is as good within the tolerance."""
    wanted, tolerance = expected.outputs_micro, expected.tolerance_micro
    if isinstance(decoding, LabelsDecoding):
        shares = np.array(decoding.thresholds_ppm) / 1e6
        least = 1e6 * np.log(shares / (1 - shares))
        return np.asarray(
            (((found * 1e6 >= least) == (wanted >= least)) | (np.abs(wanted - least) <= tolerance)).all(1)
        )
    if expected.top1 is None:  # values, which are as close as the outputs
        return np.ones(len(found), np.bool_)
    tops, best = found.argmax(axis=1), wanted.max(axis=1)
    right = expected.top1 == wanted.argmax(axis=1)
    chosen = wanted[np.arange(len(found)), tops]
    return np.asarray((tops == expected.top1) | (right & (best - chosen <= 2 * tolerance)))


def _expected(
    outputs: Any, model: Model, samples: int, count: int, decoding: LabelsDecoding | ValuesDecoding | None = None
) -> _Expected:
    """The expected outputs of a model, held against what the manifest says about them."""
    try:
        rows, tolerance = outputs["logits_micro"], outputs["tolerance_micro"]
        top1 = outputs["top1"] if decoding is None else [0] * samples
        numbers = np.array(rows, dtype=np.int64) if _are_integers(rows, samples, count) else None
    except (KeyError, TypeError):
        numbers = None
    if numbers is None or not _are_integers([top1], 1, samples):
        what = f"{count} logits and a class" if decoding is None else f"{count} numbers"
        raise ManifestError(f"the expected outputs are not {what} for each of {samples} samples")
    if model.selftest is None:
        raise ManifestError("the manifest has samples, but no self-test of the model")
    if type(tolerance) is not int or tolerance != model.selftest.tolerance_micro:
        shown = tolerance if isinstance(tolerance, int) else type(tolerance).__name__
        raise ManifestError(
            f"the expected outputs have the tolerance_micro {shown}, the manifest says {model.selftest.tolerance_micro}"
        )
    if model.selftest.samples != samples:
        raise ManifestError(f"the manifest has {samples} samples, the self-test of the model {model.selftest.samples}")
    classes = np.array(top1, dtype=np.int64) if decoding is None else None
    return _Expected(outputs_micro=numbers, top1=classes, tolerance_micro=tolerance)


def _are_integers(rows: Any, height: int, width: int) -> bool:
    """Whether JSON is a list of `height` lists of `width` integers, which `parse_json` has bounded to 64 bits."""
    return (
        isinstance(rows, list)
        and len(rows) == height
        and all(isinstance(row, list) and len(row) == width and set(map(type, row)) <= {int} for row in rows)
    )


def _outputs(
    folder: Path, manifest: Manifest, model: Model, inputs: _Images | ModelInput, process: IsolatedProcess
) -> NDArray[np.float32]:
    """What the model computes for images at base size, or for inputs as they are, `(n, labels)`."""
    session = IsolatedSession(
        process, model.engine.name, folder / model.files[0].name, 1, classes=manifest.task.output_count,
        seconds=_seconds(model, len(inputs)),
    )  # fmt: skip
    if not isinstance(inputs, list):
        return run_tensors(session, inputs)
    form, steps = tensor_form(manifest.task, model), manifest.task.preprocessing
    return run_samples(session, inputs, form.sides, normalisation(steps) if steps else None)


def _seconds(model: Model, samples: int) -> float:
    return min(_MAX_SECONDS, _SECONDS + samples * model.subnet.macs / _MACS_PER_SECOND)
