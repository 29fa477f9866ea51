"""`torchrun ... -m model_factory train`: one training run in two processes."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import yaml

from factory_base.errors import BusyError, MissingRunError
from factory_base.files import exclusive, read_json
from model_factory.build import train
from model_factory.console import Console
from model_factory.run import find_run

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "model_factory")


def torchrun(factory_process, folder, *arguments):
    """Run the command in two processes. Their lines are mixed with those of PyTorch."""
    return factory_process(folder, *arguments, prefix=TORCHRUN)


def test_two_processes_train_one_supernet_by_one_plan_and_a_later_call_finds_it_trained(
    factory, factory_process, empty_app, edit_config
):
    edit_config(empty_app, "epochs: 10", "epochs: 1000000")
    answer = torchrun(factory_process, empty_app, "train", "--max-hours", "0.0005")
    assert answer.code == 0, answer.err
    assert answer.err.count("plan: ") == 1
    record = read_json(empty_app / "runs" / "tiny" / "stages" / "train.json")
    resolved = yaml.safe_load((empty_app / "runs" / "tiny" / "config.resolved.yaml").read_text(encoding="utf-8"))
    assert record["result"]["curve"][-1]["step"] == round(resolved["training"]["epochs"] * 7)
    assert answer.out.count("runs/tiny/supernet.safetensors: held-out accuracy of the largest subnet") == 1
    assert answer.err.count("train supernet: done in") == 1
    assert not list(empty_app.rglob("training*.safetensors"))
    checkpoint = (empty_app / "runs" / "tiny" / "supernet.safetensors").read_bytes()

    again = factory(empty_app, "train", "-q")
    assert (again.code, again.out) == (0, answer.out)
    assert (empty_app / "runs" / "tiny" / "supernet.safetensors").read_bytes() == checkpoint


def test_a_build_under_torchrun_is_refused(factory, empty_app, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    answer = factory(empty_app, "build")
    assert answer.code == 1
    assert answer.error == (
        "error: `factory build` runs in one process; use torchrun for `factory train` only, then build without torchrun"
    )
    assert not (empty_app / "runs").exists()


@pytest.fixture
def sent(monkeypatch):
    """What this process, the first of two, sends to the other one."""
    values = []
    first = SimpleNamespace(is_first=True, from_first=values.append)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr("supernet.training.workers.workers", lambda _: nullcontext(first))
    return values


def test_a_first_process_that_finds_another_command_at_work_lets_the_others_end(app, sent):
    run = find_run(None, app / "factory.yaml")
    with exclusive(run.folder, "build"), pytest.raises(BusyError, match="another process is at work here"):
        train(run, Console(quiet=True))
    assert sent == [False]


def test_a_first_process_that_refuses_lets_the_others_end(app, edit_config, sent):
    edit_config(app, "epochs: 10", "epochs: 3")
    with pytest.raises(MissingRunError, match="was trained with another config"):
        train(find_run(None, app / "factory.yaml"), Console(quiet=True))
    assert sent == [False]
