"""The errors stage: a page with the pictures, or the texts, of the worst errors of the models.

They are the user's test data, so the page stays in the run folder and is not part of the family.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from exports.family.records import Manifest
from factory_base.files import sha256_bytes
from model_factory.console import Console
from model_factory.report.data import QualityRow
from model_factory.report.errors import ErrorSection, Picture, write_errors
from model_factory.run import Run
from model_factory.stages.cached import Stage
from model_factory.stages.export import Exported
from model_factory.stages.materials import Materials
from model_factory.stages.quality import test_labels
from supernet.data.types import LabelledTexts
from supernet.tasks.worst_errors import worst_errors

_VERSION = 2
_MOST: Final = 24
"""Errors of each model: what fits on a screen and shows a pattern, some 100 KiB of small pictures."""
_NO_LABEL: Final = "no label"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mistake:
    """An error in words; the attributes are those of `Picture`."""

    example: int
    label: str
    predicted: str
    confidence: float | None


def errors_stage(
    run: Run,
    materials: Materials,
    console: Console,
    manifest: Manifest,
    exported: Sequence[Exported],
    quality: Sequence[QualityRow],
    names: Sequence[str],
) -> None:
    """Write the page of the worst errors to the run folder.

    Args:
        run: The run.
        materials: Its test images, which are read only if the page is written.
        console: Shows progress.
        manifest: The manifest of its family.
        exported: The exported model of each target.
        quality: The models in order.
        names: The names of the classes, labels or values.

    Raises:
        DataError: An image cannot be read.
        DiskError: The page cannot be written.
        ManifestError: The family does not publish its evaluation, and the run has lost it.
    """
    labels = test_labels(run, manifest)
    evaluations = {e.artifact.model_id: e.evaluation() for e in exported}
    errors = {
        name: _mistakes(found.predictions, labels, found.confidences, names) for name, found in evaluations.items()
    }

    def write() -> bool:
        with console.stage("write errors"):
            pictures = _pictures(materials, errors)
            wrong = {name: _wrong(found.predictions, labels) for name, found in evaluations.items()}
            sections = [_section(row, wrong[row.model_id], errors[row.model_id], pictures) for row in quality]
            write_errors(manifest.family_id, sections, run.errors)
        return True

    stage = Stage(
        run=run,
        name="errors",
        version=_VERSION,
        inputs={
            "family": manifest.family_id,
            "test": sorted({model.quality.test_set_sha256 for model in manifest.models.values()}),
            "models": [[row.model_id, list(row.targets)] for row in quality],
            "errors": sha256_bytes(TypeAdapter(dict[str, tuple[_Mistake, ...] | None]).dump_json(errors)),
        },
        libraries=("jinja2", "pillow"),
        codec=TypeAdapter(bool),
    )
    stage.cached(write, lambda _: (run.errors,))


def _mistakes(
    predictions: NDArray[Any], labels: NDArray[Any], confidences: NDArray[np.float32] | None, names: Sequence[str]
) -> tuple[_Mistake, ...] | None:
    """The worst errors of a model in words; None if its confidences were not kept."""
    found = worst_errors(predictions, labels, confidences, _MOST)
    if found is None:
        return None
    return tuple(
        _Mistake(
            example=one.example,
            label=_words(labels[one.example], names),
            predicted=_words(predictions[one.example], names),
            confidence=one.confidence,
        )
        for one in found
    )


def _words(answer: Any, names: Sequence[str]) -> str:
    """A class by its name, several labels by theirs, numbers with the names of their values."""
    if np.ndim(answer) == 0:
        return names[int(answer)]
    if answer.dtype.kind != "f":
        return ", ".join(names[index] for index in np.flatnonzero(answer).tolist()) or _NO_LABEL
    return ", ".join(f"{name} {value:.4g}" for name, value in zip(names, answer.tolist(), strict=True))


def _wrong(predictions: NDArray[Any], labels: NDArray[Any]) -> int | None:
    """How many answers are wrong; None for numbers, of which hardly any is exact."""
    differ = (predictions != labels).reshape(len(labels), -1).any(axis=1)
    return None if labels.dtype.kind == "f" else int(differ.sum())


def _pictures(
    materials: Materials, errors: Mapping[str, Sequence[_Mistake] | None]
) -> dict[int, NDArray[np.uint8] | str]:
    """The test images that any model gets wrong, `(channels, height, width)` each, or texts, by their place."""
    wanted = sorted({error.example for found in errors.values() for error in found or ()})
    if not wanted:
        return {}
    test, rows = materials.splits.test, np.array(wanted)
    if isinstance(test, LabelledTexts):
        tokenizer = materials.splits.tokenizer
        return dict(zip(wanted, tokenizer.decode(test.tokens[rows]) if tokenizer else (), strict=True))
    return dict(zip(wanted, test.images[rows], strict=True))


def _section(
    row: QualityRow,
    wrong: int | None,
    errors: Sequence[_Mistake] | None,
    pictures: Mapping[int, NDArray[np.uint8] | str],
) -> ErrorSection:
    return ErrorSection(
        model_id=row.model_id,
        targets=row.targets,
        wrong=wrong,
        examples=row.measures.examples,
        pictures=None if errors is None else tuple(
            Picture(
                shown=pictures[error.example], example=error.example, label=error.label,
                predicted=error.predicted, confidence=error.confidence,
            )
            for error in errors
        ),
    )  # fmt: skip
