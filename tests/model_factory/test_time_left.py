"""The time left of a stage whose units take unequally long."""

from __future__ import annotations

import pytest

from model_factory.console import Console


def test_the_time_left_counts_slower_units_that_are_still_to_come(monkeypatch, capsys) -> None:
    now = 0.0
    monkeypatch.setattr("model_factory.console.time.monotonic", lambda: now)
    with Console().stage("train", lambda done: min(done, 50) + 3 * max(0, done - 50)) as progress:
        progress(0, 100)
        now = 10.0
        progress(10, 100)
    assert "train: 10/100, 0:03:10 left" in capsys.readouterr().err


def test_a_resumed_stage_counts_from_where_it_continues(monkeypatch, capsys) -> None:
    now = 0.0
    monkeypatch.setattr("model_factory.console.time.monotonic", lambda: now)
    with Console().stage("train", lambda done: min(done, 50) + 3 * max(0, done - 50)) as progress:
        progress(60, 100)
        now = 30.0
        progress(70, 100)
    assert "train: 70/100, 0:01:30 left" in capsys.readouterr().err


@pytest.mark.parametrize("total", [2, 7])
def test_units_take_equally_long_by_default(monkeypatch, capsys, total: int) -> None:
    now = 0.0
    monkeypatch.setattr("model_factory.console.time.monotonic", lambda: now)
    with Console().stage("read") as progress:
        progress(0, total)
        now = 6.0
        progress(1, total)
    assert f"read: 1/{total}, 0:00:{6 * (total - 1):02} left" in capsys.readouterr().err
