"""The names of the classes: in the manifest, or, where they do not fit there, in a file of their own.

A manifest with such a file lists `labels_file` among its critical features, because an app that does not know it would
run the model and have no name for its answer: it has to keep its last good family. Manifests whose labels fit are as
they were before there was such a file.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from exports.family.files import read_file
from exports.family.manifest import repeated
from exports.family.records import Manifest
from factory_base.errors import ForeignError, ManifestError
from factory_base.files import sha256_bytes
from factory_base.foreign import parse_json, printable

LABELS = "labels"
"""The folder of the file of labels in a family's folder."""
MAX_CLASSES = 1 << 16
"""Predictions are stored as uint16."""
MAX_LABELS_BYTES = 1 << 24
"""The largest file of labels: `MAX_CLASSES` names of 250 bytes."""


def labels_bytes(labels: Sequence[str]) -> bytes:
    """The file of labels: a JSON list in the order of the logits, one name per line, UTF-8."""
    return (json.dumps(list(labels), indent=0, ensure_ascii=False) + "\n").encode()


def labels_name(data: bytes) -> str:
    """The name of the file of labels, by content, so that an interrupted update leaves the old family intact."""
    return f"{LABELS}/{sha256_bytes(data)[:16]}.json"


def check_labels(labels: Sequence[str]) -> None:
    """Raise `ManifestError` if no family can have these labels: too many, too long, or not valid Unicode."""
    if len(labels) > MAX_CLASSES:
        raise ManifestError(f"there are {len(labels):,} classes, a family has at most {MAX_CLASSES:,}; merge some")
    for label in labels:
        try:
            label.encode()
        except UnicodeEncodeError as error:  # for example the name of a folder that is not UTF-8
            raise ManifestError(
                f"the class name '{printable(label, 80)}' is not valid Unicode; rename the class, such as its folder"
            ) from error
    size = len(labels_bytes(labels))
    if size > MAX_LABELS_BYTES:
        raise ManifestError(
            f"the names of the {len(labels):,} classes have {size:,} bytes, at most {MAX_LABELS_BYTES:,} are allowed; "
            "shorten them"
        )


def family_labels(folder: Path, manifest: Manifest) -> tuple[str, ...]:
    """The names of the classes of the family in `folder`, in the order of the logits.

    Raises:
        ManifestError: The file of labels is missing, damaged, not a list of distinct names, or not one per class.
    """
    file = manifest.task.labels_file
    if file is None:
        return manifest.task.labels
    try:
        data = read_file(folder, file, MAX_LABELS_BYTES)
        names = parse_json(data, file.name, max_bytes=MAX_LABELS_BYTES, max_depth=1, max_values=MAX_CLASSES + 2)
    except ForeignError as error:
        raise ManifestError(str(error)) from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ManifestError(f"{file.name}: is not a list of names")
    if len(names) != manifest.task.output_count:
        raise ManifestError(f"{file.name}: has {len(names)} labels, the output has {manifest.task.output_count}")
    if (name := repeated(names)) is not None:
        raise ManifestError(f"{file.name}: two classes have the label '{printable(name, 80)}'")
    return tuple(names)
