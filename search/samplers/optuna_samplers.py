"""Samplers of Optuna. Each target has a study in memory with all scored subnets, in which the budgets are constraints.

Budgets that every scored subnet keeps are left out: a model of them would take time and tell nothing. Proposals are
checked against all budgets.
Every argument of a sampler is given, because defaults differ between versions of Optuna.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import optuna
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.samplers.nsgaii import UniformCrossover

from search.device_target import Target
from search.samplers import Say, SearchState
from search.samplers.collecting import Draw, collect
from supernet.space import SearchSpace, SubnetConfig

_STARTUP: Final = 10
"""Scored subnets below which a model is not fitted, and proposals are random; Optuna's default."""

_POPULATION: Final = 10
"""Individuals of a generation. Optuna's default of 50 would be the whole of a search of 20 to 80 evaluations."""

Direction = Literal["maximize", "minimize"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OptunaSampler:
    """Proposes what a sampler of Optuna asks for, target by target in turn.

    A proposal that is known already, or exceeds the budgets, is drawn again. Its trial stays unfinished, and models of
    TPE and Gaussian processes keep away from unfinished trials, so the proposals of a round differ.

    Attributes:
        say: Takes a line for each target for which nothing feasible was asked.
        make: Seed -> the sampler of one target.
        directions: Of the objectives: the accuracy, and the latency if there are two.
        generations: Whether the sampler counts trials in generations, so that it has to ask for the scored subnets too.
        attempts: The most draws for one subnet.
    """

    say: Say
    make: Callable[[int], BaseSampler]
    directions: tuple[Direction, ...] = ("maximize",)
    generations: bool = False
    attempts: int

    def propose(self, state: SearchState, count: int, seed: int) -> tuple[SubnetConfig, ...]:
        """See `Sampler.propose`."""
        draws = [self._draw(state, target, seed, index) for index, target in enumerate(state.targets)]
        return collect(state, count, draws, self.attempts, self.say)

    def _draw(self, state: SearchState, target: Target, seed: int, index: int) -> Draw:
        space, distributions = state.space, _distributions(state.space)
        study = self._study(state, target, random.Random(f"{seed} {index}").randrange(2**32))

        def draw() -> SubnetConfig:
            asked = study.ask(distributions).params
            return space.decode(tuple(asked[choice.name] for choice in space))

        return draw

    def _study(self, state: SearchState, target: Target, seed: int) -> optuna.Study:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        study = optuna.create_study(sampler=self.make(seed), directions=self.directions)
        costs = target.costs.of([scored.subnet for scored in state.scored])
        uses = [target.budgets.slack(cost) for cost in costs]
        binding = sorted({budget for use in uses for budget, share in use.items() if share > 1})
        add = _tell if self.generations else _add
        for scored, cost, use in zip(state.scored, costs, uses, strict=True):
            params = dict(zip((c.name for c in state.space), state.space.encode(scored.subnet), strict=True))
            values = [scored.accuracy, cost.latency_us][: len(self.directions)]
            add(study, params, _distributions(state.space), values, {budget: use[budget] - 1 for budget in binding})
        return study


def tpe(say: Say) -> OptunaSampler:
    """Tree-structured Parzen estimators, over all choices together."""

    def make(seed: int) -> BaseSampler:
        return TPESampler(
            n_startup_trials=_STARTUP,
            n_ei_candidates=24,
            seed=seed,
            multivariate=True,
            group=False,
            constant_liar=True,
        )

    return OptunaSampler(say=say, make=make, attempts=64)


def nsga2(say: Say) -> OptunaSampler:
    """The genetic algorithm NSGA-II, for accuracy and latency."""

    def make(seed: int) -> BaseSampler:
        return NSGAIISampler(
            population_size=_POPULATION,
            mutation=None,
            mutation_prob=None,
            crossover=UniformCrossover(swapping_prob=0.5),
            crossover_prob=0.9,
            swapping_prob=0.5,
            seed=seed,
        )

    return OptunaSampler(say=say, make=make, directions=("maximize", "minimize"), generations=True, attempts=64)


def gp(say: Say) -> OptunaSampler:
    """Gaussian processes for the accuracy and for each budget; it imports torch."""

    def make(seed: int) -> BaseSampler:
        return GPSampler(
            seed=seed,
            independent_sampler=RandomSampler(seed=seed),
            n_startup_trials=_STARTUP,
            deterministic_objective=False,
            warn_independent_sampling=False,
        )

    return OptunaSampler(say=say, make=make, attempts=16)


def _distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """The number of the option for each choice: options have an order, which categories would lose."""
    return {choice.name: IntDistribution(0, len(choice.options) - 1) for choice in space}


def _add(
    study: optuna.Study,
    params: Mapping[str, int],
    distributions: Mapping[str, BaseDistribution],
    values: Sequence[float],
    constraints: Mapping[str, float],
) -> None:
    """Add a finished trial."""
    study.add_trial(
        optuna.trial.create_trial(
            values=values, params=dict(params), distributions=dict(distributions), constraints=dict(constraints)
        )
    )


def _tell(
    study: optuna.Study,
    params: Mapping[str, int],
    distributions: Mapping[str, BaseDistribution],
    values: Sequence[float],
    constraints: Mapping[str, float],
) -> None:
    """Have the study ask for these parameters, and finish the trial."""
    study.enqueue_trial(dict(params))
    trial = study.ask(dict(distributions))
    for budget, excess in constraints.items():
        trial.set_constraint(budget, excess)
    study.tell(trial, list(values))
