"""NumPy archives: only the arrays in use are unpacked, and none that the file does not hold."""

from __future__ import annotations

import os
import struct
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from factory_base.errors import DataError
from supernet.data.archive import Archive
from supernet.data.config import DataConfig
from supernet.data.sources import load_splits


def header(shape: tuple[int, ...], kind: str = "|u1", version: int = 1) -> bytes:
    text = repr({"descr": kind, "fortran_order": False, "shape": shape}).encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    length = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + length + text


def write(path: Path, *members: tuple[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a name that occurs twice
        for name, content in members:
            archive.writestr(f"{name}.npy", content)
    return path


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (header((10**6, 10**6)), r"array 'a' of shape \(1000000, 1000000\) is announced but not in the file"),
        (header((10**15, 10**15)) + bytes(9), "is announced but not in the file"),
        (header((3,)) + bytes(4), "is announced but not in the file"),
        (header((2,), "|O") + bytes(16), "array 'a' holds pickled objects, which are never loaded"),
        (header((2,), "|u1", 3) + bytes(2), r"has format \(3, 0\), which holds no plain numbers"),
        (header((-2, -2)) + bytes(4), "is not a readable NumPy archive"),
        (b"\x93NUMPY\1\0\2\0{}", "is not a readable NumPy archive"),
        (b"text", "is not a readable NumPy archive"),
    ],
)
def test_what_a_header_makes_up_is_refused_before_memory_is_taken(tmp_path: Path, content: bytes, message: str) -> None:
    archive = Archive.open(write(tmp_path / "a.npz", ("a", content)))
    with pytest.raises(DataError, match=message):
        archive.read("a")


def test_an_array_of_zeros_is_no_bomb(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", a=np.zeros((4000, 1000), dtype=np.uint8))
    assert Archive.open(tmp_path / "a.npz").read("a").shape == (4000, 1000)


def test_an_array_that_exceeds_the_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "a.npz", a=np.zeros(2**20, dtype=np.uint8))
    monkeypatch.setattr("supernet.data.archive.usable_memory", lambda: 2**19)
    with pytest.raises(DataError, match=r"array 'a' needs 0.0 GiB, more memory than there is"):
        Archive.open(tmp_path / "a.npz").read("a")


def test_an_array_packed_in_another_way_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("a.npy", header((1,)) + b"\0")
    with pytest.raises(DataError, match="packed in a way that NumPy does not write"):
        Archive.open(tmp_path / "a.npz").read("a")


def test_an_array_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    content = header((1,)) + b"\0"
    with pytest.raises(DataError, match="holds array 'a' twice"):
        Archive.open(write(tmp_path / "a.npz", ("a", content), ("a", content)))


def test_too_many_arrays_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("supernet.data.archive._MOST_MEMBERS", 1)
    with pytest.raises(DataError, match="holds more than 1 arrays"):
        Archive.open(write(tmp_path / "a.npz", ("a", b""), ("b", b"")))


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.npz")
    with pytest.raises(DataError, match=r"a\.npz: is not a regular file"):
        Archive.open(tmp_path / "a.npz")


def test_arrays_that_nobody_asked_for_stay_packed(
    tmp_path: Path, arrays: tuple[NDArray[np.uint8], NDArray[np.int64]]
) -> None:
    np.savez(tmp_path / "a.npz", images=arrays[0], labels=arrays[1], notes=np.array([{}], dtype=object))
    splits = load_splits(DataConfig(source="npz", path="a.npz", image_size=8), tmp_path, 0)
    assert splits.notes[0].endswith("(images, labels); test: set aside from the same; not used: notes")
