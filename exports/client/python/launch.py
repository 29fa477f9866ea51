"""What an app does at launch: get the manifest, choose a model, download it, check it, prove it, run it.

`launch` is the whole workflow; README.md in the folder of all clients defines it, step by step. It keeps running what
ran before if anything new fails: the manifest, the download, the store or the proof.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

if __name__ == "__main__":
    raise SystemExit("launch: this file is a part of a package; run: python -m exports.client.python launch --help")

from .decoding import Answer, Decoding
from .download import Downloader, DownloadError
from .engine import Engine, Session
from .inputs import InputForm
from .plan import NeededFile, Plan, label_names, plan_model
from .prove import attempt, read_cases
from .records import DeviceFacts, ProofRecord, ProofResult, Resolution
from .release import Release, fetch_manifest, parse_release
from .resolver import UnusablePolicyError, resolve, revoked_files
from .slots import Slots, open_slots
from .source import Source, SourceError, source_of
from .store import Slot, Store, StoreError
from .strict_json import parse_json
from .tokens import TokenForm

LOCK_SECONDS = 60.0
"""How long a launch waits for another one, at least."""
DEFAULT_TIMEOUT = 20.0
"""Seconds without an answer or a further byte: mobile networks pause for several when a phone changes cells."""
FALLBACKS = 4
"""Tries that a launch has beyond one per model and compute unit: a refused manifest, no network, a full disk."""


Given: TypeAlias = "NDArray[np.uint8] | str | Sequence[int]"
"""What a model takes: an image, or a text or its tokens."""


class LaunchError(Exception):
    """The launch cannot go on: the manifest is missing or not usable, or no model runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened; the codes are a part of the contract, the texts are for people."""

    code: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A model that is ready.

    Attributes:
        session: The loaded model.
        labels: The names of the classes, labels or values, in the order of the outputs.
        form: How pixels or tokens become its input.
        decoding: What its outputs mean.
        compute_unit: Where it runs.
        proof: Whether it passed the proof in this launch, or in an earlier one.
    """

    session: Session
    labels: tuple[str, ...]
    form: InputForm | TokenForm
    decoding: Decoding
    compute_unit: str
    proof: Literal["passed", "remembered"]

    def answer(self, given: Given) -> Answer:
        """What the model says about an image or a text, in the words and units of the data.

        Raises:
            ValueError: The model takes something else, or does not return finite numbers.
        """
        return self.decoding.answer(self.logits(given), self.labels)

    def logits(self, given: Given) -> NDArray[np.float32]:
        """The outputs as the model returns them, float32 `(labels,)`.

        Args:
            given: An RGB image of any size, uint8 `(height, width, 3)`; for text a string, or the tokens that an app's
                own tokenizer returned.

        Raises:
            ValueError: The model takes something else.
        """
        if isinstance(self.form, TokenForm):
            return self.session.run(self.form.prepare(given))
        if not isinstance(given, np.ndarray):
            raise ValueError("the model takes an image: an array of uint8 (height, width, 3)")
        return self.session.run(self.form.prepare(given))


@dataclass(frozen=True, slots=True, kw_only=True)
class Launched:
    """How a launch ended.

    Attributes:
        resolution: What the resolver said at last.
        running: The model; None if the action is `cloud` or `off`.
        slot: The active slot.
        release: The release of the manifest in use.
        events: What happened, in order.
        downloaded_bytes: The bytes of all files that came from the source, used or not.
        seconds: How long each step took.
    """

    resolution: Resolution
    running: Running | None
    slot: Slot | None
    release: int
    events: tuple[Event, ...]
    downloaded_bytes: int
    seconds: Mapping[str, float]


def launch(
    url: str, store: Store, engine: Engine, facts: DeviceFacts, policy: Any = None, now: int | None = None, *,
    timeout: float = DEFAULT_TIMEOUT,
) -> Launched:  # fmt: skip
    """Launch the model of this device.

    Args:
        url: The folder of the manifest: `https://...`, `http://...`, or a path.
        store: The app's store, which belongs to one family.
        engine: The inference engine.
        facts: The facts about the device.
        policy: The parsed policy; None for the last usable one.
        now: Seconds since 1970; None for the clock.
        timeout: The longest wait, in seconds, for an answer or a further byte.

    Raises:
        LaunchError: No manifest is usable, no model runs, or another launch does not end.
    """
    try:
        with store.lock(max(LOCK_SECONDS, timeout)):
            work = _Launch(
                slots=open_slots(store), engine=engine, facts=facts.plausible(), source=source_of(url, timeout),
                timeout=timeout, now=int(time.time()) if now is None else now,
            )  # fmt: skip
            return work.run(policy)
    except (StoreError, TimeoutError) as error:
        raise LaunchError(str(error)) from error


