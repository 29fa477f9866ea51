"""The archive: every scored subnet, each an Optuna trial in a study that survives the process."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
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
from search.storage import close_storage, known_errors, may_pass, open_storage, shown_storage, storage_errors
from search.work_queue import PATIENCE_S, Entry, Lease, Offer, Work, WorkQueue
from supernet.space import SearchSpace, SubnetConfig

Evaluate = Callable[[SubnetConfig, range], Sequence[float]]
"""The score of each image of a range of held-out images, mostly whether its label is correct, for a subnet with the
supernet's weights and recalibrated batch normalisation, in the precision that is scored. Every subnet sees the same
images in the same order, and results do not depend on how they are divided into ranges."""

EvaluateVariant = Callable[..., Sequence[float]]
"""As `Evaluate`, with the variant to score as the argument `variant`."""

_COLUMNS: Final = ("subnet_id", "variant", "images", "accuracy", "purpose", "correct")

_WAITS: Final = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds before each repetition of a use of the storage that failed: together a quarter of a minute, in which a
database restarts or a network comes back, and more than the 5 s that SQLite itself waits for another writer."""

_SPACE: Final = "space"
"""The user attribute of a study that holds the digest of its search space."""

_SEARCH: Final = "search"
"""The user attribute of a study that says what is being searched."""

_AHEAD: Final = 32
"""Trials that wait for a process at most: to add one takes about as long as the evaluation of a tiny network."""

_LOOK_S: Final = 1.0
"""Seconds for which a process evaluates what it saw before it looks again: a look reads all unfinished trials."""

_POLL_S: Final = 0.2
"""Seconds between two looks at what other processes do."""

T = TypeVar("T")


