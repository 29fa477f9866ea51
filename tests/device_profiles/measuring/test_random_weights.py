"""Random networks that can be converted in any precision."""

from __future__ import annotations

import torch
from torch import nn

from device_profiles.measuring.random_weights import keep_units_alive


def test_no_narrow_layer_returns_only_zeros() -> None:
    images = torch.randn(4, 16, 1, 1, generator=torch.Generator().manual_seed(0))

    def is_dead(seed: int, repair: bool) -> bool:
        torch.manual_seed(seed)
        layers = nn.Sequential(nn.Conv2d(16, 2, 1), nn.ReLU())
        if repair:
            keep_units_alive([layers])
        return not layers(images.abs()).any()

    assert any(is_dead(seed, repair=False) for seed in range(30))
    assert not any(is_dead(seed, repair=True) for seed in range(30))


def test_a_block_that_starts_as_the_identity_computes_something() -> None:
    norm = nn.BatchNorm2d(4).eval()
    nn.init.zeros_(norm.weight)
    keep_units_alive([norm])
    assert norm(torch.ones(1, 4, 2, 2)).all()
