"""The archive: every scored subnet, each an Optuna trial in a study that survives the process."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import optuna
import pandas as pd
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from model_factory.base.errors import FactoryError
from model_factory.base.files import atomic_path
from model_factory.base.progress import Progress, silent
from supernet.space import SearchSpace, SubnetConfig

Evaluate = Callable[[SubnetConfig], float]
"""Held-out accuracy, in [0, 1], of a subnet with the supernet's weights and recalibrated batch normalisation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A subnet and its accuracy on the held-out split, in [0, 1]."""

    subnet: SubnetConfig
    accuracy: float


class Archive:
    """The scored subnets of one supernet.

    Args:
        storage: URL of an Optuna storage.
        name: of the study; one study per checkpoint and way of scoring.
        space: its choices become the trial's parameters.

    Raises:
        FactoryError: the storage cannot be opened.
    """

    def __init__(self, storage: str, name: str, space: SearchSpace) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._space = space
        self._distributions: dict[str, BaseDistribution] = {c.name: CategoricalDistribution(c.options) for c in space}
        try:
            self._study = optuna.create_study(
                storage=storage,
                study_name=name,
                direction="maximize",
                load_if_exists=True,
                sampler=optuna.samplers.RandomSampler(seed=0),
            )
            self._drop_abandoned()
        except Exception as error:  # every storage raises errors of its own
            raise FactoryError(f"search storage {storage!r} cannot be opened: {error}".split("\n")[0]) from error

    def scored(self) -> dict[SubnetConfig, float]:
        """Every scored subnet and its accuracy."""
        trials = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return {self._subnet_of(trial): float(trial.value or 0.0) for trial in trials}

    def score(
        self, subnets: Sequence[SubnetConfig], evaluate: Evaluate, purpose: str, progress: Progress = silent
    ) -> list[Scored]:
        """The accuracy of each of `subnets`, in their order; only those that were never scored are evaluated.

        Each becomes a trial as soon as it is scored, so that an interruption loses at most one.

        Args:
            subnets: what to score.
            evaluate: called once per subnet that is not in the archive.
            purpose: kept in the trial, for people.
            progress: told after each.
        """
        known = self.scored()
        for position, subnet in enumerate(subnets):
            if subnet not in known:
                known[subnet] = self._run_trial(subnet, evaluate, purpose)
            progress(position + 1, len(subnets), f"{known[subnet]:.1%} held-out")
        return [Scored(subnet=subnet, accuracy=known[subnet]) for subnet in subnets]

    def write_table(self, path: Path) -> None:
        """Write all scored subnets as Parquet: `subnet_id`, `accuracy`, `purpose`, and a column per choice."""
        trials = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        rows = [
            {
                "subnet_id": self._subnet_of(t).id,
                "accuracy": t.value,
                "purpose": t.user_attrs.get("purpose", ""),
                **t.params,
            }
            for t in trials
        ]
        with atomic_path(path) as temporary:
            pd.DataFrame(rows).to_parquet(temporary, index=False)

    def _run_trial(self, subnet: SubnetConfig, evaluate: Evaluate, purpose: str) -> float:
        trial = self._study.ask(fixed_distributions=self._fixed(subnet))
        trial.set_user_attr("subnet_id", subnet.id)
        trial.set_user_attr("purpose", purpose)
        try:
            accuracy = evaluate(subnet)
        except BaseException:
            self._study.tell(trial, state=TrialState.FAIL)
            raise
        self._study.tell(trial, accuracy)
        return accuracy

    def _fixed(self, subnet: SubnetConfig) -> dict[str, BaseDistribution]:
        self._study.enqueue_trial(subnet.to_dict(), skip_if_exists=False)
        return self._distributions

    def _subnet_of(self, trial: FrozenTrial) -> SubnetConfig:
        return self._space.subnet({choice.name: trial.params[choice.name] for choice in self._space})

    def _drop_abandoned(self) -> None:
        """A killed process leaves trials behind that nobody will finish; they would be handed out again."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING, TrialState.WAITING)):
                self._study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
