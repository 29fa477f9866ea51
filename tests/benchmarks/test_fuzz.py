"""`benchmarks/fuzz.py`: its mutations, and what it counts."""

from __future__ import annotations

import os
import random
import sys
import time
from pathlib import Path

import pytest

from factory_base.errors import ManifestError


@pytest.fixture
def fuzz(load):
    return load("fuzz")


def refuse(_app: Path, _file: Path) -> None:
    raise ManifestError("a.json: is damaged")


def fail(_app: Path, _file: Path) -> None:
    raise KeyError("task")


def colour(_app: Path, _file: Path) -> None:
    print("a \x1b[31mred name")


def hang(_app: Path, file: Path) -> None:
    if file.read_text(encoding="utf-8") != "{}":
        time.sleep(60)


def die(_app: Path, file: Path) -> None:
    if file.read_text(encoding="utf-8") != "{}":
        os._exit(3)


@pytest.fixture
def findings(fuzz, monkeypatch, tmp_path):
    """Returns what is found with a reader for 3 mutations of a file."""

    def find(read):
        (tmp_path / "app").mkdir()
        (tmp_path / "app" / "a.json").write_text("{}", encoding="utf-8")
        monkeypatch.setattr(fuzz, "mutated", lambda data, _rng: data + b" ")
        monkeypatch.setitem(fuzz.KINDS, "manifest", fuzz.Kind(find=lambda app: app / "a.json", read=read))
        options = fuzz.parse(["--mutations", "3", "--patience", "0.3", "--keep", str(tmp_path / "kept")])
        monkeypatch.chdir(tmp_path)
        return fuzz.fuzz("manifest", tmp_path / "app", tmp_path / "work", options)

    return find


def test_mutations_repeat_with_their_seed_and_nearly_always_change_the_file(fuzz):
    data = b'{"a": [1, 2.5, "x"], "b": {"c": null}}'
    made = [fuzz.mutated(data, random.Random(seed)) for seed in range(300)]
    assert made == [fuzz.mutated(data, random.Random(seed)) for seed in range(300)]
    assert sum(found != data for found in made) > 270
    assert len(set(made)) > 200
    fuzz.mutated(b"", random.Random(1))


def test_an_exception_of_another_kind_is_a_traceback_and_its_file_is_kept(findings, tmp_path):
    found = findings(fail)
    assert (found.tracebacks, found.refused) == (3, 0)
    assert found.examples[0].startswith("mutation 0: KeyError: \"'task'\" at test_fuzz.py:")
    assert len(list((tmp_path / "kept").iterdir())) == 3


def test_control_characters_are_counted(findings):
    found = findings(colour)
    assert (found.tracebacks, found.control_characters) == (0, 3)
    assert "red name" in found.examples[0]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are forked")
def test_hangs_and_deaths_are_counted_and_the_next_mutation_is_tried(findings):
    assert findings(hang).hangs == 3


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are forked")
def test_a_process_that_dies_counts_as_a_traceback(findings):
    found = findings(die)
    assert found.tracebacks == 3
    assert found.examples[0] == "mutation 0: the process ended with exit code 3"


def test_an_intact_file_that_is_refused_is_an_error_of_the_benchmark(findings):
    with pytest.raises(RuntimeError, match="the intact file is refused"):
        findings(refuse)
