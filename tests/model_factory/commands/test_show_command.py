"""`factory show` on a file and on a family."""

from __future__ import annotations

import json
import shutil

import pytest
from PIL import Image


@pytest.fixture
def family(built):
    """The tiny family, which tests may read but not change."""
    return built / "dist" / "tiny"


def model_file(family):
    return next((family / "models").glob("*.onnx"))


def test_a_file_is_shown_layer_by_layer(factory, tmp_path, family):
    answer = factory(tmp_path, "show", str(model_file(family)))
    assert answer.code == 0, answer.error
    assert "of it" not in answer.out
    for part in ("are weights", "opset 20", " MACs in ", "memory: arena", "Conv_0003", "fp32"):
        assert part in answer.out


def test_the_json_form_adds_up(factory, tmp_path, family):
    value = json.loads(factory(tmp_path, "show", str(model_file(family)), "--json").out)
    assert sum(layer["weight_bytes"] for layer in value["layers"]) == value["weight_bytes"]
    assert max(layer["live_bytes"] or 0 for layer in value["layers"]) == value["timeline"]["bound_bytes"]


def test_the_memory_timeline_is_drawn(factory, tmp_path, family):
    for name in ("memory.png", "memory.svg"):
        assert factory(tmp_path, "show", str(model_file(family)), "--output", name).code == 0
    with Image.open(tmp_path / "memory.png") as image:
        assert image.format == "PNG"
    svg = (tmp_path / "memory.svg").read_text()
    assert "prefers-color-scheme:dark" in svg
    assert "Conv_0003" in svg
    answer = factory(tmp_path, "show", str(model_file(family)), "--output", "memory.gif")
    assert (answer.code, "choose one of these endings" in answer.error) == (1, True)


def test_a_family_is_a_table_of_its_models_and_one_reduced_build(factory, tmp_path, family):
    answer = factory(tmp_path, "show", str(family), "--reduced-build", "operators.config")
    manifest = json.loads((family / "manifest.json").read_text())
    assert all(name in answer.out for name in manifest["models"])
    assert "operators: " in answer.out
    assert "com.microsoft;1;" in (tmp_path / "operators.config").read_text()


def test_a_family_without_one_of_its_files_is_refused(factory, tmp_path, family):
    shutil.copytree(family, tmp_path / "copy")
    model_file(tmp_path / "copy").unlink()
    answer = factory(tmp_path, "show", str(tmp_path / "copy"))
    assert answer.code == 1
    assert "is missing" in answer.error


def test_a_family_states_what_each_model_is_worth_and_why(factory, tmp_path, family):
    out = factory(tmp_path, "show", str(family)).out
    assert "balanced accuracy" in out
    assert "top1 accuracy" in out
    manifest = json.loads((family / "manifest.json").read_text())
    value = json.loads(factory(tmp_path, "show", str(family), "--json").out)
    for model in value["models"]:
        quality = manifest["models"][model["model_id"]]["quality"]
        assert model["measures"]["macro_f1"] == quality["measures"]["macro_f1"] / 1e6
        found = model["evaluation"]
        assert found["accuracy"]["value"] == pytest.approx(model["value"], abs=1e-6)
        assert sum(one["support"] for one in found["classes"]) == sum(cell["examples"] for cell in found["confusions"])
        assert found["calibration"]["bins"]


def test_a_family_without_its_run_has_the_figures_of_its_manifest_alone(factory, tmp_path, family):
    shutil.copytree(family, tmp_path / "alone")
    value = json.loads(factory(tmp_path, "show", "alone", "--json").out)
    assert all(model["evaluation"] is None and model["measures"] for model in value["models"])
