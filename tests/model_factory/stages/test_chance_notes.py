"""Accuracies that do not differ from guessing are reported, after training and after a build."""

from __future__ import annotations

from dataclasses import replace

import pytest

from factory_base.intervals import is_at_chance
from model_factory.build import build
from model_factory.console import Console
from model_factory.run import find_run
from model_factory.stages.family import chance_notes
from model_factory.stages.materials import Materials
from model_factory.stages.train import train_stage
from supernet.training.workers import one_worker


@pytest.mark.parametrize(
    ("correct", "images", "expected"),
    [(6, 10, True), (9, 10, False), (500, 1000, True), (560, 1000, False), (0, 10, True), (10, 10, False)],
)
def test_what_few_images_cannot_tell_from_guessing_is_at_chance(correct: int, images: int, expected: bool) -> None:
    assert is_at_chance(correct, images, 0.5) == expected


def test_a_model_at_chance_is_named_by_its_targets(app):
    run = find_run(None, app / "factory.yaml")
    built = build(run, Console(quiet=True))
    assert not any("most frequent class" in note for note in built.notes)
    guessing = [
        replace(e, facts=replace(e.facts, correct=e.facts.images // 10)) if i == 0 else e
        for i, e in enumerate(built.exported)
    ]
    (note, *_) = chance_notes(run, built.manifest, built.outcomes, guessing)
    assert note.startswith("the model of speaker labels 45 of 450 test images correctly (10.0%), which does not differ")


def test_training_on_few_images_without_success_says_both(empty_app, edit_config, capsys):
    for old, new in (("limit: 600", "limit: 80"), ("epochs: 10, batch_size: 64", "epochs: 0.1, batch_size: 8")):
        edit_config(empty_app, old, new)
    run, console = find_run(None, empty_app / "factory.yaml"), Console()
    train_stage(run, Materials(run, console), console, one_worker())
    printed = capsys.readouterr().err
    assert "note: 15 held-out images are few: every accuracy on them is uncertain by up to 23%; raise" in printed
    assert "of the 15 held-out images correctly, no better than always answering the most frequent class" in printed
