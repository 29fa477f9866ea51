"""Publishing a family: its files, then the manifest, and nothing if any of that fails.

All files but the manifest are named by their contents, so the files of an earlier family stay as they are until the new
manifest has replaced the old one, which is one step.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from exports.family.artifact import MODELS, ModelFile
from exports.family.labels import LABELS
from exports.family.manifest import FILE_NAME
from exports.family.records import Manifest
from exports.family.samples import EVALUATION, SAMPLES, TOKENIZER
from factory_base.errors import DiskError
from factory_base.files import atomic_path, sha256_bytes, sha256_file, write_bytes, write_text
from factory_base.quantities import format_bytes

_PARTS = (MODELS, LABELS, TOKENIZER, SAMPLES, EVALUATION)
"""The folders of a family."""


def publish(
    folder: Path, source: Path, models: Sequence[ModelFile], contents: Mapping[str, bytes], manifest: str
) -> None:
    """Write a family to `folder`; if that fails, an earlier family in it is as it was.

    Args:
        folder: The family's folder.
        source: The folder with the model files, which are copied; it may be `folder` itself.
        models: The model files.
        contents: The contents of the other files, by their names.
        manifest: The text of the manifest.

    Raises:
        DiskError: There is too little space, or a file cannot be written.
    """
    wanted = {file.path.as_posix(): file for file in models}
    new = {name: file for name, file in wanted.items() if not _is(folder / name, file.sha256)}
    texts = {name: data for name, data in contents.items() if not _is(folder / name, sha256_bytes(data))}
    _check_space(folder, sum(file.bytes for file in new.values()) + sum(map(len, texts.values())) + len(manifest))
    added = [folder / name for name in (*new, *texts) if not (folder / name).exists()]
    try:
        for name in new:
            with atomic_path(folder / name) as temporary:
                shutil.copyfile(source / name, temporary)
        for name, data in texts.items():
            write_bytes(folder / name, data)
        write_text(folder / FILE_NAME, manifest)
    except BaseException:
        _remove(added)
        raise


def remove_unnamed(folder: Path, manifest: Manifest) -> None:
    """Remove the files of earlier families from the folders of a family."""
    named = {folder / file.name for file in manifest.files()}
    _remove(path for path in _stored(folder) if path not in named)
    for part in _PARTS:
        with suppress(OSError):  # it is missing, or still holds files
            (folder / part).rmdir()


def _stored(folder: Path) -> Iterator[Path]:
    for part in _PARTS:
        yield from (path for path in sorted((folder / part).rglob("*")) if path.is_file())


def _is(path: Path, digest: str) -> bool:
    return path.is_file() and sha256_file(path) == digest


def _check_space(folder: Path, needed: int) -> None:
    """Raise `DiskError` if the disk has too little space, before anything is written."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise DiskError(
            f"{folder}: the disk is full: the family needs {format_bytes(needed)}, {format_bytes(free)} are free; free "
            "some space and run the same command again"
        )


def _remove(paths: Iterator[Path] | Sequence[Path]) -> None:
    for path in paths:
        with suppress(OSError):
            path.unlink(missing_ok=True)
