"""`factory search` for several devices, with budgets from the command line, and from what the run has scored."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from model_factory.commands.search import given_budgets, higher_scores
from search.target import TargetResult


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


def test_a_first_search_without_a_build_gives_the_same_pick_again(app: Path, factory) -> None:
    (app / "runs" / "tiny" / "stages" / "snapshot.json").unlink()
    first = factory(app, "search", "--device", "highend", "--json", "-q").out
    assert factory(app, "search", "--device", "highend", "--json", "-q").out == first


def test_a_search_after_the_input_of_files_changed_is_made_again(app: Path, factory) -> None:
    def latency() -> float:
        return json.loads(factory(app, "search", "--device", "highend", "--json", "-q").out)["pick"]["latency_us"]

    with_pixels = latency()
    with (app / "factory.yaml").open("a", encoding="utf-8") as config:
        config.write("export: {input: tensor}\n")
    assert latency() < with_pixels


def test_several_devices_are_searched_together(app: Path, factory) -> None:
    answer = factory(app, "search", "--device", "highend", "--device", "flagship", "--json", "--quiet")
    assert [value["device"] for value in json.loads(answer.out)["devices"]] == ["highend", "flagship"]
    shown = factory(app, "search", "--device", "highend", "--device", "flagship", "--quiet").out
    assert "device highend (" in shown
    assert "device flagship (" in shown


def test_all_targets_of_the_config_are_searched(app: Path, factory) -> None:
    answer = factory(app, "search", "--all", "--json", "--quiet")
    assert [value["device"] for value in json.loads(answer.out)["devices"]] == ["speaker", "midrange"]


def test_the_table_says_on_how_many_images_each_subnet_was_scored(app: Path, factory) -> None:
    lines = factory(app, "search", "--device", "midrange", "--quiet").out.splitlines()
    (header,) = [line for line in lines if "held-out accuracy" in line]
    (pick,) = [line for line in lines if line.startswith("pick ")]
    (finals,) = [line for line in lines if line.startswith("finals: ")]
    assert f"on up to {pick[header.index('images') :].split()[0]} held-out images" in finals


@pytest.mark.parametrize(
    ("scores", "line"),
    [
        ([(0.7, 100), (0.8, 100)], ""),
        ([(0.8, 100), (0.9, 50)], "1 subnet inside the budgets scored higher: 1 on fewer images, which says less"),
        (
            [(0.8, 100), (0.85, 100), (0.9, 50)],
            "2 subnets inside the budgets scored higher: 1 on fewer images, which says less, 1 by less than a quarter "
            "of a standard error",
        ),
    ],
)
def test_the_reason_is_given_if_a_subnet_with_a_higher_score_is_not_picked(scores, line: str) -> None:
    candidates = tuple(
        SimpleNamespace(
            variant=number, accuracy=accuracy, images=images, excesses=(), costs=SimpleNamespace(latency_us=number)
        )
        for number, (accuracy, images) in enumerate(scores)
    )
    pick = candidates[0] if line else candidates[1]
    result = TargetResult(pick=pick, candidates=candidates, finalists=(), expected=pick.variant, proof=None)
    assert higher_scores(result) == line


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
        (("--device", "midrange", "--device", "midrange"), "the device 'midrange' is named twice; name it once"),
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


def test_spaces_in_a_budget_do_not_matter() -> None:
    assert given_budgets(["latency = 6 ms"]) == given_budgets(["latency=6ms"])
