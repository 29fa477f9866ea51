"""Verifying a family without a data set: its files, its tiers, and every model on the shipped samples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exports.engines import get_engine
from exports.family.artifact import MODELS
from exports.family.manifest import decode_json, manifest_path, parse_manifest, read_bytes, reference_faults
from exports.family.records import File, Manifest, Model, NormaliseStep
from exports.family.samples import EVALUATION, SAMPLES, read_png, run_samples
from factory_base.errors import FactoryError, ManifestError
from factory_base.files import sha256_file
from factory_base.quantities import counted

MAX_EXPECTED_BYTES = 1 << 26
"""The largest file of expected outputs that is read. 8 samples, 10,000 classes and 50 models take about 36 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check with its name; `detail` is one line for users."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """All checks of a family, in order."""

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether every check passed."""
        return all(check.ok for check in self.checks)


def verify_family(path: Path) -> VerifyReport:
    """Check encoding, schema, references, size and digest of every file, stray files, and every model on the samples.

    Args:
        path: The family's folder or its manifest.

    Raises:
        ManifestError: The manifest itself cannot be read. All other damage is reported as a failed check.
    """
    file = manifest_path(path)
    manifest = parse_manifest(read_bytes(path), str(file))
    folder = file.parent
    checks = [Check(name="manifest", ok=True, detail=f"{manifest.family_id} release {manifest.release}")]
    checks.append(_references(manifest))
    damaged: set[str] = set()
    for entry in manifest.files():
        check = _file(folder, entry)
        checks.append(check)
        damaged |= set() if check.ok else {entry.name}
    checks.append(_strays(folder, manifest))
    checks.extend(_sample_checks(folder, manifest, damaged))
    return VerifyReport(checks=tuple(checks))


def _references(manifest: Manifest) -> Check:
    faults = list(reference_faults(manifest))
    detail = "; ".join(faults) or (
        f"{counted(len(manifest.tiers), 'tier')}, floor included, and {counted(len(manifest.models), 'model')}"
    )
    return Check(name="references", ok=not faults, detail=detail)


def _file(folder: Path, entry: File) -> Check:
    path, name = folder / entry.name, f"file {entry.name}"
    try:
        size = path.stat().st_size
        if size != entry.bytes:
            return Check(name=name, ok=False, detail=f"has {size} bytes, the manifest says {entry.bytes}")
        if sha256_file(path) != entry.sha256:
            return Check(name=name, ok=False, detail="is damaged: its SHA-256 is not that of the manifest")
    except OSError as error:
        return Check(name=name, ok=False, detail=f"cannot be read ({error.strerror})")
    return Check(name=name, ok=True, detail=f"{entry.bytes} bytes, SHA-256 {entry.sha256[:16]}")


def _strays(folder: Path, manifest: Manifest) -> Check:
    named = {folder / file.name for file in manifest.files()}
    found = {path for part in (MODELS, SAMPLES, EVALUATION) for path in (folder / part).rglob("*") if path.is_file()}
    strays = sorted(path.relative_to(folder).as_posix() for path in found - named)
    detail = f"ignored, because the manifest does not name them: {', '.join(strays)}" if strays else "none"
    return Check(name="strays", ok=True, detail=detail)


def _sample_checks(folder: Path, manifest: Manifest, damaged: set[str]) -> Iterator[Check]:
    try:
        images = [read_png(folder / file.name) for file in manifest.samples.inputs]
        expected = _expected(folder / manifest.samples.expected.name)
    except FactoryError as error:
        yield Check(name="samples", ok=False, detail=str(error))
        return
    for name, model in manifest.models.items():
        if any(file.name in damaged for file in model.files):
            yield Check(name=f"samples {name}", ok=False, detail="not run, because its file is damaged")
        else:
            yield _run(folder, manifest, name, images, expected.get(name))


def _expected(path: Path) -> dict[str, Any]:
    try:
        value = decode_json(path.read_bytes(), path.name, MAX_EXPECTED_BYTES)
    except OSError as error:
        raise ManifestError(f"{path.name}: cannot be read ({error.strerror})") from error
    return value if isinstance(value, dict) else {}


def _run(folder: Path, manifest: Manifest, name: str, images: list[NDArray[np.uint8]], expected: Any) -> Check:
    model = manifest.models[name]
    try:
        wanted = np.array(expected["logits_micro"], dtype=np.float64) / 1e6
        top1, tolerance = np.array(expected["top1"]), int(expected["tolerance_micro"]) / 1e6
        found = _logits(folder, manifest, model, images)
        if found.shape != wanted.shape or top1.shape != found.shape[:1]:
            raise ManifestError(f"returns logits {found.shape}, but the expected ones are {wanted.shape}")
    except FactoryError as error:
        return Check(name=f"samples {name}", ok=False, detail=str(error))
    except (KeyError, TypeError, ValueError):
        return Check(name=f"samples {name}", ok=False, detail="the expected outputs are missing or damaged")
    worst = float(np.abs(found - wanted).max())
    same = int((found.argmax(axis=1) == top1).sum())
    detail = f"largest difference {worst:.1e} (at most {tolerance:.1e}), same top-1 on {same} of {len(top1)}"
    return Check(name=f"samples {name}", ok=bool(worst <= tolerance) and same == len(top1), detail=detail)


def _logits(folder: Path, manifest: Manifest, model: Model, images: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
    steps = [step for step in manifest.task.preprocessing.steps if isinstance(step, NormaliseStep)]
    if len(steps) != 1:
        raise ManifestError(f"the preprocessing has {len(steps)} steps 'normalise', expected one")
    session = get_engine(model.engine.name).load(folder / model.files[0].name, 1)
    return run_samples(session, images, model.input.width, steps[0].mean_ppm, steps[0].std_ppm)
