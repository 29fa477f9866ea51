"""`factory train` says what it will take, and keeps to the time and memory it is given."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file

from model_factory.base.files import sha256_file

ENDLESS = "epochs: 1000000"
SHORT = ("--max-hours", "0.001")


@pytest.fixture
def endless_app(empty_app, edit_config) -> Path:
    """A config that would train for days."""
    edit_config(empty_app, "epochs: 10", ENDLESS)
    return empty_app


def resolved(folder: Path) -> dict:
    return yaml.safe_load((folder / "runs" / "tiny" / "config.resolved.yaml").read_text(encoding="utf-8"))


def checkpoint(folder: Path) -> Path:
    return folder / "runs" / "tiny" / "supernet.safetensors"


def test_a_training_begins_with_its_plan_and_leaves_events(factory, empty_app):
    answer = factory(empty_app, "train")
    (plan,) = (line for line in answer.err.splitlines() if line.startswith("plan: "))
    assert plan.startswith("plan: 70 steps (28 largest alone at ")
    assert all(part in plan for part in (", 42 sandwich at ", "about ", "peak memory ", "data"))
    assert list((empty_app / "runs" / "tiny" / "events").glob("*/events.out.tfevents.*"))
    assert "note: " not in answer.out


def test_hours_shorten_the_schedule_and_every_later_command_keeps_to_it(factory, endless_app):
    answer = factory(endless_app, "train", *SHORT)
    assert answer.code == 0, answer.err
    assert "note: fitted to --max-hours 0.001: 1e+06 -> " in answer.out
    epochs = resolved(endless_app)["training"]["epochs"]
    assert 0.1 <= epochs < 1e6
    before = sha256_file(checkpoint(endless_app))
    for arguments in ((), SHORT, ("--config", "runs/tiny/config.resolved.yaml")):
        again = factory(endless_app, "train", *arguments)
        assert (again.code, again.stages) == (0, [])
    assert resolved(endless_app)["training"]["epochs"] == epochs
    for path in (checkpoint(endless_app), endless_app / "runs" / "tiny" / "stages" / "train.json"):
        path.unlink()
    assert "train supernet" in factory(endless_app, "train", "--config", "runs/tiny/config.resolved.yaml").stages
    assert sha256_file(checkpoint(endless_app)) == before


def test_the_resolved_config_repeats_the_run_elsewhere(factory, endless_app, tmp_path):
    assert factory(endless_app, "train", *SHORT, "-q").code == 0
    (tmp_path / "elsewhere").mkdir()
    copy = tmp_path / "elsewhere" / "factory.yaml"
    copy.write_bytes((endless_app / "runs" / "tiny" / "config.resolved.yaml").read_bytes())
    assert factory(copy.parent, "train", "-q").code == 0
    assert sha256_file(checkpoint(copy.parent)) == sha256_file(checkpoint(endless_app))


def test_a_killed_training_goes_on_with_the_schedule_that_was_fitted(start_factory, factory, endless_app):
    process = start_factory(endless_app, "train", "--max-hours", "0.002", "-q")
    state = endless_app / "runs" / "tiny" / "training.safetensors"
    deadline = time.monotonic() + 60
    while not state.is_file():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    epochs = resolved(endless_app)["training"]["epochs"]
    answer = factory(endless_app, "train")
    assert "plan, as made before: " in answer.err
    assert "plan training" not in answer.stages
    assert resolved(endless_app)["training"]["epochs"] == epochs


def test_a_fitted_schedule_ends_with_the_config_it_was_made_for(factory, endless_app, edit_config):
    assert factory(endless_app, "train", *SHORT, "-q").code == 0
    edit_config(endless_app, ENDLESS, "epochs: 2")
    answer = factory(endless_app, "train")
    assert "plan: 14 steps" in answer.err
    assert resolved(endless_app)["training"]["epochs"] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--max-hours", "1e-9"), r"error: --max-hours 1e-09 allows 0 training steps, less than a tenth of an epoch"),
        (("--max-memory-gib", "0.01"), "error: --max-memory-gib 0.01 is too little: the training holds "),
        (("--max-hours", "0"), "error: --max-hours 0: must be a number above zero"),
    ],
)
def test_what_cannot_be_kept_is_one_clear_error(factory, empty_app, arguments, message):
    answer = factory(empty_app, "train", *arguments, "-q")
    assert answer.code == 1
    assert answer.error.startswith(message)
    assert not checkpoint(empty_app).exists()


def test_processes_that_work_together_keep_to_one_plan(factory, endless_app):
    run = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "model_factory")
    answer = factory(endless_app, "train", *SHORT, prefix=run)
    assert answer.code == 0, answer.err
    assert answer.err.count("plan: ") == 1
    record = json.loads((endless_app / "runs" / "tiny" / "stages" / "train.json").read_text(encoding="utf-8"))
    assert record["result"]["curve"][-1]["step"] == round(resolved(endless_app)["training"]["epochs"] * 7)
    assert load_file(checkpoint(endless_app))
