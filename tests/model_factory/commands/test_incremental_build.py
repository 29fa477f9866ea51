"""A build runs again only what changed."""

from __future__ import annotations

from pathlib import Path

from device_profiles import profile
from device_profiles.profile import SHIPPED_FOLDER

NOT_NEEDED = {
    "torch",
    "optuna",
    "sqlalchemy",
    "pandas",
    "pyarrow",
    "scipy",
    "sklearn",
    "onnx",
    "onnxruntime",
    "matplotlib",
}
"""What a build in which nothing changed must not import, because that takes longer than all the rest of it."""
LIST_MODULES = """
import sys
from model_factory.__main__ import main
try:
    main(["build"])
except SystemExit:
    pass
print("MODULES", *sys.modules)
"""


def record_times(app: Path) -> dict[str, int]:
    return {path.stem: path.stat().st_mtime_ns for path in (app / "runs" / "tiny" / "stages").iterdir()}


def test_a_second_build_does_nothing_and_loads_no_library_for_it(factory_process, app, built, published):
    before = record_times(app)
    answer = factory_process(app, prefix=("-c", LIST_MODULES))
    assert answer.code == 0, answer.err
    assert answer.stages == []
    modules = answer.out.partition("MODULES")[2].split()
    assert "model_factory.build" in modules
    assert NOT_NEEDED & set(modules) == set()
    assert record_times(app) == before
    assert published(app) == published(built)


def test_the_profile_of_each_target_is_read_once(factory, app, monkeypatch):
    read, load = [], profile.load_document
    monkeypatch.setattr(profile, "load_document", lambda path, model: (read.append(path.stem), load(path, model))[1])
    assert factory(app, "build").code == 0
    assert read == ["speaker", "midrange"]


def test_editing_one_profile_repeats_the_search_but_no_training_and_no_score(factory, app):
    before = record_times(app)
    text = (SHIPPED_FOLDER / "midrange.yaml").read_text(encoding="utf-8")
    (app / "profiles").mkdir()
    (app / "profiles" / "midrange.yaml").write_text(text.replace("value: 3.2,", "value: 300,"), encoding="utf-8")
    edited = factory(app, "build")
    assert edited.code == 1
    assert "target 'midrange': none of its " in edited.err
    (app / "profiles" / "midrange.yaml").write_text(text.replace("value: 3.2,", "value: 3.3,"), encoding="utf-8")
    answer = factory(app, "build")
    assert answer.code == 0
    assert {"choose subnets to score", "write report"} <= set(answer.stages)
    assert not any(stage.startswith("train") for stage in answer.stages)
    after = record_times(app)
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {"search", "snapshot", "family", "report"}


def test_a_comment_in_a_profile_or_config_repeats_nothing(factory, app, edit_config):
    text = (SHIPPED_FOLDER / "midrange.yaml").read_text(encoding="utf-8")
    (app / "profiles").mkdir()
    (app / "profiles" / "midrange.yaml").write_text(f"# mine\n{text}", encoding="utf-8")
    edit_config(app, "seed: 0", "seed: 0  # lucky")
    assert factory(app, "build").stages == []


def test_a_key_of_an_earlier_version_repeats_nothing_and_is_said_to_have_no_effect(factory, app, edit_config):
    edit_config(app, "finalists: 2", "finalists: 2, pool: 20")
    answer = factory(app, "build")
    assert answer.code == 0
    assert "search.pool has no effect any more; remove it" in answer.err
    assert answer.stages == []


def test_tightening_one_budget_repeats_no_training(factory, app, edit_config):
    edit_config(app, "latency: 1 ms", "latency: 0.065 ms")
    answer = factory(app, "build")
    assert answer.code == 0, answer.err
    assert "propose subnets (round 1)" in answer.stages
    assert not any(stage.startswith("train") for stage in answer.stages)


def test_a_new_target_repeats_neither_training_nor_shared_scores(factory, app, edit_config):
    edit_config(app, "targets:\n", "targets:\n  - {device: flagship}\n")
    answer = factory(app, "build")
    assert answer.code == 0, answer.err
    assert "propose subnets (round 1)" in answer.stages
    assert not any(stage.startswith("train") for stage in answer.stages)


def test_two_targets_with_one_model_are_reported_with_what_to_do_about_it(factory, app, edit_config):
    edit_config(app, "targets:\n", "targets:\n  - {device: flagship}\n  - {device: highend}\n")
    answer = factory(app, "build", "--quiet")
    (note,) = [line for line in answer.out.splitlines() if "get the same model" in line]
    assert "flagship, highend" in note
    assert any(reason in note for reason in ("raise that budget", "add larger options", "the best scored subnet"))
    assert factory(app, "diff", "dist/tiny", "dist/tiny").code == 0
