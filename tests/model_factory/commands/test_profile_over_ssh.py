"""`factory profile --on ssh:...` on the command line."""

from __future__ import annotations

import pytest

from device_profiles.measuring import benchmark, measure
from device_profiles.measuring.runner import processor
from device_profiles.profile import find_profile

pytestmark = [pytest.mark.engines, pytest.mark.smoke]


def test_a_board_gets_a_profile_that_names_it(built, factory, ssh_board, tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "SUSTAINED_SECONDS", 0.5)
    monkeypatch.setattr(measure, "NOISE_LIMIT", 1e9)  # other tests make the machine noisy
    monkeypatch.setattr(measure, "SLOWDOWN_LIMIT", 1e9)
    few = ("--networks", "6", "--held-out", "2", "--rounds", "4", "--quiet")
    where = f"ssh:{ssh_board.where()}"
    command = ("profile", *few, "--on", where, "--output", tmp_path / "board.yaml")
    answer = factory(built, *command)
    assert answer.code == 0, answer.err
    assert answer.err == ""
    costs = find_profile("board.yaml", tmp_path).profile.costs
    assert costs.machine.startswith(f"{processor()}, onnxruntime ")
    assert costs.peak is not None
    assert (tmp_path / "board.latency.json").exists()
    assert "parts timed" in answer.out


def test_a_board_that_cannot_be_reached_ends_in_one_line(built, factory, ssh_board, tmp_path):
    ssh_board.stop()
    answer = factory(built, "profile", "--on", f"ssh:{ssh_board.where()}", "--output", tmp_path / "x.yaml", "--quiet")
    assert answer.code == 1
    assert "cannot be reached" in answer.error
    assert "Connection refused" in answer.error
