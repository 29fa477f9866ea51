"""What the exported models are worth on the test images, and what people should know about these figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from exports.family.evaluations import evaluation_of
from exports.family.judge import Predictions
from exports.family.records import Manifest
from factory_base.errors import ManifestError
from factory_base.foreign import printable
from factory_base.intervals import wilson
from factory_base.wording import counted
from model_factory.report.data import QualityRow
from model_factory.run import Run
from model_factory.stages.export import Exported
from model_factory.stages.search import SearchOutcome
from supernet.tasks.class_measures import FEWEST
from supernet.tasks.measures import ClassMeasures, LabelMeasures, ValueMeasures, predicted_measures

if TYPE_CHECKING:
    from supernet.training.config import Imbalance

_FAR: Final = 0.1
"""The least difference between accuracy and balanced accuracy that is worth a note, if it is beyond chance."""
_NAMED: Final = 5
"""The most classes that a note names."""


def quality_rows(
    run: Run, manifest: Manifest, outcomes: Sequence[SearchOutcome], exported: Sequence[Exported]
) -> tuple[QualityRow, ...]:
    """The measures of each model of the family on the test images, in the order of the targets.

    Args:
        run: The run.
        manifest: The manifest of its family, whose files are those of the build.
        outcomes: The outcome of the search for each target.
        exported: The exported model of each outcome, in the same order.

    Raises:
        ManifestError: The family does not publish its evaluation, and the run has lost it.
    """
    labels, outputs = test_labels(run, manifest), manifest.task.output_count
    targets: dict[str, tuple[str, ...]] = {}
    for outcome, e in zip(outcomes, exported, strict=True):
        name = e.artifact.model_id
        targets[name] = (*targets.get(name, ()), outcome.found.profile.name)
    evaluations = {e.artifact.model_id: e.evaluation() for e in exported}
    return tuple(
        QualityRow(
            model_id=name,
            targets=of,
            measures=predicted_measures(evaluations[name].predictions, labels, outputs, evaluations[name].confidences),
        )
        for name, of in targets.items()
    )


def test_labels(run: Run, manifest: Manifest) -> Predictions:
    """The labels of the test set on which the family of a run was evaluated.

    Raises:
        ManifestError: The family does not publish them, and the run has lost them.
    """
    found = evaluation_of(run.family_folder, manifest, (run.evaluations,))
    if found is None:
        raise ManifestError(
            f"{run.evaluations}: the evaluation of the family is missing; remove {run.family_folder} and build it again"
        )
    return found.labels


def quality_notes(rows: Sequence[QualityRow], names: Sequence[str], imbalance: Imbalance) -> tuple[str, ...]:
    """What people should know before they rely on the figures of a family, a sentence each.

    Args:
        rows: What each model is worth.
        names: The names of the classes.
        imbalance: What the training did about classes of unequal size.
    """
    others = dict.fromkeys(note for row in rows for note in _other_notes(row, names))  # labels are scarce for all
    known = {
        f"the model of {', '.join(row.targets)}": row.measures
        for row in rows
        if isinstance(row.measures, ClassMeasures)
    }
    return (
        *others,
        *(_chance_note(model, found) for model, found in known.items() if not found.beats_majority),
        *_scarce_notes(known, names),
        *_unpredicted_notes(known, names, imbalance),
        *(_uneven_note(model, found, imbalance) for model, found in known.items() if _is_uneven(found)),
    )


def _other_notes(row: QualityRow, names: Sequence[str]) -> Iterator[str]:
    """Notes on a model that answers with labels or values."""
    model, measures = f"the model of {', '.join(row.targets)}", row.measures
    if isinstance(measures, LabelMeasures):
        scarce, missed = measures.scarce(FEWEST), measures.never_predicted
        if scarce:
            listed = _listed([f"{printable(names[index])!r} {measures.labels[index].support}" for index in scarce])
            yield f"{_part(len(scarce), len(names), 'labels')} fewer than {FEWEST} test images ({listed})"
        if missed:
            yield (
                f"{model} never predicts {_listed([repr(printable(names[index])) for index in missed])}, which test "
                "images have"
            )
    elif isinstance(measures, ValueMeasures):
        bad = [name for name, one in zip(names, measures.values, strict=True) if not one.beats_mean]
        if bad:
            yield (
                f"{model} predicts {_listed([repr(printable(name)) for name in bad])} no better than always answering "
                "the mean; before you ship it, train longer, check the labels, or test on more images"
            )


def _chance_note(model: str, found: ClassMeasures) -> str:
    return (
        f"{model} labels {found.correct:,} of {found.examples:,} test images correctly ({found.accuracy.value:.1%}), "
        f"which does not differ from always answering the most frequent class ({found.majority:.1%}); before you ship "
        "it, train longer, check the labels, or test on more images"
    )


def _part(some: int, of: int, things: str) -> str:
    """`all 3 classes have`, `2 of the 3 classes have`, `1 of the 3 classes has`."""
    if some == of:
        return f"all {of:,} {things} have"
    return f"{some:,} of the {of:,} {things} {'has' if some == 1 else 'have'}"


def _scarce_notes(known: Mapping[str, ClassMeasures], names: Sequence[str]) -> tuple[str, ...]:
    """A note on classes with few test images, which are the same for all models."""
    first = next(iter(known.values()), None)
    scarce = first.scarce(FEWEST) if first is not None else ()
    if first is None or not scarce:
        return ()
    support = {index: first.classes[index].support for index in scarce}
    fewest = sorted(scarce, key=lambda index: (support[index], index))
    listed = _listed([f"{printable(names[index])!r} {support[index]}" for index in fewest])
    tested = [count for count in support.values() if count]
    sure = ""
    if tested:
        low, high = wilson(min(tested) // 2, min(tested))
        points = f"{100 * (high - low) / 2:.0f} points"
        sure = f": the recall on {counted(min(tested), 'image')} is uncertain by up to {points}"
    return (
        f"{_part(len(scarce), len(names), 'classes')} fewer than {FEWEST} test images ({listed}){sure}; test on "
        "more images of them before you rely on figures for these classes",
    )


def _unpredicted_notes(
    known: Mapping[str, ClassMeasures], names: Sequence[str], imbalance: Imbalance
) -> tuple[str, ...]:
    """A note for each set of classes that models never predict, although there are test images of them."""
    models: dict[tuple[int, ...], list[str]] = {}
    for model, found in known.items():
        if found.never_predicted:
            models.setdefault(found.never_predicted, []).append(model)
    way = "add training images of such classes" + ("" if imbalance != "none" else ", or try `training.imbalance: auto`")
    return tuple(f"{_unpredicted_note(classes, known, found, names)}; {way}" for classes, found in models.items())


def _unpredicted_note(
    classes: Sequence[int], known: Mapping[str, ClassMeasures], models: Sequence[str], names: Sequence[str]
) -> str:
    who = "no model" if len(models) == len(known) else " and ".join(models)
    ever = "ever predicts" if len(models) == len(known) else "never predicts" if len(models) == 1 else "never predict"
    images = sum(known[models[0]].classes[index].support for index in classes)
    return (
        f"{who} {ever} {_listed([repr(printable(names[index])) for index in classes])}, of which there are "
        f"{counted(images, 'test image')}"
    )


def _is_uneven(found: ClassMeasures) -> bool:
    accuracy, balanced = found.accuracy, found.balanced_accuracy
    return abs(accuracy.value - balanced.value) >= _FAR and (
        balanced.high < accuracy.low or accuracy.high < balanced.low
    )


def _uneven_note(model: str, found: ClassMeasures, imbalance: Imbalance) -> str:
    accuracy, balanced = found.accuracy.value, found.balanced_accuracy.value
    better = "frequent" if accuracy > balanced else "rare"
    way = " and train with `training.imbalance: auto`" if imbalance == "none" and better == "frequent" else ""
    return (
        f"{model} labels {accuracy:.1%} of the test images correctly, but the mean over the classes is {balanced:.1%}: "
        f"it is much better on {better} classes; if each class matters as much as any other, compare models by "
        f"`metric: balanced_accuracy`{way}"
    )


def _listed(words: Sequence[str]) -> str:
    """The first of `words`, and how many more there are."""
    more = f" and {len(words) - _NAMED} more" if len(words) > _NAMED else ""
    return f"{', '.join(words[:_NAMED])}{more}"
