"""Files are complete or absent; digests; locks."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from factory_base.errors import BusyError, DiskError, ForeignError
from factory_base.files import (
    TEMPORARY_MARK,
    atomic_path,
    digest_of,
    exclusive,
    read_json,
    remove_partial_files,
    sha256_bytes,
    sha256_file,
    write_bytes,
    write_json,
    write_text,
)

FULL_DISK = Path("/dev/full")


def write_and_fail(path: Path, fault: BaseException) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text("half")
        raise fault


def test_only_files_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for name in ("folder", "pipe", "link"):
        with pytest.raises(DiskError, match=f"{name}: cannot be written .it is .*; choose the name of a file"):
            write_text(tmp_path / name, "x")
    assert (tmp_path / "pipe").is_fifo()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "link", "pipe"]


def test_a_file_appears_complete_and_missing_folders_are_created(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.txt"
    with atomic_path(path) as temporary:
        temporary.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("fault", [ValueError("broken"), KeyboardInterrupt()])
def test_a_failure_keeps_the_old_file_and_leaves_no_other_file(tmp_path: Path, fault: BaseException) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(type(fault)):
        write_and_fail(path, fault)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not FULL_DISK.exists(), reason="needs /dev/full")
def test_a_full_disk_is_named(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match=r"a.txt: the disk is full; free some space"), atomic_path(tmp_path / "a.txt"):
        FULL_DISK.write_text("x")
    assert list(tmp_path.iterdir()) == []


def test_a_file_beyond_the_limit_of_the_process_is_a_disk_error(tmp_path: Path) -> None:
    code = (
        "import resource, signal, sys; from pathlib import Path; from factory_base.files import write_bytes;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000));"
        "write_bytes(Path(sys.argv[1]), b'x' * 2000)"
    )
    shown = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a")], capture_output=True, text=True)
    assert "DiskError" in shown.stderr.splitlines()[-1]
    assert "cannot be written (File too large)" in shown.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_parent_that_is_a_file_is_a_disk_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file" / "a.txt", tmp_path / "file" / "b" / "a.txt"):
        with pytest.raises(DiskError, match="cannot be written"):
            write_text(path, "y")


def test_a_target_that_is_a_folder_is_a_disk_error(tmp_path: Path) -> None:
    (tmp_path / "folder" / "inside").mkdir(parents=True)
    with pytest.raises(DiskError, match="folder: cannot be written"):
        write_text(tmp_path / "folder", "y")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_what_a_killed_process_left_behind_is_removed(tmp_path: Path) -> None:
    kept = tmp_path / "a" / "kept.txt"
    write_text(kept, "x")
    kept.with_name(f"kept.txt{TEMPORARY_MARK}123").write_text("half")
    remove_partial_files(tmp_path)
    assert list(kept.parent.iterdir()) == [kept]


def test_json_comes_back_and_is_written_for_people(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": [1, 2.5], "a": "ä"})
    assert (tmp_path / "a.json").read_text(encoding="utf-8").startswith('{\n  "a": "ä"')
    assert read_json(tmp_path / "a.json") == {"a": "ä", "b": [1, 2.5]}


@pytest.mark.parametrize(
    ("content", "message"), [(None, "cannot be read"), (b"{", "not valid JSON"), (b"\xff", "is not UTF-8 text")]
)
def test_unreadable_json_is_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ForeignError, match=rf"a.json: .*{message}"):
        read_json(path)


def test_digests_are_sha256(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a", b"abc" * 99_999)
    assert sha256_file(tmp_path / "a") == sha256_bytes(b"abc" * 99_999) == hashlib.sha256(b"abc" * 99_999).hexdigest()


def test_the_digest_of_a_value_depends_on_its_content_only() -> None:
    assert digest_of({"a": 1, "b": [2]}) == digest_of({"b": [2], "a": 1})
    assert len({digest_of(value) for value in ({"a": 1}, {"a": 2}, {"b": 1}, [1], ["1"], 1.5)}) == 6


def test_a_second_process_gets_an_error_that_the_folder_is_busy(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from factory_base.errors import BusyError;"
        "from factory_base.files import exclusive\n"
        "try:\n    with exclusive(Path(sys.argv[1]), 'train'): print('held')\n"
        "except BusyError as error: print(error)\n"
    )

    def second_process() -> str:
        command = [sys.executable, "-c", code, str(tmp_path)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    with exclusive(tmp_path, "build"):
        assert "another process is at work here; wait for it before you train" in second_process()
    assert second_process() == "held\n"


def test_a_killed_process_releases_the_folder(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from factory_base.files import exclusive\n"
        "with exclusive(Path(sys.argv[1]), 'train'): os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)]).returncode < 0
    with exclusive(tmp_path, "build"):
        assert tmp_path.is_dir()


def test_a_process_cannot_take_the_same_lock_twice(tmp_path: Path) -> None:
    with (
        exclusive(tmp_path, "build"),
        pytest.raises(BusyError, match="before you search"),
        exclusive(tmp_path, "search"),
    ):
        pass


def test_a_folder_that_cannot_be_created_is_a_disk_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(DiskError, match="cannot be written"), exclusive(tmp_path / "file" / "run", "build"):
        pass


def test_temporary_names_differ_between_processes(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "a") as temporary:
        temporary.touch()
        assert temporary.name == f"a{TEMPORARY_MARK}{os.getpid()}"
