"""`export: {layout: shared}`: one weights file for all tiers, known to the manifest, `verify`, and an app."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from exports.client.python import cli
from exports.engines import get_engine
from exports.family.diff import Limits, diff_families
from exports.family.manifest import read_manifest
from exports.family.parity import module_logits
from exports.family.records import File, Model
from exports.family.verify import verify_family
from exports.onnx.quantising.accuracy import paired_drop
from model_factory.console import Console
from model_factory.run import open_run
from model_factory.stages.materials import Materials
from model_factory.stages.train import finished_training

SHARED = "export: {layout: shared}\n"


@pytest.fixture(scope="module")
def shared(built: Path, factory: Callable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished tiny family, built again in the shared layout; tests may read it, but not change it."""
    folder = Path(shutil.copytree(built, tmp_path_factory.mktemp("shared") / "app"))
    with (folder / "factory.yaml").open("a", encoding="utf-8") as config:
        config.write(SHARED)
    answer = factory(folder, "build")
    assert answer.code == 0, answer.err
    return folder


@pytest.fixture
def family(shared: Path, tmp_path: Path) -> Path:
    """A copy of the family that a test may change."""
    return Path(shutil.copytree(shared / "dist" / "tiny", tmp_path / "tiny"))


def files(model: Model) -> tuple[File, File]:
    graph, weights = model.files
    assert (graph.role, weights.role) == ("graph", "weights")
    return graph, weights


def failed(family: Path) -> dict[str, str]:
    return {check.name: check.detail for check in verify_family(family).checks if not check.ok}


def test_the_models_of_a_precision_name_one_weights_file_that_is_there_once(shared):
    family = shared / "dist" / "tiny"
    models = read_manifest(family).models
    weights = {files(model)[1].name for model in models.values()}
    precisions = {model.precision for model in models.values()}
    graphs = {files(model)[0].name for model in models.values()}
    assert (len(weights), len(graphs)) == (len(precisions), len(models))
    assert {f"models/{path.name}" for path in (family / "models").iterdir()} == weights | graphs
    assert all(model.needs.disk_bytes == sum(file.bytes for file in model.files) for model in models.values())


def test_no_graph_holds_a_weight_that_is_a_part_of_the_supernet(shared):
    records = [json.loads(path.read_text("utf-8")) for path in (shared / "runs/tiny/stages").glob("shared-*.json")]
    own = [facts["own"] for record in records for facts in record["result"].values()]
    assert own == [[] for _ in read_manifest(shared / "dist" / "tiny").models]


def test_the_models_compute_what_the_separate_files_computed(built, shared):
    before, after = (read_manifest(folder / "dist" / "tiny").models.values() for folder in (built, shared))
    accuracy = [{str(m.subnet.values): m.quality.value_ppm for m in models} for models in (before, after)]
    assert accuracy[0].keys() == accuracy[1].keys()
    assert all(abs(accuracy[0][subnet] - accuracy[1][subnet]) < 30_000 for subnet in accuracy[0])
    assert verify_family(shared / "dist" / "tiny").ok


def test_the_stated_drop_of_an_int8_model_is_that_of_its_graph(shared):
    run = open_run(shared / "factory.yaml", shared)
    trained = finished_training(run, Console(quiet=True))
    materials = Materials(run, Console(quiet=True), trained.data)
    models = [model for model in read_manifest(run.family_folder).models.values() if model.precision == "int8"]
    assert models
    for model in models:
        subnet = materials.model_space.space.subnet(model.subnet.values)
        inputs, labels = materials.heldout_inputs(subnet)
        exact = module_logits(materials.file_module(materials.calibrated(subnet, 100)), inputs[:])
        found = get_engine("onnxruntime").load(run.family_folder / files(model)[0].name, 1).run(inputs[:])
        drop = paired_drop(*((logits.argmax(axis=1) == labels).astype(float) for logits in (exact, found)))
        stated = model.conversion.attempts[model.conversion.chosen].drop
        assert (stated.images, stated.drop_ppm) == (len(labels), round(drop.points * 1e4))


def test_a_second_build_does_nothing(shared, factory, published):
    before = published(shared)
    assert factory(shared, "build").stages == []
    assert published(shared) == before


