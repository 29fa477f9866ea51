"""How long work tells what it is doing, without knowing who listens."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """A listener. Called often; must be cheap."""

    def __call__(self, done: int, total: int, detail: str = "") -> None:
        """`done` of `total` units are finished; `detail` is one short phrase for people."""


def silent(done: int, total: int, detail: str = "") -> None:
    """The listener for those who do not listen."""
