"""`factory init --data` for tables: what the columns hold is guessed from their names and cells, and said."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from factory_base.errors import ConfigError, DataError
from model_factory.config import load_config
from model_factory.jobs.scaffolding.columns import guess_columns
from model_factory.jobs.scaffolding.looking import look

PHOTOS = [f"{i}.png" for i in range(40)]


def table(folder: Path, header: str, row, name: str = "labels.csv") -> Path:
    """A table of forty rows in `folder`; `row(i)` are the cells after the path of the image."""
    lines = [header, *(f"{photo},{row(i)}" for i, photo in enumerate(PHOTOS))]
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / name


@pytest.fixture
def folder(tmp_path) -> Path:
    rng = np.random.default_rng(0)
    for photo in PHOTOS:
        Image.fromarray(rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)).save(tmp_path / photo)
    return tmp_path


def test_the_config_for_a_table_names_its_columns_and_loads(factory, folder):
    table(folder, "file,species,patient_id,split", lambda i: f"{'cat' if i % 2 else 'dog'},p{i // 4},{_split(i)}")
    out = factory(folder, "init", "app", "--data", "labels.csv").out.splitlines()
    assert "columns: image from file, label from species, split from split, group from patient_id" in out
    assert "data: table, 32 training images, 8 test images" in out
    data = load_config(folder / "app" / "factory.yaml").data
    assert (data.source, data.path) == ("table", "../labels.csv")
    assert (data.image_column, data.label_column, data.group_column) == ("file", "species", "patient_id")


def _split(i: int) -> str:
    return "test" if i >= 32 else "train"


@pytest.mark.parametrize(
    ("header", "row", "task", "labels"),
    [
        ("image,age", lambda i: f"{i}.5", "regression", "label_column: age"),
        ("image,target", lambda i: str(100 + i), "regression", "label_column: target"),
        ("image,label", lambda i: str(i % 4), "classification", "label_column: label"),
        ("image,tags", lambda i: "red|old" if i % 2 else "blue", "multilabel", "label_column: tags"),
        ("image,red,old", lambda i: f"{i % 2},{i % 3 == 0:d}", "multilabel", "label_columns: [red, old]"),
    ],
)
def test_the_labels_decide_on_the_task(factory, folder, header, row, task, labels):
    table(folder, header, row)
    answer = factory(folder, "init", "app", "--data", ".")
    assert answer.code == 0, answer.err
    text = (folder / "app" / "factory.yaml").read_text(encoding="utf-8")
    assert yaml.safe_load(text)["task"] == task
    assert f"  {labels}\n" in text


def test_texts_without_a_header_get_a_text_encoder(factory, tmp_path):
    lines = [f"the film number {i} was {'good' if i % 2 else 'bad'}\t{i % 2}" for i in range(60)]
    (tmp_path / "reviews.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    out = factory(tmp_path, "init", "app", "--data", "reviews.tsv").out.splitlines()
    assert "data: table, 60 training texts, no test texts of their own" in out
    assert "texts: 6 words (the median of 60 sampled), 95 % at most 6" in out
    config = load_config(tmp_path / "app" / "factory.yaml")
    assert (config.task.name, config.model.space) == ("text_classification", "text_encoder")
    assert config.data.columns == ["text", "label"]


def test_tar_shards_are_read_as_a_web_data_set(factory, folder):
    (folder / "shards").mkdir()
    for name in ("train", "test"):
        with tarfile.open(folder / "shards" / f"{name}-0000.tar", "w") as archive:
            for i, photo in enumerate(PHOTOS):
                archive.add(folder / photo, f"{name}{i}.png")
                label = tarfile.TarInfo(f"{name}{i}.cls")
                label.size = 1
                archive.addfile(label, io.BytesIO(str(i % 2).encode()))
    out = factory(folder, "init", "app", "--data", "shards").out.splitlines()
    assert "data: webdataset, 40 training images, 40 test images" in out
    assert "images: 48 x 40 pixels (the median of 40 sampled), colour" in out
    assert load_config(folder / "app" / "factory.yaml").data.path == "../shards"


def test_a_table_beside_class_folders_is_named_and_not_used(folder):
    for name in ("cat", "dog"):
        (folder / name).mkdir()
        for photo in PHOTOS[:3]:
            (folder / name / photo).write_bytes((folder / photo).read_bytes())
    for photo in PHOTOS:
        (folder / photo).unlink()
    (folder / "labels.csv").write_text("image,label\n", encoding="utf-8")
    found = look(folder)
    assert found.source == "folder"
    assert found.notes[0].startswith("labels.csv is not used")


def test_unclear_columns_are_asked_for_and_may_be_named(folder):
    path = table(folder, "image,colour,shape", lambda i: f"c{i % 2},s{i % 3}")
    with pytest.raises(ConfigError, match="several columns may be the label; name it with --label COLUMN"):
        guess_columns(path)
    assert guess_columns(path, ["shape"]).keys["label_column"] == "shape"
    with pytest.raises(ConfigError, match="has no column 'form'; its columns: image, colour, shape"):
        guess_columns(path, ["form"])


def test_a_named_label_needs_a_table(factory, folder):
    for name in ("cat", "dog"):
        (folder / "data" / name).mkdir(parents=True)
        (folder / "data" / name / "1.png").write_bytes((folder / PHOTOS[0]).read_bytes())
    answer = factory(folder, "init", "app", "--data", "data", "--label", "species")
    assert "is not a table, so --label names no column of it" in answer.error


@pytest.mark.parametrize(
    ("content", "fault", "message"),
    [
        ("name,label\nanna,1\n", ConfigError, "no column holds images .* or texts; its columns: name, label"),
        ("image,label\n", DataError, "holds no rows"),
        ("image\n1.png\n", ConfigError, "no column is left for the label"),
    ],
)
def test_a_table_without_examples_or_labels_is_refused(tmp_path, content, fault, message):
    (tmp_path / "t.csv").write_text(content, encoding="utf-8")
    with pytest.raises(fault, match=message):
        look(tmp_path / "t.csv")


def test_a_missing_image_is_refused_with_its_name(folder):
    path = table(folder, "image,label", lambda i: i % 2)
    (folder / PHOTOS[7]).unlink()
    with pytest.raises(DataError, match=r"7\.png"):
        look(path)
