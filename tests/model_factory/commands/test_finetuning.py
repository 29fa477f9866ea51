"""A build with a `finetune` section: each pick is trained further on its own before it is exported."""

from __future__ import annotations

import json
import signal
import time
from typing import Any

from factory_base.files import sha256_file

SECTION = "finetune: {epochs: 2, learning_rate: 0.1}\ntargets:\n"


def described(files: dict[str, bytes]) -> list[dict[str, Any]]:
    """The models of a family's manifest."""
    return list(json.loads(files["manifest.json"])["models"].values())


def test_each_pick_is_fine_tuned_once_and_its_own_weights_are_exported(factory, app, edit_config, published):
    before = published(app)
    edit_config(app, "targets:\n", SECTION)
    answer = factory(app, "build")
    assert answer.code == 0, answer.err
    assert answer.stages.count("fine-tune") == 1
    assert not {"train supernet", "choose subnets to score", "pick subnets"} & set(answer.stages)
    lines = [line for line in answer.out.splitlines() if "fine-tuned: held-out accuracy" in line]
    assert len(lines) == 2
    report = (app / "dist" / "tiny" / "report.html").read_text(encoding="utf-8")
    assert all(line.partition("subnet ")[2] in report for line in lines)
    models = {name for name in before if name.startswith("models/")}
    after = published(app)
    better = [line for line in lines if "shared weights are exported" not in line]
    assert len({name for name in after if name.startswith("models/")} - models) >= len(better) > 0
    weights = {file.stem: sha256_file(file) for file in (app / "runs" / "tiny" / "finetuned").iterdir()}
    named = [m["subnet"]["finetuned_sha256"] for m in described(after) if "finetuned_sha256" in m["subnet"]]
    assert len(named) == len(better)
    assert set(named) <= set(weights.values())
    assert factory(app, "verify", "dist/tiny").code == 0
    assert factory(app, "build").stages == []
    assert not list((app / "runs" / "tiny" / "finetuned").glob("*.training*"))


def test_export_fine_tunes_a_pick_that_two_targets_share_once(factory, app, edit_config, published):
    edit_config(app, "{latency: 0.24 ms, peak_memory: 1 MiB, file_size: 100 KiB}", "{latency: 1 s, file_size: 1 MiB}")
    edit_config(app, "{latency: 1 ms, peak_memory: 4 MiB, file_size: 1 MiB}", "{latency: 1 s, file_size: 1 MiB}")
    edit_config(app, "targets:\n", SECTION)
    answer = factory(app, "export")
    assert answer.code == 0, answer.err
    assert len(described(published(app))) == 1
    assert answer.stages.count("fine-tune") == 1
    assert len(list((app / "runs" / "tiny" / "finetuned").iterdir())) == 1


def test_a_killed_fine_tuning_is_resumed_and_ends_with_the_same_files(
    start_factory, factory, app, edit_config, published, steps_done
):
    edit_config(app, "targets:\n", "finetune: {epochs: 4, learning_rate: 0.1}\ntargets:\n")
    states = app / "runs" / "tiny" / "finetuned"
    process = start_factory(app, "build")
    while not list(states.glob("*.training.safetensors")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    (state,) = states.glob("*[0-9a-f].training.safetensors")
    done = steps_done(state)
    assert done > 0
    again = factory(app, "build")
    assert again.code == 0, again.err
    assert f"continues after step {done:,} of" in again.err
    killed = published(app)
    for path in (app / "runs" / "tiny" / "stages").glob("finetune-*"):
        path.unlink()
    assert factory(app, "build").code == 0
    assert published(app) == killed


def test_picks_that_do_not_improve_keep_the_shared_weights(factory, app, edit_config, published):
    before = published(app)
    edit_config(app, "targets:\n", "finetune: {epochs: 0.2, learning_rate: 1.0e-9}\ntargets:\n")
    answer = factory(app, "build")
    assert answer.code == 0, answer.err
    assert answer.out.count("the shared weights are exported") == 2
    models = {name: content for name, content in before.items() if name.startswith("models/")}
    after = published(app)
    assert {name: after[name] for name in models} == models


def test_micro_batches_that_do_not_fit_are_refused(factory, app, edit_config):
    edit_config(app, "targets:\n", "finetune: {batch_size: 64, micro_batch_size: 48}\ntargets:\n")
    answer = factory(app, "build")
    assert answer.code == 1
    assert "finetune: its micro_batch_size must divide its batch_size" in answer.err


def test_a_wrong_key_in_the_section_is_named(factory, empty_app, edit_config):
    edit_config(empty_app, "targets:\n", "finetune: {epoch: 2}\ntargets:\n")
    answer = factory(empty_app, "build")
    assert answer.code == 1
    assert "finetune.epoch" in answer.error
    assert "epochs" in answer.error
