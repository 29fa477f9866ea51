"""Budgets as people think of them, from the config to what the commands show."""

from __future__ import annotations

import json

import pytest

GIVEN = "latency: 1 ms, peak_memory: 4 MiB, file_size: 1 MiB"
THOUGHT_OF = (
    "frame_rate: 500 fps, frame_share: 50 %, memory: {ram: 2 GiB, system_reserve: 1.5 GiB, app_share: 1 %}, "
    "download: 1 MB"
)
LATENCY = "latency <= 1 ms (50 % of a frame at 500 fps)"
MEMORY = "peak memory <= 5.12 MiB (1 % of 2 GiB less 1.5 GiB)"
FILE = "file size <= 977 KiB (download 1 MB)"


@pytest.fixture
def thoughtful(app, edit_config):
    """The finished app, with the budgets of midrange in another form."""
    edit_config(app, GIVEN, THOUGHT_OF)
    return app


def test_a_search_shows_the_derived_limits_and_what_they_come_from(factory, thoughtful):
    answer = factory(thoughtful, "search", "--device", "midrange")
    (line,) = [line for line in answer.out.splitlines() if line.startswith("budgets: ")]
    for limit in (LATENCY, MEMORY, FILE):
        assert f"{limit}, " in line


def test_the_json_has_the_derived_limits_and_their_form(factory, thoughtful):
    budgets = json.loads(factory(thoughtful, "search", "--device", "midrange", "--json").out)["budgets"]
    assert (budgets["latency_us"], budgets["frames_per_s"], budgets["frame_share"]) == (1000, 500, 0.5)
    assert budgets["peak_memory_bytes"] == 2**29 // 100
    assert budgets["memory"] == {"ram_bytes": 2**31, "system_reserve_bytes": 3 * 2**29, "app_share": 0.01}
    assert budgets["file_bytes"] == budgets["download_bytes"] == 10**6


def test_the_resolved_config_keeps_the_form_and_can_be_read_again(factory, thoughtful):
    first = factory(thoughtful, "search", "--device", "midrange", "--json")
    resolved = thoughtful / "runs" / "tiny" / "config.resolved.yaml"
    assert "frame_rate: 500 fps" in resolved.read_text(encoding="utf-8")
    again = factory(thoughtful, "search", "--config", resolved, "--device", "midrange", "--json")
    assert json.loads(again.out) == json.loads(first.out)
    assert again.stages == []


def test_the_family_and_its_report_show_the_derived_limits_of_the_tiers_that_have_them(factory, thoughtful):
    answer = factory(thoughtful, "build")
    lines = [line for line in answer.out.splitlines() if line.startswith("budgets ")]
    assert lines == [f"budgets  midrange: {LATENCY}, {MEMORY}, {FILE}"]
    report = (thoughtful / "dist" / "tiny" / "report.html").read_text(encoding="utf-8")
    for origin in ("50 % of a frame at 500 fps", "1 % of 2 GiB less 1.5 GiB", "download 1 MB"):
        assert report.count(origin) == 1


def test_a_frame_rate_that_no_subnet_reaches_is_named(factory, app, edit_config):
    edit_config(app, "latency: 1 ms", "frame_rate: 1000000 fps")
    answer = factory(app, "search", "--device", "midrange", "--quiet")
    assert answer.code == 1
    assert "exceeds 1 us (1000000 fps); raise this budget" in answer.error
