"""What every sampler must do. The tests of a sampler inherit `SamplerConformance` and name the sampler."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from device_profiles.budgets import Budgets
from device_profiles.cost_models.device_costs import DeviceCosts
from device_profiles.profile import find_profile
from device_profiles.workload.workloads import Workloads
from search.device_target import Target
from search.enumeration import every_subnet
from search.samplers import Sampler, SearchState, make_sampler
from search.scored import Scored
from supernet.space import SubnetConfig
from supernet.spaces.mobilenet import MobileNetSpace
from supernet.spaces.mobilenet_config import MobileNetConfig

_STAGES = [
    {"widths": [8, 16, 24], "depths": [1, 2], "kernels": [3], "expands": [1, 2]},
    {"widths": [16], "depths": [1, 2], "kernels": [3, 5], "expands": [2], "stride": 2},
]
_MODEL = {"resolutions": [16], "stem_width": 8, "stages": _STAGES, "head_width": 32}
MODEL_SPACE = MobileNetSpace(MobileNetConfig.model_validate(_MODEL), classes=4)
"""Some of its choices have one option, and some of its blocks may be absent."""

SPACE, WORKLOADS = MODEL_SPACE.space, Workloads(MODEL_SPACE)
SUBNETS = tuple(every_subnet(SPACE))
SPREAD = SUBNETS[::9]
"""A dozen subnets of all kinds."""


def score(subnets: Sequence[SubnetConfig], images: int = 200) -> tuple[Scored, ...]:
    """Accuracy grows with the logarithm of the MACs."""
    macs = [WORKLOADS.of(subnet).macs for subnet in subnets]
    largest = WORKLOADS.of(SPACE.largest).macs
    shares = [1 + 0.1 * np.log(count / largest) for count in macs]
    return tuple(
        Scored.of(subnet, [image * 123 % images < share * images for image in range(images)])
        for subnet, share in zip(subnets, shares, strict=True)
    )


def target(share: float, device: str = "midrange") -> Target:
    """A device with a latency budget that this share of all subnets meets."""
    costs = DeviceCosts(WORKLOADS, find_profile(device, Path()))
    latency_us = np.quantile([found.latency_us for found in costs.of(SUBNETS)], share)
    return Target(costs=costs, budgets=Budgets(latency=f"{int(latency_us) + 1} us", file_size="1 MiB"))


def state(scored: Sequence[SubnetConfig] = SPREAD, shares: Sequence[float] = (0.4, 0.6, 0.9)) -> SearchState:
    targets = tuple(
        target(share, device) for share, device in zip(shares, ("midrange", "speaker", "flagship"), strict=False)
    )
    return SearchState(
        space=SPACE, devices=tuple((target,) for target in targets), scored=score(scored), workloads=WORKLOADS
    )


def all_but_two() -> tuple[SearchState, set[SubnetConfig]]:
    """A search in which two subnets are not scored yet, both within the budgets; and these."""
    left = set(random.Random(0).sample(SUBNETS, 2))
    return state([subnet for subnet in SUBNETS if subnet not in left], shares=(1.0,)), left


class SamplerConformance:
    name: str
    """The name of the sampler."""

    @pytest.fixture
    def sampler(self) -> Sampler:
        return make_sampler(self.name)

    @pytest.mark.parametrize("shares", [(0.5,), (0.4, 0.6, 0.9)])
    def test_proposals_are_distinct_new_canonical_and_within_the_budgets_of_a_target(
        self, sampler: Sampler, shares: tuple[float, ...]
    ) -> None:
        known = state(shares=shares)
        proposals = sampler.propose(known, 4, seed=0)
        assert 1 <= len(proposals) == len(set(proposals)) <= 4
        assert not set(proposals) & {scored.subnet for scored in known.scored}
        for subnet in proposals:
            assert SPACE.subnet(subnet.to_dict()) == subnet
            assert any(not t.budgets.excesses(t.costs.of([subnet])[0]) for t in known.targets)

    def test_the_same_seed_gives_the_same_proposals(self, sampler: Sampler) -> None:
        known = state(shares=(0.5, 0.9))
        assert sampler.propose(known, 2, seed=3) == sampler.propose(known, 2, seed=3)

    def test_rounds_never_propose_a_subnet_again(self, sampler: Sampler) -> None:
        known = state(SPREAD[:4], shares=(0.5,))
        for seed in range(3):
            proposals = sampler.propose(known, 2, seed)
            assert not set(proposals) & {scored.subnet for scored in known.scored}
            known = replace(known, scored=(*known.scored, *score(proposals)))

    def test_a_search_that_may_propose_nothing_proposes_nothing(self, sampler: Sampler) -> None:
        assert sampler.propose(state(), 0, seed=0) == ()

    def test_a_space_that_is_scored_in_full_is_finished(self, sampler: Sampler) -> None:
        assert sampler.propose(state(SUBNETS, shares=(0.5,)), 4, seed=0) == ()

    def test_at_most_the_subnets_that_are_left_are_proposed(self, sampler: Sampler) -> None:
        known, left = all_but_two()
        assert set(sampler.propose(known, 4, seed=0)) <= left
