"""`factory train` says what it will take, and keeps to the time and memory it is given."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from factory_base.errors import PlanError
from factory_base.files import read_json, sha256_file, write_json
from model_factory.build import train
from model_factory.config import load_config
from model_factory.console import Console
from model_factory.run import find_run
from model_factory.stages.plan import planned_run
from supernet.planning.plan import TrainingLimits

ENDLESS = "epochs: 1000000"
HOURS = 0.001

Train = Callable[..., list[str]]


@pytest.fixture
def trained(capsys) -> Train:
    """Train in a folder, or with a config; what a person was told."""

    def run(config: Path, **limits: float) -> list[str]:
        capsys.readouterr()
        train(find_run(None, config), Console(), TrainingLimits(**limits))
        return capsys.readouterr().err.splitlines()

    return run


@pytest.fixture
def config(empty_app, edit_config) -> Path:
    """One that would train for weeks."""
    edit_config(empty_app, "epochs: 10", ENDLESS)
    edit_config(empty_app, "save_every: 0.1", "save_every: 5")
    return empty_app / "factory.yaml"


def run_folder(config: Path) -> Path:
    return config.parent / "runs" / "tiny"


def resolved(config: Path) -> Path:
    return run_folder(config) / "config.resolved.yaml"


def epochs(config: Path) -> float:
    return yaml.safe_load(resolved(config).read_text(encoding="utf-8"))["training"]["epochs"]


def weights(config: Path) -> str:
    return sha256_file(run_folder(config) / "supernet.safetensors")


def did_nothing(told: list[str]) -> bool:
    return not any("done in" in line for line in told)


def test_a_training_begins_with_its_plan_and_leaves_events(trained, empty_app):
    told = trained(empty_app / "factory.yaml")
    (plan,) = (line for line in told if line.startswith("plan: "))
    assert plan.startswith("plan: 70 steps (28 largest alone at ")
    assert all(part in plan for part in (", 42 sandwich at ", "about ", "peak memory ", "data"))
    assert list((empty_app / "runs" / "tiny" / "events").glob("*/events.out.tfevents.*"))


def test_the_plan_tells_what_fine_tuning_will_add(trained, empty_app, edit_config):
    edit_config(empty_app, "targets:\n", "finetune: {epochs: 2}\ntargets:\n")
    told = trained(empty_app / "factory.yaml")
    (line,) = (line for line in told if line.startswith("after the search: "))
    assert line.startswith("after the search: fine-tuning of up to 2 subnets, 14 steps each, at most about ")


def test_hours_shorten_the_schedule_and_every_later_command_keeps_to_it(trained, config):
    told = trained(config, max_hours=HOURS)
    assert any(line.startswith("fitted to --max-hours 0.001: 1000000 -> ") for line in told)
    fitted, before = epochs(config), weights(config)
    assert 0.1 <= fitted < 1e6
    assert did_nothing(trained(config))
    assert did_nothing(trained(config, max_hours=HOURS))
    assert did_nothing(trained(resolved(config)))
    assert (epochs(config), weights(config)) == (fitted, before)


def test_the_resolved_config_is_a_config_that_repeats_the_run(trained, config, tmp_path):
    trained(config, max_hours=HOURS)
    before = weights(config)
    (tmp_path / "elsewhere").mkdir()
    copy = tmp_path / "elsewhere" / "factory.yaml"
    copy.write_bytes(resolved(config).read_bytes())
    asked, written = load_config(config), load_config(copy)
    assert written == asked.model_copy(update={"training": written.training})
    trained(copy)
    assert weights(copy) == before
    (run_folder(config) / "supernet.safetensors").unlink()
    assert not did_nothing(trained(resolved(config)))
    assert weights(config) == before
    assert did_nothing(trained(config))


def test_other_limits_fit_the_schedule_anew(trained, config):
    trained(config, max_hours=HOURS)
    first = epochs(config)
    told = trained(config, max_hours=HOURS * 2)
    assert any(line.startswith("fitted to --max-hours 0.002: 1000000 -> ") for line in told)
    assert epochs(config) != first


def test_a_fitted_schedule_ends_with_the_config_it_was_made_for(trained, config, edit_config):
    trained(config, max_hours=HOURS)
    edit_config(config.parent, ENDLESS, "epochs: 2")
    assert any(line.startswith("plan: 14 steps") for line in trained(config))
    assert epochs(config) == 2


def test_a_plan_that_was_damaged_is_ignored(trained, config):
    trained(config, max_hours=HOURS)
    path, run = run_folder(config) / "plan.json", find_run(None, config)
    whole = read_json(path)
    assert planned_run(run, TrainingLimits()).config.training.epochs == epochs(config)
    for limits in ({"max_days": 1}, {"max_hours": -1}, {"max_hours": "soon"}, None):
        write_json(path, whole | {"limits": limits})
        assert planned_run(run, TrainingLimits()) == run
    for text in ("{", "[]", "", '{"asked": 1}'):
        path.write_text(text, encoding="utf-8")
        assert planned_run(run, TrainingLimits()) == run


def test_limits_that_nothing_fits_leave_no_plan(trained, config):
    with pytest.raises(PlanError, match=r"--max-memory-gib 0\.01 is too little"):
        trained(config, max_memory_gib=0.01)
    with pytest.raises(PlanError, match="--max-hours 1e-09 allows 0 training steps"):
        trained(config, max_hours=1e-9)
    assert not (run_folder(config) / "plan.json").exists()


def test_a_killed_training_goes_on_with_the_schedule_that_was_fitted(start_factory, factory, config, edit_config):
    edit_config(config.parent, "save_every: 5", "save_every: 0.1")
    process = start_factory(config.parent, "train", "--max-hours", HOURS * 4)
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
    assert "note: fitted to --max-hours 0.004: 1000000 -> " in answer.out
    assert "plan training" not in answer.stages
    assert epochs(config) == fitted


def test_a_limit_that_is_no_number_above_zero_is_one_clear_line(factory, config):
    answer = factory(config.parent, "build", "--max-hours", "0")
    assert (answer.code, answer.error) == (1, "error: --max-hours 0: must be a number above zero")


def test_processes_that_work_together_keep_to_one_plan(factory, config):
    together = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "model_factory")
    answer = factory(config.parent, "train", "--max-hours", HOURS, prefix=together)
    assert answer.code == 0, answer.err
    assert answer.err.count("plan: ") == 1
    record = read_json(run_folder(config) / "stages" / "train.json")
    assert record["result"]["curve"][-1]["step"] == round(epochs(config) * 7)
