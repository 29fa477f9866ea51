"""The archive: every scored subnet, each an Optuna trial in a study that survives the process."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import optuna
import pandas as pd
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from factory_base.errors import FactoryError, SpaceError
from factory_base.files import atomic_path, digest_of
from factory_base.progress import Progress, silent
from search.scored import Scored
from search.storage import STORAGE_ERRORS, may_pass, open_storage, shown_storage, storage_errors
from supernet.space import SearchSpace, SubnetConfig

Evaluate = Callable[[SubnetConfig, range], Sequence[float]]
"""The score of each image of a range of held-out images, mostly whether its label is correct, for a subnet with the
supernet's weights and recalibrated batch normalisation, in the precision that is scored. Every subnet sees the same
images in the same order, and results do not depend on how they are divided into ranges."""

_COLUMNS: Final = ("subnet_id", "variant", "images", "accuracy", "purpose", "correct")

_WAITS: Final = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds before each repetition of a use of the storage that failed: together a quarter of a minute, in which a
database restarts or a network comes back, and more than the 5 s that SQLite itself waits for another writer."""

_SPACE: Final = "space"
"""The user attribute of a study that holds the digest of its search space."""

T = TypeVar("T")


class Archive:
    """The scored subnets of one supernet.

    Each evaluation, of one subnet on one range of held-out images, is a trial: its parameters are the choices, its
    value is the accuracy on the range, and its user attributes are `subnet_id`, `variant`, `start`, `stop`, `correct`
    (as in `Scored`) and `purpose`. The ranges of a subnet are joined. If two processes evaluated the same image, the
    trial with the lower number counts, so a result never changes once it was read. If the storage goes away, each use
    is repeated for a while; what was written before stays, and at most the evaluation in progress is lost.

    Args:
        storage: The URL of an Optuna storage, or a file for one in SQLite.
        name: The name of the study. There is one study per checkpoint and way of scoring.
        space: The search space; its choices become the parameters of the trials.
        variant: What is scored, as in `Scored`. Trials of other variants are ignored.
        sleep: Waits for a number of seconds before a use of the storage is repeated.

    Raises:
        FactoryError: The storage cannot be opened, or the study belongs to another space.
    """

    def __init__(
        self,
        storage: str | Path,
        name: str,
        space: SearchSpace,
        variant: str = "fp32",
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._space, self._storage, self._variant, self._sleep = space, storage, variant, sleep
        self._distributions: dict[str, BaseDistribution] = {c.name: CategoricalDistribution(c.options) for c in space}
        opened = open_storage(storage, sleep)
        with storage_errors(storage):
            self._study = optuna.create_study(
                storage=opened, study_name=name, direction="maximize", load_if_exists=True
            )
            self._inode = storage.stat().st_ino if isinstance(storage, Path) else None
        self._claim_study()

    def of_variant(self, variant: str) -> Archive:
        """The scores of another variant in the same study."""
        other = copy.copy(self)
        other._variant = variant
        return other

    def scored(self) -> dict[SubnetConfig, Scored]:
        """Every scored subnet, on as many images as are known.

        Raises:
            FactoryError: The storage cannot be read, or holds a trial that this class did not write.
        """
        known: dict[SubnetConfig, Scored] = {}
        for trial in self._finished():
            start, found = self._content_of(trial)
            before = known.get(found.subnet)
            if start <= (before.images if before else 0):  # after a gap, it is scored again
                known[found.subnet] = before.extended(start, found) if before else found
        return known

    def score(
        self,
        subnets: Sequence[SubnetConfig],
        images: int,
        evaluate: Evaluate,
        purpose: str,
        progress: Progress = silent,
    ) -> list[Scored]:
        """The results of each of `subnets`, in their order, on exactly the first `images` held-out images.

        Only images without a known result are evaluated; what is known about further images changes nothing. Each
        range becomes a trial as soon as it is evaluated, so an interruption loses at most one.

        Args:
            subnets: The subnets to score.
            images: Number of images, at least 1.
            evaluate: Called once per subnet of which fewer images are known.
            purpose: Stored with the trial, for people who read the study.
            progress: Called after each subnet.

        Raises:
            FactoryError: The storage cannot be read or written. Errors of `evaluate` pass through.
            ValueError: `evaluate` returned too few or too many results.
        """
        known = self.scored()
        for position, subnet in enumerate(subnets):
            before = known.get(subnet)
            start = before.images if before else 0
            if start < images:
                found = self._evaluated(subnet, range(start, images), evaluate)
                self._add_trial(found, start, purpose)
                known[subnet] = before.extended(start, found) if before else found
            progress(position + 1, len(subnets), f"{known[subnet].first(images).accuracy:.1%} held-out")
        stored = self.scored()  # of images that another process evaluated at the same time, its results may count
        return [stored[subnet].first(images) for subnet in subnets]

    def write_table(self, path: Path) -> None:
        """Write the scores of all variants as Parquet.

        Its columns are `subnet_id`, `variant`, `images`, `accuracy`, `purpose` (of the first trial), `correct` (as in
        `Scored`), and one per choice.

        Raises:
            FactoryError: The storage cannot be read.
            DiskError: The file cannot be written.
        """
        rows = [row for variant in self._variants() for row in self.of_variant(variant)._rows()]
        with atomic_path(path) as temporary:
            pd.DataFrame(rows, columns=[*_COLUMNS, *self._distributions]).to_parquet(temporary, index=False)

    def _variants(self) -> list[str]:
        """What is scored in this study, its own variant first."""
        trials = self._use(lambda: self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))
        return list(dict.fromkeys([self._variant, *(t.user_attrs.get("variant", self._variant) for t in trials)]))

    def _rows(self) -> list[dict[str, Any]]:
        """The rows of this variant in the table of all scores."""
        purposes: dict[str, str] = {}
        for trial in self._finished():
            purposes.setdefault(trial.user_attrs.get("subnet_id", ""), trial.user_attrs.get("purpose", ""))
        return [
            {
                "subnet_id": subnet.id,
                "variant": scored.variant,
                "images": scored.images,
                "accuracy": scored.accuracy,
                "purpose": purposes.get(subnet.id, ""),
                "correct": scored.correct,
                **subnet.to_dict(),
            }
            for subnet, scored in self.scored().items()
        ]

    def _claim_study(self) -> None:
        """Check that the study belongs to this space; a new one does from here on."""
        space = digest_of(self._space.to_json())
        with storage_errors(self._storage):
            new = not self._study.user_attrs and not self._study.get_trials(deepcopy=False)
            if new and self._study.directions == [StudyDirection.MAXIMIZE]:
                self._study.set_user_attr(_SPACE, space)
            elif self._study.user_attrs.get(_SPACE) != space:
                raise FactoryError(
                    f"{shown_storage(self._storage)}: study {self._study.study_name!r} belongs to another model space "
                    "or program; use another storage or another name"
                )

    def _use(self, use: Callable[[], T]) -> T:
        """The result of `use`, which is repeated if the storage is away and may come back."""
        with storage_errors(self._storage):
            for wait in _WAITS:
                try:
                    return self._use_once(use)
                except STORAGE_ERRORS as error:
                    if not may_pass(error):
                        raise
                    self._sleep(wait)
            return self._use_once(use)

    def _use_once(self, use: Callable[[], T]) -> T:
        self._check_file()
        try:
            return use()
        except KeyError as error:  # what Optuna raises for a record that does not exist
            raise FactoryError(
                f"{shown_storage(self._storage)}: study {self._study.study_name!r} was deleted; run the command again, "
                "and its subnets are scored again"
            ) from error

    def _check_file(self) -> None:
        """Raise `OSError` if the file is not the one that was opened: SQLite would go on writing to the lost one."""
        if isinstance(self._storage, Path) and self._storage.stat().st_ino != self._inode:
            raise OSError("another file has taken its place")

    def _finished(self) -> list[FrozenTrial]:
        """The finished trials of this variant, by number."""
        trials = self._use(lambda: self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))
        return [trial for trial in trials if trial.user_attrs.get("variant", self._variant) == self._variant]

    def _evaluated(self, subnet: SubnetConfig, rows: range, evaluate: Evaluate) -> Scored:
        results = evaluate(subnet, rows)
        if len(results) != len(rows):
            raise ValueError(f"{len(results)} results for {len(rows)} images")
        return Scored.of(subnet, results, self._variant)

    def _add_trial(self, found: Scored, start: int, purpose: str) -> None:
        """Add a finished trial in one transaction, so that a killed process leaves no unfinished trial behind."""
        trial = optuna.trial.create_trial(
            value=found.accuracy,
            params=dict(found.subnet.to_dict()),
            distributions=self._distributions,
            user_attrs={
                "subnet_id": found.subnet.id,
                "variant": found.variant,
                "start": start,
                "stop": start + found.images,
                "correct": found.correct,
                "purpose": purpose,
            },
        )
        self._use(lambda: self._study.add_trial(trial))

    def _content_of(self, trial: FrozenTrial) -> tuple[int, Scored]:
        """The first image of a trial, and its results."""
        try:
            subnet = self._space.subnet({choice.name: trial.params[choice.name] for choice in self._space})
        except (KeyError, SpaceError) as error:
            raise self._refused(trial, "is not a subnet of this model space") from error
        attributes = trial.user_attrs
        try:
            start, stop = int(attributes["start"]), int(attributes["stop"])
            found = Scored(
                subnet=subnet, images=stop - start, correct=str(attributes["correct"]), variant=self._variant
            )
        except (KeyError, TypeError, ValueError) as error:
            raise self._refused(trial, "does not hold one result for each of its images") from error
        if start < 0 or trial.value is None or not math.isclose(trial.value, found.accuracy):
            raise self._refused(trial, f"has accuracy {trial.value}, but its images give {found.accuracy:g}")
        return start, found

    def _refused(self, trial: FrozenTrial, reason: str) -> FactoryError:
        """The error for a trial that somebody changed or added."""
        return FactoryError(
            f"{shown_storage(self._storage)}: trial {trial.number} of study {self._study.study_name!r} {reason}; "
            f"delete {'the file' if isinstance(self._storage, Path) else 'that study'}, and its subnets are scored "
            "again"
        )
