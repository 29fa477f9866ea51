"""Brings the files of a release into a slot: from the other slot, from what is there of them, or from the source."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from .plan import NeededFile
from .source import Body, RangeError, Source, SourceError
from .store import PART, Slot, Store

FIRST_PAUSE_SECONDS = 0.5
"""Before the second attempt; twice as long before the third. A server that was restarted or overloaded may be back."""

Tell = Callable[[str, str], None]
"""Takes the code of an event and a text for people."""


def pause(number: int, timeout: float) -> float:
    """Seconds to wait before an attempt, after `number` that failed."""
    return min(FIRST_PAUSE_SECONDS * 2 ** (number - 1), timeout / 4) if number else 0.0


class DownloadError(Exception):
    """A file could not be had, or not complete."""


@dataclass(slots=True, kw_only=True)
class Downloader:
    """Fills one slot.

    Attributes:
        store: The store.
        slot: The slot that is filled.
        source: Where missing files come from; None if nothing may be downloaded.
        timeout: The longest wait in seconds, which also limits the pauses between attempts.
        tell: Is told of events.
        downloaded_bytes: The bytes of all bodies so far, used or not.
    """

    store: Store
    slot: Slot
    source: Source | None
    timeout: float
    tell: Tell
    downloaded_bytes: int = 0

    def provide(self, file: NeededFile, elsewhere: Iterator[tuple[Slot, str]]) -> None:
        """Make sure that the slot holds a file with the right size and digest.

        Args:
            file: The file.
            elsewhere: Where the store may have the same file.

        Raises:
            DownloadError: It could not be had.
            StoreError: The store cannot be written.
        """
        if self.intact(self.slot, file.name, file):
            return
        for slot, name in elsewhere:
            if self.intact(slot, name, file):
                self._copy(slot, name, file)
                return
        self._set_aside(file)
        self._attempts(file)

    def intact(self, slot: Slot, name: str, file: NeededFile) -> bool:
        """Whether the file in the store is the one of the manifest."""
        return self.store.size(slot, name) == file.size and self._digest(slot, name) == file.sha256

    def _copy(self, slot: Slot, name: str, file: NeededFile) -> None:
        self._set_aside(file)
        self.store.write(self.slot, file.name + PART, 0, self.store.pieces(slot, name), cut=True)
        self.store.rename(self.slot, file.name + PART, file.name)

    def _set_aside(self, file: NeededFile) -> None:
        """What is stored under the name is damaged: it becomes the start of a download."""
        if self.store.size(self.slot, file.name) is not None:
            self.tell("damaged", f"{file.name} is damaged: its size or its SHA-256 is not that of the manifest")
            self.store.rename(self.slot, file.name, file.name + PART)

    def _attempts(self, file: NeededFile) -> None:
        source, fault = self.source, ""
        if source is None:
            raise DownloadError(f"{file.name} is missing or damaged, and nothing can be downloaded now")
        for number in range(source.attempts):
            time.sleep(pause(number, self.timeout))
            try:
                return self._attempt(file, source)
            except SourceError as error:
                fault = str(error)
                if error.final:
                    break
        raise DownloadError(fault)

    def _attempt(self, file: NeededFile, source: Source) -> None:
        part = file.name + PART
        have = self.store.size(self.slot, part) or 0
        if have > file.size:
            self.store.remove(self.slot, part)
            have = 0
        try:
            if have < file.size:
                self._continue(file, source, have)
            if self._digest(self.slot, part) != file.sha256:
                self._repair(file, source)
        except RangeError:
            self.store.remove(self.slot, part)  # the next attempt asks for the whole file
            raise
        self.store.rename(self.slot, part, file.name)

    def _continue(self, file: NeededFile, source: Source, have: int) -> None:
        """Download from the byte `have` on."""
        body = source.open(file.name, file.size, have)
        if have and body.start == have:
            self.tell("resumed", f"{file.name} is continued at {have} of {file.size} bytes")
        self._receive(file, body, file.size, cut=True)

    def _repair(self, file: NeededFile, source: Source) -> None:
        """Fetch the blocks again that differ, in as few ranges as possible."""
        part = file.name + PART
        for first, end in self._damaged_ranges(file):
            body = source.open(file.name, file.size, first, end - 1)
            if body.start != first:
                raise RangeError(f"the server does not give ranges of {file.name}")
            self._receive(file, body, end, cut=False)
        if self._digest(self.slot, part) != file.sha256:
            self.store.remove(self.slot, part)
            raise SourceError(f"{file.name} arrives damaged: its SHA-256 is not that of the manifest")
        self.tell("repaired", f"{file.name} was damaged and is whole again")

    def _damaged_ranges(self, file: NeededFile) -> list[tuple[int, int]]:
        """The first byte and the end of each run of blocks whose digests differ; none without blocks."""
        edges = [*range(0, file.size, file.block_bytes), file.size] if file.block_bytes else []
        found: list[tuple[int, int]] = []
        for (first, end), digest in zip(pairwise(edges), file.blocks, strict=True):
            if self._digest(self.slot, file.name + PART, first, end) == digest:
                continue
            start = found.pop()[0] if found and found[-1][1] == first else first
            found.append((start, end))
        return found

    def _receive(self, file: NeededFile, body: Body, end: int, *, cut: bool) -> None:
        """Store a body that must end before the byte `end`."""
        pieces = self._counted(body, end - body.start, file)
        self.store.write(self.slot, file.name + PART, body.start, pieces, cut=cut)

    def _counted(self, body: Body, expected: int, file: NeededFile) -> Iterator[bytes]:
        found = 0
        for piece in body.pieces:
            found += len(piece)
            self.downloaded_bytes += len(piece)
            if found > expected:
                raise RangeError(f"the server sends more than the {expected} bytes of {file.name} that it should")
            yield piece
        if found < expected:
            raise SourceError(f"the server stopped after {found} of {expected} bytes of {file.name}")

    def _digest(self, slot: Slot, name: str, first: int = 0, end: int | None = None) -> str:
        """The SHA-256 of a file or of a part of it; "" if it cannot be read."""
        found = hashlib.sha256()
        try:
            for piece in self.store.pieces(slot, name, first, end):
                found.update(piece)
        except (OSError, ValueError):
            return ""
        return found.hexdigest()
