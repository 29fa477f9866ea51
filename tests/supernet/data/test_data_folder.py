"""Folders of classes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from factory_base.errors import ConfigError, DataError, FactoryError
from supernet.data.config import DataConfig
from supernet.data.decoding import decode
from supernet.data.image_form import ImageForm
from supernet.data.sources import load_splits
from supernet.data.types import Splits

Write = Callable[..., Path]


def load(folder: Path, path: str = "pets", **keys: str) -> Splits:
    return load_splits(
        DataConfig.model_validate({"source": "folder", "path": path, "image_size": 8, **keys}), folder, 0
    )


def refused(folder: Path, **keys: str) -> str:
    """The one-line message with which loading fails."""
    with pytest.raises(FactoryError) as caught:
        load(folder, **keys)
    assert isinstance(caught.value, ConfigError | DataError)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_classes_are_the_sorted_folders_and_a_test_split_is_set_aside(tmp_path: Path, write_folder: Write) -> None:
    write_folder(tmp_path / "pets", ("emu", "cat"))
    (tmp_path / "pets/cat/.DS_Store").touch()
    splits = load(tmp_path)
    assert splits.class_names == ("cat", "emu")
    assert [len(part) for part in (splits.train, splits.heldout, splits.test)] == [14, 2, 4]
    assert splits.train.images.shape == (14, 3, 8, 8)
    assert splits.train.images[splits.train.labels == 1].mean() < splits.train.images[splits.train.labels == 0].mean()


def test_train_and_test_subfolders_are_found(tmp_path: Path, write_folder: Write) -> None:
    write_folder(tmp_path / "pets/train")
    write_folder(tmp_path / "pets/test", first=200)
    explicit = load(tmp_path, path="pets/train", test_path="pets/test")
    assert load(tmp_path).digest == explicit.digest
    assert load(tmp_path, path="pets/train", test_path="pets").digest == explicit.digest
    assert len(explicit.test) == 30


def test_a_class_may_be_called_train(tmp_path: Path, write_folder: Write) -> None:
    write_folder(tmp_path / "pets", ("car", "train"))
    assert load(tmp_path).class_names == ("car", "train")


def test_a_validation_folder_alone_is_not_guessed_to_be_the_test_data(tmp_path: Path, write_folder: Write) -> None:
    write_folder(tmp_path / "pets/train")
    write_folder(tmp_path / "pets/val")
    assert "test_path: pets/val" in refused(tmp_path)


def test_training_data_is_not_taken_as_test_data(tmp_path: Path, write_folder: Write) -> None:
    write_folder(tmp_path / "pets")
    assert "both training and test data" in refused(tmp_path, test_path="./pets")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    assert str(tmp_path / "pets") in refused(tmp_path)
    (tmp_path / "pets").touch()
    assert "is a file, expected a folder" in refused(tmp_path)


def test_a_folder_without_classes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pets").mkdir()
    assert "holds no class folders" in refused(tmp_path)


def test_an_empty_class_is_named(tmp_path: Path, write_folder: Write) -> None:
    write_folder(tmp_path / "pets")
    (tmp_path / "pets/fox").mkdir()
    assert str(tmp_path / "pets/fox") in refused(tmp_path)


@pytest.mark.parametrize("stray", ["cat/notes.txt", "cat/more/1.png", "lost.png"])
def test_a_file_that_is_not_an_image_of_a_class_is_named(tmp_path: Path, write_folder: Write, stray: str) -> None:
    write_folder(tmp_path / "pets")
    (tmp_path / "pets" / stray).parent.mkdir(exist_ok=True)
    (tmp_path / "pets" / stray).touch()
    assert stray.split("/1.png")[0] in refused(tmp_path)


def test_split_folders_under_unknown_names_are_not_to_be_removed(tmp_path: Path, write_folder: Write) -> None:
    write_folder(tmp_path / "pets/part one")
    message = refused(tmp_path)
    assert "is a folder in a class folder" in message
    assert "if it is a class, set 'path'" in message


def test_a_truncated_image_is_named(tmp_path: Path, write_folder: Write) -> None:
    path = write_folder(tmp_path / "pets") / "dog/3.png"
    path.write_bytes(path.read_bytes()[:150])
    assert f"{path}: is a damaged image" in refused(tmp_path)


def test_a_text_file_with_the_extension_of_an_image_is_named(tmp_path: Path, write_folder: Write) -> None:
    path = write_folder(tmp_path / "pets") / "dog/3.png"
    path.write_text("a dog")
    assert f"{path}: is not an image" in refused(tmp_path)


def test_test_classes_must_be_the_training_classes(tmp_path: Path, write_folder: Write) -> None:
    write_folder(tmp_path / "pets")
    write_folder(tmp_path / "unknown", ("cat", "dogs", "emu"))
    write_folder(tmp_path / "fewer", ("cat", "emu"))
    assert "'dogs' is not in the training data; did you mean 'dog'" in refused(tmp_path, test_path="unknown")
    assert "'dog' of the training data is missing" in refused(tmp_path, test_path="fewer")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_every_colour_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "white.png"
    image = Image.new("RGB", (5, 3), "white").convert(mode)
    image.save(path, **({"transparency": b"\0\xff"} if mode == "P" else {}))
    assert decode(path.read_bytes(), ImageForm.square(4), "white").min() == 255


def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 0x80FF, dtype=np.uint16)).save(tmp_path / "grey.png")
    assert np.unique(decode((tmp_path / "grey.png").read_bytes(), ImageForm.square(4), "grey")).tolist() == [0x80]


def test_photos_are_turned_upright(tmp_path: Path) -> None:
    image = Image.new("RGB", (8, 8))
    image.paste((255, 255, 255), (0, 0, 8, 4))
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    image.save(tmp_path / "photo.png", exif=exif)
    upright = decode((tmp_path / "photo.png").read_bytes(), ImageForm.square(8), "photo")
    assert upright[0, 0].max() == 0
    assert upright[0, 7].min() == 255


def test_other_formats_and_upper_case_names_are_read(tmp_path: Path, write_folder: Write) -> None:
    root = write_folder(tmp_path / "pets")
    for suffix in ("JPG", "jpeg", "bmp", "webp", "gif"):
        Image.new("RGB", (5, 5), "red").save(root / f"cat/extra.{suffix}")
    assert len(load(tmp_path).train) + len(load(tmp_path).heldout) + len(load(tmp_path).test) == 35


def test_a_large_jpeg_is_decoded_at_a_fraction_of_its_size_and_looks_the_same(tmp_path: Path) -> None:
    coarse = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    photo = Image.fromarray(coarse).resize((640, 512), Image.Resampling.BICUBIC)
    photo.save(tmp_path / "photo.jpg", quality=95)
    whole = np.asarray(Image.open(tmp_path / "photo.jpg").resize((16, 16), Image.Resampling.BILINEAR)).transpose(
        2, 0, 1
    )
    found = decode((tmp_path / "photo.jpg").read_bytes(), ImageForm.square(16), "photo")
    assert np.abs(found.astype(int) - whole.astype(int)).mean() < 2


@pytest.mark.parametrize("kind", ["fifo", "device", "dead link"])
def test_what_is_not_a_regular_file_is_named_and_nobody_waits_for_it(
    tmp_path: Path, write_folder: Write, kind: str
) -> None:
    odd = write_folder(tmp_path / "pets") / "cat/odd.png"
    if kind == "fifo":
        os.mkfifo(odd)
    else:
        odd.symlink_to("/dev/zero" if kind == "device" else "nowhere")
    assert f"{odd}: is not a regular file, or a link to one" in refused(tmp_path)


def test_links_to_images_and_folders_are_followed(tmp_path: Path, write_folder: Write) -> None:
    write_folder(tmp_path / "pets")
    (tmp_path / "linked").mkdir()
    for name in ("cat", "dog"):
        (tmp_path / "linked" / name).symlink_to(tmp_path / "pets" / name)
    (tmp_path / "linked/emu").mkdir()
    for path in (tmp_path / "pets/emu").iterdir():
        (tmp_path / "linked/emu" / path.name).symlink_to(path)
    assert load(tmp_path, path="linked").digest == load(tmp_path).digest


def test_a_file_that_turns_into_a_fifo_is_not_waited_for(tmp_path: Path, write_folder: Write) -> None:
    images = load(tmp_path, path=str(write_folder(tmp_path / "pets")), cache="none").train.images
    for path in tmp_path.glob("pets/*/*"):
        path.unlink()
        os.mkfifo(path)
    with pytest.raises(DataError, match="is not a regular file"):
        images[[0]]


def test_a_folder_that_may_not_be_listed_is_named(
    tmp_path: Path, write_folder: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: Path) -> None:
        raise PermissionError(13, "Permission denied", str(folder))

    write_folder(tmp_path / "pets")
    monkeypatch.setattr(os, "scandir", refuse)
    assert "cannot be read (Permission denied)" in refused(tmp_path)
