"""The two slots of a store and the record of the client: what is there, what may go, and what is remembered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import get_args

from .plan import NeededFile, Plan, files_named
from .release import MAX_MANIFEST_BYTES, Release, parse_release
from .state import MAX_STATE_BYTES, State, decode_state
from .store import MANIFEST, PART, Slot, Store


@dataclass(slots=True)
class Slots:
    """The store during one launch.

    Attributes:
        store: The store, which this launch has locked.
        state: The record, with the changes of this launch.
        saved: The record as it is in the store; None if there is none or it was damaged.
        fault: Why the stored record was not used; "" if it was, or if there was none.
    """

    store: Store
    state: State
    saved: State | None
    fault: str = ""

    @property
    def active(self) -> Slot | None:
        """The active slot."""
        return self.state.slot

    @property
    def spare(self) -> Slot:
        """The slot for the next download."""
        return "b" if self.state.slot == "a" else "a"

    def release(self, slot: Slot) -> Release | None:
        """The release in a slot; None if its manifest is missing or damaged."""
        try:
            if (self.store.size(slot, MANIFEST) or 0) > MAX_MANIFEST_BYTES:
                return None
            return parse_release(b"".join(self.store.pieces(slot, MANIFEST)))
        except (OSError, ValueError):
            return None

    def last_good(self) -> Release | None:
        """The release that ran last."""
        return self.release(self.active) if self.active else None

    def target(self, release: Release, plan: Plan) -> Slot:
        """The slot in which the files of a model belong; the spare one is made ready for them."""
        active, good = self.active, self.last_good()
        if active and good and good.data == release.data and all(self._held(active, file) for file in plan.files):
            return active
        keep = {name for file in plan.needed(samples=True) for name in (file.name, file.name + PART)}
        self.store.remove(self.spare, MANIFEST)  # first, so that a slot with a manifest is complete
        for name in self.store.names(self.spare):
            if name not in keep:
                self.store.remove(self.spare, name)
        return self.spare

    def elsewhere(self, target: Slot, file: NeededFile) -> Iterator[tuple[Slot, str]]:
        """Where the store may have a file of the same content outside the target."""
        other: Slot = "b" if target == "a" else "a"
        release = self.release(other)
        found = files_named(release.manifest) if release else ()
        names = [file.name, *(name for name, digest, _ in found if digest == file.sha256)]
        yield from ((other, name) for name in dict.fromkeys(names))

    def complete(self, target: Slot, files: Iterable[NeededFile]) -> None:
        """Remember that these files of the target were verified."""
        other: Slot = "b" if target == "a" else "a"
        digests = {*_present(self, other), *(_present(self, target) if target == self.active else ())}
        known = digests & self.state.installed | {file.sha256 for file in files}
        self.state = replace(self.state, installed=frozenset(known))

    def forget(self, file: NeededFile) -> None:
        """This file is not complete."""
        self.state = replace(self.state, installed=self.state.installed - {file.sha256})

    def switch(self, target: Slot, release: Release) -> None:
        """Make the target the active slot; the only commit of a launch."""
        self.store.write(target, MANIFEST + PART, 0, [release.data], cut=True)
        self.store.rename(target, MANIFEST + PART, MANIFEST)
        self.state = replace(self.state, slot=target, release=release.number)
        self.save()

    def save(self) -> None:
        """Store the record, if it has changed."""
        if self.state != self.saved:
            self.store.write_state(self.state.encode())
            self.saved = self.state

    def _held(self, slot: Slot, file: NeededFile) -> bool:
        return any(self.store.size(slot, name) is not None for name in (file.name, file.name + PART))


def open_slots(store: Store) -> Slots:
    """The slots and the record of a store.

    If the record is damaged, or its slot has no readable manifest, the slot with the highest release is active.
    """
    saved, fault = None, ""
    try:
        data = store.read_state(MAX_STATE_BYTES)
        saved = decode_state(data) if data is not None else None
    except (OSError, ValueError) as error:
        fault = str(error)
    slots = Slots(store, saved or State(), saved, fault)
    if slots.last_good() is None:
        _find_active(slots)
    return slots


def _find_active(slots: Slots) -> None:
    found = [(release.number, slot) for slot in get_args(Slot) if (release := slots.release(slot)) is not None]
    number, slot = max(found, key=lambda entry: entry[0], default=(0, None))
    present = frozenset(digest for slot in get_args(Slot) for digest in _present(slots, slot))
    slots.state = replace(
        slots.state,
        slot=slot,
        release=max(number, slots.state.release),
        installed=slots.state.installed or present,
    )


def _present(slots: Slots, slot: Slot) -> set[str]:
    """The digests of the files that the manifest of a slot names and that are there with the right size."""
    release = slots.release(slot)
    named = files_named(release.manifest) if release else ()
    return {digest for name, digest, size in named if slots.store.size(slot, name) == size}
