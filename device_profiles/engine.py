"""The protocol of an inference engine: what measuring and exporting need of it. Implemented in `exports`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from device_profiles.workload.operators import KernelKind

if TYPE_CHECKING:
    from torch import nn

Precision = Literal["fp32", "int8"]
"""`fp32`: weights and activations in float32; `int8`: 8-bit integers with scales from calibration inputs."""

PRECISIONS: tuple[Precision, ...] = get_args(Precision)


class Session(Protocol):
    """A model that is loaded and ready: a network, or a part of one."""

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """`(n, *input_shape) -> (n, *output_shape)` for any n >= 1, finished on return; shapes of any rank."""

    def peak_memory_bytes(self) -> int | None:
        """The most that a run holds: activations, scratch, packed copies, not the file's weights; None if unknown."""

    def kernel_latency_us(self, batch: NDArray[np.float32]) -> dict[KernelKind, float] | None:
        """Where an inference of the first input of `batch` spends its time, microseconds per kind of kernel.

        Kinds without a kernel are absent; None where the engine does not tell.
        """


class Engine(Protocol):
    """An inference engine."""

    @property
    def name(self) -> str:
        """As profiles and manifests write it, for example `onnxruntime`."""

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """What `convert` can write."""

    def version(self) -> str:
        """Of the installed engine. Raises `EngineError` when it is not installed."""

    def convert(
        self,
        module: nn.Module,
        input_shape: tuple[int, ...],
        path: Path,
        *,
        precision: Precision = "fp32",
        calibration: NDArray[np.float32] | None = None,
    ) -> None:
        """Write `module` (evaluation mode, batch normalisation folded) as the engine's file, atomically.

        Args:
            module: a network or a part of one, `(n, *input_shape) -> (n, *output_shape)`.
            input_shape: of one input, of any rank.
            precision: one of `precisions`.
            calibration: `(n, *input_shape)`, inputs like those it will meet; needed for `int8` alone.

        Raises:
            EngineError: the engine cannot express the module or has not this precision, or `calibration` is missing,
                of another shape, or not finite.
        """

    def convert_chain(
        self,
        parts: Sequence[nn.Module],
        input_shape: tuple[int, ...],
        path: Path,
        part_paths: Sequence[Path | None],
        *,
        precision: Precision = "fp32",
        calibration: NDArray[np.float32] | None = None,
    ) -> None:
        """Write each of `parts` to its path, then the network that they are to `path`; as `convert` would.

        Args:
            parts: each takes what the one before gives.
            input_shape: of the first.
            path: of the network's file.
            part_paths: as many as `parts`; None writes no file for a part.
            precision: one of `precisions`.
            calibration: inputs of the network, as for `convert`; those of the parts follow from it.

        Raises:
            EngineError: as `convert`, or the parts are no chain.
        """

    def load(self, path: Path, threads: int) -> Session:
        """Load a converted file. Raises `EngineError` when the engine refuses it."""

    def limits(self) -> tuple[str, ...]:
        """What the engine cannot do, one short sentence each."""
