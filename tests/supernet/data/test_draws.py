"""Random numbers that are addressed by example, epoch and purpose."""

from __future__ import annotations

import pytest
import torch

from supernet.data.examples import Draws

ROWS = torch.arange(20_000)


def test_a_number_depends_on_its_address_alone() -> None:
    whole = Draws(3, 5).uniform(ROWS, 7, 2)
    chosen = torch.tensor([19_999, 4, 4, 0])
    assert torch.equal(Draws(3, 5).uniform(chosen, 7, 2), whole[chosen])
    assert torch.equal(Draws(3, 5).uniform(chosen.to(torch.int32), 7), whole[chosen, :1])


def test_other_seeds_and_draws_do_not_change_a_number() -> None:
    before = Draws(0, 0).uniform(ROWS[:10], 0)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    assert torch.equal(Draws(0, 0).uniform(ROWS[:10], 0), before)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("other", [(1, 0, 0), (0, 1, 0), (0, 0, 1)])
def test_seed_epoch_and_purpose_each_give_other_numbers(other: tuple[int, int, int]) -> None:
    seed, epoch, purpose = other
    first, second = Draws(0, 0).uniform(ROWS, 0)[:, 0], Draws(seed, epoch).uniform(ROWS, purpose)[:, 0]
    assert (first == second).float().mean() < 0.001
    assert torch.corrcoef(torch.stack((first, second)))[0, 1].abs() < 0.03


def test_numbers_are_spread_evenly_over_the_unit_interval() -> None:
    numbers = Draws(11, 2).uniform(ROWS, 0, 3)
    assert numbers.shape == (len(ROWS), 3)
    assert numbers.dtype == torch.float32
    assert numbers.min() >= 0
    assert numbers.max() < 1
    counts = torch.histc(numbers, bins=20, min=0, max=1) / numbers.numel()
    assert (counts - 1 / 20).abs().max() < 0.004


def test_neighbours_and_columns_are_not_correlated() -> None:
    numbers = Draws(0, 0).uniform(ROWS, 0, 2)
    pairs = torch.stack((numbers[:-1, 0], numbers[1:, 0], numbers[:-1, 1]))
    assert (torch.corrcoef(pairs) - torch.eye(3)).abs().max() < 0.03


def test_integers_reach_both_ends_equally_often() -> None:
    numbers = Draws(0, 9).integers(ROWS, 1, -2, 2)
    assert numbers.dtype == torch.int64
    counts = torch.bincount(numbers + 2) / len(ROWS)
    assert len(counts) == 5
    assert (counts - 0.2).abs().max() < 0.02
    assert (Draws(0, 9).integers(ROWS, 1, 3, 3) == 3).all()


def test_large_seeds_and_rows_are_accepted() -> None:
    rows = torch.tensor([2**40, 2**62])
    numbers = Draws(2**63 - 1, 10**9).uniform(rows, 2**31)
    assert ((numbers >= 0) & (numbers < 1)).all()
