"""`factory search` for several devices, with budgets from the command line, and from what the run has scored."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


def test_a_search_after_a_build_starts_from_its_scores(app: Path, factory) -> None:
    first = json.loads(factory(app, "search", "--device", "highend", "--json", "--quiet").out)
    assert first["snapshot"]
    assert first["scored"] >= 4
    assert first["proof"]["status"] == "optimal"
    again = json.loads(factory(app, "search", "--device", "flagship", "--json", "--quiet").out)
    assert again["snapshot"] == first["snapshot"]


def test_the_same_search_again_gives_the_same_pick(app: Path, factory) -> None:
    first = factory(app, "search", "--device", "highend", "--json", "-q").out
    factory(app, "search", "--device", "flagship", "--json", "-q")
    assert factory(app, "search", "--device", "highend", "--json", "-q").out == first


def test_several_devices_are_searched_together(app: Path, factory) -> None:
    answer = factory(app, "search", "--device", "highend", "--device", "flagship", "--json", "--quiet")
    assert [value["device"] for value in json.loads(answer.out)["devices"]] == ["highend", "flagship"]
    shown = factory(app, "search", "--device", "highend", "--device", "flagship", "--quiet").out
    assert "device highend (" in shown
    assert "device flagship (" in shown


def test_all_targets_of_the_config_are_searched(app: Path, factory) -> None:
    answer = factory(app, "search", "--all", "--json", "--quiet")
    assert [value["device"] for value in json.loads(answer.out)["devices"]] == ["speaker", "midrange"]


def test_a_budget_from_the_command_line_overrides_the_config_alone_where_it_is_given(app: Path, factory) -> None:
    answer = factory(app, "search", "--device", "midrange", "--budget", "latency=0.5 ms", "--json", "--quiet")
    budgets = json.loads(answer.out)["budgets"]
    assert budgets["latency_us"] == 500
    assert budgets["file_bytes"] == 2**20
    before = json.loads(factory(app, "search", "--device", "midrange", "--json", "--quiet").out)["budgets"]
    assert before["latency_us"] == 1000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "name devices with --device, or search for all targets of the config with --all"),
        (("--all", "--device", "midrange"), "name devices with --device, or"),
        (("--device", "midrange", "--device", "midrange"), "named 'midrange'"),
        (("--all", "--budget", "latency"), "--budget latency: is not KEY=LIMIT, such as latency=6ms"),
        (("--all", "--budget", "latncy=6ms"), "did you mean 'latency'"),
        (("--all", "--budget", "latency=6 MiB"), "--budget: 'latency'"),
        (
            ("--all", "--budget", "latency=1ms", "--budget", "latency=2ms"),
            "--budget latency=2ms: latency is given twice",
        ),
        (("--all", "--budget", "latency=1 us"), "target 'speaker': none of its "),
    ],
)
def test_wrong_arguments_are_refused_in_a_line(app: Path, factory, arguments: tuple[str, ...], message: str) -> None:
    answer = factory(app, "search", *arguments, "--quiet")
    assert answer.code == 1
    assert message in answer.error
