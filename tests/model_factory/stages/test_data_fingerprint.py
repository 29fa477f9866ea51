"""The fingerprint of data changes with every change that matters."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from factory_base.errors import DataError
from model_factory.stages.fingerprint import data_fingerprint, unknown_changes_note
from supernet.data.config import DataConfig


def fingerprint(folder: Path, **section: Any) -> dict[str, Any]:
    return data_fingerprint(DataConfig(**section), folder, folder / "memo.json")


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_a_renamed_class_and_a_moved_image_are_changes(tmp_path):
    write(tmp_path / "data/a/1.png", "one")
    write(tmp_path / "data/b/2.png", "two")
    first = fingerprint(tmp_path, source="folder", path="data")
    (tmp_path / "data/b").rename(tmp_path / "data/zebra")
    second = fingerprint(tmp_path, source="folder", path="data")
    (tmp_path / "data/zebra/2.png").rename(tmp_path / "data/a/2.png")
    assert len({str(f) for f in (first, second, fingerprint(tmp_path, source="folder", path="data"))}) == 3


def test_moving_the_data_is_not_a_change(tmp_path):
    write(tmp_path / "data/a/1.png", "one")
    first = fingerprint(tmp_path, source="folder", path="data")
    (tmp_path / "data").rename(tmp_path / "moved")
    assert fingerprint(tmp_path, source="folder", path="moved") == first


def test_an_image_that_a_table_names_counts_by_its_content_and_its_path(tmp_path):
    write(tmp_path / "data/a.csv", "image,label\npictures/1.png,cat\n")
    write(tmp_path / "data/pictures/1.png", "one")
    first = fingerprint(tmp_path, source="table", path="data/a.csv")
    write(tmp_path / "data/pictures/1.png", "other")
    second = fingerprint(tmp_path, source="table", path="data/a.csv")
    assert [len(first["files"]), first != second] == [2, True]


def test_missing_images_of_a_table_are_all_listed_in_a_file_until_they_are_there(tmp_path):
    write(tmp_path / "a.csv", "image,label\n1.png,cat\n2.png,dog\n3.png,dog\n")
    write(tmp_path / "2.png", "two")
    listed = tmp_path / "missing_files.tsv"
    with pytest.raises(DataError) as caught:
        fingerprint(tmp_path, source="table", path="a.csv")
    assert f"a.csv, line 2: there is no file {tmp_path / '1.png'}, nor those of 1 more of 3 rows" in str(caught.value)
    assert str(caught.value).endswith(f"all of them are listed in {listed}")
    assert listed.read_text().splitlines()[1:] == [
        f"{tmp_path / 'a.csv'}, line 2\t{tmp_path / '1.png'}",
        f"{tmp_path / 'a.csv'}, line 4\t{tmp_path / '3.png'}",
    ]
    write(tmp_path / "1.png", "one")
    write(tmp_path / "3.png", "three")
    assert len(fingerprint(tmp_path, source="table", path="a.csv")["files"]) == 4
    assert not listed.exists()


def test_every_shard_that_braces_name_counts(tmp_path):
    for shard in range(3):
        write(tmp_path / f"s-{shard}.tar", "one")
    first = fingerprint(tmp_path, source="webdataset", path="s-{0..2}.tar")
    assert len(first["files"]) == 3
    write(tmp_path / "s-2.tar", "other")
    assert fingerprint(tmp_path, source="webdataset", path="s-{0..2}.tar") != first


@pytest.mark.parametrize("path", ["~/train.parquet", "sets/*/train.parquet"])
def test_home_and_globs_in_folders_are_followed(tmp_path, monkeypatch, path):
    monkeypatch.setenv("HOME", str(tmp_path / "sets/mine"))
    write(tmp_path / "sets/mine/train.parquet", "one")
    first = fingerprint(tmp_path, source="parquet", path=path)
    assert first["files"]
    write(tmp_path / "sets/mine/train.parquet", "three")
    assert fingerprint(tmp_path, source="parquet", path=path) != first


@pytest.mark.parametrize("file", ["loader_of_mine.py", "loaders_of_mine/deep.py"])
def test_the_code_of_a_callable_counts(tmp_path, file):
    if "/" in file:
        write(tmp_path / "loaders_of_mine/__init__.py", "")
    source = file.partition("/")[0].removesuffix(".py") + ":load"
    write(tmp_path / file, "x = 1")
    first = fingerprint(tmp_path, source=source)
    write(tmp_path / file, "x = 22")
    assert fingerprint(tmp_path, source=source) != first


def test_a_file_that_cannot_be_read_is_a_data_error(tmp_path, monkeypatch):
    write(tmp_path / "a.parquet", "x")

    def refuse(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("model_factory.stages.fingerprint.sha256_file", refuse)
    with pytest.raises(DataError, match=r"a\.parquet: cannot be read \(Permission denied\)"):
        fingerprint(tmp_path, source="parquet", path="a.parquet")


def test_the_way_images_are_cached_and_read_is_not_a_change(tmp_path):
    write(tmp_path / "data/a/1.png", "one")
    first = fingerprint(tmp_path, source="folder", path="data")
    second = fingerprint(tmp_path, source="folder", path="data", cache="none", workers=3, memory_limit="1 GiB")
    assert second == first
    assert fingerprint(tmp_path, source="folder", path="data", image_size=64) != first


def test_linked_folders_count_and_dead_links_of_editors_do_not(tmp_path):
    write(tmp_path / "elsewhere/1.png", "one")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data/.#open").symlink_to(tmp_path / "nowhere")
    first = fingerprint(tmp_path, source="folder", path="data")
    assert [name for name, _ in first["files"]] == ["a/1.png"]
    write(tmp_path / "elsewhere/1.png", "changed")
    assert fingerprint(tmp_path, source="folder", path="data") != first


def test_nobody_waits_for_a_fifo_among_the_data(tmp_path):
    write(tmp_path / "data/a/1.png", "one")
    first = fingerprint(tmp_path, source="folder", path="data")
    os.mkfifo(tmp_path / "data/a/2.png")
    assert fingerprint(tmp_path, source="folder", path="data") == first
    (tmp_path / "data/a/3.png").symlink_to("nowhere")
    with pytest.raises(DataError, match=r"3\.png: cannot be read"):
        fingerprint(tmp_path, source="folder", path="data")


@pytest.mark.parametrize("path", ["data/train.parquet", "[x]/train.parquet", "[x]/t*.parquet"])
def test_brackets_in_the_names_of_folders_are_no_patterns(tmp_path, path):
    file = tmp_path / "app [old]" / path.replace("t*", "train")
    write(file, "one")
    first = fingerprint(tmp_path / "app [old]", source="parquet", path=path)
    write(file, "three")
    assert len(first["files"]) == 1
    assert fingerprint(tmp_path / "app [old]", source="parquet", path=path) != first


@pytest.mark.parametrize("text", ["[1, 2]", '{"files": 3}', "[" * 100_000, "edited"])
def test_digests_that_somebody_edited_are_not_used(tmp_path, text):
    write(tmp_path / "data/a/1.png", "1")
    first = fingerprint(tmp_path, source="folder", path="data")
    memo = tmp_path / "memo.json"
    digest = first["files"][0][1]
    memo.write_text(memo.read_text().replace(digest, "0" * 64) if text == "edited" else text)
    assert fingerprint(tmp_path, source="folder", path="data") == first


def test_only_changed_files_are_read_again(tmp_path):
    for name in "abc":
        write(tmp_path / f"data/x/{name}.png", name)
    first = fingerprint(tmp_path, source="folder", path="data")
    stat = (tmp_path / "data/x/a.png").stat()
    write(tmp_path / "data/x/a.png", "z")
    os.utime(tmp_path / "data/x/a.png", ns=(stat.st_atime_ns, stat.st_mtime_ns))  # as if it had not changed
    write(tmp_path / "data/x/b.png", "other")
    second = fingerprint(tmp_path, source="folder", path="data")
    changed = [old != new for old, new in zip(first["files"], second["files"], strict=True)]
    assert changed == [False, True, False]


def test_what_systems_leave_behind_and_ignored_files_are_no_change(tmp_path):
    write(tmp_path / "data/a/1.png", "one")
    first = fingerprint(tmp_path, source="folder", path="data")
    patterns = fingerprint(tmp_path, source="folder", path="data", ignore=("*.txt",))
    for name in ("Thumbs.db", "a/.DS_Store", "a/._1.png", "__MACOSX/a/1.png", "a/.ipynb_checkpoints/x.png"):
        write(tmp_path / "data" / name, "x")
    assert fingerprint(tmp_path, source="folder", path="data") == first
    write(tmp_path / "data/a/notes.txt", "x")
    assert fingerprint(tmp_path, source="folder", path="data", ignore=("*.txt",)) == patterns
    assert fingerprint(tmp_path, source="folder", path="data") != first


def loader(folder: Path, name: str, code: str) -> str:
    """Write a module with a function `load` and this code; the import path of the function."""
    write(
        folder / f"{name}.py",
        f"from pathlib import Path\ndef load(root='x', **options):\n    raise OSError('is not loaded')\n{code}\n",
    )
    return f"{name}:load"


def test_the_version_of_the_data_behind_a_callable_counts(tmp_path):
    write(tmp_path / "version.txt", "1")
    source = loader(tmp_path, "versioned_data", "load.version = lambda: Path('version.txt').read_text()")
    first = fingerprint(tmp_path, source=source)
    assert fingerprint(tmp_path, source=source) == first
    write(tmp_path / "version.txt", "2")
    assert fingerprint(tmp_path, source=source) != first
    assert unknown_changes_note(DataConfig(source=source), tmp_path) == ""


def test_a_version_may_depend_on_the_options(tmp_path):
    source = loader(tmp_path, "data_with_options", "load.version = lambda root='x': len(root)")
    files = [fingerprint(tmp_path, source=source, options={"root": root})["files"] for root in ("a", "bb", "cc")]
    assert files[0] != files[1] == files[2]


def test_without_a_version_the_build_says_what_it_does_not_know(tmp_path):
    source = loader(tmp_path, "data_without_version", "")
    note = unknown_changes_note(DataConfig(source=source), tmp_path)
    assert note.startswith("data: it is not known whether the data behind data_without_version:load changed")
    assert fingerprint(tmp_path, source=source)["files"][0][0] == "data_without_version.py"
    assert unknown_changes_note(DataConfig(source="digits"), tmp_path) == ""


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("text", "load.version = '3'", "version: is '3', expected a function"),
        ("fails", "load.version = lambda: 1 / 0", "version: failed with ZeroDivisionError: division by zero"),
        ("none", "load.version = lambda: None", "version: returned None, expected a text or a finite number"),
        ("nan", "load.version = lambda: float('nan')", "version: returned nan"),
        ("truth", "load.version = lambda: True", "version: returned True"),
        ("empty", "load.version = lambda: ''", "version: returned ''"),
        ("more", "load.version = lambda size: 1", "version: failed with TypeError: .*missing"),
    ],
)
def test_a_version_that_states_nothing_is_refused(tmp_path, name, code, message):
    source = loader(tmp_path, f"version_{name}", code)
    with pytest.raises(DataError, match=message):
        fingerprint(tmp_path, source=source)
