"""The benchmark of subnets of all sizes."""

from __future__ import annotations

import json

import pytest

from supernet.space import Choice, SearchSpace

MODEL = {
    "resolutions": [8, 12],
    "stem_width": 8,
    "stages": [{"widths": [8, 16], "depths": [1, 2], "expands": [1, 2], "stride": 2}],
    "head_width": 16,
}
TINY = ("--data", '{"image_size": 12}', "--model", json.dumps(MODEL), "--training", '{"epochs": 0.1}', "--threads", "1")


@pytest.fixture
def ranking(load):
    return load("size_ranking")


@pytest.fixture
def result(ranking):
    def made(macs: int, held_out: float, *, seed: int = 0, resolution: int = 8, test: float = 0.5):
        accuracies = {"training": 0.9, "held-out": held_out, "test": test}
        return ranking.Result(seed=seed, resolution=resolution, macs=macs, accuracies=accuracies)

    return made


def one_seed(ranking, smallest, *scored):
    return ranking.SeedResults(smallest=smallest, largest=scored[-1], random=scored, training_cpu_seconds=1.0)


def test_the_quick_form_scores_every_resolution_at_both_ends(quick):
    found = quick("size_ranking", *TINY)
    assert found["random"]["subnets"] == 4
    assert {name: row["subnets"] for name, row in found["resolutions"].items()} == {"8": 2, "12": 2}
    assert 0 <= found["random"]["held_out"] <= 100


def test_the_shortfall_is_that_of_the_worst_size(ranking, result):
    seed = one_seed(ranking, result(10_000, 0.9), result(20_000, 0.95), result(200_000, 0.7), result(250_000, 0.8))
    found = ranking.summary([seed])
    assert found["shortfall_points"] == 15.0
    assert [row["subnets"] for row in found["bands"].values()] == [1, 2]


def test_no_size_below_the_smallest_network_is_no_shortfall(ranking, result):
    found = ranking.summary([one_seed(ranking, result(10_000, 0.9), result(20_000, 0.9), result(200_000, 0.95))])
    assert found["shortfall_points"] == 0.0


def test_the_best_subnet_is_chosen_on_held_out_images(ranking, result):
    better, worse = result(20_000, 0.9, test=0.6), result(20_000, 0.8, test=0.99)
    assert ranking.row([better, worse])["best_test"] == 60.0


def test_the_best_subnet_is_chosen_in_every_seed(ranking, result):
    first, second = result(20_000, 0.9, seed=0, test=0.6), result(20_000, 0.8, seed=1, test=0.8)
    assert ranking.row([first, second])["best_test"] == 70.0


def test_a_space_without_a_resolution_has_subnets_of_all_sizes(ranking):
    space = SearchSpace((Choice(name="width", options=(8, 16, 24)),))
    assert [subnet["width"] for subnet in ranking.random_subnets(space, 2)] == [8, 24]


def test_a_config_that_is_not_valid_is_an_error_in_one_line(ranking, tmp_path, capsys):
    config = tmp_path / "bad.yaml"
    config.write_text("data: {source: digits}\nmodel: {}\ntraining: {epochs: 1}\n", encoding="utf-8")
    assert ranking.main(["--config", str(config)]) == 1
    assert capsys.readouterr().err.startswith("error: ")
