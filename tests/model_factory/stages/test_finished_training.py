"""A finished supernet is found again, never replaced unless a person asks for it, and can be adopted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from factory_base.errors import DiskError
from factory_base.files import digest_of, sha256_file
from model_factory.console import Console
from model_factory.run import find_run
from model_factory.stages import cached
from model_factory.stages.cached import Stage
from model_factory.stages.fingerprint import data_fingerprint
from model_factory.stages.train import _LIBRARIES, _inputs, finished_training

RECORD = Path("runs", "tiny", "stages", "train.json")
EARLIER_INPUTS = "ea8765c75fc8c9c8f87c3a9693093deb3897e3e464d82bbf8f1c2fa4924430a3"
"""Digest of the inputs in the key of the tiny app's training run, as versions before digests in records computed it."""
CHECKPOINT = Path("runs", "tiny", "supernet.safetensors")


def edit_record(app: Path, change: dict[str, Any], *, sign: bool = True) -> None:
    """Change the record of the training run; with `sign`, make its own digest right again."""
    record = json.loads((app / RECORD).read_text(encoding="utf-8")) | change
    if sign:
        record["digest"] = digest_of({name: value for name, value in record.items() if name != "digest"})
    (app / RECORD).write_text(json.dumps(record), encoding="utf-8")


def test_another_library_version_is_reported_and_the_supernet_stays_in_use(factory, app):
    versions = json.loads((app / RECORD).read_text(encoding="utf-8"))["libraries"]
    edit_record(app, {"libraries": versions | {"torch": "2.7.9"}})
    answer = factory(app, "build")
    assert answer.code == 0
    assert f"the supernet was trained with torch 2.7.9 (now {versions['torch']}); it stays in use" in answer.err
    assert "train supernet" not in answer.stages


def test_another_config_is_refused_with_the_differences_and_what_to_do(factory, app, edit_config):
    before = (app / CHECKPOINT).read_bytes()
    edit_config(app, "epochs: 10", "epochs: 3")
    answer = factory(app, "build")
    assert answer.code == 1
    (error,) = [line for line in answer.err.splitlines() if line.startswith("error: ")]
    assert "was trained with another config or other data (training.epochs 10.0, now 3.0)" in error
    assert "another `name`" in error
    assert "--retrain" in error
    assert "--adopt" in error
    assert (app / CHECKPOINT).read_bytes() == before
    assert "epochs: 10.0" in (app / "runs" / "tiny" / "config.resolved.yaml").read_text(encoding="utf-8")


def test_retrain_replaces_the_supernet_once(factory, app, edit_config):
    edit_config(app, "epochs: 10", "epochs: 1")
    before = (app / CHECKPOINT).read_bytes()
    answer = factory(app, "train", "--retrain")
    assert answer.code == 0, answer.err
    assert "train supernet" in answer.stages
    assert (app / CHECKPOINT).read_bytes() != before
    again = factory(app, "train", "--retrain")
    assert again.stages == []
    assert again.err.startswith(
        "note: --retrain has no effect, because the supernet in use was trained with this config"
    )


def test_adopt_keeps_the_supernet_and_trains_nothing(factory, app, edit_config):
    before = (app / CHECKPOINT).read_bytes()
    edit_config(app, "epochs: 10", "epochs: 3")
    answer = factory(app, "train", "--adopt")
    assert answer.code == 0, answer.err
    assert "adopted as it is, nothing was trained" in answer.err
    assert answer.stages == ["read images"]
    again = factory(app, "build")
    assert again.code == 0
    assert "note: the supernet was adopted, not trained with this config (training.epochs 10.0, now 3.0)" in again.err
    assert (app / CHECKPOINT).read_bytes() == before
    edit_config(app, "epochs: 3", "epochs: 5")
    assert "(training.epochs 10.0, now 5.0)" in factory(app, "build").err


def test_an_adopted_supernet_is_judged_on_the_present_data(factory, app, edit_config):
    edit_config(app, "limit: 600", "limit: 500")
    assert factory(app, "train", "--adopt").code == 0
    answer = factory(app, "build")
    assert answer.code == 0, answer.err
    assert {"score subnets (shared)", "pick subnets"} <= set(answer.stages)
    manifest = json.loads((app / "dist" / "tiny" / "manifest.json").read_text(encoding="utf-8"))
    kept = {path.parent.name: np.load(path) for path in (app / "runs" / "tiny" / "evaluation").glob("*/labels.npy")}
    for model in manifest["models"].values():
        assert model["quality"]["images"] == len(kept[model["quality"]["test_set_sha256"][:16]])
    assert factory(app, "verify", "dist/tiny").code == 0