@dataclass(slots=True, kw_only=True)
class _Launch:
    """One launch. Methods stand in the order in which they are called.

    Attributes:
        good: The last good release; None if the store has none.
        offline: Whether nothing may be downloaded, because nobody answers.
        complete_only: Whether only models count whose files are complete in the store.
        avoided: The files of models that could not be completed although they seemed complete, as digests.
    """

    slots: Slots
    engine: Engine
    facts: DeviceFacts
    source: Source
    timeout: float
    now: int
    good: Release | None = None
    offline: bool = False
    complete_only: bool = False
    avoided: set[tuple[str, ...]] = field(default_factory=set)
    events: list[Event] = field(default_factory=list)
    downloaded_bytes: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    def run(self, policy: Any) -> Launched:
        if self.slots.fault:
            self.tell("state_lost", self.slots.fault)
        self.remember(policy)
        with self.timed("manifest"):
            release = self.first_release()
        for _ in range(self.tries(release)):
            with self.timed("resolve"):
                resolution = self.resolve(release)
            if resolution.action == "none":
                release = self.fall_back("nothing_runs", resolution.reasons[-1].text, release)
            elif resolution.model is None:
                self.save()
                return self.launched(resolution, None, release)
            else:
                running, release = self.use(resolution, resolution.model, release)
                if running is not None:
                    return self.launched(resolution, running, release)
        raise LaunchError(f"no model runs: {self.events[-1].text}")

    def tell(self, code: str, text: str) -> None:
        self.events.append(Event(code=code, text=text))

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        start = time.monotonic()
        try:
            yield
        finally:
            self.seconds[step] = self.seconds.get(step, 0.0) + time.monotonic() - start

    def remember(self, policy: Any) -> None:
        """Keep a policy that is usable; the remembered one counts in place of any other."""
        usable = None
        for found in (self.slots.state.policy, policy):
            try:
                revoked_files(found)
                usable = usable if found is None else found
            except UnusablePolicyError as error:
                self.tell("policy_refused", str(error))
        self.slots.state = replace(self.slots.state, policy=usable)

    def first_release(self) -> Release:
        """The release that the source has, or else the last good one."""
        self.good = self.slots.last_good()
        try:
            # With a model in the store nobody needs to wait.
            attempts = 1 if self.good else self.source.attempts
            found = parse_release(fetch_manifest(self.source, attempts, self.timeout))
        except SourceError as error:
            self.offline = self.complete_only = not error.answered
            return self.fall_back("manifest_refused" if error.answered else "offline", str(error), None)
        except ValueError as error:
            return self.fall_back("manifest_refused", str(error), None)
        if self.good and found.family != self.good.family:
            text = f"the manifest is of the family {found.family}, the store of {self.good.family}"
            return self.fall_back("manifest_refused", text, None)
        if found.number < self.slots.state.release:
            text = f"the manifest is of release {found.number}, release {self.slots.state.release} was installed"
            return self.fall_back("older_release", text, None)
        return found

    def fall_back(self, code: str, text: str, release: Release | None) -> Release:
        """The last good release in place of `release`, which is of no use. Raises `LaunchError` if it is the same."""
        if self.good is None or (release is not None and release.data == self.good.data):
            raise LaunchError("; ".join(dict.fromkeys([text, *(event.text for event in self.events[-1:])])))
        self.tell(code, text)
        return self.good

    def tries(self, release: Release) -> int:
        """How often a model may be tried: each on each compute unit, in each release."""
        models = len(release.manifest["models"]) + (len(self.good.manifest["models"]) if self.good else 0)
        return models * max(1, len(self.facts.compute_units)) + FALLBACKS

    def resolve(self, release: Release) -> Resolution:
        """Ask the resolver, without the models that cannot be completed now."""
        state, files = self.slots.state, release.model_files()
        out = {name for name, digests in files.items() if digests in self.avoided}
        if self.complete_only:
            out |= {name for name, digests in files.items() if not set(digests) <= state.installed}
        models = {name: model for name, model in release.manifest["models"].items() if name not in out}
        manifest = release.manifest | {"models": models}
        found = resolve(manifest, state.policy, self.facts, state.for_resolver(), self.now)
        if found.action == "none" and self.complete_only:
            # A model that ran before, in little memory, is better than none.
            facts = replace(self.facts, free_disk_bytes=None, available_memory_bytes=None)
            found = resolve(manifest, state.policy, facts, state.for_resolver(), self.now)
        return found

    def use(self, resolution: Resolution, model: str, release: Release) -> tuple[Running | None, Release]:
        """Complete, prove and run the model; None and the release to go on with if that fails."""
        try:
            plan = plan_model(release.manifest, model)
        except ValueError as error:
            return None, self.fall_back("manifest_refused", str(error), release)
        try:
            target = self.slots.target(release, plan)
            samples = target != self.slots.active or not resolution.proven
            with self.timed("files"):
                self.provide(plan, target, samples=samples)
            labels = self.labels(plan, target)
            plan.decoding.check(labels)
            running = self.prove(resolution, plan, target, labels)
            if running is not None:
                self.commit(target, release)
            return running, release
        except DownloadError as error:
            return None, self.give_up("download_failed", str(error), plan, release)
        except StoreError as error:
            return None, self.give_up("quota", str(error), plan, release)
        except (OSError, ValueError) as error:  # labels, samples or outputs that do not fit to the manifest
            return None, self.fall_back("manifest_refused", str(error), release)

    def provide(self, plan: Plan, target: Slot, *, samples: bool) -> None:
        """Make sure that the target has every file that is needed, whole."""
        files = plan.needed(samples=samples)
        loader = Downloader(
            store=self.slots.store, slot=target, source=None if self.offline else self.source, timeout=self.timeout,
            tell=self.tell,
        )  # fmt: skip
        try:
            for file in files:
                loader.provide(file, self.slots.elsewhere(target, file))
        except DownloadError:
            self.slots.forget(file)
            raise
        finally:
            self.downloaded_bytes += loader.downloaded_bytes
        self.slots.complete(target, files)

    def give_up(self, code: str, text: str, plan: Plan, release: Release) -> Release:
        """From now on only complete models count, first those of the last good release."""
        self.tell(code, text)
        if self.complete_only or self.good is None:
            self.avoided.add(tuple(file.sha256 for file in plan.files))
        self.complete_only = True
        return self.good or release

    def labels(self, plan: Plan, target: Slot) -> tuple[str, ...]:
        if plan.labels_file is None:
            return plan.labels or ()
        return label_names(parse_json(self.content(target, plan.labels_file), "the file of labels"))

    def content(self, slot: Slot, file: NeededFile) -> bytes:
        return b"".join(self.slots.store.pieces(slot, file.name))

    def prove(self, resolution: Resolution, plan: Plan, target: Slot, labels: tuple[str, ...]) -> Running | None:
        """Load the model, and run the samples unless it passed before; None if it fails."""
        unit = resolution.compute_unit or "cpu"
        proof = self.slots.state.started(
            ProofRecord(
                files=tuple(file.sha256 for file in plan.files), compute_unit=unit, engine=self.facts.engine,
                engine_version=self.facts.engine_version, os_version=self.facts.os_version, result="started", starts=1,
            )
        )  # fmt: skip
        cases = []
        if not resolution.proven:
            cases = read_cases(plan, lambda file: self.content(target, file), len(labels))
            self.record(proof, "started")  # durable: whatever the engine does now is known to the next launch
        with self.timed("prove"):
            paths = [self.slots.store.path(target, file.name) for file in plan.files]
            result, session, fault = attempt(self.engine, paths, unit, cases, len(labels))
        if session is None:
            self.record(proof, result)
            self.tell("proof_failed", f"{plan.model} on {unit}: {fault}")
            return None
        if not resolution.proven:
            self.slots.state = self.slots.state.with_proof(proof, result)  # saved with the switch
        known: Literal["passed", "remembered"] = "remembered" if resolution.proven else "passed"
        form = plan.form
        if isinstance(form, TokenForm) and plan.tokenizer is not None:
            form = form.with_tokenizer(self.content(target, plan.tokenizer))
        return Running(
            session=session, labels=labels, form=form, decoding=plan.decoding, compute_unit=unit, proof=known
        )  # fmt: skip

    def record(self, proof: ProofRecord, result: ProofResult) -> None:
        self.slots.state = self.slots.state.with_proof(proof, result)
        self.slots.save()

    def commit(self, target: Slot, release: Release) -> None:
        if target != self.slots.active:
            self.slots.switch(target, release)
            self.tell("switched", f"slot {target} with release {release.number} is active")
        self.save()

    def save(self) -> None:
        """Store the record; if that fails, the model still runs, and the next launch does the work again."""
        try:
            self.slots.save()
        except StoreError as error:
            self.tell("quota", str(error))

    def launched(self, resolution: Resolution, running: Running | None, release: Release) -> Launched:
        return Launched(
            resolution=resolution, running=running, slot=self.slots.active, release=release.number,
            events=tuple(self.events), downloaded_bytes=self.downloaded_bytes, seconds=self.seconds,
        )  # fmt: skip
