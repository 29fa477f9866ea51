"""Evaluations that several processes share, as the trials of one Optuna study, in any of its storages.

    offer     a waiting trial for each evaluation that is missing, in an order that all processes see
    claim     the storage lets just one process set a waiting trial to running
    beat      its holder advances a counter in it, as long as it evaluates
    finish    the result completes the trial

A process that waits measures with its own monotonic clock for how long a counter has stood still, so no two machines
compare their clocks. A trial that stood still is failed and offered anew. A failed trial cannot be completed any more:
of each evaluation one trial at most is complete, even if its first holder was only slow.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from optuna.distributions import BaseDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

PATIENCE_S: Final = 10.0
"""Seconds for which the counter of a running trial stands still before another process takes over."""
BEAT_S = 2.0
"""Seconds between two beats. Several can be lost before anyone takes over."""
_BEAT, _FAULT = "beat", "fault"


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One evaluation: a variant of a subnet on a range of held-out images.

    Attributes:
        subnet_id: The subnet.
        variant: What is scored of it, as in `Scored`.
        start: The first image.
        stop: The image after the last one.
    """

    subnet_id: str
    variant: str
    start: int
    stop: int

    def overlaps(self, other: Work) -> bool:
        """Whether both evaluate an image of the same variant of the same subnet."""
        same = (self.subnet_id, self.variant) == (other.subnet_id, other.variant)
        return same and self.start < other.stop and other.start < self.stop

    def attributes(self) -> dict[str, Any]:
        """The user attributes of its trial."""
        return {"subnet_id": self.subnet_id, "variant": self.variant, "start": self.start, "stop": self.stop}


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """An evaluation that is wanted.

    Attributes:
        work: The evaluation.
        params: The choices of its subnet.
        purpose: Stored with the trial, for people who read the study.
    """

    work: Work
    params: Mapping[str, Any]
    purpose: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A trial that is not finished.

    Attributes:
        number: The number of the trial.
        work: What it evaluates.
        params: The choices of the subnet.
        is_running: Whether a process holds it.
        beat: Its counter; -1 if its holder has not advanced it yet.
    """

    number: int
    work: Work
    params: Mapping[str, Any]
    is_running: bool
    beat: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A trial that this process holds.

    Attributes:
        trial: The identifier of the trial in the storage.
        entry: What it evaluates.
    """

    trial: int
    entry: Entry