class Archive:
    """The scored subnets of one supernet.

    Each evaluation, of one subnet on one range of held-out images, is a trial: its parameters are the choices, its
    value is the accuracy on the range, and its user attributes are `subnet_id`, `variant`, `start`, `stop`, `correct`
    (as in `Scored`) and `purpose`. The ranges of a subnet are joined. Several processes share the evaluations (see
    `search.work_queue`), so that none is done twice, and a killed one loses at most its own. If the storage goes away,
    each use is repeated for a while; what was written before stays, and at most the evaluation in progress is lost.

    Args:
        storage: The URL of an Optuna storage, or a file for one in SQLite.
        name: The name of the study. There is one study per checkpoint and way of scoring.
        space: The search space; its choices become the parameters of the trials.
        variant: What is scored, as in `Scored`. Trials of other variants are ignored.
        sleep: Waits for a number of seconds before a use of the storage is repeated.
        patience: Seconds after which the evaluation of another process that shows no sign of life is done again.
        alone: Whether no other process can be evaluating now, so that what seems to run was killed.

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
        patience: float = PATIENCE_S,
        alone: bool = False,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._space, self._storage, self._variant, self._sleep = space, storage, variant, sleep
        self._distributions: dict[str, BaseDistribution] = {c.name: CategoricalDistribution(c.options) for c in space}
        self._contents: dict[int, tuple[int, Scored]] = {}
        self._opened = open_storage(storage, sleep)
        opened = optuna.storages.get_storage(self._opened)  # which reads finished trials once
        with storage_errors(storage):
            self._study = optuna.create_study(
                storage=opened, study_name=name, direction="maximize", load_if_exists=True
            )
            self._inode = storage.stat().st_ino if isinstance(storage, Path) else None
            study = opened.get_study_id_from_name(name)
        self._queue = WorkQueue(opened, study, self._distributions, patience)
        self._claim_study()
        if alone:
            self._use(lambda: self._queue.abandon(self._queue.entries()))

    def close(self) -> None:
        """Close the connections to the storage; the archive cannot be used any more."""
        close_storage(self._opened)

    def of_variant(self, variant: str) -> Archive:
        """The scores of another variant in the same study."""
        other = copy.copy(self)
        other._variant, other._contents = variant, {}
        return other

    def scored(self) -> dict[SubnetConfig, Scored]:
        """Every scored subnet, on as many images as are known.

        Raises:
            FactoryError: The storage cannot be read, or holds a trial that this class did not write.
        """
        known: dict[SubnetConfig, Scored] = {}
        for trial in self._finished():
            start, found = self._contents.get(trial.number) or self._content_of(trial)
            self._contents[trial.number] = start, found
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

        Only images without a known result are evaluated, by this process or by others that `serve` the study; what is
        known about further images changes nothing. Each result is stored as soon as it is there, so an interruption
        loses at most one.

        Args:
            subnets: The subnets to score.
            images: Number of images, at least 1.
            evaluate: Called for a subnet of which fewer images are known.
            purpose: Stored with the trial, for people who read the study.
            progress: Called after each subnet.

        Raises:
            FactoryError: The storage cannot be read or written. Errors of `evaluate` pass through.
            ValueError: `evaluate` returned too few or too many results.
        """
        wanted, reported, offered = list(dict.fromkeys(subnets)), 0, set[Work]()

        def report(done: int, last: Scored) -> None:
            nonlocal reported
            if done > reported:
                progress(done, len(wanted), f"{last.accuracy:.1%} held-out")
                reported = done

        try:
            while True:
                # In this order: what another process completes in between is either unfinished or known, never neither.
                entries = self._use(self._queue.entries)
                known = self.scored()
                missing = [subnet for subnet in wanted if _images(known.get(subnet)) < images]
                done = len(wanted) - len(missing)
                if done:
                    last = next(subnet for subnet in reversed(wanted) if subnet not in missing)
                    report(done, known[last].first(images))
                if not missing:
                    return [known[subnet].first(images) for subnet in subnets]
                works = {subnet: self._work(subnet, _images(known.get(subnet)), images) for subnet in missing}
                advanced = self._offer(works, entries, offered, evaluate, purpose)
                for count, found in enumerate(self._evaluations(works, entries, evaluate), start=1):
                    advanced = True
                    report(done + count, found)
                if not advanced:
                    self._sleep(_POLL_S)
        except BaseException:
            self._withdraw(wanted)
            raise

    def serve(
        self, evaluate: EvaluateVariant, is_over: Callable[[], bool], say: Callable[[str], None] = lambda _: None
    ) -> int:
        """Evaluate what other processes want to be scored in this study, until `is_over`.

        Args:
            evaluate: Scores a variant of a subnet.
            is_over: Called before each evaluation, and while there is nothing to do.
            say: Takes a line for people after each evaluation.

        Returns:
            The number of evaluations.

        Raises:
            FactoryError: The storage cannot be read or written.
        """
        done = 0
        while not is_over():
            entries = self._use(self._queue.entries)
            self._use(partial(self._queue.reap, entries))  # whoever wants it offers it again
            idle = True
            for lease in self._claimed(entries):
                idle = False
                if self._serve_one(lease, evaluate, say):
                    done += 1
                    say(f"subnet {lease.entry.work.subnet_id}: scored, {done:,} so far")
            if idle:
                self._sleep(_POLL_S)
        return done

    def _serve_one(self, lease: Lease, evaluate: EvaluateVariant, say: Callable[[str], None]) -> bool:
        """Whether the evaluation counts: it was possible, and no other process took it over."""
        work = lease.entry.work
        try:
            return self._evaluate(lease, partial(evaluate, variant=work.variant), with_fault=True) is not None
        except FactoryError as error:  # whoever wants it meets the same error, and says it
            say(f"subnet {work.subnet_id} in {work.variant}: {error}")
            return False

    def announce(self, search: Mapping[str, Any]) -> None:
        """Tell other processes what is being searched, or that it has ended. Raises `FactoryError`."""
        self._use(lambda: self._study.set_user_attr(_SEARCH, dict(search)))

    def announced(self) -> dict[str, Any]:
        """What the last process announced; empty if none did. Raises `FactoryError`."""
        found = self._use(lambda: self._study.user_attrs.get(_SEARCH))
        return dict(found) if isinstance(found, dict) else {}

    def _offer(
        self,
        works: Mapping[SubnetConfig, Work],
        unfinished: Sequence[Entry],
        offered: set[Work],
        evaluate: Evaluate,
        purpose: str,
    ) -> bool:
        """Offer what is missing and nobody has begun, a few at a time. Returns whether anything changed.

        What was `offered` before and has no result was given up: by a process that was ended, or because it cannot be
        evaluated. Then this process evaluates it, and meets the error.
        """
        if self._use(lambda: self._queue.reap(unfinished)):
            return True
        begun = {(entry.work.subnet_id, entry.work.variant) for entry in unfinished}
        waiting = sum(not entry.is_running for entry in unfinished)
        offers = [
            Offer(work=work, params=subnet.to_dict(), purpose=purpose)
            for subnet, work in works.items()
            if (work.subnet_id, work.variant) not in begun
        ]
        if not offers or waiting >= _AHEAD // 2:
            return False
        again = [offer for offer in offers if offer.work in offered]
        faults = self._use(self._queue.faults) if again else []
        for offer in again:
            if any(fault.overlaps(offer.work) for fault in faults):
                self._evaluate(self._use(partial(self._queue.take, offer)), evaluate)
                return True
        chosen = offers[: _AHEAD - waiting]
        self._use(lambda: self._queue.offer(chosen))
        offered.update(offer.work for offer in chosen)
        return True

    def _evaluations(
        self, works: Mapping[SubnetConfig, Work], unfinished: Sequence[Entry], evaluate: Evaluate
    ) -> Iterator[Scored]:
        """The results of what this process evaluates of `works`."""
        ids = {subnet.id for subnet in works}
        wanted = [e for e in unfinished if e.work.subnet_id in ids and e.work.variant == self._variant]
        for lease in self._claimed(wanted):
            if (found := self._evaluate(lease, evaluate)) is not None:
                yield found

    def _claimed(self, entries: Sequence[Entry]) -> Iterator[Lease]:
        """Trials that no other process was faster to claim, for a second; then it is time to look at the others."""
        until = time.monotonic() + _LOOK_S
        for entry in entries:
            if not entry.is_running and (lease := self._use(partial(self._queue.claim, entry))) is not None:
                yield lease
                if time.monotonic() > until:
                    return

    def _evaluate(self, lease: Lease, evaluate: Evaluate, *, with_fault: bool = False) -> Scored | None:
        """Complete a trial; None if another process took it over, because this one seemed to be dead.

        Args:
            lease: The trial.
            evaluate: Scores the subnet.
            with_fault: Whether an error of `evaluate` is left in the trial, for the process that wants the result.
        """
        work = lease.entry.work
        try:
            subnet = self._space.subnet(lease.entry.params)
            with self._queue.beating(lease, self._use_once):
                results = evaluate(subnet, range(work.start, work.stop))
            if len(results) != work.stop - work.start:
                raise ValueError(f"{len(results)} results for {work.stop - work.start} images")
            found = Scored.of(subnet, results, work.variant)
        except BaseException as error:
            with suppress(*known_errors(), KeyError):
                self._queue.release(lease, str(error) if with_fault and isinstance(error, FactoryError) else "")
            raise
        finished = self._use(lambda: self._queue.finish(lease, found.accuracy, {"correct": found.correct}))
        return found if finished else None

    def _withdraw(self, subnets: Sequence[SubnetConfig]) -> None:
        """Take back what was offered for `subnets`: nobody waits for it any more."""
        ids = {subnet.id for subnet in subnets}
        with suppress(*known_errors(), KeyError):
            for entry in self._queue.entries():
                if entry.work.subnet_id in ids and entry.work.variant == self._variant and not entry.is_running:
                    self._queue.withdraw(entry)

    def _work(self, subnet: SubnetConfig, start: int, stop: int) -> Work:
        return Work(subnet_id=subnet.id, variant=self._variant, start=start, stop=stop)

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
                except known_errors() as error:
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


def announcements(storage: str | Path) -> dict[str, dict[str, Any]]:
    """What is announced in each study of a storage, by the name of the study; see `Archive.announce`.

    Raises:
        FactoryError: The storage cannot be used.
    """
    opened = open_storage(storage)
    try:
        with storage_errors(storage):
            studies = optuna.get_all_study_summaries(storage=opened, include_best_trial=False)
            return {s.study_name: dict(s.user_attrs[_SEARCH]) for s in studies if _SEARCH in s.user_attrs}
    finally:
        close_storage(opened)


def _images(scored: Scored | None) -> int:
    return scored.images if scored else 0
