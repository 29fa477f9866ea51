"""Accuracy per class and churn between tiers: computed from predictions, in the manifest, and ignored by resolvers."""

import dataclasses
import json

import numpy as np
import pytest

from exports.client.python.records import ClientState, DeviceFacts
from exports.client.python.resolver import resolve
from exports.family.artifact import Evaluation
from exports.family.consistency import (
    MAX_LISTED,
    churn_between,
    class_accuracies,
    class_images,
    class_quality,
    lowest_decile,
    neighbours,
    worst_class,
)
from exports.family.diff import release_notes
from exports.family.judge import classes_judge
from exports.family.manifest import manifest_text, read_manifest
from exports.family.records import Churn, Tier, WorstClass
from exports.family.verify import verify_family
from factory_base.errors import ManifestError

JUDGE = classes_judge(("cat", "dog", "owl", "yak"))
LABELS_OF_IMAGES = np.array([0, 0, 0, 0, 1, 1, 3, 3])


def test_each_class_with_images_has_its_share_of_correct_predictions():
    found = class_accuracies(LABELS_OF_IMAGES, np.array([0, 0, 0, 1, 1, 1, 9, 9], np.uint16))
    assert [(c.index, c.correct, c.images, c.accuracy) for c in found] == [(0, 3, 4, 0.75), (1, 2, 2, 1), (3, 0, 2, 0)]
    assert all(c.has_few_images for c in found)


@pytest.mark.parametrize(
    ("predictions", "worst"),
    [([0, 0, 0, 1, 1, 1, 3, 3], 0), ([1, 1, 0, 0, 1, 2, 3, 3], 0), ([0, 0, 0, 0, 0, 1, 3, 1], 1)],
)
def test_of_equally_bad_classes_the_worst_is_the_one_with_most_images_and_then_the_first(predictions, worst):
    assert worst_class(class_accuracies(LABELS_OF_IMAGES, np.array(predictions))).index == worst


@pytest.mark.parametrize(("classes", "rank"), [(1, 1), (10, 1), (11, 2), (20, 2), (100, 10)])
def test_one_class_in_ten_does_not_exceed_the_lowest_decile(classes, rank):
    labels = np.repeat(np.arange(classes), classes)
    # of the n images of class i, the first i + 1 are labelled correctly
    right = np.tile(np.arange(classes), classes) <= labels
    assert lowest_decile(class_accuracies(labels, np.where(right, labels, classes))) == rank / classes


def test_churn_tells_gains_from_losses_and_counts_changes_between_wrong_classes():
    before, after = np.array([0, 0, 0, 0, 1, 0, 0, 0]), np.array([0, 0, 0, 1, 1, 1, 3, 1])
    assert churn_between("entry", JUDGE, LABELS_OF_IMAGES, before, after) == Churn(
        against="entry", changed_ppm=500_000, gained_ppm=250_000, lost_ppm=125_000
    )
    same = churn_between("entry", JUDGE, LABELS_OF_IMAGES, after, after)
    assert (same.changed_ppm, same.gained_ppm, same.lost_ppm) == (0, 0, 0)


def test_many_classes_are_not_listed():
    labels = np.arange(MAX_LISTED + 1)
    found = class_accuracies(labels, labels)
    assert class_quality(found, MAX_LISTED + 1).correct is None
    assert class_images(labels, MAX_LISTED + 1) is None
    assert len(class_images(labels[:-1], MAX_LISTED) or ()) == MAX_LISTED


def test_neighbours_are_of_one_platform_in_the_order_of_ranks():
    def tier(name: str, platform: str, rank: int) -> Tier:
        return Tier(id=name, platform=platform, rank=rank, match=(), models=("m",))

    tiers = [tier("c", "android", 3), tier("floor", "any", 0), tier("a", "android", 1), tier("b", "android", 2)]
    found = [(lower.id, higher.id) for lower, higher in neighbours([*tiers, tier("x", "linux", 1)])]
    assert found == [("a", "b"), ("b", "c")]


@pytest.fixture
def certain(spec):
    """The specification with made-up predictions: `small` is wrong on all images of class 3, `large` is all right."""
    labels = np.asarray(spec.test_labels)
    made_up = (np.where(labels == 3, 0, labels), labels)
    return tuple(
        dataclasses.replace(
            model,
            evaluation=Evaluation(
                predictions=found.astype(np.uint16), correct=int((found == labels).sum()), images=len(labels)
            ),
        )
        for model, found in zip(spec.models, made_up, strict=True)
    )


def test_the_manifest_states_both_and_they_agree_with_the_accuracy(make_family, spec, certain):
    folder = make_family(models=certain)
    manifest, images = read_manifest(folder), np.bincount(spec.test_labels, minlength=4).tolist()
    assert manifest.evaluation.class_images == tuple(images)
    quality = manifest.models["small"].quality
    assert quality.classes is not None
    assert quality.classes.worst == WorstClass(index=3, value_ppm=0, images=images[3])
    assert quality.classes.correct == (*images[:3], 0)
    assert quality.value_ppm == round(sum(quality.classes.correct) / 200 * 1e6)
    churn = {tier.id: tier.churn for tier in manifest.tiers if tier.churn}
    gained = int(images[3] * 1e6 / 200)
    assert churn == {"phone": Churn(against="entry", changed_ppm=gained, gained_ppm=gained, lost_ppm=0)}
    assert verify_family(folder).ok


def test_the_resolver_does_not_look_at_them(make_family):
    value = json.loads((make_family() / "manifest.json").read_text(encoding="utf-8"))
    facts = DeviceFacts(platform="android", ram_bytes=6 << 30, engine="onnxruntime")
    before = resolve(value, None, facts, ClientState(), now=0)
    value["evaluation"].pop("class_images")
    for tier in value["tiers"]:
        tier.pop("churn", None)
    for model in value["models"].values():
        model["quality"].pop("classes")
    assert resolve(value, None, facts, ClientState(), now=0) == before


def test_a_family_of_an_earlier_format_has_the_same_content(make_family):
    manifest = read_manifest(make_family())
    models = {
        name: model.model_copy(update={"quality": model.quality.model_copy(update={"classes": None})})
        for name, model in manifest.models.items()
    }
    tiers = tuple(tier.model_copy(update={"churn": None}) for tier in manifest.tiers)
    evaluation = manifest.evaluation.model_copy(update={"class_images": None})
    changes = {"models": models, "tiers": tiers, "evaluation": evaluation, "manifest_version": "1.1"}
    assert release_notes(manifest.model_copy(update=changes), manifest) == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"worst": WorstClass(index=4, value_ppm=0, images=1)}, "model 'small': its worst class has the index 4 of 4"),
        ({"correct": (1, 2)}, "model 'small': its accuracy per class is given for 2 classes, but the output has 4"),
    ],
)
def test_classes_that_are_not_those_of_the_labels_are_refused(make_family, change, message):
    folder = make_family()
    manifest = read_manifest(folder)
    small = manifest.models["small"]
    assert small.quality.classes is not None
    quality = small.quality.model_copy(update={"classes": small.quality.classes.model_copy(update=change)})
    models = {**manifest.models, "small": small.model_copy(update={"quality": quality})}
    text = manifest_text(manifest.model_copy(update={"models": models}))
    (folder / "manifest.json").write_text(text, encoding="utf-8")
    with pytest.raises(ManifestError, match=message):
        read_manifest(folder)
