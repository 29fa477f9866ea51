"""Test labels and predictions: kept in the run that made a family, because they are nothing that an app needs.

They are named by the digests of the test set and of the model, so those of earlier families stay, and a comparison
finds them whatever family they were made for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from exports.family.files import read_file
from exports.family.judge import Predictions
from exports.family.npy import MAX_NPY_BYTES, npy_bytes, read_answers, read_array
from exports.family.records import Manifest
from exports.family.task_rules import AnswerKind, answer_kind
from factory_base.errors import ForeignError, ManifestError
from factory_base.files import sha256_bytes, write_bytes
from factory_base.foreign import read_regular

RUNS = "runs"
FOLDER = "evaluation"
_CONFIDENCES = ".confidences"
_DIGITS = 16
"""64 bits distinguish the test sets and models of all families."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class FoundEvaluation:
    """The labels of the test set, and each model's predictions for it.

    `confidences` has the probabilities that the models gave their predictions, float32 `(n,)`, as far as they are kept;
    of several labels the probability of each, `(n, labels)`.
    """

    labels: Predictions
    predictions: Mapping[str, Predictions]
    confidences: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)


def model_key(digests: Iterable[str]) -> str:
    """The name of a model: a digest of those of its files, in order."""
    return sha256_bytes("\n".join(digests).encode())[:_DIGITS]


def keep_evaluation(
    store: Path,
    test_set_sha256: str,
    labels: Predictions,
    predictions: Mapping[str, Predictions],
    confidences: Mapping[str, NDArray[np.float32]],
) -> None:
    """Store the labels of a test set, predictions for it, and how sure the models were.

    Args:
        store: The folder of all evaluations of a run.
        test_set_sha256: The digest of the test set.
        labels: The labels of the test set.
        predictions: The predictions by `model_key`.
        confidences: The probabilities of these predictions, of the models that have them.

    Raises:
        DiskError: A file cannot be written.
    """
    folder = store / test_set_sha256[:_DIGITS]
    arrays = {"labels": labels, **predictions, **{f"{key}{_CONFIDENCES}": part for key, part in confidences.items()}}
    for name, values in arrays.items():
        write_bytes(folder / f"{name}.npy", npy_bytes(values))


def evaluation_of(folder: Path, manifest: Manifest, stores: Iterable[Path]) -> FoundEvaluation | None:
    """The evaluation of a family: that which it publishes, else the one in the first of `stores` that has it whole.

    Confidences, which no family publishes, are those of the first of `stores` that has the predictions.

    Raises:
        ManifestError: A file is damaged.
    """
    published = manifest.evaluation
    if published is not None:
        kind = answer_kind(manifest.task)
        labels = read_answers(read_file(folder, published.labels, MAX_NPY_BYTES), published.labels.name, kind)
        predictions = {
            name: read_answers(read_file(folder, file, MAX_NPY_BYTES), file.name, kind)
            for name, file in published.predictions.items()
        }
        stored = next((found for store in stores if (found := _stored(store, manifest)) is not None), None)
        return FoundEvaluation(
            labels=labels, predictions=predictions, confidences=stored.confidences if stored is not None else {}
        )
    return next((found for store in stores if (found := _stored(store, manifest)) is not None), None)


def default_stores(*families: Path) -> tuple[Path, ...]:
    """Where the runs of families keep their evaluations: in `runs/<name>` beside the `dist` of each."""
    folders = [family.absolute() for family in families]
    return tuple(folder.parent.parent / RUNS / folder.name / FOLDER for folder in folders)


def _stored(store: Path, manifest: Manifest) -> FoundEvaluation | None:
    digests = {model.quality.test_set_sha256 for model in manifest.models.values()}
    names = {name: model_key(file.sha256 for file in model.files) for name, model in manifest.models.items()}
    folder = store / next(iter(digests))[:_DIGITS]
    paths = [folder / f"{name}.npy" for name in ("labels", *names.values())]
    if len(digests) > 1 or not all(path.is_file() for path in paths):
        return None
    kind = answer_kind(manifest.task)
    sure = {name: folder / f"{key}{_CONFIDENCES}.npy" for name, key in names.items()}
    return FoundEvaluation(
        labels=_read(folder / "labels.npy", kind),
        predictions={name: _read(folder / f"{key}.npy", kind) for name, key in names.items()},
        confidences={name: _confidences(path, kind) for name, path in sure.items() if path.is_file()},
    )


def _read(path: Path, kind: AnswerKind) -> Predictions:
    return read_answers(_content(path), path.name, kind)


def _confidences(path: Path, kind: AnswerKind) -> NDArray[np.float32]:
    return read_array(_content(path), path.name, "<f4", dimensions=1 if kind == "classes" else 2)


def _content(path: Path) -> bytes:
    try:
        return read_regular(path, MAX_NPY_BYTES, inside=path.parent)
    except ForeignError as error:
        raise ManifestError(str(error)) from error
