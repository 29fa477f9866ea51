"""What is checked before the training for the sake of the manifest, and what a build says about the family it wrote."""

import json
from pathlib import Path

import device_profiles

_MIDRANGE = Path(device_profiles.__file__).parent / "profiles" / "midrange.yaml"


def test_a_build_says_when_content_changed_under_the_same_release_number(factory, app):
    path = app / "dist" / "tiny" / "manifest.json"
    value = json.loads(path.read_text(encoding="utf-8"))
    next(iter(value["models"].values()))["needs"]["peak_memory_bytes"] += 1
    path.write_text(json.dumps(value), encoding="utf-8")
    line = "note     the content of family tiny changed, but its release number is still 1; set `release: 2`"
    assert line in factory(app, "build", "--quiet").out
    assert "release number" not in factory(app, "build", "--quiet").out


def test_a_manifest_that_would_be_refused_at_the_end_is_refused_before_the_training(factory, empty_app, edit_config):
    (empty_app / "profiles").mkdir()
    text = _MIDRANGE.read_text(encoding="utf-8").replace("name: midrange", "name: floor")
    (empty_app / "profiles" / "floor.yaml").write_text(text, encoding="utf-8")
    edit_config(empty_app, "device: midrange", "device: floor")
    assert "tier 'floor': needs" in factory(empty_app, "build", "--quiet").error
    assert not (empty_app / "runs" / "tiny" / "plan.json").exists()


def test_worst_classes_are_in_the_manifest_in_the_report_and_in_the_output(factory, app):
    manifest = json.loads((app / "dist" / "tiny" / "manifest.json").read_text(encoding="utf-8"))
    out = factory(app, "build", "--quiet").out
    page = (app / "dist" / "tiny" / "report.html").read_text(encoding="utf-8")
    for tier in manifest["tiers"]:
        classes = manifest["models"][tier["models"][0]]["quality"]["classes"]
        images, worst = manifest["evaluation"]["class_images"], classes["worst"]
        assert worst["value_ppm"] == round(1e6 * classes["correct"][worst["index"]] / images[worst["index"]])
        assert f"{worst['index']}: {worst['value_ppm'] / 1e6:.1%} of {worst['images']}" in out
        assert f"{worst['index']}: {worst['value_ppm'] / 1e4:.1f} %" in page
