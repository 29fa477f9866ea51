"""The images of a run: cached and read as the config says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from device_profiles.engine import Precision
from factory_base.errors import ConfigError, DataError
from model_factory.console import Console
from model_factory.run import open_run
from model_factory.stages.materials import KnownData, Materials
from supernet.data.examples import ExampleInputs
from supernet.data.types import LabelledImages, OnDemandImages
from supernet.evaluation.calibration import seeded_rows
from supernet.evaluation.evaluation import correct
from supernet.sharing.supernet import Supernet
from supernet.training.checkpoint import save_supernet


@pytest.fixture
def config() -> dict[str, Any]:
    """A config of images in a folder `pets`, without the images."""
    return {
        "name": "pets",
        "threads": 1,
        "data": {"source": "folder", "path": "pets", "image_size": 8, "memory_limit": "1 B"},
        "model": {
            "space": "mobilenet", "resolutions": [8], "stem_width": 8, "head_width": 8,
            "stages": [{"widths": [8], "depths": [1]}],
        },
        "training": {"epochs": 1, "augment": {"shift": 1}},
        "targets": [{"device": "midrange"}],
    }  # fmt: skip


def materials(folder: Path, config: dict[str, Any], known: KnownData | None = None, **data: Any) -> Materials:
    (folder / "factory.yaml").write_text(yaml.safe_dump(config | {"data": config["data"] | data}))
    return Materials(open_run(folder / "factory.yaml", folder), Console(), known)


def write_pictures(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for index in range(24):
        path = folder / "pets" / "ab"[index % 2] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)).save(path)


def test_images_over_the_limit_are_cached_in_the_run_folder(tmp_path: Path, config: dict[str, Any]) -> None:
    write_pictures(tmp_path)
    splits = materials(tmp_path, config).splits
    assert isinstance(splits.test.images, OnDemandImages)
    assert len(list((tmp_path / "runs/pets/images").glob("*.rgb"))) == 3
    assert materials(tmp_path, config, memory_limit="1 MiB").splits.digest == splits.digest


def test_another_kind_of_labels_reads_images_anew_since_it_splits_them_otherwise(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    write_pictures(tmp_path)
    rows = [f"{'ab'[index % 2]}/{index}.png,{index % 2}" for index in range(24)]
    (tmp_path / "pets/pets.csv").write_text("\n".join(["image,label", *rows]))
    table = {"source": "table", "path": "pets/pets.csv", "cache": "disk"}
    assert materials(tmp_path, config, **table).splits.train.labels.ndim == 1
    cached = materials(tmp_path, config | {"task": "regression"}, **table).splits
    fresh = materials(tmp_path, config | {"task": "regression"}, **table | {"cache": "memory"}).splits
    assert cached.digest == fresh.digest
    assert isinstance(cached.test, LabelledImages)
    assert isinstance(fresh.test, LabelledImages)
    assert np.array_equal(cached.test.images[:], fresh.test.images[:])


def test_a_changed_image_is_decoded_again(tmp_path: Path, config: dict[str, Any]) -> None:
    write_pictures(tmp_path)
    before = materials(tmp_path, config).splits.digest
    Image.new("RGB", (8, 8), "red").save(tmp_path / "pets/a/0.png")
    after = materials(tmp_path, config).splits.digest
    assert after != before
    assert after == materials(tmp_path, config, cache="memory").splits.digest


def test_inputs_are_the_same_in_memory_and_on_demand(tmp_path: Path, config: dict[str, Any]) -> None:
    write_pictures(tmp_path)
    inputs = []
    for cache in ("memory", "disk", "none"):
        found = materials(tmp_path, config, cache=cache)
        inputs.append(found.inputs(found.splits.test, found.model_space.space.largest)[1:3])
    assert inputs[0].shape == (2, 8, 8, 3)
    assert np.array_equal(inputs[0], inputs[1])
    assert np.array_equal(inputs[0], inputs[2])


def test_heldout_images_are_judged_in_a_random_order_range_by_range(tmp_path: Path, config: dict[str, Any]) -> None:
    write_pictures(tmp_path)
    found = materials(tmp_path, config, heldout_fraction=0.5)
    subnet = found.model_space.space.largest
    save_supernet(open_run(tmp_path / "factory.yaml", tmp_path).checkpoint, Supernet(found.model_space, seed=0))
    heldout = found.examples(found.splits.heldout)
    in_order = correct(found.calibrated(subnet, 8), ExampleInputs(heldout, (3, 8, 8)), heldout.labels)
    order = seeded_rows(len(heldout), len(heldout), seed=0).tolist()
    assert order != sorted(order)
    assert found.heldout_scores(subnet, range(len(heldout)), 8) == in_order[order].tolist()
    one_by_one = [found.heldout_scores(subnet, range(image, image + 1), 8)[0] for image in range(len(heldout))]
    assert one_by_one == in_order[order].tolist()


@pytest.mark.parametrize("precision", ["fp16", "int8_weights", "int8"])
def test_heldout_images_are_judged_in_the_precision_of_a_file(
    tmp_path: Path, config: dict[str, Any], precision: Precision
) -> None:
    write_pictures(tmp_path)
    found = materials(tmp_path, config, heldout_fraction=0.5)
    subnet = found.model_space.space.largest
    save_supernet(open_run(tmp_path / "factory.yaml", tmp_path).checkpoint, Supernet(found.model_space, seed=0))
    images = range(len(found.splits.heldout))
    exact = found.heldout_scores(subnet, images, 8)
    judged = found.heldout_scores(subnet, images, 8, precision)
    assert np.mean(np.array(judged) == np.array(exact)) >= 0.7
    assert found.heldout_scores(subnet, images, 8, precision) == judged


def test_processes_prepare_batches_if_images_are_not_in_memory(tmp_path: Path, config: dict[str, Any]) -> None:
    write_pictures(tmp_path)
    assert materials(tmp_path, config, cache="memory").loader_workers == 0
    assert materials(tmp_path, config, cache="none").loader_workers >= 1
    assert materials(tmp_path, config, cache="none", workers=0).loader_workers == 0
    assert materials(tmp_path, config, cache="memory", workers=3).loader_workers == 3


def test_what_was_taken_for_what_is_printed(
    tmp_path: Path, config: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    write_pictures(tmp_path)
    assert materials(tmp_path, config).splits.notes
    assert (
        f"data: training: 24 images in {tmp_path / 'pets'}; test: set aside from the same\n" in capsys.readouterr().err
    )


def test_files_that_are_read_otherwise_than_for_the_finished_supernet_are_refused(
    tmp_path: Path, config: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    write_pictures(tmp_path)
    splits = materials(tmp_path, config).splits
    counts = (len(splits.train), len(splits.heldout), len(splits.test))
    capsys.readouterr()
    same = KnownData(classes=2, counts=counts, sha256=splits.digest)
    assert materials(tmp_path, config, same).splits.digest == splits.digest
    assert "not decoded quite as" not in capsys.readouterr().err
    assert materials(tmp_path, config, replace(same, sha256="0" * 64)).splits.digest == splits.digest
    assert "not decoded quite as they were when the supernet was trained" in capsys.readouterr().err
    with pytest.raises(DataError, match=r"was trained with 24 training, .* but the data are now read as 1\d training"):
        _ = materials(tmp_path, config, replace(same, counts=(24, 3, 3))).splits


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ("no_such_nets:space", "no_such_nets:space: cannot be imported"),
        ("json:space", "json:space: module 'json' has no 'space'"),
        ("json:dumps", "json:dumps: .* change model.options"),
    ],
)
def test_a_bad_import_is_found_before_any_image_is_read(
    tmp_path: Path, config: dict[str, Any], space: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):  # there are no images, which would be the next error
        _ = materials(tmp_path, config | {"model": {"space": space}}).splits
