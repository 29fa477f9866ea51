"""The samplers of Optuna."""

from __future__ import annotations

import subprocess
import sys

import pytest
from sampler_conformance import SPREAD, SUBNETS, SamplerConformance, all_but_two, score, state

from factory_base.errors import UnknownNameError
from search.samplers import SAMPLERS, make_sampler
from supernet.space import SubnetConfig


class TestTpe(SamplerConformance):
    name = "tpe"


class TestNsga2(SamplerConformance):
    name = "nsga2"


class TestGp(SamplerConformance):
    name = "gp"


@pytest.mark.parametrize("name", ["tpe", "nsga2", "gp"])
def test_a_search_without_scores_begins_at_random(name: str) -> None:
    sampler = make_sampler(name)
    assert len(sampler.propose(state([]), 5, seed=0)) == 5
    assert sampler.propose(state([]), 5, seed=0) != sampler.propose(state([]), 5, seed=1)


@pytest.mark.parametrize("name", ["tpe", "nsga2", "gp"])
def test_targets_take_turns(name: str) -> None:
    known = state(SPREAD, shares=(0.3, 0.9))
    proposals = make_sampler(name).propose(known, 3, seed=0)
    assert len(proposals) == 3
    for turn, subnet in enumerate(proposals):
        place = known.targets[turn % 2]
        assert not place.budgets.excesses(place.costs.of([subnet])[0])


@pytest.mark.parametrize("name", ["tpe", "nsga2", "gp"])
def test_a_search_goes_on_while_a_subnet_is_left(name: str) -> None:
    known, left = all_but_two()
    proposals = make_sampler(name).propose(known, 1, seed=0)
    assert len(proposals) == 1
    assert set(proposals) <= left


def mean_accuracy(proposals: tuple[SubnetConfig, ...]) -> float:
    return sum(scored.accuracy for scored in score(proposals)) / len(proposals)


@pytest.mark.parametrize("name", ["tpe", "nsga2", "gp"])
def test_models_propose_better_subnets_than_chance(name: str) -> None:
    known = state(SUBNETS[::5], shares=(0.6,))
    found, chance = (make_sampler(chosen).propose(known, 4, seed=0) for chosen in (name, "random"))
    assert mean_accuracy(found) > mean_accuracy(chance)


@pytest.mark.parametrize("name", ["tpe", "nsga2", "gp", "random"])
def test_without_a_feasible_subnet_the_nearest_ones_are_proposed_and_it_is_said(name: str) -> None:
    lines: list[str] = []
    known = state(SPREAD, shares=(0.0,))
    tight = known.targets[0].budgets.model_copy(update={"latency_us": 1})
    impossible = type(known.targets[0])(costs=known.targets[0].costs, budgets=tight)
    unreachable = type(known)(
        space=known.space, devices=((impossible,),), scored=known.scored, workloads=known.workloads
    )
    proposals = make_sampler(name, lines.append).propose(unreachable, 2, seed=0)
    assert len(proposals) == 2
    (line,) = lines
    assert line.startswith("target 'midrange': none of ")
    assert "exceeds 1 us" in line


def test_an_unknown_sampler_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown sampler 'nsga'; did you mean 'nsga2'\?"):
        make_sampler("nsga")


def test_importing_the_table_imports_nothing_heavy() -> None:
    script = "import sys, search.samplers; print({'torch', 'optuna', 'pandas', 'sklearn', 'scipy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
    assert {"tpe", "nsga2", "gp", "random", "exhaustive"} <= set(SAMPLERS)
