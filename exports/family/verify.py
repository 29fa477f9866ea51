"""Verifying a family without a data set: its files, its tiers, and every model on the shipped samples.

Nothing about the family is trusted: files are read as `files` does, samples and expected outputs are bounded before
they are unpacked, and models run in another process with limits (`exports.isolation`).
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from exports.family.artifact import MODELS
from exports.family.author_checks import AuthorCheck, author_checks, release_check
from exports.family.checks import Check, VerifyReport
from exports.family.files import check_family_size, check_file
from exports.family.labels import LABELS, family_labels
from exports.family.manifest import (
    decode_json,
    manifest_path,
    parse_manifest,
    read_bytes,
    read_manifest,
    reference_faults,
)
from exports.family.records import File, Manifest
from exports.family.samples import EVALUATION, SAMPLES, TOKENIZER
from exports.family.verify_samples import sample_checks
from exports.isolation.process import IsolatedProcess
from factory_base.errors import ManifestError
from factory_base.foreign import printable
from factory_base.wording import counted

_MAX_DETAIL = 1500
"""The most characters of a line about tiers, whose names a manifest may choose."""
_MAX_STRAYS = 10_000
_SHOWN_STRAYS = 10
_MEMORY_BYTES = 4 << 30
_MEMORY_PER_FILE_BYTE = 5
"""What a model may take: an engine holds the file, its weights and packed copies of them, and the activations."""


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
            checks.extend(sample_checks(folder, manifest, damaged, own))
    else:
        checks.extend(sample_checks(folder, manifest, damaged, process))
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
    parts = [
        folder / part for part in (MODELS, LABELS, TOKENIZER, SAMPLES, EVALUATION) if not (folder / part).is_symlink()
    ]
    entries = islice((path for part in parts for path in part.rglob("*")), _MAX_STRAYS)
    strays = sorted(path.relative_to(folder).as_posix() for path in entries if path not in named and not path.is_dir())
    more = f" and {len(strays) - _SHOWN_STRAYS} more" if len(strays) > _SHOWN_STRAYS else ""
    shown = ", ".join(strays[:_SHOWN_STRAYS]) + more
    detail = f"ignored, because the manifest does not name them: {shown}" if strays else "none"
    return Check(name="strays", ok=True, detail=detail)


def _memory(manifest: Manifest) -> int:
    largest = max(sum(file.bytes for file in model.files) for model in manifest.models.values())
    return _MEMORY_BYTES + _MEMORY_PER_FILE_BYTE * largest