def test_a_supernet_of_other_classes_cannot_be_adopted(factory, app, edit_config):
    edit_config(app, "epochs: 10", "epochs: 3")
    result = json.loads((app / RECORD).read_text(encoding="utf-8"))["result"]
    edit_record(app, {"result": result | {"class_names": [f"class {n}" for n in range(10)]}})
    answer = factory(app, "train", "--adopt", "--quiet")
    assert "the 10 classes that it was trained for are not those of the data" in answer.error


def test_a_supernet_of_another_space_cannot_be_adopted(factory, app, edit_config):
    edit_config(app, "head_width: 32", "head_width: 40")
    answer = factory(app, "train", "--adopt", "--quiet")
    assert answer.code == 1
    assert "supernet.safetensors: was trained for a model space other than the config's" in answer.error


def test_there_must_be_a_supernet_to_adopt(factory, empty_app):
    answer = factory(empty_app, "train", "--adopt")
    assert answer.code == 1
    assert "no trained supernet" in answer.error
    assert [path.name for path in empty_app.iterdir()] == ["factory.yaml"]


def test_adopting_takes_no_limits(factory, app):
    answer = factory(app, "train", "--adopt", "--max-hours", "1")
    assert (answer.code, answer.error.partition(";")[0]) == (
        1,
        "error: --adopt trains nothing, so it cannot be limited",
    )


def test_a_supernet_that_could_not_be_recorded_is_recorded_by_the_next_training_command(
    factory, empty_app, built, monkeypatch
):
    def full_disk(stage: Stage, *_: object) -> None:
        raise DiskError(f"{stage.name}: the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Stage, "save", full_disk)
        assert "the disk is full" in factory(empty_app, "train").err
    assert (empty_app / CHECKPOINT).is_file()
    search = factory(empty_app, "search", "--device", "midrange", "--quiet")
    assert search.error.endswith("its training run was interrupted; continue it with `factory train`")
    assert factory(empty_app, "train").code == 0
    assert (empty_app / CHECKPOINT).read_bytes() == (built / CHECKPOINT).read_bytes()
    assert factory(empty_app, "train").stages == []


def test_an_interrupted_retraining_continues_without_being_requested_again(factory, app, edit_config, monkeypatch):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    edit_config(app, "epochs: 10", "epochs: 2")
    with monkeypatch.context() as patch:
        patch.setattr("supernet.training.checkpoint.save_supernet", interrupt)
        assert factory(app, "train", "--retrain").code == 130
    answer = factory(app, "train")
    assert answer.code == 0, answer.err
    assert "its training run was interrupted and continues" in answer.err


def test_retrain_and_adopt_exclude_each_other(factory, app):
    answer = factory(app, "train", "--adopt", "--retrain")
    assert (answer.code, answer.error) == (1, "error: --retrain and --adopt exclude each other; give one of them")


def test_a_damaged_checkpoint_is_refused_and_cannot_be_adopted(factory, app):
    (app / CHECKPOINT).write_bytes((app / CHECKPOINT).read_bytes()[:1000])
    answer = factory(app, "search", "--device", "midrange")
    assert "was changed after it was trained" in answer.error
    assert "--adopt" not in answer.error
    answer = factory(app, "train", "--adopt")
    assert "cannot be adopted" in answer.error


@pytest.mark.parametrize("change", [{"result": {}}, {"key": 1}])
def test_an_edited_record_is_not_trusted(factory, app, change):
    edit_record(app, change, sign=False)
    answer = factory(app, "search", "--device", "midrange", "--quiet")
    assert answer.code == 1
    assert "its record is missing, damaged" in answer.error
    assert "cannot be adopted" in factory(app, "train", "--adopt", "--quiet").error


def test_a_supernet_recorded_by_an_earlier_version_is_recognised(app):
    run = find_run(None, app / "factory.yaml")
    data = data_fingerprint(run.config.data, run.config_folder, run.fingerprints)
    inputs = {**_inputs(run), "data": data}
    assert digest_of(inputs) == EARLIER_INPUTS
    key = cached.stage_key("train", 1, _LIBRARIES, inputs)
    record = json.loads((app / RECORD).read_text(encoding="utf-8"))
    (app / RECORD).write_text(json.dumps({name: record[name] for name in ("result", "files")} | {"key": key}))
    found = finished_training(run, Console(quiet=True))
    assert found is not None
    assert found.checkpoint_sha256 == sha256_file(app / CHECKPOINT)
    assert "digest" in json.loads((app / RECORD).read_text(encoding="utf-8"))
