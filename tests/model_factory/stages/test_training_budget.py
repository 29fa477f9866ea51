"""`factory train` states what it will take, and keeps to its limits on time and memory."""

from __future__ import annotations

import contextlib
import io
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from factory_base.errors import MissingRunError, PlanError
from factory_base.files import read_json, sha256_file, write_json
from model_factory.build import train
from model_factory.config import load_config
from model_factory.console import Console
from model_factory.run import Run, find_run
from model_factory.stages.plan import planned_run
from model_factory.stages.train import OnMismatch
from supernet.planning.plan import TrainingLimits

ENDLESS = "epochs: 1000000"
HOURS = 0.0005

Train = Callable[..., list[str]]


@pytest.fixture
def trained(capsys) -> Train:
    """Trains with a config; returns the lines that a person saw."""

    def run(config: Path, on_mismatch: OnMismatch = "refuse", **limits: float) -> list[str]:
        capsys.readouterr()
        train(find_run(None, config), Console(), TrainingLimits(**limits), on_mismatch)
        return capsys.readouterr().err.splitlines()

    return run


@pytest.fixture
def config(empty_app, edit_config) -> Path:
    """A config that would train for weeks."""
    edit_config(empty_app, "epochs: 10", ENDLESS)
    edit_config(empty_app, "save_every: 0.1", "save_every: 5")
    return empty_app / "factory.yaml"


@pytest.fixture(scope="module")
def fitted_once(tiny_config, tmp_path_factory) -> tuple[Path, str]:
    """A folder whose config was fitted to `HOURS` and trained once, and the text that a person saw."""
    folder = tmp_path_factory.mktemp("fitted")
    text = tiny_config.replace("epochs: 10", ENDLESS).replace("save_every: 0.1", "save_every: 5")
    (folder / "factory.yaml").write_text(text, encoding="utf-8")
    shown = io.StringIO()
    with contextlib.redirect_stderr(shown):
        train(find_run(None, folder / "factory.yaml"), Console(), TrainingLimits(max_hours=HOURS))
    return folder, shown.getvalue()


@pytest.fixture
def fitted(fitted_once, tmp_path) -> Path:
    """The config in a copy of that folder, which a test may change."""
    return Path(shutil.copytree(fitted_once[0], tmp_path / "fitted")) / "factory.yaml"


def run_folder(config: Path) -> Path:
    return config.parent / "runs" / "tiny"


def resolved(config: Path) -> Path:
    return run_folder(config) / "config.resolved.yaml"


def epochs(config: Path) -> float:
    return yaml.safe_load(resolved(config).read_text(encoding="utf-8"))["training"]["epochs"]


def weights(config: Path) -> str:
    return sha256_file(run_folder(config) / "supernet.safetensors")


def did_nothing(lines: list[str]) -> bool:
    return not any("done in" in line for line in lines)


def test_a_training_run_starts_with_its_plan_and_writes_events(trained, empty_app):
    lines = trained(empty_app / "factory.yaml")
    (plan,) = (line for line in lines if line.startswith("plan: "))
    assert plan.startswith("plan: 70 steps (28 largest alone at ")
    assert all(part in plan for part in (", 42 sandwich at ", "about ", "peak memory ", "data"))
    assert list((empty_app / "runs" / "tiny" / "events").glob("*/events.out.tfevents.*"))


def test_the_plan_states_what_fine_tuning_will_add(trained, empty_app, edit_config):
    edit_config(empty_app, "targets:\n", "finetune: {epochs: 2}\ntargets:\n")
    lines = trained(empty_app / "factory.yaml")
    (line,) = (line for line in lines if line.startswith("after the search: "))
    assert line.startswith("after the search: fine-tuning of up to 2 subnets, 14 steps each, at most about ")


def test_hours_shorten_the_schedule_and_every_later_command_keeps_to_it(trained, fitted_once, fitted):
    assert any(line.startswith("fitted to --max-hours 0.0005: 1000000 -> ") for line in fitted_once[1].splitlines())
    schedule, before = epochs(fitted), weights(fitted)
    assert 0.1 <= schedule < 1e6
    assert did_nothing(trained(fitted))
    assert trained(fitted, max_hours=HOURS) == []
    assert did_nothing(trained(resolved(fitted)))
    assert (epochs(fitted), weights(fitted)) == (schedule, before)


def test_a_limit_on_a_finished_supernet_is_not_ignored_silently(trained, app):
    (note,) = trained(app / "factory.yaml", max_hours=1, max_memory_gib=64)
    assert note.startswith("note: --max-hours 1 --max-memory-gib 64 has no effect, because the supernet is trained alr")


