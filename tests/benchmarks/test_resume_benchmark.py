"""The quick form of `benchmarks/resume.py`: one kill."""

from __future__ import annotations

import pytest


def test_a_run_killed_inside_a_write_ends_identical_and_the_last_line_reports_it(quick, load, tmp_path, monkeypatch):
    monkeypatch.setitem(load("resume").CONFIG["training"], "epochs", 0.7)
    result = quick("resume", "--folder", tmp_path / "kept")
    assert (result["identical"], result["killed"], result["killed_in_write"]) == (1, 1, 1)
    assert (tmp_path / "kept" / "killed-0" / "runs" / "resume" / "supernet.safetensors").is_file()


@pytest.mark.parametrize("arguments", [("--kills", "0"), ("--kills", "2", "--in-write", "3")])
def test_impossible_numbers_of_kills_are_refused(arguments, load, capsys):
    with pytest.raises(SystemExit, match="2"):
        load("resume").parse([*arguments])
    assert "--kills must be at least 1, and --in-write between 0 and --kills" in capsys.readouterr().err
