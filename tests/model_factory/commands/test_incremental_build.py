"""A build runs again only what changed."""

from __future__ import annotations

from pathlib import Path

from device_profiles.profile import SHIPPED_FOLDER


def record_times(app: Path) -> dict[str, int]:
    return {path.stem: path.stat().st_mtime_ns for path in (app / "runs" / "tiny" / "stages").iterdir()}


def test_a_second_build_does_nothing_in_under_five_seconds(factory_process, app, built, published, children_seconds):
    before = record_times(app)
    started = children_seconds()
    answer = factory_process(app, "build")
    assert 0 < children_seconds() - started < 5
    assert answer.stages == []
    assert record_times(app) == before
    assert published(app) == published(built)


def test_editing_one_profile_repeats_only_the_search_and_the_export_of_that_target(factory, app):
    before = record_times(app)
    text = (SHIPPED_FOLDER / "midrange.yaml").read_text(encoding="utf-8")
    (app / "profiles").mkdir()
    (app / "profiles" / "midrange.yaml").write_text(text.replace("value: 3.2,", "value: 300,"), encoding="utf-8")
    edited = factory(app, "build")
    assert edited.code == 1
    assert "target 'midrange': no subnet that meets its budgets was found" in edited.err
    (app / "profiles" / "midrange.yaml").write_text(text.replace("value: 3.2,", "value: 3.3,"), encoding="utf-8")
    answer = factory(app, "build")
    assert answer.code == 0
    assert {"search midrange", "write report"} <= set(answer.stages)
    assert not {"train supernet", "score shared subnets", "search speaker"} & set(answer.stages)
    after = record_times(app)
    changed = {name.rpartition("-")[0] or name for name in after if after[name] != before.get(name)}
    assert changed == {"search-midrange", "family", "report"}


def test_a_comment_in_a_profile_or_config_repeats_nothing(factory, app, edit_config):
    text = (SHIPPED_FOLDER / "midrange.yaml").read_text(encoding="utf-8")
    (app / "profiles").mkdir()
    (app / "profiles" / "midrange.yaml").write_text(f"# mine\n{text}", encoding="utf-8")
    edit_config(app, "seed: 0", "seed: 0  # lucky")
    assert factory(app, "build").stages == []


def test_tightening_one_budget_repeats_only_that_target(factory, app, edit_config):
    edit_config(app, "latency: 1 ms", "latency: 0.055 ms")
    answer = factory(app, "build")
    assert answer.code == 0, answer.err
    searched = [stage for stage in answer.stages if stage.startswith("search")]
    assert searched == ["search midrange"]
    assert "train supernet" not in answer.stages


def test_a_new_target_repeats_neither_training_nor_shared_scores(factory, app, edit_config):
    edit_config(app, "targets:\n", "targets:\n  - {device: flagship}\n")
    answer = factory(app, "build")
    assert answer.code == 0, answer.err
    assert "search flagship" in answer.stages
    assert not {"train supernet", "score shared subnets", "search speaker", "search midrange"} & set(answer.stages)


def test_two_targets_with_one_model_are_reported_with_what_to_do_about_it(factory, app, edit_config):
    edit_config(app, "targets:\n", "targets:\n  - {device: flagship}\n  - {device: highend}\n")
    answer = factory(app, "build", "--quiet")
    (note,) = [line for line in answer.out.splitlines() if "get the same model" in line]
    assert "flagship, highend" in note
    assert "raise that budget" in note or "add larger options to the model space" in note
    assert factory(app, "diff", "dist/tiny", "dist/tiny").code == 0
