"""Verifying a family without a data set: its files, its tiers, and every model on the shipped samples.

Nothing about the family is trusted: files are read as `files` does, samples and expected outputs are bounded before
they are unpacked, and models run in another process with limits (`exports.isolation`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from device_profiles.engine import ModelInput
from exports.client.python.values import version_key
from exports.family.artifact import MODELS
from exports.family.author_checks import AuthorCheck, author_checks, release_check
from exports.family.files import check_family_size, check_file, read_file
from exports.family.input_form import base_size, normalisation
from exports.family.labels import LABELS, family_labels
from exports.family.manifest import (
    decode_json,
    manifest_path,
    parse_manifest,
    read_bytes,
    read_manifest,
    reference_faults,
)
from exports.family.records import EngineRange, File, Manifest, Model
from exports.family.sample_tensors import read_tensors
from exports.family.samples import EVALUATION, MAX_EXPECTED_BYTES, SAMPLES, decode_png, run_samples, run_tensors
from exports.isolation.process import IsolatedProcess, IsolatedSession, JobTimeoutError
from factory_base.errors import FactoryError, ForeignError, ManifestError
from factory_base.foreign import parse_json, printable
from factory_base.wording import counted

_MAX_EXPECTED_VALUES = 8_000_000
MAX_SAMPLE_BYTES = 1 << 26
"""The largest sample that is read: an image of `MAX_SIDE` that cannot be compressed."""
MAX_SIDE = 4096
"""The largest side of a base image or of a model's input that is tried, in pixels."""
MAX_SAMPLE_PIXELS = 1 << 27
"""The most pixels of all samples together: 8 images of `MAX_SIDE`, 400 MB."""
MAX_TENSOR_BYTES = 1 << 28
"""The most bytes of all samples that are tensors."""
_Inputs: TypeAlias = list[NDArray[np.uint8]] | dict[tuple[int, int], ModelInput]
_DESCRIBED = ("onnxruntime",)
"""The engines whose files can be described."""
_MAX_DETAIL = 1500
"""The most characters of a line about tiers, whose names a manifest may choose."""
_MAX_STRAYS = 10_000
_SHOWN_STRAYS = 10
_MEMORY_BYTES = 4 << 30
_MEMORY_PER_FILE_BYTE = 5
"""What a model may take: an engine holds the file, its weights and packed copies of them, and the activations."""
_SECONDS = 60.0
_MACS_PER_SECOND = 2e8
_MAX_SECONDS = 600.0
"""What a model may take: a minute to load, and the time of its MACs on a core that is ten times slower than any phone's
today, but at most ten minutes, because the number of MACs may be made up as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check with its name.

    Attributes:
        name: The name of the check.
        ok: Whether it passed.
        detail: One line for users.
        warning: Whether it passed with something that the author of the family should know.
    """

    name: str
    ok: bool
    detail: str
    warning: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """All checks of a family, in order."""

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether every check passed."""
        return all(check.ok for check in self.checks)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Expected:
    """The expected outputs of a model: logits `(n, classes)` and tolerance in millionths, top-1 classes `(n,)`."""

    logits_micro: NDArray[np.int64]
    top1: NDArray[np.int64]
    tolerance_micro: int


def verify_family(path: Path, process: IsolatedProcess | None = None, previous: Path | None = None) -> VerifyReport:
    """Check encoding, schema, references, tiers, size and digest of every file, strays, and every model on the samples.

    Args:
        path: The family's folder or its manifest.
        process: The process that runs the models, which stays open; by default one for this call.
        previous: The folder or the manifest of the release before, if its number is to be compared.

    Raises:
        ManifestError: The manifest itself, or that of `previous`, cannot be read. All other damage is reported as a
            failed check.
    """
    file = manifest_path(path)
    data = read_bytes(path)
    manifest = parse_manifest(data, str(file))
    folder = file.parent
    checks = [Check(name="manifest", ok=True, detail=f"{manifest.family_id} release {manifest.release}")]
    checks.append(_references(manifest))
    if checks[-1].ok:
        checks += map(_of_author, author_checks(decode_json(data, str(file))))
    if previous is not None:
        checks.append(_of_author(release_check(read_manifest(previous), manifest)))
    try:
        check_family_size(manifest)
    except ManifestError as error:
        return VerifyReport(checks=(*checks, Check(name="files", ok=False, detail=str(error))))
    files = [_file(folder, entry) for entry in manifest.files()]
    damaged = {entry.name for entry, check in zip(manifest.files(), files, strict=True) if not check.ok}
    checks += files
    if manifest.task.labels_file is not None:
        checks.append(_labels(folder, manifest))
    checks.append(_strays(folder, manifest))
    if process is None:
        with IsolatedProcess(_memory(manifest)) as own:
            checks.extend(_sample_checks(folder, manifest, damaged, own))
    else:
        checks.extend(_sample_checks(folder, manifest, damaged, process))
    return VerifyReport(checks=tuple(checks))


def _of_author(check: AuthorCheck) -> Check:
    return Check(
        name=check.name,
        ok=check.verdict != "fault",
        detail=printable(check.detail, _MAX_DETAIL),
        warning=check.verdict == "warning",
    )


def _references(manifest: Manifest) -> Check:
    faults = list(reference_faults(manifest))
    tiers, models = counted(len(manifest.tiers), "tier"), counted(len(manifest.models), "model")
    detail = "; ".join(faults) or f"{tiers}, floor included, and {models}"
    return Check(name="references", ok=not faults, detail=detail)


def _file(folder: Path, entry: File) -> Check:
    try:
        check_file(folder, entry)
    except ManifestError as error:
        return Check(name=f"file {entry.name}", ok=False, detail=str(error).removeprefix(f"{entry.name}: "))
    return Check(name=f"file {entry.name}", ok=True, detail=f"{entry.bytes} bytes, SHA-256 {entry.sha256[:16]}")


def _labels(folder: Path, manifest: Manifest) -> Check:
    try:
        detail = f"{len(family_labels(folder, manifest)):,} names"
    except ManifestError as error:
        return Check(name="labels", ok=False, detail=str(error))
    return Check(name="labels", ok=True, detail=detail)


def _strays(folder: Path, manifest: Manifest) -> Check:
    named = {folder / file.name for file in manifest.files()}
    # A folder that is a link may lead anywhere, to the root of the disk for example.
    parts = [folder / part for part in (MODELS, LABELS, SAMPLES, EVALUATION) if not (folder / part).is_symlink()]
    entries = islice((path for part in parts for path in part.rglob("*")), _MAX_STRAYS)
    strays = sorted(path.relative_to(folder).as_posix() for path in entries if path not in named and not path.is_dir())
    more = f" and {len(strays) - _SHOWN_STRAYS} more" if len(strays) > _SHOWN_STRAYS else ""
    shown = ", ".join(strays[:_SHOWN_STRAYS]) + more
    detail = f"ignored, because the manifest does not name them: {shown}" if strays else "none"
    return Check(name="strays", ok=True, detail=detail)


def _sample_checks(folder: Path, manifest: Manifest, damaged: set[str], process: IsolatedProcess) -> Iterator[Check]:
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
                if model.engine.name in _DESCRIBED:
                    yield _facts(folder, name, model, process)
                if manifest.samples is None:
                    yield _run_zeros(folder, manifest, name, process)
                else:
                    yield _run(folder, manifest, name, inputs, expected.get(name), process)
            except JobTimeoutError as error:
                late = name
                yield Check(name=f"samples {name}", ok=False, detail=str(error))


def _facts(folder: Path, name: str, model: Model, process: IsolatedProcess) -> Check:
    """Whether the file is what the manifest says about it, and whether the engine here may run it."""
    path = folder / model.files[0].name
    arguments = {"engine": model.engine.name, "path": str(path.absolute())}
    try:
        found = process.call("describe", arguments, subject=path.name, seconds=_SECONDS).values
    except JobTimeoutError:
        raise
    except FactoryError as error:
        return Check(name=f"facts {name}", ok=False, detail=str(error))
    faults = [*_described_faults(model, found), *_range_faults(model.engine, str(found["engine_version"]))]
    precision, operators = model.precision or found["precisions"][0], len(found["operators"])
    stated = f"{precision}, opset {found['opset']}, {counted(operators, 'operator')}"
    detail = "; ".join(faults) or f"{stated}; {_range_text(model.engine, str(found['engine_version']))}"
    return Check(name=f"facts {name}", ok=not faults, detail=printable(detail, 500))


def _described_faults(model: Model, found: Mapping[str, Any]) -> Iterator[str]:
    if found["opset"] != model.engine.format_version:
        yield f"the file needs opset {found['opset']}, the manifest says {model.engine.format_version}"
    if model.precision is not None and model.precision not in found["precisions"]:
        yield f"the file is in {found['precisions'][0]}, the manifest says {model.precision}"
    if model.proof is not None and found["operators"] != list(model.proof.operators):
        other = ", ".join(sorted(set(found["operators"]) ^ set(model.proof.operators)))
        yield f"the file and the manifest differ in these operators: {other}"


def _range_faults(engine: EngineRange, version: str) -> Iterator[str]:
    if version_key(version) < version_key(engine.min):
        yield (
            f"{engine.name} {version} is older than {engine.min}, the oldest version that the file is for; upgrade "
            "it to repeat the proof"
        )


def _range_text(engine: EngineRange, version: str) -> str:
    """Which version runs the file here, and whether it was tried when the family was made."""
    if version_key(version) > version_key(engine.max_tested):
        return f"{engine.name} {version} is newer than {engine.max_tested}, the newest version that was tried"
    return f"{engine.name} {version}"


def _inputs(folder: Path, manifest: Manifest) -> _Inputs:
    """The samples: images, or tensors by height and width; no images if the family has none."""
    samples = manifest.samples
    if samples is None:
        return []
    if samples.kind == "images":
        return _images(folder, manifest, samples.inputs)
    pixels, values = manifest.task.input.dtype == "uint8", sum(file.bytes for file in samples.inputs)
    if values > MAX_TENSOR_BYTES:
        raise ManifestError(f"the samples have {values:,} bytes, at most {MAX_TENSOR_BYTES:,} are tried")
    return {
        (file.height or 0, file.width or 0): read_tensors(read_file(folder, file, MAX_SAMPLE_BYTES), file, pixels)
        for file in samples.inputs
    }


def _images(folder: Path, manifest: Manifest, inputs: Sequence[File]) -> list[NDArray[np.uint8]]:
    """The images, at the base size of the preprocessing."""
    size = base_size(manifest.task.preprocessing)
    normalisation(manifest.task.preprocessing)
    if max(size) > MAX_SIDE or len(inputs) * size[0] * size[1] > MAX_SAMPLE_PIXELS:
        raise ManifestError(
            f"{len(inputs)} samples of {size[1]} x {size[0]} pixels are too large to be tried; "
            f"at most {MAX_SIDE} a side and {MAX_SAMPLE_PIXELS:,} in all"
        )
    return [decode_png(read_file(folder, file, MAX_SAMPLE_BYTES), size, file.name) for file in inputs]


def _expected_outputs(folder: Path, file: File) -> dict[str, Any]:
    data = read_file(folder, file, MAX_EXPECTED_BYTES)
    try:
        value = parse_json(data, file.name, max_bytes=MAX_EXPECTED_BYTES, max_depth=8, max_values=_MAX_EXPECTED_VALUES)
    except ForeignError as error:
        raise ManifestError(str(error)) from error
    if not isinstance(value, dict):
        raise ManifestError(f"{file.name}: does not hold the outputs of each model")
    return value


def _run(folder: Path, manifest: Manifest, name: str, inputs: _Inputs, outputs: Any, process: IsolatedProcess) -> Check:
    model = manifest.models[name]
    try:
        given = inputs if isinstance(inputs, list) else _tensors(model, inputs)
        expected = _expected(outputs, model, len(given), manifest.task.output.classes)
        found = _logits(folder, manifest, model, given, process)
    except JobTimeoutError:
        raise
    except FactoryError as error:
        return Check(name=f"samples {name}", ok=False, detail=str(error))
    worst = float(np.abs(found - expected.logits_micro / 1e6).max())
    tolerance = expected.tolerance_micro / 1e6
    same = int(_same_top1(found, expected).sum())
    detail = f"largest difference {worst:.1e} (at most {tolerance:.1e}), same top-1 on {same} of {len(given)}"
    return Check(name=f"samples {name}", ok=worst <= tolerance and same == len(given), detail=detail)


def _run_zeros(folder: Path, manifest: Manifest, name: str, process: IsolatedProcess) -> Check:
    """Whether a model of a family without samples runs at all: one input of zeros, as a client tries it."""
    model = manifest.models[name]
    height, width, pixels = model.input.height, model.input.width, manifest.task.input.dtype == "uint8"
    try:
        _check_side(model)
        zeros = np.zeros((1, height, width, 3), np.uint8) if pixels else np.zeros((1, 3, height, width), np.float32)
        found = _logits(folder, manifest, model, zeros, process)
    except JobTimeoutError:
        raise
    except FactoryError as error:
        return Check(name=f"samples {name}", ok=False, detail=str(error))
    finite = bool(np.isfinite(found).all())
    detail = (
        "the family has no samples; with an input of zeros its outputs are " + ("" if finite else "not ") + "finite"
    )
    return Check(name=f"samples {name}", ok=finite, detail=detail)


def _tensors(model: Model, inputs: Mapping[tuple[int, int], ModelInput]) -> ModelInput:
    size = model.input.height, model.input.width
    if size not in inputs:
        raise ManifestError(f"there are no samples of {size[1]} x {size[0]} pixels, which the model takes")
    return inputs[size]


def _same_top1(found: NDArray[np.float32], expected: _Expected) -> NDArray[np.bool_]:
    """For each sample, whether its class is the expected one, or one that is as good within the tolerance."""
    tops, best = found.argmax(axis=1), expected.logits_micro.max(axis=1)
    right = expected.top1 == expected.logits_micro.argmax(axis=1)
    chosen = expected.logits_micro[np.arange(len(found)), tops]
    return np.asarray((tops == expected.top1) | (right & (best - chosen <= 2 * expected.tolerance_micro)))


def _expected(outputs: Any, model: Model, samples: int, classes: int) -> _Expected:
    """The expected outputs of a model, held against what the manifest says about them."""
    try:
        rows, top1, tolerance = outputs["logits_micro"], outputs["top1"], outputs["tolerance_micro"]
        logits = np.array(rows, dtype=np.int64) if _are_integers(rows, samples, classes) else None
    except (KeyError, TypeError):
        logits = None
    if logits is None or not _are_integers([top1], 1, samples):
        raise ManifestError(f"the expected outputs are not {classes} logits and a class for each of {samples} samples")
    if model.selftest is None:
        raise ManifestError("the manifest has samples, but no self-test of the model")
    if type(tolerance) is not int or tolerance != model.selftest.tolerance_micro:
        shown = tolerance if isinstance(tolerance, int) else type(tolerance).__name__
        raise ManifestError(
            f"the expected outputs have the tolerance_micro {shown}, the manifest says {model.selftest.tolerance_micro}"
        )
    if model.selftest.samples != samples:
        raise ManifestError(f"the manifest has {samples} samples, the self-test of the model {model.selftest.samples}")
    return _Expected(logits_micro=logits, top1=np.array(top1, dtype=np.int64), tolerance_micro=tolerance)


def _are_integers(rows: Any, height: int, width: int) -> bool:
    """Whether JSON is a list of `height` lists of `width` integers, which `parse_json` has bounded to 64 bits."""
    return (
        isinstance(rows, list)
        and len(rows) == height
        and all(isinstance(row, list) and len(row) == width and set(map(type, row)) <= {int} for row in rows)
    )


def _logits(
    folder: Path, manifest: Manifest, model: Model, inputs: list[NDArray[np.uint8]] | ModelInput,
    process: IsolatedProcess,
) -> NDArray[np.float32]:  # fmt: skip
    """What the model computes for images at base size, or for inputs as they are, `(n, classes)`."""
    _check_side(model)
    session = IsolatedSession(
        process, model.engine.name, folder / model.files[0].name, 1, classes=manifest.task.output.classes,
        seconds=_seconds(model, len(inputs)),
    )  # fmt: skip
    if isinstance(inputs, list):
        return run_samples(session, inputs, model.input.width, normalisation(manifest.task.preprocessing))
    return run_tensors(session, inputs)


def _check_side(model: Model) -> None:
    if model.input.height != model.input.width or model.input.width > MAX_SIDE:
        raise ManifestError(
            f"the input has {model.input.width} x {model.input.height} pixels, expected a square of at most {MAX_SIDE}"
        )


def _memory(manifest: Manifest) -> int:
    largest = max(sum(file.bytes for file in model.files) for model in manifest.models.values())
    return _MEMORY_BYTES + _MEMORY_PER_FILE_BYTE * largest


def _seconds(model: Model, samples: int) -> float:
    return min(_MAX_SECONDS, _SECONDS + samples * model.subnet.macs / _MACS_PER_SECOND)
