"""`benchmarks/resume.py` with one kill."""

from __future__ import annotations

import json
from pathlib import Path

SCRIPT = str(Path(__file__).parents[2] / "benchmarks" / "resume.py")


def test_a_training_killed_inside_a_write_ends_identical_and_the_last_line_says_so(start_factory, tmp_path):
    process = start_factory(tmp_path, "--kills", 1, "--in-write", 1, "--folder", "kept", prefix=(SCRIPT,))
    out, err = process.communicate(timeout=280)
    assert process.returncode == 0, err
    result = json.loads(out.splitlines()[-1])
    assert (result["identical"], result["killed"], result["killed_in_write"]) == (1, 1, 1)
    assert "in the write of training" in err
    assert (tmp_path / "kept" / "killed-0" / "runs" / "resume" / "supernet.safetensors").is_file()


def test_numbers_that_make_no_sense_are_refused(factory_process, tmp_path):
    for arguments in (("--kills", 0), ("--kills", 2, "--in-write", 3)):
        answer = factory_process(tmp_path, *arguments, prefix=(SCRIPT,))
        assert answer.code == 2
        assert "--kills must be at least 1, and --in-write between 0 and --kills" in answer.err