def test_the_resolved_config_is_a_config_that_repeats_the_run(trained, fitted_once, tmp_path):
    config = fitted_once[0] / "factory.yaml"
    before = weights(config)
    (tmp_path / "elsewhere").mkdir()
    copy = tmp_path / "elsewhere" / "factory.yaml"
    copy.write_bytes(resolved(config).read_bytes())
    asked, written = load_config(config), load_config(copy)
    assert written == asked.model_copy(update={"training": written.training})
    trained(copy)
    assert weights(copy) == before


def test_other_limits_fit_the_schedule_anew_if_a_person_asks_for_it(trained, fitted):
    first = epochs(fitted)
    with pytest.raises(MissingRunError, match=r"trained with another config or other data \(training\.epochs"):
        trained(fitted, max_hours=HOURS * 2)
    lines = trained(fitted, on_mismatch="retrain", max_hours=HOURS * 2)
    assert any(line.startswith("fitted to --max-hours 0.001: 1000000 -> ") for line in lines)
    assert epochs(fitted) != first


def test_a_fitted_schedule_is_dropped_if_the_config_changes(trained, fitted, edit_config):
    edit_config(fitted.parent, ENDLESS, "epochs: 2")
    assert any(line.startswith("plan: 14 steps") for line in trained(fitted, on_mismatch="retrain"))
    assert epochs(fitted) == 2


def test_a_damaged_plan_is_reported_and_not_used(fitted, capsys):
    path, run = run_folder(fitted) / "plan.json", find_run(None, fitted)
    whole = read_json(path)
    sealed = whole.pop("digest")

    def planned(content: dict[str, Any]) -> Run:
        write_json(path, content)
        return planned_run(run, TrainingLimits(), Console())

    assert planned(whole | {"digest": sealed}).config.training.epochs == epochs(fitted)
    assert planned(whole).config.training.epochs == epochs(fitted)  # of an earlier version
    assert capsys.readouterr().err == ""
    for limits in ({"max_days": 1}, {"max_hours": -1}, {"max_hours": "soon"}, None):
        assert planned(whole | {"limits": limits}) == run
    for change in (
        {"schedule": {"epochs": -1.0, "micro_batch_size": None}},
        {"schedule": {"epochs": "many", "micro_batch_size": None}},
        {"costs": whole["costs"] | {"alone": None, "sandwich": None}},
        {"costs": whole["costs"] | {"sandwich": {"seconds": "long"}}},
        {"line": "edited", "digest": sealed},
    ):
        assert planned(whole | change) == run
    for text in ("{", "[]", "", '{"asked": 1}', "[" * 100_000, "\0"):
        path.write_text(text, encoding="utf-8")
        assert planned_run(run, TrainingLimits(), Console()) == run
    printed = capsys.readouterr().err.splitlines()
    assert printed == [f"{path}: is damaged and not used; training makes a new plan"] * 15


def test_limits_that_no_schedule_fits_leave_no_plan(trained, config, edit_config):
    edit_config(config.parent, "batch_size: 64", "batch_size: 16")  # fewer micro-batch sizes to try
    with pytest.raises(PlanError, match=r"--max-memory-gib 0\.01 is too little"):
        trained(config, max_memory_gib=0.01)
    with pytest.raises(PlanError, match="--max-hours 1e-09 allows 0 training steps"):
        trained(config, max_hours=1e-9)
    assert not (run_folder(config) / "plan.json").exists()


def test_a_killed_training_run_is_resumed_with_the_fitted_schedule(start_factory, factory, config, edit_config):
    edit_config(config.parent, "save_every: 5", "save_every: 0.1")
    process = start_factory(config.parent, "train", "--max-hours", HOURS * 3)
    assert any(line.startswith("plan: ") for line in process.stderr)
    state, deadline = run_folder(config) / "training.safetensors", time.monotonic() + 60
    while not state.is_file() and time.monotonic() < deadline:
        time.sleep(0.005)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    fitted = epochs(config)
    answer = factory(config.parent, "train")
    assert any(line.startswith("plan, as made before: ") for line in answer.err.splitlines())
    assert "note: fitted to --max-hours 0.0015: 1000000 -> " in answer.out
    assert "plan training" not in answer.stages
    assert epochs(config) == fitted


def test_a_limit_that_is_not_a_number_above_zero_ends_in_one_clear_line(factory, config):
    answer = factory(config.parent, "build", "--max-hours", "0")
    assert (answer.code, answer.error) == (1, "error: --max-hours 0: must be a number above zero")
