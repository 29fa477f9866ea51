"""Samplers: which subnets to score next, given those that are scored. Importing it loads neither torch nor optuna."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from device_profiles.workload.workloads import Workloads
from factory_base.documents import nearest
from factory_base.errors import UnknownNameError
from search.device_target import Alternatives, Target
from search.scored import Scored
from supernet.space import SearchSpace, SubnetConfig

Say = Callable[[str], None]
"""Takes a line for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchState:
    """What a sampler knows.

    Attributes:
        space: The search space of the subnets.
        devices: The targets to search for, for each device one in each precision that is worth proposals.
        scored: The subnets that are scored, in fp32.
        workloads: Workloads of the model space, for example to count MACs.
        rounds: The number of rounds that were proposed before.
        settled: Whether the first scores are those of a finished search.
    """

    space: SearchSpace
    devices: tuple[Alternatives, ...]
    scored: tuple[Scored, ...]
    workloads: Workloads
    rounds: int = 0
    settled: bool = False

    @property
    def targets(self) -> tuple[Target, ...]:
        """The targets of all devices."""
        return tuple(target for alternatives in self.devices for target in alternatives)


class Sampler(Protocol):
    """Proposes the subnets of one round."""

    def propose(self, state: SearchState, count: int, seed: int) -> tuple[SubnetConfig, ...]:
        """Distinct subnets that are not scored yet, at most `count`. None of their scores is read in between.

        Args:
            state: What is known.
            count: The most subnets to propose, shared out over the targets.
            seed: Decides all random draws: the same arguments give the same subnets.

        Returns:
            The proposals. If there are none, the search is finished.
        """


def _exact(say: Say) -> Sampler:
    del say  # the solver raises if nothing is inside a target's budgets
    from search.samplers.exact import ExactSampler

    return ExactSampler()


def _tpe(say: Say) -> Sampler:
    from search.samplers.optuna_samplers import tpe

    return tpe(say)


def _nsga2(say: Say) -> Sampler:
    from search.samplers.optuna_samplers import nsga2

    return nsga2(say)


def _gp(say: Say) -> Sampler:
    from search.samplers.optuna_samplers import gp

    return gp(say)


def _random(say: Say) -> Sampler:
    from search.samplers.exhaustive import RandomSampler

    return RandomSampler(say)


def _exhaustive(say: Say) -> Sampler:
    del say  # nothing can fail to be found
    from search.samplers.exhaustive import ExhaustiveSampler

    return ExhaustiveSampler()


SAMPLERS: Final[dict[str, Callable[[Say], Sampler]]] = {
    "exact": _exact,
    "tpe": _tpe,
    "nsga2": _nsga2,
    "gp": _gp,
    "random": _random,
    "exhaustive": _exhaustive,
}
"""The name in a config -> a function that makes the sampler, given what takes its messages."""


def make_sampler(name: str, say: Say = lambda _: None) -> Sampler:
    """The sampler of this name.

    Args:
        name: A key of `SAMPLERS`.
        say: Takes a line if the sampler found nothing inside a target's budgets.

    Raises:
        UnknownNameError: There is no such sampler.
    """
    if name not in SAMPLERS:
        raise UnknownNameError(f"unknown sampler {name!r}; {nearest(name, SAMPLERS)}")
    return SAMPLERS[name](say)
