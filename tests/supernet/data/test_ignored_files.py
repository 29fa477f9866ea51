"""Files and folders that are not part of a data set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from factory_base.errors import DataError
from supernet.data.config import DataConfig
from supernet.data.sources import load_splits
from supernet.data.types import Splits

Write = Callable[..., Path]


def load(folder: Path, **keys: Any) -> Splits:
    values = {"source": "folder", "path": "pets", "image_size": 8, **keys}
    return load_splits(DataConfig.model_validate(values), folder, 0)


@pytest.fixture
def pets(tmp_path: Path, write_folder: Write) -> Path:
    return write_folder(tmp_path / "pets", ("cat", "dog"))


def test_what_systems_leave_behind_changes_nothing(tmp_path: Path, pets: Path) -> None:
    clean = load(tmp_path)
    for name in ("Thumbs.db", "desktop.ini", ".DS_Store", "._0.png", "cat/Thumbs.db", "cat/._0.png", "dog/Desktop.ini"):
        (pets / name).write_bytes(b"x")
    for name in ("__MACOSX", "__MACOSX/cat", ".ipynb_checkpoints", "cat/.ipynb_checkpoints"):
        (pets / name).mkdir()
    (pets / "__MACOSX/cat/._0.png").write_bytes(b"x")
    found = load(tmp_path)
    assert found.digest == clean.digest
    assert found.notes == clean.notes


def test_other_files_are_refused_until_a_pattern_names_them(tmp_path: Path, pets: Path) -> None:
    (pets / "cat/notes.txt").write_text("three legs")
    with pytest.raises(DataError, match=r"notes.txt: is not an image; .* or name it in data.ignore"):
        load(tmp_path)
    assert len(load(tmp_path, ignore=["*.txt"]).train)


def test_a_line_counts_what_each_pattern_matched(tmp_path: Path, pets: Path) -> None:
    (pets / "cat/notes.txt").touch()
    (pets / "drafts").mkdir()
    (pets / "drafts/what.psd").touch()
    notes = load(tmp_path, ignore=["*.txt", "drafts", "dog/[12].png", "*.bak"]).notes
    counts = "*.txt: 1 file; drafts: 1 folder; dog/[12].png: 2 files; *.bak: nothing"
    assert f"data: ignored by data.ignore: {counts}" in notes


def test_a_pattern_of_a_path_matches_nothing_elsewhere(pets: Path) -> None:
    assert len(load(pets.parent, ignore=["cat/1.png"]).train) == len(load(pets.parent).train) - 1
    assert "pets/cat/1.png: nothing" in " ".join(load(pets.parent, ignore=["pets/cat/1.png"]).notes)


def test_patterns_count_from_the_folder_of_the_test_data_too(pets: Path, write_folder: Write) -> None:
    write_folder(pets.parent / "more", ("cat", "dog"), first=100)
    found = load(pets.parent, test_path="more", ignore=["cat/1.png"])
    assert (len(found.test), len(found.train) + len(found.heldout)) == (19, 19)


def test_a_class_without_any_image_left_is_refused(pets: Path) -> None:
    with pytest.raises(DataError, match="cat: this class folder is empty"):
        load(pets.parent, ignore=["cat/*"])


def test_shards_in_a_folder_can_be_ignored(tmp_path: Path, write_parquet: Write) -> None:
    write_parquet(tmp_path / "pets/a.parquet")
    write_parquet(tmp_path / "pets/b_old.parquet")
    assert len(load(tmp_path, source="parquet").train) == 2 * len(
        load(tmp_path, source="parquet", ignore=["*_old*"]).train
    )


@pytest.mark.parametrize("pattern", ["", "/etc", "cat/", "../cat", "**/x", "cat\\x.png"])
def test_a_pattern_that_cannot_match_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="matches nothing; write a name"):
        DataConfig(source="folder", path="pets", ignore=(pattern,))


@pytest.mark.parametrize("source", ["digits", "npz", "nets:load"])
def test_sources_that_search_no_folder_have_nothing_to_ignore(source: str) -> None:
    values = {"source": source, "ignore": ["*.txt"], **({"path": "x.npz"} if source == "npz" else {})}
    with pytest.raises(ValueError, match="'ignore' is for sources that search a folder"):
        DataConfig.model_validate(values)
