"""`factory search` with several processes: the same result as with one, and what a process that joins must share."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from model_factory.run import find_run
from model_factory.stages.joining import _difference


@pytest.fixture
def shared(app: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Two copies of a trained run, as on two machines, with one storage."""
    config = app / "factory.yaml"
    text = config.read_text(encoding="utf-8")
    text = text.replace("shared_subnets: 4", f"shared_subnets: 40, storage: 'sqlite:///{tmp_path}/shared.db'")
    config.write_text(text)
    forget_scores(app)
    other = tmp_path / "other"
    shutil.copytree(app, other)
    return app, other


def forget_scores(app: Path) -> None:
    """So that a search scores all of its subnets again."""
    run = app / "runs" / "tiny"
    (run / "study.db").unlink()
    for record in (run / "stages").glob("s*.json"):
        if record.stem.startswith(("search", "snapshot")):
            record.unlink()


def joining(start_factory, app: Path):
    """A process that waits for a search."""
    process = start_factory(app, "search", "--join")
    assert "waits for a search of 'tiny'" in process.stderr.readline()
    return process


def searched(factory, app: Path, *options: str) -> dict:
    answer = factory(app, "search", "--device", "midrange", "--json", "-q", *options)
    assert answer.code == 0, answer.err
    return json.loads(answer.out)


def test_several_workers_give_the_same_archive_and_picks_as_one(app: Path, factory, tmp_path: Path) -> None:
    forget_scores(app)
    alone = tmp_path / "alone"
    shutil.copytree(app, alone)
    together, one = searched(factory, app, "--workers", "3"), searched(factory, alone)
    for found in (together, one):
        del found["plot"], found["proof"]["seconds"]
    assert together == one
    tables = [pd.read_parquet(folder / "runs" / "tiny" / "archive.parquet") for folder in (app, alone)]
    pd.testing.assert_frame_equal(*tables)


def test_a_process_on_another_machine_helps_a_search(shared, factory, start_factory) -> None:
    app, other = shared
    joined = joining(start_factory, other)
    searched(factory, app)
    out, err = joined.communicate(timeout=120)
    assert joined.returncode == 0, err
    assert re.search(r"\d+ evaluations? for the search, which has ended", out)
    assert not (other / "runs" / "tiny" / "study.db").exists()


def test_a_process_with_other_settings_is_refused_and_the_difference_named(shared, factory, start_factory) -> None:
    app, other = shared
    config = other / "factory.yaml"
    config.write_text(config.read_text().replace("calibration_images: 100", "calibration_images: 120"))
    joined = joining(start_factory, other)
    searched(factory, app)
    _, err = joined.communicate(timeout=120)
    assert joined.returncode != 0
    assert "differs from this run in 1 thing: calibration_images (120 here, 100 there)" in err


def test_another_checkpoint_is_named_by_the_beginning_of_its_digest(app: Path) -> None:
    run = find_run(None, app / "factory.yaml")
    ours = {"checkpoint": "a" * 64, "data": "c" * 64, "torch": "2.13.0"}
    message = _difference(run, ours, {"checkpoint": "b" * 64, "data": "c" * 64, "torch": "2.12.0"})
    assert (
        "in 2 things: checkpoint (aaaaaaaaaaaa here, bbbbbbbbbbbb there), torch (2.13.0 here, 2.12.0 there)" in message
    )


def test_joining_without_a_search_says_how_to_start_one(shared, factory, monkeypatch) -> None:
    monkeypatch.setattr("model_factory.stages.joining._WAITS_S", 0.0)
    error = factory(shared[0], "search", "--join", "-q").error
    assert "no search of 'tiny' is running in the storage of this config; start one with `factory search`" in error


@pytest.mark.parametrize("options", [("--device", "midrange"), ("--all",), ("--workers", "2"), ("--json",)])
def test_join_takes_no_other_options(app: Path, factory, options: tuple[str, ...]) -> None:
    error = factory(app, "search", "--join", *options, "-q").error
    assert "--join scores what the search that it joins asks for; give it only --run or --config" in error


def test_a_worker_that_stops_is_reported_and_its_work_is_done(app: Path, factory, monkeypatch) -> None:
    monkeypatch.setattr("model_factory.stages.joining.sys.executable", "false")
    answer = factory(app, "search", "--device", "midrange", "--budget", "latency=0.6ms", "--workers", "2")
    assert answer.code == 0
    assert "worker 1 stopped: no message" in answer.err
