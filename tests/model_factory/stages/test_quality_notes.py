"""A build says what people should know before they rely on its figures, and after a training what they should fear."""

from __future__ import annotations

import numpy as np
import pytest

from model_factory.console import Console
from model_factory.report.data import QualityRow
from model_factory.run import find_run
from model_factory.stages.materials import Materials
from model_factory.stages.quality import quality_notes
from model_factory.stages.train import train_stage
from supernet.tasks.measures import label_measures, predicted_class_measures, value_measures
from supernet.training.workers import one_worker

NAMES = ("cat", "dog", "owl")


def row(predictions: np.ndarray, labels: np.ndarray, *targets: str) -> QualityRow:
    measures = predicted_class_measures(predictions, labels, len(NAMES))
    return QualityRow(model_id=targets[0], targets=targets, measures=measures)


def even(count: int) -> np.ndarray:
    """As many images of each class."""
    return np.repeat(np.arange(3), count)


def test_a_good_model_on_enough_images_needs_no_note():
    assert quality_notes([row(even(50), even(50), "phone")], NAMES, "none") == ()


def test_a_model_at_the_majority_is_named_by_its_targets():
    labels = np.repeat([0, 1, 2], [60, 20, 20])
    guessing = row(np.where(np.arange(100) < 62, 0, labels - 1), labels, "speaker", "phone")
    note = quality_notes([guessing], NAMES, "none")[0]
    assert note.startswith("the model of speaker, phone labels 60 of 100 test images correctly (60.0%), which does not")
    assert "always answering the most frequent class (60.0%)" in note


def test_classes_with_few_test_images_are_named_once_for_all_models_the_fewest_first():
    labels = np.repeat([0, 1, 2], [60, 19, 2])
    notes = quality_notes([row(labels, labels, "phone"), row(labels, labels, "watch")], NAMES, "none")
    assert notes == (
        "2 of the 3 classes have fewer than 20 test images ('owl' 2, 'dog' 19): the recall on 2 images is uncertain by "
        "up to 41 points; test on more images of them before you rely on figures for these classes",
    )


def test_a_class_without_test_images_is_named_too():
    labels = np.repeat([0, 1], [60, 40])
    (note,) = quality_notes([row(labels, labels, "phone")], NAMES, "none")
    assert note.startswith("1 of the 3 classes has fewer than 20 test images ('owl' 0); test on more")


def test_a_class_that_some_models_never_predict_is_named_with_them():
    labels = even(30)
    without = [row(np.where(labels == 2, 1, labels), labels, name) for name in ("phone", "watch")]
    whole = row(labels, labels, "tablet")
    (note,) = quality_notes([*without, whole], NAMES, "none")
    assert note == (
        "the model of phone and the model of watch never predict 'owl', of which there are 30 test images; add "
        "training images of such classes, or try `training.imbalance: auto`"
    )
    (note,) = quality_notes(without, NAMES, "auto")
    assert note.startswith("no model ever predicts 'owl'")
    assert note.endswith("add training images of such classes")


def test_an_accuracy_far_above_the_mean_recall_is_explained_with_a_way_out():
    labels = np.repeat([0, 1, 2], [400, 50, 50])
    lazy = row(np.where((labels > 0) & (np.arange(500) % 3 > 0), 0, labels), labels, "phone")
    (note,) = quality_notes([lazy], NAMES, "none")
    assert "labels 86.6% of the test images correctly, but the mean over the classes is 55.3%" in note
    assert note.endswith("compare models by `metric: balanced_accuracy` and train with `training.imbalance: auto`")
    (note,) = quality_notes([lazy], NAMES, "logit_adjustment")
    assert note.endswith("compare models by `metric: balanced_accuracy`")


def test_a_difference_that_few_images_explain_needs_no_note():
    labels = np.repeat([0, 1, 2], [100, 20, 20])
    found = row(np.where(np.arange(140) < 128, labels, 0), labels, "phone")
    assert found.measures.accuracy.value - found.measures.balanced_accuracy.value > 0.1
    assert quality_notes([found], NAMES, "none") == ()


def test_hostile_names_of_classes_stay_on_their_line():
    labels = np.repeat([0, 1], [60, 40])
    (note,) = quality_notes([row(labels, labels, "phone")], ("a", "b", "c\n\x1b[31m"), "none")
    assert note.isprintable()


@pytest.mark.parametrize("imbalance", ["none", "auto"])
def test_of_many_classes_only_five_are_named(imbalance):
    labels = np.arange(40)
    measures = predicted_class_measures(labels, labels, 40)
    found = QualityRow(model_id="m", targets=("phone",), measures=measures)
    note = quality_notes([found], [f"class {index}" for index in range(40)], imbalance)[0]
    assert "'class 4' 1 and 35 more" in note


def test_training_on_few_images_without_success_says_both(empty_app, edit_config, capsys):
    for old, new in (("limit: 600", "limit: 80"), ("epochs: 10, batch_size: 64", "epochs: 0.1, batch_size: 8")):
        edit_config(empty_app, old, new)
    run, console = find_run(None, empty_app / "factory.yaml"), Console()
    train_stage(run, Materials(run, console), console, one_worker())
    printed = capsys.readouterr().err
    assert "note: 15 held-out images are few: every accuracy on them is uncertain by up to 23%; raise" in printed
    assert "of the 15 held-out images correctly, no better than always answering the most frequent class" in printed


def test_labels_that_are_scarce_or_never_predicted_are_named():
    logits = np.tile([[2.0, -2.0, -2.0], [2.0, -2.0, 2.0]], (30, 1))
    labels = np.tile([[1, 0, 0], [1, 1, 0]], (30, 1))
    found = QualityRow(model_id="m", targets=("phone",), measures=label_measures(logits, labels, np.full(3, 0.5)))
    assert quality_notes([found, found], NAMES, "none") == (
        "1 of the 3 labels has fewer than 20 test images ('owl' 0)",
        "the model of phone never predicts 'dog', which test images have",
    )


def test_values_that_are_predicted_no_better_than_by_their_mean_are_named():
    labels = np.stack([np.linspace(0, 1, 50)] * 2, axis=1)
    predictions = np.stack([labels[:, 0], np.full(50, 0.5)], axis=1)
    found = QualityRow(model_id="m", targets=("phone",), measures=value_measures(predictions, labels))
    (note,) = quality_notes([found], ("age", "size"), "none")
    assert note.startswith("the model of phone predicts 'size' no better than always answering the mean; before you")
