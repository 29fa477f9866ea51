"""The record of a stage is used only if its key, its digest and its files are right."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from model_factory.run import Run, find_run
from model_factory.stages.cached import Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    number: int
    pairs: tuple[tuple[str, float], ...]


RESULT = Result(number=3, pairs=(("a", 0.1), ("b", 2.0)))


@pytest.fixture
def run(empty_app) -> Run:
    return find_run(None, empty_app / "factory.yaml")


@pytest.fixture
def stage(run) -> Stage[Result]:
    return Stage(run=run, name="count", version=1, inputs={"seed": 0}, codec=TypeAdapter(Result))


def not_again() -> Result:
    raise AssertionError("the stage ran again")


def test_a_finished_stage_is_read_as_it_was_written(stage):
    assert stage.cached(lambda: RESULT) == RESULT
    assert stage.cached(not_again) == RESULT


def test_a_result_may_hold_an_infinite_number(stage):
    endless = Result(number=3, pairs=(("sqnr_db", math.inf),))
    stage.save(endless)
    assert stage.load() == endless


@pytest.mark.parametrize("change", [{"version": 2}, {"inputs": {"seed": 1}}, {"libraries": ("numpy",)}, {"name": "x"}])
def test_a_stage_with_another_key_runs_again(stage, change):
    stage.save(RESULT)
    assert replace(stage, **change).load() is None


def test_a_library_that_is_only_noted_does_not_change_the_key(stage):
    stage.save(RESULT)
    assert replace(stage, noted=("numpy",)).load() == RESULT


def test_a_record_with_one_number_changed_is_not_used(stage, run):
    stage.save(RESULT)
    path = run.stage_record("count")
    path.write_text(path.read_text(encoding="utf-8").replace('"number": 3', '"number": 7'), encoding="utf-8")
    assert stage.load() is None


def test_a_record_with_a_result_of_another_type_is_not_used(stage):
    replace(stage, codec=TypeAdapter(int)).save(5)
    assert stage.load() is None


@pytest.mark.parametrize("text", ["", "[]", "{", '{"key": 1}', "null"])
def test_a_file_that_is_not_a_record_is_not_used(stage, run, text):
    run.stage_record("count").parent.mkdir(parents=True)
    run.stage_record("count").write_text(text, encoding="utf-8")
    assert stage.load() is None


def test_a_stage_runs_again_if_its_file_was_changed_or_deleted(stage, run):
    left = run.base / "left.bin"
    left.write_bytes(b"1")
    stage.save(RESULT, [left])
    assert stage.load() == RESULT
    assert json.loads(run.stage_record("count").read_text())["files"].keys() == {"left.bin"}
    left.write_bytes(b"2")
    assert stage.load() is None
    left.unlink()
    assert stage.load() is None


def test_only_run_composes_paths_of_a_run_folder():
    root = Path(__file__).parents[3] / "model_factory"
    sources = [path for path in root.rglob("*.py") if path.name != "run.py"]
    offenders = [path.name for path in sources if "run.folder /" in path.read_text(encoding="utf-8")]
    assert sources
    assert offenders == []
