"""Tar shards of samples."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from factory_base.errors import ConfigError, DataError, FactoryError
from supernet.data.config import DataConfig
from supernet.data.image_form import ImageForm
from supernet.data.sources import load_splits
from supernet.data.types import LabelKind, Splits
from supernet.data.webdataset.source import load_webdataset_source

Files = list[tuple[str, bytes]]


def picture(number: int, kind: str = "PNG") -> bytes:
    """A picture whose brightness is its number."""
    pixels = np.full((4, 5, 3), 8 * number, dtype=np.uint8)
    pixels[0, 0] = 255 - 8 * number
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def samples(first: int = 0, count: int = 30, **parts: Any) -> Files:
    """The files of samples with an image and a class, and with further files whose content a function makes."""
    files = []
    for number in range(first, first + count):
        files += [(f"./n/{number:04d}.PNG", picture(number)), (f"./n/{number:04d}.cls", str(number % 3).encode())]
        files += [(f"./n/{number:04d}.{name}", make(number)) for name, make in parts.items()]
    return files


def write(path: Path, files: Files, form: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=form) as archive:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def load(folder: Path, path: str = "a.tar", kind: LabelKind = "class", **keys: Any) -> Splits:
    config = DataConfig.model_validate({"source": "webdataset", "path": path, "image_size": 4, **keys})
    return load_splits(config, folder, seed=0, kind=kind)


def refused(folder: Path, path: str = "a.tar", kind: LabelKind = "class", **keys: Any) -> str:
    """The one-line message with which loading fails, without the path of the folder."""
    with pytest.raises(FactoryError) as caught:
        load(folder, path, kind, **keys)
    assert isinstance(caught.value, ConfigError | DataError)
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(f"{folder}/", "")


def numbers_of(part: Any) -> list[int]:
    return [round(float(image[0, 2, 2]) / 8) for image in part.images]


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
@pytest.mark.parametrize("cache", ["memory", "none"])
def test_each_image_keeps_its_label(tmp_path: Path, form: int, cache: str) -> None:
    write(tmp_path / "a.tar", samples(), form)
    splits = load(tmp_path, cache=cache)
    assert splits.class_names == ("0", "1", "2")
    for part in (splits.train, splits.heldout, splits.test):
        assert [number % 3 for number in numbers_of(part)] == part.labels.tolist()


@pytest.mark.parametrize(
    "path", ["shard-{0000..0002}.tar", "shard-*.tar", ".", "{shard-0000,shard-0001,shard-0002}.tar"]
)
def test_shards_are_one_data_set_however_they_are_named(tmp_path: Path, path: str) -> None:
    for shard in range(3):
        write(tmp_path / f"shard-{shard:04d}.tar", samples(10 * shard, 10))
    splits = load(tmp_path, path)
    assert sorted([*numbers_of(splits.train), *numbers_of(splits.heldout), *numbers_of(splits.test)]) == list(range(30))
    assert "30 images in 3 files (shard-0000.tar, shard-0001.tar, shard-0002.tar)" in splits.notes[0]


def test_test_shards_stay_apart(tmp_path: Path) -> None:
    write(tmp_path / "train-0.tar", samples(0, 24))
    write(tmp_path / "test-0.tar", samples(24, 6))
    assert numbers_of(load(tmp_path, ".").test) == list(range(24, 30))
    assert numbers_of(load(tmp_path, "train-{0..0}.tar", test_path="test-{0..0}.tar").test) == list(range(24, 30))


def test_properties_are_columns(tmp_path: Path) -> None:
    def properties(number: int) -> bytes:
        split = "train" if number < 24 else "test"
        return json.dumps(
            {"name": "ab"[number % 2], "tags": ["x", "y"][: number % 3], "weight": number + 1, "split": split}
        ).encode()

    write(tmp_path / "a.tar", samples(json=properties))
    splits = load(tmp_path, label_column="name", split_column="split", weight_column="weight")
    assert splits.class_names == ("a", "b")
    assert numbers_of(splits.test) == list(range(24, 30))
    assert splits.train.weights is not None
    assert (splits.train.weights - 1).tolist() == numbers_of(splits.train)
    assert load(tmp_path, kind="classes", label_column="tags").class_names == ("x", "y")
    assert load(tmp_path, kind="values", label_column="weight").test.labels.dtype == np.float32
    assert "has no 'nam'; did you mean 'name'?; set 'label_column'" in refused(tmp_path, label_column="nam")


def test_text_names_a_class(tmp_path: Path) -> None:
    files = [
        (f"{i}.{kind}", content)
        for i in range(30)
        for kind, content in (("jpg", picture(i, "JPEG")), ("txt", b"cat\n" if i % 2 else b"dog"))
    ]
    write(tmp_path / "a.tar", files)
    assert load(tmp_path).class_names == ("cat", "dog")


def test_hidden_files_folders_and_other_files_are_passed_over(tmp_path: Path) -> None:
    files = samples(npy=lambda _: b"numbers")
    write(tmp_path / "a.tar", [*files, ("./n/._0001.png", b"resource fork"), ("./n/.DS_Store", b"droppings")])
    with tarfile.open(tmp_path / "a.tar", "a") as archive:
        member = tarfile.TarInfo("./n")
        member.type = tarfile.DIRTYPE
        archive.addfile(member)
    assert len(load(tmp_path).train) == 21


def test_one_of_several_images_is_chosen_by_its_extension(tmp_path: Path) -> None:
    write(tmp_path / "a.tar", samples(**{"mask.png": lambda _: picture(1)}))
    assert "sample './n/0000': has several images, but png, mask.png, cls" in refused(tmp_path)
    assert numbers_of(load(tmp_path, image_column="png").test) != [1] * 6
    assert "has no image 'jpg', but png" in refused(tmp_path, image_column="jpg")


def test_a_sample_without_image_or_label_is_named(tmp_path: Path) -> None:
    files = samples()
    write(tmp_path / "a.tar", files[:12] + files[13:])
    assert refused(tmp_path).startswith(
        "a.tar, sample './n/0006': has no image, but cls; files of a sample follow each"
    )
    write(tmp_path / "a.tar", files[:13] + files[14:])
    assert refused(tmp_path).startswith("a.tar, sample './n/0006': 'cls' is missing; write a label")
    write(tmp_path / "a.tar", files[:1] + files[2:])
    assert refused(tmp_path).startswith("a.tar, sample './n/0000': has no label; add a .cls, .txt or .json file")
    write(tmp_path / "a.tar", [])
    assert refused(tmp_path) == "a.tar: holds no samples"


@pytest.mark.parametrize(
    ("part", "content", "message"),
    [
        ("cls", b"\xff", "a.tar, file './n/0002.cls': is not readable"),
        ("json", b"{", "a.tar, file './n/0002.json': is not readable"),
        ("json", b"[1]", "a.tar, file './n/0002.json': holds [1], expected a JSON object"),
        ("cls", b"cat", "a.tar, sample './n/0002': 'cls' is text ('cat'), but before a whole number"),
        ("cls", b"x" * 2**20 + b"x", "has 1,048,577 bytes, expected a label or properties of at most"),
        ("cls", b"", "a.tar, sample './n/0002': 'cls' is text"),
    ],
)
def test_a_part_that_is_not_what_its_name_says_is_named(
    tmp_path: Path, part: str, content: bytes, message: str
) -> None:
    files = [(name, content if name.endswith(f"2.{part}") else old) for name, old in samples(json=lambda _: b"{}")]
    write(tmp_path / "a.tar", files)
    assert message in refused(tmp_path)


@pytest.mark.parametrize("share", [0.1, 0.4, 0.73, 0.9, 0.999])
def test_a_truncated_archive_is_named(tmp_path: Path, share: float) -> None:
    content = write(tmp_path / "a.tar", samples()).read_bytes().rstrip(b"\0")
    (tmp_path / "a.tar").write_bytes(content[: int(share * len(content))])
    line = refused(tmp_path)
    assert line.startswith("a.tar: ")
    assert "truncated" in line
    assert "write or copy it again" in line


def test_an_archive_that_ends_between_two_files_is_truncated_too(tmp_path: Path) -> None:
    content = write(tmp_path / "a.tar", samples()).read_bytes()
    start = content.index(b"./n/0011.PNG")
    (tmp_path / "a.tar").write_bytes(content[:start])
    assert "ends without the mark of its end, so it is truncated" in refused(tmp_path)


def test_damage_in_the_middle_is_not_taken_for_the_end(tmp_path: Path) -> None:
    content = bytearray(write(tmp_path / "a.tar", samples()).read_bytes())
    start = content.index(b"./n/0011.PNG")
    content[start : start + 512] = b"\xaa" * 512
    (tmp_path / "a.tar").write_bytes(content)
    assert f"a.tar: is damaged (at byte {start:,})" in refused(tmp_path)


def test_a_size_beyond_all_limits_is_damage(tmp_path: Path) -> None:
    content = bytearray(write(tmp_path / "a.tar", samples(), tarfile.GNU_FORMAT).read_bytes())
    header = tarfile.TarInfo("./n/0000.PNG")
    header.size = 2**80
    content[:512] = header.tobuf(tarfile.GNU_FORMAT)
    (tmp_path / "a.tar").write_bytes(content)
    assert "a.tar: is a damaged or truncated tar archive" in refused(tmp_path)


def test_archives_of_another_kind_are_told(tmp_path: Path) -> None:
    packed = gzip.compress(write(tmp_path / "a.tar", samples()).read_bytes())
    (tmp_path / "a.tar").write_bytes(packed)
    assert "a.tar: is compressed by gzip" in refused(tmp_path)
    (tmp_path / "a.tar").write_bytes(b"no tar" * 300)
    assert "a.tar: is a damaged or truncated tar archive" in refused(tmp_path)
    (tmp_path / "a.tar").write_bytes(b"")
    assert "a.tar: is a damaged or truncated tar archive (empty file)" in refused(tmp_path)


def test_braces_that_name_missing_shards_or_no_range_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "s-0.tar", samples())
    assert (
        refused(tmp_path, "s-{0..9}.tar")
        == "s-1.tar: no such file, the first of 9 missing files of the 10 that 'path' names"
    )
    assert "'{a..c}' is not a range of numbers" in refused(tmp_path, "s-{a..c}.tar")
    assert "names more than 1,000,000 files" in refused(tmp_path, "s-{0..9999999}.tar")


def test_a_damaged_image_is_named_by_shard_and_key(tmp_path: Path) -> None:
    files = [(name, b"damaged" if name == "./n/0007.PNG" else content) for name, content in samples()]
    write(tmp_path / "a.tar", files)
    assert refused(tmp_path).startswith("a.tar, sample './n/0007': is not an image")


def test_images_are_read_in_other_processes_and_a_shard_that_shrank_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tar", samples())
    source = load_webdataset_source(DataConfig(source="webdataset", path="a.tar"), tmp_path, "class")
    read = pickle.loads(pickle.dumps(source.train.read))
    images = read(np.array([3, 20]), ImageForm(height=4, width=4), lambda *_: None)
    assert [round(float(image[0, 2, 2]) / 8) for image in images] == [3, 20]
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(DataError, match=r"a.tar, sample './n/0020': the archive ends in this image"):
        read(np.array([20]), ImageForm(height=4, width=4), lambda *_: None)


def test_keys_of_tables_without_a_place_in_a_sample_are_refused() -> None:
    with pytest.raises(ValueError, match="'text_column' is for a table, not for source 'webdataset'"):
        DataConfig(source="webdataset", path="a.tar", text_column="txt")
