"""Samplers of Optuna. Each target has a study in memory with all scored subnets, in which the budgets are constraints.

Budgets that every scored subnet keeps are left out: a model of them would take time and tell nothing. Proposals are
checked against all budgets.
Every argument of a sampler is given, because defaults differ between versions of Optuna.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import optuna
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.samplers.nsgaii import UniformCrossover

from search.device_target import Target
from search.samplers import Say, SearchState
from search.samplers.collecting import collect
from search.samplers.settings import CROSSOVER, POPULATION, STARTUP, SWAPPING, TPE_CANDIDATES
from supernet.space import SearchSpace, SubnetConfig

Direction = Literal["maximize", "minimize"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OptunaSampler:
    """Proposes what a sampler of Optuna suggests, target by target in turn.

    Trials of proposals stay unfinished, also of those that exceed the budgets. TPE and Gaussian processes keep away
    from unfinished trials, so the proposals of a round differ.

    Attributes:
        say: Takes a line for each target for which no feasible subnet was proposed.
        make: Seed -> the sampler of one target.
        directions: Of the objectives: the accuracy, and the latency if there are two.
        generations: Whether the sampler counts trials in generations, so that it has to suggest the scored subnets.
        attempts: The most draws for one subnet.
    """

    say: Say
    make: Callable[[int], BaseSampler]
    directions: tuple[Direction, ...] = ("maximize",)
    generations: bool = False
    attempts: int

    def propose(self, state: SearchState, count: int, seed: int) -> tuple[SubnetConfig, ...]:
        """See `Sampler.propose`."""
        draws = [self._study(state, target, seed, index).draw for index, target in enumerate(state.targets)]
        return collect(state, count, draws, self.attempts, seed, self.say)

    def _study(self, state: SearchState, target: Target, seed: int, index: int) -> _TargetStudy:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        sampler = self.make(random.Random(f"{seed} {index}").randrange(2**32))
        study = _TargetStudy(optuna.create_study(sampler=sampler, directions=self.directions), state, target)
        study.fill(replay=self.generations)
        return study


class _TargetStudy:
    """The study of one target."""

    def __init__(self, study: optuna.Study, state: SearchState, target: Target) -> None:
        self._study, self._space = study, state.space
        self._distributions = _distributions(state.space)
        costs = target.costs.of([scored.subnet for scored in state.scored])
        uses = [target.budgets.slack(cost) for cost in costs]
        binding = sorted({budget for use in uses for budget, share in use.items() if share > 1})
        self._constraints = {
            scored.subnet: {budget: use[budget] - 1 for budget in binding}
            for scored, use in zip(state.scored, uses, strict=True)
        }
        self._values = {
            scored.subnet: [scored.accuracy, cost.latency_us][: len(study.directions)]
            for scored, cost in zip(state.scored, costs, strict=True)
        }

    def fill(self, replay: bool) -> None:
        """Add the scored subnets as finished trials; with `replay`, have the sampler suggest each of them first."""
        for subnet, values in self._values.items():
            params = dict(zip((choice.name for choice in self._space), self._space.encode(subnet), strict=True))
            if replay:
                self._study.enqueue_trial(params)
                self._tell(self._study.ask(self._distributions), subnet)
            else:
                self._study.add_trial(
                    optuna.trial.create_trial(
                        values=values,
                        params=params,
                        distributions=self._distributions,
                        constraints=self._constraints[subnet],
                    )
                )

    def draw(self) -> SubnetConfig:
        """What the sampler suggests. If it is scored already, its score is passed to the sampler.

        Different options of absent blocks are different points for the sampler, and the same subnet.
        """
        trial = self._study.ask(self._distributions)
        subnet = self._space.decode(tuple(trial.params[choice.name] for choice in self._space))
        if subnet in self._values:
            self._tell(trial, subnet)
        return subnet

    def _tell(self, trial: optuna.Trial, subnet: SubnetConfig) -> None:
        for budget, excess in self._constraints[subnet].items():
            trial.set_constraint(budget, excess)
        self._study.tell(trial, self._values[subnet])


def tpe(say: Say) -> OptunaSampler:
    """Tree-structured Parzen estimators, over all choices together."""

    def make(seed: int) -> BaseSampler:
        return TPESampler(
            n_startup_trials=STARTUP,
            n_ei_candidates=TPE_CANDIDATES,
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
            population_size=POPULATION,
            mutation=None,
            mutation_prob=None,
            crossover=UniformCrossover(swapping_prob=SWAPPING),
            crossover_prob=CROSSOVER,
            swapping_prob=SWAPPING,
            seed=seed,
        )

    return OptunaSampler(say=say, make=make, directions=("maximize", "minimize"), generations=True, attempts=64)


def gp(say: Say) -> OptunaSampler:
    """Gaussian processes for the accuracy and for each budget; it imports torch."""

    def make(seed: int) -> BaseSampler:
        return GPSampler(
            seed=seed,
            independent_sampler=RandomSampler(seed=seed),
            n_startup_trials=STARTUP,
            deterministic_objective=False,
            warn_independent_sampling=False,
        )

    return OptunaSampler(say=say, make=make, attempts=16)


def _distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """The number of the option for each choice: options have an order, which categories would lose."""
    return {choice.name: IntDistribution(0, len(choice.options) - 1) for choice in space}
