"""The errors stage: a page with the pictures, or the texts, that the models get most confidently wrong.

They are the user's test data, so the page stays in the run folder and is no part of the family.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from exports.family.records import Manifest
from factory_base.files import digest_of, sha256_bytes
from model_factory.console import Console
from model_factory.report.data import QualityRow
from model_factory.report.errors import ErrorSection, Picture, write_errors
from model_factory.run import Run
from model_factory.stages.cached import Stage
from model_factory.stages.export import Exported
from model_factory.stages.materials import Materials
from model_factory.stages.quality import test_labels
from supernet.data.types import LabelledTexts
from supernet.tasks.worst_errors import WorstError, worst_errors

_VERSION = 1
_MOST: Final = 24
"""Errors of each model: what fits on a screen and shows a pattern, some 100 KiB of small pictures."""


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
        names: The names of the classes.

    Raises:
        DataError: An image cannot be read.
        DiskError: The page cannot be written.
        ManifestError: The family does not publish its evaluation, and the run has lost it.
    """
    labels = test_labels(run, manifest)
    evaluations = {e.artifact.model_id: e.evaluation() for e in exported}
    errors = {
        name: worst_errors(found.predictions, labels, found.confidences, _MOST)
        for name, found in evaluations.items()
        if found.confidences is not None and found.correct is not None  # the errors of classes
    }

    def write() -> bool:
        with console.stage("write errors"):
            pictures = _pictures(materials, errors)
            wrong = {name: found.images - (found.correct or 0) for name, found in evaluations.items()}
            sections = [
                _section(row, wrong[row.model_id], errors.get(row.model_id), pictures, names) for row in quality
            ]
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
            "errors": sha256_bytes(TypeAdapter(dict[str, tuple[WorstError, ...]]).dump_json(errors)),
            "names": digest_of(list(names)),
        },
        libraries=("jinja2", "pillow"),
        codec=TypeAdapter(bool),
    )
    stage.cached(write, lambda _: (run.errors,))


def _pictures(materials: Materials, errors: Mapping[str, Sequence[WorstError]]) -> dict[int, NDArray[np.uint8] | str]:
    """The test images that any model gets wrong, `(channels, height, width)` each, or texts, by their place."""
    wanted = sorted({error.example for found in errors.values() for error in found})
    if not wanted:
        return {}
    test, rows = materials.splits.test, np.array(wanted)
    if isinstance(test, LabelledTexts):
        tokenizer = materials.splits.tokenizer
        return dict(zip(wanted, tokenizer.decode(test.tokens[rows]) if tokenizer else (), strict=True))
    return dict(zip(wanted, test.images[rows], strict=True))


def _section(
    row: QualityRow,
    wrong: int,
    errors: Sequence[WorstError] | None,
    pictures: Mapping[int, NDArray[np.uint8] | str],
    names: Sequence[str],
) -> ErrorSection:
    return ErrorSection(
        model_id=row.model_id,
        targets=row.targets,
        wrong=wrong,
        examples=row.measures.examples,
        pictures=None if errors is None else tuple(
            Picture(
                shown=pictures[error.example], example=error.example, label=names[error.label],
                predicted=names[error.predicted], confidence=error.confidence,
            )
            for error in errors
        ),
    )  # fmt: skip
