"""The benchmark of searches over a space whose subnets are all scored, and its table."""

from __future__ import annotations

import json
from argparse import Namespace

import numpy as np
import pytest

from search.variant import Variant


@pytest.fixture
def regret(load):
    return load("search_regret")


@pytest.fixture
def table(load):
    return load("search_table")


def test_the_quick_form_searches_with_two_samplers(quick):
    found = quick("search_regret")
    assert found["searches"] == 4
    assert set(found["regret"]) == {"exact", "random"}
    assert 0 <= found["regret"]["exact"]["20"]["mean"] < 5
    assert found["rmse_without_offset"] <= found["rmse_points"]
    assert found["noise_points"] == pytest.approx(1.0, abs=0.05)


def test_the_table_holds_every_subnet_once_and_is_small(table):
    stored = table.Table.load(table.TABLE)
    assert len(set(stored.subnets)) == stored.space.space.count() == 1296
    assert stored.correct.shape == (1296, 2000)
    assert np.corrcoef(stored.correct.mean(1), stored.truth)[0, 1] > 0.95
    assert table.TABLE.stat().st_size < 300_000


def test_a_search_sees_the_first_images_only(table):
    stored = table.Table.load(table.TABLE)
    (score,) = stored.score([Variant(subnet=stored.subnets[7])], 500, "")
    assert score.images == 500
    assert score.accuracy == stored.correct[7, :500].mean()


def test_a_table_is_packed_from_the_scores_of_all_processes(table, tmp_path):
    rng, rows = np.random.default_rng(0), [5, 2, 9]
    bits = rng.random((3, 13)) < 0.5
    for row, correct in zip(rows, bits, strict=True):
        line = {"row": row, "heldout": np.packbits(correct).tobytes().hex(), "test": row, "heldout_images": 13}
        with (tmp_path / f"scores-{row % 2}.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({**line, "test_images": 20}) + "\n")
    (tmp_path / "scores-2.jsonl").write_text('{"row": 3, "heldo', encoding="utf-8")  # killed while it was writing
    vectors = table.all_vectors(table.model_space().space)
    table.pack(vectors, rows, Namespace(work=tmp_path, table=tmp_path / "table.npz", seed=0, epochs=None))
    stored = table.Table.load(tmp_path / "table.npz")
    assert stored.correct.tolist() == bits[[1, 0, 2]].tolist()
    assert stored.truth.tolist() == [0.1, 0.25, 0.45]
    assert [stored.space.space.encode(s) for s in stored.subnets] == [tuple(vectors[row]) for row in (2, 5, 9)]


def test_runs_that_pick_the_same_subnet_are_resampled_together(regret):
    picks, regrets = np.array([3, 3, 3, 3, 1]), np.array([1.0, 1.0, 1.0, 1.0, 0.0])
    together = regret.resampled(picks, regrets, np.ones(5, dtype=bool))
    apart = regret.resampled(np.arange(5), regrets, np.ones(5, dtype=bool))
    assert set(np.unique(together)) >= {0.0, 1.0}
    assert together.std() > 1.5 * apart.std()


def test_ranks_count_pairs(regret):
    found = regret.ranks(np.array([1, 3, 2]), np.array([1.0, 2.0, 3.0]), np.array([100.0, 205.0, 200.0]))
    assert found == {"tau": pytest.approx(1 / 3), "tau_band": -1.0}


@pytest.mark.parametrize(("exact", "below"), [(0.1, True), (1.0, False)])
def test_a_method_is_below_another_if_the_interval_says_so(regret, exact, below):
    runs = [regret.Run(method, 40, 0, seed) for seed in range(20) for method in ("exact", "random", "gp")]
    picks = np.arange(60)
    regrets = np.array([{"exact": exact, "random": 1.0, "gp": 0.1}[run.method] for run in runs])
    regrets += 0.3 * np.random.default_rng(0).random(60)
    found = regret.comparisons(runs, picks, regrets, 0.5)
    assert found["below_random"] is found["half_of_random"] is below
    assert "regret_80" not in found


def test_remaking_the_table_needs_data(regret, capsys):
    with pytest.raises(SystemExit):
        regret.parse(["--remake"])
    assert "--remake needs --data" in capsys.readouterr().err
