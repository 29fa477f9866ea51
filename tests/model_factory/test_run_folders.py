"""A run folder has any name, and no file in it is believed that was damaged, edited or put there by somebody else."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from factory_base.errors import ConfigError
from model_factory.run import find_run

Damage = Callable[[Path], None]


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: dict[str, Damage] = {
    "empty": lambda path: path.write_bytes(b""),
    "not text": lambda path: path.write_bytes(b"\xff\x00\xfe" * 9),
    "deep": lambda path: path.write_bytes(b"[" * 100_000),
    "a list": lambda path: path.write_bytes(b"[1, 2]"),
    "edited": lambda path: path.write_bytes(path.read_bytes().replace(b"1", b"2")),
}


def test_a_run_folder_may_have_any_name(factory, built, tmp_path):
    app = Path(shutil.copytree(built, tmp_path / "a b{x}%20%(y)s ?z=1#1 [old] \u00e9\u65e5 'it' \"$HOME\" &;"))
    (app / "runs/tiny/study.db").unlink()
    (app / "runs/tiny/stages/snapshot.json").unlink()  # so that subnets are scored again
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    answer = factory(app, "search", "--device", "highend", "--quiet")
    assert answer.code == 0, answer.err
    new = {path for path in tmp_path.rglob("*") if path.is_file()} - before
    assert app / "runs/tiny/study.db" in new
    assert all(path.is_relative_to(app / "runs/tiny") for path in new)


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files_are_reported_and_made_again(factory, app, published, built, damage):
    damaged = [app / "runs/tiny/plan.json", app / "runs/tiny/stages/family.json"]
    for path in (*damaged, app / "runs/tiny/config.resolved.yaml"):
        DAMAGES[damage](path)
    answer = factory(app, "build")
    assert answer.code == 0, answer.err
    assert published(app) == published(built)
    assert [path for path in damaged if f"{path}: is damaged and not used" in answer.err] == damaged


@pytest.mark.parametrize("other", [folder, fifo])
def test_another_kind_of_file_in_the_place_of_a_record_ends_in_one_line(factory, app, other):
    other(app / "runs/tiny/stages/family.json")
    answer = factory(app, "build", "--quiet")
    assert answer.code == 1
    assert "family.json: cannot be written" in answer.error


def test_a_run_folder_knows_its_config_as_soon_as_it_exists(factory, empty_app, edit_config):
    edit_config(empty_app, "limit: 600", "limit: 4")
    assert factory(empty_app, "train", "--quiet").code == 1
    assert (empty_app / "runs/tiny/origin.txt").read_text() == f"{empty_app.resolve() / 'factory.yaml'}\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "origin.txt: holds no path; write that of this run's config there, or name it with --config"),
        (b"a\0b", "origin.txt: holds no path"),
        (b"/gone/factory.yaml\n", "origin.txt: names /gone/factory.yaml, which is not there; write"),
        (b"\xff\xfe\n", r"origin.txt: names \udcff\udcfe, which is not there"),
        (b"x" * 100_000, "origin.txt: is larger than the limit of 65,536 bytes"),
    ],
)
def test_an_origin_that_was_damaged_is_one_line(tmp_path, content, words):
    run = tmp_path / "runs/tiny"
    run.mkdir(parents=True)
    (run / "origin.txt").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        find_run(run, None)
    assert words in str(caught.value)


def test_a_config_in_a_folder_whose_name_is_not_utf8_is_found_again(tiny_config, tmp_path):
    app = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\n"))
    (app / "runs/tiny").mkdir(parents=True)
    (app / "factory.yaml").write_text(tiny_config)
    find_run(None, app / "factory.yaml").note_origin()
    assert find_run(app / "runs/tiny", None).origin == app.resolve() / "factory.yaml"
