"""The archive: every scored subnet, each an Optuna trial in a study that survives the process."""

from __future__ import annotations

import math
import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import optuna
import pandas as pd
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import QueuePool

from factory_base.errors import FactoryError, SpaceError
from factory_base.files import atomic_path
from factory_base.progress import Progress, silent
from search.scored import Scored
from supernet.space import SearchSpace, SubnetConfig

Evaluate = Callable[[SubnetConfig], float]
"""Held-out accuracy, in [0, 1], of a subnet with the supernet's weights and recalibrated batch normalisation."""

_STORAGE_ERRORS: Final = (StorageInternalError, SQLAlchemyError, ImportError, OSError)
"""What Optuna's storages raise when they are used: a failed commit, any other error of the database, a missing
database driver, and a file or connection that cannot be opened."""

_OPENING_ERRORS: Final = (*_STORAGE_ERRORS, ValueError, LookupError, RuntimeError)
"""What they raise, in addition, when they are opened: a URL with an invalid port (`ValueError`) or with braces, which
Optuna takes for a template (`LookupError`), and tables of another version of Optuna (`RuntimeError`)."""


class Archive:
    """The scored subnets of one supernet.

    Args:
        storage: The URL of an Optuna storage, or a file for one in SQLite.
        name: The name of the study. There is one study per checkpoint and way of scoring.
        space: The search space; its choices become the parameters of the trials.

    Raises:
        FactoryError: The storage cannot be opened.
    """

    def __init__(self, storage: str | Path, name: str, space: SearchSpace) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._space, self._storage = space, storage
        self._distributions: dict[str, BaseDistribution] = {c.name: CategoricalDistribution(c.options) for c in space}
        opened = open_storage(storage)
        with _storage_errors(storage):
            self._study = optuna.create_study(
                storage=opened, study_name=name, direction="maximize", load_if_exists=True
            )

    def scored(self) -> dict[SubnetConfig, float]:
        """Every scored subnet and its accuracy.

        Raises:
            FactoryError: The storage cannot be read, or holds a trial that this class did not write.
        """
        return {self._subnet_of(trial): self._accuracy_of(trial) for trial in self._finished()}

    def score(
        self, subnets: Sequence[SubnetConfig], evaluate: Evaluate, purpose: str, progress: Progress = silent
    ) -> list[Scored]:
        """The accuracy of each of `subnets`, in their order; only those that were never scored are evaluated.

        Each becomes a trial as soon as it is scored, so an interruption loses at most one.

        Args:
            subnets: The subnets to score.
            evaluate: Called once per subnet that is not in the archive.
            purpose: Stored with the trial, for people who read the study.
            progress: Called after each subnet.

        Raises:
            FactoryError: The storage cannot be read or written. Errors of `evaluate` pass through.
        """
        known = self.scored()
        for position, subnet in enumerate(subnets):
            if subnet not in known:
                known[subnet] = evaluate(subnet)
                self._add_trial(subnet, known[subnet], purpose)
            progress(position + 1, len(subnets), f"{known[subnet]:.1%} held-out")
        return [Scored(subnet=subnet, accuracy=known[subnet]) for subnet in subnets]

    def write_table(self, path: Path) -> None:
        """Write all scored subnets as Parquet: `subnet_id`, `accuracy`, `purpose`, and a column per choice.

        Raises:
            FactoryError: The storage cannot be read.
            DiskError: The file cannot be written.
        """
        rows = [
            {
                "subnet_id": self._subnet_of(t).id,
                "accuracy": t.value,
                "purpose": t.user_attrs.get("purpose", ""),
                **t.params,
            }
            for t in self._finished()
        ]
        with atomic_path(path) as temporary:
            pd.DataFrame(rows).to_parquet(temporary, index=False)

    def _finished(self) -> list[FrozenTrial]:
        with _storage_errors(self._storage):
            return self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))

    def _add_trial(self, subnet: SubnetConfig, accuracy: float, purpose: str) -> None:
        """Add a finished trial in one transaction, so that a killed process leaves no unfinished trial behind."""
        trial = optuna.trial.create_trial(
            value=accuracy,
            params=dict(subnet.to_dict()),
            distributions=self._distributions,
            user_attrs={"subnet_id": subnet.id, "purpose": purpose},
        )
        with _storage_errors(self._storage):
            self._study.add_trial(trial)

    def _subnet_of(self, trial: FrozenTrial) -> SubnetConfig:
        try:
            return self._space.subnet({choice.name: trial.params[choice.name] for choice in self._space})
        except (KeyError, SpaceError) as error:
            raise self._refused(trial, "is not a subnet of this model space") from error

    def _accuracy_of(self, trial: FrozenTrial) -> float:
        accuracy = math.nan if trial.value is None else float(trial.value)
        if not 0 <= accuracy <= 1:
            raise self._refused(trial, f"has accuracy {accuracy:g}, outside 0 to 1")
        return accuracy

    def _refused(self, trial: FrozenTrial, reason: str) -> FactoryError:
        """The error for a trial that somebody changed or added."""
        return FactoryError(
            f"{_shown(self._storage)}: trial {trial.number} of study {self._study.study_name!r} {reason}; delete "
            f"{'the file' if isinstance(self._storage, Path) else 'that study'}, and its subnets are scored again"
        )


def open_storage(storage: str | Path) -> RDBStorage:
    """The storage at a URL or in an SQLite file, which is made if it is not there. Raises `FactoryError`."""
    with _storage_errors(storage, _OPENING_ERRORS):
        return RDBStorage(storage) if isinstance(storage, str) else _sqlite(storage)


def _sqlite(path: Path) -> RDBStorage:
    """The storage in the file `path`, which is opened by its name and not by a URL.

    A URL, which Optuna takes for a template, gives a meaning to several characters that the name of a folder may have.
    """
    if path.exists() and not path.is_file():
        raise OSError("not a regular file")
    resolved = path.resolve()
    return RDBStorage(
        "sqlite://",
        engine_kwargs={
            "creator": lambda: sqlite3.connect(resolved, check_same_thread=False),
            "poolclass": QueuePool,  # the default for this URL, which names no file, is one connection per thread
        },
    )


def _shown(storage: str | Path) -> str:
    """The storage in messages, without a password."""
    return str(storage) if isinstance(storage, Path) else repr(re.sub(r"://[^@/]*@", "://***@", storage))


@contextmanager
def _storage_errors(storage: str | Path, errors: tuple[type[Exception], ...] = _STORAGE_ERRORS) -> Iterator[None]:
    """Turn `errors` into one line that names the storage and the first cause, which the storages wrap several times."""
    try:
        yield
    except errors as error:
        root: BaseException = error
        while root.__cause__ is not None:
            root = root.__cause__
        reason = str(root).split("\n")[0]
        advice = (
            "check `storage` in the search section"
            if isinstance(storage, str)
            else "move the file away if it is damaged, and its subnets are scored again"
        )
        raise FactoryError(f"search storage {_shown(storage)} cannot be used: {reason}; {advice}") from error
