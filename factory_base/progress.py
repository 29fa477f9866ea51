"""How long-running work reports its progress, without knowing who shows it."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """A callback that receives progress. It is called often, so it must be cheap."""

    def __call__(self, done: int, total: int, detail: str = "") -> None:
        """`done` of `total` units are finished; `detail` is one short phrase for people."""


def silent(done: int, total: int, detail: str = "") -> None:
    """Ignore the progress."""
