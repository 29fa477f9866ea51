"""Every command on a finished family."""

from __future__ import annotations

import json


def test_build_prints_the_tiers_and_the_path_of_the_family(factory, app):
    answer = factory(app, "build", "--quiet")
    assert answer.code == 0
    assert all(text in answer.out for text in ("speaker", "midrange", "dist/tiny/manifest.json", "report.html"))


def test_a_build_states_what_each_model_is_worth_also_for_programs(factory, app):
    out = factory(app, "build", "--quiet").out
    assert "calibration error" in out
    assert "runs/tiny/errors.html" in out
    value = json.loads(factory(app, "build", "--quiet", "--json").out)
    assert {tier["tier"] for tier in value["tiers"]} == {"speaker", "midrange"}
    for tier in value["tiers"]:
        found = value["models"][tier["model"]]
        assert len(found["classes"]) == 10
        assert 0 < found["classes"][3]["recall"]["low"] < found["classes"][3]["recall"]["high"] <= 1
        assert found["calibration"]["error"] > 0
    assert (app / "runs" / "tiny" / "errors.html").is_file()
    assert not list((app / "dist").rglob("errors*"))


def test_verify_passes_and_names_what_it_checked(factory, built):
    answer = factory(built, "verify", "dist/tiny/manifest.json")
    assert answer.code == 0
    assert "warn   platforms: no tier is for" in answer.out
    assert answer.out.endswith(" checks, all passed, 1 warning\n")


def test_verify_exits_with_1_and_names_the_changed_file(factory, app):
    (model, *_) = sorted((app / "dist" / "tiny" / "models").iterdir())
    model.write_bytes(model.read_bytes()[:-1] + b"\0")
    answer = factory(app, "verify", "dist/tiny", "--json")
    assert answer.code == 1
    outcome = json.loads(answer.out)
    assert not outcome["ok"]
    assert f"file models/{model.name}" in [check["name"] for check in outcome["checks"] if not check["ok"]]


def test_resolve_gives_each_platform_its_own_tier(factory, built):
    def tier(*facts: str) -> str:
        return json.loads(factory(built, "resolve", "dist/tiny", "--json", *facts).out)["tier"]

    assert tier("--platform", "android", "--ram", "5GiB", "--cores", "8") == "midrange"
    assert tier("--platform", "ios", "--ram", "5GiB") == "floor"


def test_resolve_says_why_a_tier_is_rejected(factory, built):
    out = factory(built, "resolve", "dist/tiny", "--platform", "android", "--ram", "3 GiB", "--cores", "8").out
    assert out.startswith("model m")
    assert "midrange: the device does not meet ram_class_min" in out


def test_diff_of_a_family_with_itself_finds_nothing_worse(factory, built):
    answer = factory(built, "diff", "dist/tiny", "dist/tiny")
    assert answer.code == 0
    assert "nothing got worse" in answer.out


def test_diff_exits_with_1_if_a_limit_is_exceeded(factory, app, edit_config):
    before = (app / "dist" / "tiny").rename(app / "old")
    edit_config(app, "latency: 1 ms", "latency: 0.06 ms")
    assert factory(app, "build", "-q").code == 0
    answer = factory(app, "diff", before, "dist/tiny", "--json")
    assert answer.code == 1
    assert any("accuracy changed" in line for line in json.loads(answer.out)["worse"])
    assert factory(app, "diff", before, "dist/tiny", "--max-accuracy-drop", "1").code == 0


def test_diff_exits_with_2_if_there_is_nothing_to_compare(factory, built):
    answer = factory(built, "diff", "dist/gone", "dist/tiny")
    assert answer.code == 2
    assert "dist/gone" in answer.error


def test_search_from_a_folder_below_the_config_trains_nothing_and_leaves_a_plot(factory, app):
    below = app / "notes" / "deep"
    below.mkdir(parents=True)
    answer = factory(below, "search", "--device", "profiles/highend.yaml", "--json")
    outcome = json.loads(answer.out)
    assert outcome["origin"] == "shipped highend"
    assert outcome["pick"]["excesses"] == []
    assert not any(stage.startswith("train") for stage in answer.stages)
    assert (app / "runs" / "tiny" / "plots" / "highend.png").read_bytes().startswith(b"\x89PNG")


def test_search_prefers_a_file_to_a_shipped_profile_and_says_so(factory, app):
    factory(app, "init", "other")
    (app / "profiles").mkdir()
    (app / "other" / "profiles" / "midrange.yaml").rename(app / "profiles" / "midrange.yaml")
    answer = factory(app, "search", "--device", "profiles/midrange.yaml", "-q")
    assert "(file profiles/midrange.yaml)" in answer.out
    assert "pick" in answer.out


def test_a_run_folder_names_its_run_from_anywhere(factory, app, tmp_path):
    factory(app, "build", "-q")  # records the folder of the copy
    answer = factory(tmp_path, "report", "--run", app / "runs" / "tiny")
    assert answer.code == 0
    assert answer.out.strip() == str(app / "dist" / "tiny" / "report.html")


def test_export_writes_a_deleted_family_again_without_training(factory, app, built, published):
    for path in sorted((app / "dist").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    answer = factory(app, "export")
    assert not {"train supernet", "choose subnets to score", "pick subnets"} & set(answer.stages)
    assert published(app) == published(built)


def test_init_writes_a_config_that_can_be_built_and_never_overwrites(factory, tmp_path):
    assert factory(tmp_path, "init", "mine", "--template", "digits").code == 0
    assert (tmp_path / "mine" / "profiles" / "midrange.yaml").is_file()
    again = factory(tmp_path, "init", "mine")
    assert again.code == 1
    assert "factory.yaml exists already" in again.error
    search = factory(tmp_path / "mine" / "profiles", "search", "--device", "midrange")
    assert "run `factory train`" in search.error


def test_a_port_that_does_not_exist_is_refused_in_one_line(factory, built):
    answer = factory(built, "serve", "dist/tiny", "--port", "99999")
    assert answer.code == 2
    assert "'--port'" in answer.error
