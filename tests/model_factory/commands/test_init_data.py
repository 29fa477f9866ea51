"""`factory init --data`: a look at the user's data gives a config that builds, or says why not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from device_profiles.cost_models.device_costs import DeviceCosts
from device_profiles.profile import find_profile
from device_profiles.workload.workloads import Workloads
from model_factory.config import FactoryConfig, load_config
from supernet.data.sources import load_splits
from supernet.spaces import make_model_space


def photos(root: Path, counts: dict[str, int], size: tuple[int, int] = (40, 32)) -> Path:
    """A folder of class folders; images of `size` (width, height)."""
    rng = np.random.default_rng(0)
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return root


@pytest.fixture
def birds(tmp_path) -> Path:
    return photos(tmp_path / "birds", {"crow": 30, "owl": 12})


def both_configs(folder: Path) -> list[FactoryConfig]:
    return [load_config(folder / name) for name in ("factory.yaml", "factory.smoke.yaml")]


def test_the_configs_for_a_folder_load_its_data(factory, tmp_path, birds):
    answer = factory(tmp_path, "init", "app", "--data", birds)
    assert answer.code == 0, answer.err
    for config in both_configs(tmp_path / "app"):
        splits = load_splits(config.data, tmp_path / "app", config.seed)
        assert splits.class_names == ("crow", "owl")
        assert config.data.path == "../birds"
        assert config.data.image_size == 32


def test_it_says_line_by_line_what_it_saw_and_decided_and_what_to_do_next(factory, tmp_path, birds):
    out = factory(tmp_path, "init", "app", "--data", birds).out
    for line in (
        "data: folder, 42 training images, no test images of their own",
        "task: classification, 2 classes, 12 to 30 images each",
        "images: 40 x 32 pixels (the median of 42 sampled), colour",
        "image size: 32 pixels, because the median shorter side is 32",
        "note: few examples: owl 12; whether such a class is recognised cannot be measured reliably",
        "next: `factory build --config app/factory.smoke.yaml` tries the whole loop",
        "then: `factory build` in app",
    ):
        assert line in out.splitlines()


def test_the_comments_name_the_classes_and_stand_at_the_keys(factory, tmp_path, birds):
    factory(tmp_path, "init", "app", "--data", birds)
    text = (tmp_path / "app" / "factory.yaml").read_text(encoding="utf-8")
    assert "# Training examples: crow 30, owl 12." in text
    assert all(len(line) <= 120 for line in text.splitlines())
    for key in ("name", "threads", "source", "path", "image_size", "test_fraction", "space", "resolutions", "epochs"):
        (line,) = (line for line in text.splitlines() if line.strip().startswith(f"{key}:"))
        assert "# " in line


def test_every_target_has_budgets_of_its_own_that_some_networks_keep(factory, tmp_path, birds):
    factory(tmp_path, "init", "app", "--data", birds)
    for config in both_configs(tmp_path / "app"):
        space = make_model_space(config.model, 2)
        workloads, kept = Workloads(space, pixels=True), []
        assert len({str(target.budgets) for target in config.targets}) == len(config.targets)
        for target in config.targets:
            costs = DeviceCosts(workloads, find_profile(target.device, tmp_path))
            smallest, largest = costs.of([space.space.smallest, space.space.largest])
            assert not target.budgets.excesses(smallest)
            kept.append(not target.budgets.excesses(largest))
        assert not all(kept), "every target gets the largest network"


def test_a_test_folder_is_used_and_a_folder_around_the_classes_is_entered(factory, tmp_path):
    photos(tmp_path / "birds" / "pictures" / "train", {"crow": 20, "owl": 20})
    photos(tmp_path / "birds" / "pictures" / "test", {"crow": 4, "owl": 4})
    out = factory(tmp_path, "init", "app", "--data", "birds").out
    assert "data: folder, 40 training images, 8 test images" in out
    assert "note: the classes are in the folder pictures" in out
    data = yaml.safe_load((tmp_path / "app" / "factory.yaml").read_text(encoding="utf-8"))["data"]
    assert data["path"] == "../birds/pictures"
    assert "test_fraction" not in data


@pytest.mark.parametrize(
    ("size", "fitting", "reason"),
    [
        ((40, 40), "squash", "fitting: squash, pictures are squeezed to a square, because nearly all pictures are"),
        ((60, 40), "crop", "fitting: crop, pictures are cropped to their centre to a square, because one in ten"),
        ((120, 40), "letterbox", "fitting: letterbox, pictures are framed with grey borders to a square, because one"),
    ],
)
def test_the_shapes_of_the_pictures_decide_how_they_become_square(factory, tmp_path, size, fitting, reason):
    photos(tmp_path / "birds", {"crow": 8, "owl": 8}, size=size)
    out = factory(tmp_path, "init", "app", "--data", "birds").out
    assert reason in out
    assert both_configs(tmp_path / "app")[0].data.fitting == fitting


def test_grey_images_get_one_channel(factory, tmp_path):
    for name in ("one", "two"):
        (tmp_path / "digits" / name).mkdir(parents=True)
        for number in range(8):
            Image.new("L", (32, 32), number).save(tmp_path / "digits" / name / f"{number}.png")
    assert (
        "images: 32 x 32 pixels (the median of 16 sampled), grey"
        in factory(tmp_path, "init", "app", "--data", "digits").out
    )
    assert [config.data.channels for config in both_configs(tmp_path / "app")] == [1, 1]


def test_what_systems_leave_behind_is_no_data(factory, tmp_path, birds):
    for name in ("Thumbs.db", ".DS_Store", "crow/desktop.ini", "owl/._1.png", "__MACOSX/crow/._1.png"):
        (birds / name).parent.mkdir(parents=True, exist_ok=True)
        (birds / name).write_bytes(b"nothing")
    answer = factory(tmp_path, "init", "app", "--data", birds)
    assert "data: folder, 42 training images, no test images of their own" in answer.out, answer.err


def test_classes_too_small_to_be_split_are_dropped_and_named(factory, tmp_path):
    photos(tmp_path / "birds", {"crow": 20, "owl": 20, "rail": 2})
    factory(tmp_path, "init", "app", "--data", "birds")
    text = (tmp_path / "app" / "factory.yaml").read_text(encoding="utf-8")
    assert "small_classes: drop       # rail: too few to be split; or merge | error" in text
    config, _ = both_configs(tmp_path / "app")
    assert load_splits(config.data, tmp_path / "app", 0).class_names == ("crow", "owl")


def test_few_photos_start_from_pretrained_weights(factory, tmp_path):
    photos(tmp_path / "birds", {"crow": 10, "owl": 10}, size=(80, 96))
    out = factory(tmp_path, "init", "app", "--data", "birds").out
    assert (
        "model space: efficientnet_lite0 from weights trained on ImageNet, because there are only 20; 15 epochs" in out
    )
    config, small = both_configs(tmp_path / "app")
    assert (config.data.image_size, config.model.resolutions, small.model.resolutions) == (80, (64, 72, 80), (64,))
    assert config.model.names_weights
    assert small.model.names_weights


def test_very_uneven_classes_are_noted_and_get_a_remedy(factory, tmp_path):
    photos(tmp_path / "birds", {"crow": 60, "owl": 8})
    out = factory(tmp_path, "init", "app", "--data", "birds").out
    assert "note: classes are imbalanced: crow has 60, owl 8; look at the recall of each class" in out
    config, _ = both_configs(tmp_path / "app")
    assert (config.training.imbalance, config.metric) == ("auto", "accuracy")


def test_a_validation_folder_stands_in_for_missing_test_data_and_that_is_said(factory, tmp_path):
    photos(tmp_path / "birds" / "train", {"crow": 20, "owl": 20})
    photos(tmp_path / "birds" / "val", {"crow": 4, "owl": 4})
    out = factory(tmp_path, "init", "app", "--data", "birds").out
    assert "data: folder, 40 training images, 8 test images" in out
    assert "note: val is taken for the test data, as there are no others; held-out images are drawn from train" in out
    for config in both_configs(tmp_path / "app"):
        assert (config.data.path, config.data.test_path) == ("../birds/train", "../birds/val")


def test_arrays_are_read_without_decoding(factory, tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "a.npz", images=rng.integers(0, 256, (60, 3, 20, 24), dtype=np.uint8), labels=np.arange(60) % 3)
    out = factory(tmp_path, "init", "app", "--data", "a.npz").out
    assert "images: 24 x 20 pixels (all of one array), colour" in out
    assert both_configs(tmp_path / "app")[0].data.source == "npz"


def test_labels_of_several_classes_in_arrays_give_their_task(factory, tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 32, 32), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", images=images, labels=rng.integers(0, 2, (60, 4)))
    np.savez(tmp_path / "b.npz", images=images, labels=rng.random((60, 2)))
    assert "task: multilabel, 4 labels" in factory(tmp_path, "init", "app", "--data", "a.npz").out
    assert "task: regression, 2 values" in factory(tmp_path, "init", "other", "--data", "b.npz").out


def test_few_headers_are_read_of_many_images(factory, tmp_path, monkeypatch):
    from model_factory.jobs.scaffolding import sampling

    many = photos(tmp_path / "many", {"crow": 250, "owl": 250}, size=(8, 8))
    opened = []
    header = sampling._header
    monkeypatch.setattr(sampling, "_header", lambda image: opened.append(image) or header(image))
    factory(tmp_path, "init", "app", "--data", many)
    assert len(opened) == len(set(opened)) == sampling.SAMPLE


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "is empty; put the images of each class into a folder of its own there"),
        ({"1.png": 1}, "holds 1 image but no class folders"),
        ({"crow/1.png": 1}, "holds one class only (crow)"),
        ({"a/2020/1.png": 1, "b/2020/1.png": 1}, "the images are one folder deeper than the classes (a/2020)"),
        ({"notes.docx": 0}, "holds no class folders of images and nothing else that is read (notes.docx)"),
        ({"a/1.png": 1, "b/1.doc": 0}, "1.doc: is not an image"),
        (dict.fromkeys([f"{c}/{i}.png" for c in "ab" for i in range(3)], 0), "none of 6 sampled images can be read"),
        (
            {"a/1.png": 1, "b/1.png": 1, "b/2.png": 1, "b/3.png": 1},
            "a with fewer than 3 examples cannot be split, and fewer than 2 other classes are left",
        ),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_reason_and_nothing_is_written(factory, tmp_path, files, message):
    (tmp_path / "data").mkdir()
    for name, is_image in files.items():
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        if is_image:
            Image.new("RGB", (8, 8)).save(tmp_path / "data" / name)
        else:
            (tmp_path / "data" / name).write_bytes(b"nothing")
    answer = factory(tmp_path, "init", "app", "--data", "data")
    assert answer.code == 1
    assert message in answer.error
    assert not (tmp_path / "app").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("data.zip", "is a packed archive; unpack it, and name the folder"),
        ("data.docx", "is not data that can be read; allowed: "),
        ("data.png", "is a single image"),
        ("nowhere", "there is no such file or folder"),
    ],
)
def test_a_file_that_is_no_data_is_refused(factory, tmp_path, name, message):
    if name != "nowhere":
        (tmp_path / name).write_bytes(b"nothing")
    answer = factory(tmp_path, "init", "app", "--data", name)
    assert (answer.code, message in answer.error) == (1, True)


def test_a_config_that_exists_is_never_replaced(factory, tmp_path, birds):
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "factory.smoke.yaml").write_text("mine")
    answer = factory(tmp_path, "init", "app", "--data", birds)
    assert "app/factory.smoke.yaml exists already" in answer.error
    assert [path.name for path in (tmp_path / "app").iterdir()] == ["factory.smoke.yaml"]


def test_data_and_a_template_exclude_each_other(factory, tmp_path, birds):
    answer = factory(tmp_path, "init", "app", "--data", birds, "--template", "digits")
    assert "--data and --template exclude each other" in answer.error


def test_the_training_of_few_photos_fills_a_batch(factory, tmp_path):
    photos(tmp_path / "birds", {"crow": 40, "owl": 40}, size=(96, 96))
    assert factory(tmp_path, "init", "app", "--data", "birds").code == 0
    for config in both_configs(tmp_path / "app"):
        splits = load_splits(config.data, tmp_path / "app", config.seed)
        assert config.model.from_ == "pretrained"
        assert config.training.batch_size <= len(splits.train)
