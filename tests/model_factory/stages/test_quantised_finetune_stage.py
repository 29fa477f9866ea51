"""Fine-tuning for int8: its own weights, kept like those of any stage, that count for the int8 file."""

from __future__ import annotations

from pathlib import Path

import pytest

from factory_base.files import sha256_file
from model_factory.console import Console
from model_factory.run import Run, open_run
from model_factory.stages.materials import Materials
from model_factory.stages.quantised_finetune import quantised_finetune_stage, quantised_supernet
from model_factory.stages.train import finished_training

SECTION = "quantised_finetune: {epochs: 1, learning_rate: 0.02}\ntargets:\n"
CALIBRATION_IMAGES = 100


def opened(folder: Path) -> tuple[Run, Materials, object]:
    run = open_run(folder / "factory.yaml", folder)
    trained = finished_training(run, Console(quiet=True))
    assert trained is not None
    return run, Materials(run, Console(quiet=True), trained.data), trained


def tuned(folder: Path):
    """The result for the smallest subnet, the run, and the materials that were used."""
    run, materials, trained = opened(folder)
    picks = {materials.model_space.space.smallest: None}
    found = quantised_finetune_stage(run, materials, Console(quiet=True), trained, CALIBRATION_IMAGES, picks)  # type: ignore[arg-type]
    return found, run, materials


def test_its_own_weights_have_the_accuracy_that_it_states_and_it_runs_once(app, edit_config) -> None:
    edit_config(app, "targets:\n", SECTION)
    found, run, materials = tuned(app)
    ((subnet, result),) = found.items()
    assert result.sha256 == sha256_file(run.quantised_weights(subnet.id))
    own = quantised_supernet(run, materials, subnet)
    assert materials.heldout_accuracy(subnet, CALIBRATION_IMAGES, own, "int8") == result.after
    assert materials.heldout_accuracy(subnet, CALIBRATION_IMAGES, precision="int8") == result.before
    assert result.after >= result.before - 0.1  # two standard deviations on 120 images: it is not ruined
    assert result.describe().startswith(f"subnet {subnet.id} fine-tuned for int8: held-out accuracy")
    assert not list(run.quantised_weights(subnet.id).parent.glob("*.training*"))
    written = run.quantised_weights(subnet.id).stat().st_mtime_ns
    again, _, _ = tuned(app)
    assert again == found
    assert run.quantised_weights(subnet.id).stat().st_mtime_ns == written


def test_an_interrupted_one_continues_and_ends_with_the_same_weights(app, edit_config, monkeypatch) -> None:
    edit_config(app, "targets:\n", SECTION)
    edit_config(app, "save_every: 0.1", "save_every: 0.001")  # so that a fast machine saves a state, too
    found, run, _ = tuned(app)
    ((subnet, result),) = found.items()
    (run.folder / "stages" / f"finetune-int8-{subnet.id}.json").unlink()
    check, calls = Materials.heldout_accuracy, 0

    def interrupted(*args: object, **named: object) -> float:
        nonlocal calls
        calls += 1
        if calls == 3:  # the first is the accuracy before, the second the first check
            raise KeyboardInterrupt
        return check(*args, **named)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Materials, "heldout_accuracy", interrupted)
        with pytest.raises(KeyboardInterrupt):
            tuned(app)
    assert run.quantised_state(subnet.id).exists()
    again, _, _ = tuned(app)
    assert again[subnet].sha256 == result.sha256


def test_without_epochs_nothing_is_done(app, edit_config) -> None:
    edit_config(app, "targets:\n", "quantised_finetune: {epochs: 0}\ntargets:\n")
    assert tuned(app)[0] == {}