@pytest.mark.parametrize("damage", ["missing", "truncated", "swapped"])
def test_damaged_weights_are_named_and_no_model_runs(family, damage):
    models = read_manifest(family).models
    weights = family / files(next(iter(models.values())))[1].name
    data = weights.read_bytes()
    if damage == "missing":
        weights.unlink()
    else:
        weights.write_bytes(data[:-100] if damage == "truncated" else data[::-1])
    found = failed(family)
    users = [name for name, model in models.items() if files(model)[1].name == f"models/{weights.name}"]
    assert found.keys() == {f"file models/{weights.name}"} | {f"samples {name}" for name in users}
    assert {found[f"samples {name}"] for name in users} == {"not run, because its file is damaged"}


def launch(family: Path, store: Path) -> None:
    image = store.with_suffix(".png")
    Image.fromarray(np.full((24, 24, 3), 90, np.uint8)).save(image)
    cli.main(["launch", "--url", str(family), "--store", str(store), "--image", str(image)])


def test_the_client_asks_for_weights_that_are_missing(family, tmp_path):
    next((family / "models").glob("*.bin")).unlink()
    with pytest.raises(SystemExit, match=r"models/\w+\.bin is missing"):
        launch(family, tmp_path / "store")


def test_a_graph_is_shown_apart_from_the_weights_of_other_models(family, factory):
    graph, weights = (next((family / "models").glob(ending)) for ending in ("*.onnx", "*.bin"))
    assert "the rest is its graph and weights of other models" in factory(family, "show", str(graph)).out
    answer = factory(family, "show", str(weights))
    assert (answer.code, "give one of the .onnx files beside it" in answer.error) == (1, True)


def test_the_client_runs_a_graph_and_refuses_other_weights(family, capsys, tmp_path):
    launch(family, tmp_path / "store")
    assert "chosen" in (out := capsys.readouterr().out) or "floor" in out
    weights = next((family / "models").glob("*.bin"))
    weights.write_bytes(weights.read_bytes()[::-1])
    with pytest.raises(SystemExit, match=rf"models/{weights.name} arrives damaged"):
        launch(family, tmp_path / "other store")


def test_a_family_with_shared_weights_can_be_compared_with_separate_files(built, shared):
    change = diff_families(built / "dist" / "tiny", shared / "dist" / "tiny", Limits())
    assert {tier.status for tier in change.tiers} == {"changed"}


def test_bands_get_weights_files_of_their_own_and_unknown_ones_are_refused(built, factory, tmp_path):
    folder = Path(shutil.copytree(built, tmp_path / "app"))
    config = folder / "factory.yaml"
    text = config.read_text(encoding="utf-8").replace("budgets:", "precisions: [fp32], budgets:") + SHARED
    config.write_text(text, encoding="utf-8")
    assert factory(folder, "build").code == 0
    (both,) = (folder / "dist" / "tiny" / "models").glob("*.bin")
    together = both.stat().st_size
    config.write_text(text.replace(SHARED, "export: {layout: shared, bands: [[speaker]]}\n"), encoding="utf-8")
    answer = factory(folder, "build")
    assert answer.code == 0, answer.err
    manifest = read_manifest(folder / "dist" / "tiny")
    weights = {tier.id: files(manifest.models[tier.models[0]])[1] for tier in manifest.tiers if tier.rank}
    assert weights["speaker"].name != weights["midrange"].name
    assert weights["speaker"].bytes < together
    config.write_text(text.replace(SHARED, "export: {layout: shared, bands: [[speeker]]}\n"), encoding="utf-8")
    answer = factory(folder, "build")
    assert answer.code == 1
    assert "export.bands names 'speeker', which is no target: speaker, midrange" in answer.error


def test_bands_without_the_shared_layout_are_refused(built, factory, tmp_path):
    folder = Path(shutil.copytree(built, tmp_path / "app"))
    with (folder / "factory.yaml").open("a", encoding="utf-8") as config:
        config.write("export: {bands: [[speaker]]}\n")
    answer = factory(folder, "build")
    assert answer.code == 1
    assert "export.bands needs `layout: shared`" in answer.error
