"""The protocol of an inference engine: what measuring and exporting need of it. Implemented in `exports`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import nn


class Session(Protocol):
    """A model that is loaded and ready."""

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """One inference, `(1, *input_shape) -> (1, classes)`, finished on return."""

    def peak_memory_bytes(self) -> int | None:
        """The most that a run holds: activations, scratch, packed copies, not the file's weights; None if unknown."""


class Engine(Protocol):
    """An inference engine."""

    @property
    def name(self) -> str:
        """As profiles and manifests write it, for example `onnxruntime`."""

    def version(self) -> str:
        """Of the installed engine. Raises `EngineError` when it is not installed."""

    def convert(self, module: nn.Module, input_shape: tuple[int, ...], path: Path) -> None:
        """Write `module` (evaluation mode, batch 1, batch normalisation folded) as the engine's file, atomically.

        Raises:
            EngineError: the engine cannot express the module.
        """

    def load(self, path: Path, threads: int) -> Session:
        """Load a converted file. Raises `EngineError` when the engine refuses it."""

    def limits(self) -> tuple[str, ...]:
        """What the engine cannot do, one short sentence each."""