class WorkQueue:
    """The unfinished trials of one study, as one process sees them.

    Args:
        storage: The storage of the study.
        study: The identifier of the study in the storage.
        distributions: The distributions of the parameters of all trials.
        patience: Seconds for which a counter stands still before its trial is failed.
        clock: A monotonic clock of this process, in seconds.
    """

    def __init__(
        self,
        storage: BaseStorage,
        study: int,
        distributions: Mapping[str, BaseDistribution],
        patience: float = PATIENCE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._storage, self._study, self._distributions = storage, study, dict(distributions)
        self._patience, self._clock = patience, clock
        self._seen: dict[int, tuple[int, float]] = {}

    def entries(self) -> list[Entry]:
        """The unfinished trials by number; one that overlaps an earlier one is left out, for it is withdrawn."""
        found: list[Entry] = []
        known: dict[tuple[str, str], list[Work]] = {}
        for entry in self._in_state(TrialState.WAITING, TrialState.RUNNING):
            same = known.setdefault((entry.work.subnet_id, entry.work.variant), [])
            if not any(entry.work.overlaps(before) for before in same):
                same.append(entry.work)
                found.append(entry)
        return found

    def _in_state(self, *states: TrialState) -> list[Entry]:
        trials = self._storage.get_all_trials(self._study, deepcopy=False, states=states)
        return [entry for trial in trials if (entry := _entry(trial)) is not None]

    def faults(self) -> list[Work]:
        """Evaluations that a process could not do, for another reason than that it was ended."""
        failed = self._storage.get_all_trials(self._study, deepcopy=False, states=(TrialState.FAIL,))
        return [entry.work for trial in failed if _FAULT in trial.user_attrs and (entry := _entry(trial)) is not None]

    def offer(self, offers: Sequence[Offer]) -> None:
        """Add a waiting trial for each offer. One that another process offered or finished meanwhile is withdrawn."""
        trials = [self._added(offer, TrialState.WAITING) for offer in offers]
        kept = {entry.number for entry in self.entries()}
        known: dict[tuple[str, str], list[Work]] = {}
        for entry in self._in_state(TrialState.COMPLETE):
            known.setdefault((entry.work.subnet_id, entry.work.variant), []).append(entry.work)
        for trial, offer in zip(trials, offers, strict=True):
            results = known.get((offer.work.subnet_id, offer.work.variant), [])
            is_known = any(result.start <= offer.work.start < result.stop for result in results)
            if is_known or self._storage.get_trial_number_from_id(trial) not in kept:
                self._fail(trial)

    def take(self, offer: Offer) -> Lease:
        """A trial that no other process can claim."""
        trial = self._added(offer, TrialState.RUNNING)
        number = self._storage.get_trial_number_from_id(trial)
        entry = Entry(number=number, work=offer.work, params=dict(offer.params), is_running=True, beat=-1)
        return Lease(trial=trial, entry=entry)

    def _added(self, offer: Offer, state: TrialState) -> int:
        template = create_trial(
            state=state,
            params=dict(offer.params),
            distributions=self._distributions,
            user_attrs={**offer.work.attributes(), "purpose": offer.purpose},
        )
        return self._storage.create_new_trial(self._study, template_trial=template)

    def claim(self, entry: Entry) -> Lease | None:
        """The lease on a waiting trial; None if another process was faster."""
        trial = self._trial(entry.number)
        try:
            taken = self._storage.set_trial_state_values(trial, TrialState.RUNNING)
        except UpdateFinishedTrialError:
            return None
        return Lease(trial=trial, entry=entry) if taken else None

    def finish(self, lease: Lease, value: float, attributes: Mapping[str, Any]) -> bool:
        """Complete a trial with its result; False, and the result is dropped, if another process took it over."""
        try:
            for name, attribute in attributes.items():
                self._storage.set_trial_user_attr(lease.trial, name, attribute)
            return self._storage.set_trial_state_values(lease.trial, TrialState.COMPLETE, [value])
        except UpdateFinishedTrialError:
            return False

    def release(self, lease: Lease, fault: str = "") -> None:
        """Give up a trial, with the reason if the evaluation failed by itself."""
        try:
            if fault:
                self._storage.set_trial_user_attr(lease.trial, _FAULT, fault)
        except UpdateFinishedTrialError:
            return
        self._fail(lease.trial)

    def withdraw(self, entry: Entry) -> None:
        """Take a waiting trial back, unless another process has begun it."""
        if (lease := self.claim(entry)) is not None:
            self.release(lease)

    def reap(self, entries: Sequence[Entry]) -> bool:
        """Fail the running trials whose counters have stood still for too long. Returns whether there was one."""
        found, now = False, self._clock()
        for entry in entries:
            if not entry.is_running:
                continue
            before = self._seen.get(entry.number)
            if before is None or before[0] != entry.beat:
                self._seen[entry.number] = (entry.beat, now)
            elif now - before[1] >= self._patience:
                found = self._fail(self._trial(entry.number)) or found
        return found

    def abandon(self, entries: Sequence[Entry]) -> None:
        """Fail the running trials at once, if no other process can hold them."""
        for entry in entries:
            if entry.is_running:
                self._fail(self._trial(entry.number))

    @contextmanager
    def beating(self, lease: Lease, use: Callable[[Callable[[], None]], None]) -> Iterator[None]:
        """Advance the counter of a lease in a thread, as long as the context lasts.

        Args:
            lease: The lease.
            use: Calls a use of the storage, after checking that it is still the same one.
        """
        over = threading.Event()
        thread = threading.Thread(target=self._beat, args=(lease, use, over), daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _beat(self, lease: Lease, use: Callable[[Callable[[], None]], None], over: threading.Event) -> None:
        count = 0
        while not over.wait(BEAT_S):
            count += 1
            try:
                use(partial(self._storage.set_trial_user_attr, lease.trial, _BEAT, count))
            except UpdateFinishedTrialError:
                return  # taken over: the result will be dropped
            except Exception:  # whatever a storage that is away raises: the next beat may pass
                continue

    def _fail(self, trial: int) -> bool:
        """Whether this process failed the trial; one that was finished in the meantime stays as it is."""
        try:
            return self._storage.set_trial_state_values(trial, TrialState.FAIL)
        except UpdateFinishedTrialError:
            return False

    def _trial(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._study, number)


def _entry(trial: FrozenTrial) -> Entry | None:
    """The entry of a trial; None if it is none of the factory's."""
    attributes = trial.user_attrs
    try:
        work = Work(
            subnet_id=str(attributes["subnet_id"]),
            variant=str(attributes["variant"]),
            start=int(attributes["start"]),
            stop=int(attributes["stop"]),
        )
    except (KeyError, TypeError, ValueError):
        return None
    return Entry(
        number=trial.number,
        work=work,
        params=trial.params,
        is_running=trial.state == TrialState.RUNNING,
        beat=int(attributes.get(_BEAT, -1)),
    )
