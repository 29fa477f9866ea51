"""The protocol of an inference engine: what measuring and exporting need from it. Implemented in `exports`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from device_profiles.workload.operators import KernelKind

if TYPE_CHECKING:
    from torch import nn

Precision = Literal["fp32", "fp16", "int8", "int8_weights"]
"""The precision of a model file.

`fp32`: weights and activations in float32. `fp16`: weights stored in float16, decoded when the file is loaded. `int8`:
8-bit integers with scales from calibration inputs. `int8_weights`: weights stored as 8-bit integers, decoded when the
file is loaded."""

ComputePrecision = Literal["fp32", "int8"]
"""The precision that kernels compute in, on which latency, memory and energy depend."""

COMPUTED_IN: Final[dict[Precision, ComputePrecision]] = {
    "fp32": "fp32",
    "fp16": "fp32",
    "int8": "int8",
    "int8_weights": "fp32",
}
"""The precision that the kernels compute in when a file of each precision has been loaded."""


ModelInput = NDArray[np.float32] | NDArray[np.uint8] | NDArray[np.int64]
"""Inputs of a model: float32 tensors, uint8 pixels for a file that holds the preprocessing, or int64 tokens."""

InputType = Literal["float32", "uint8", "int64"]
"""The type of a model's input: `float32` for tensors `(n, *input_shape)`; `uint8` for the pixels of images,
`(n, height, width, 3)`, of a file that holds the preprocessing; `int64` for the tokens of texts, `(n, length)`."""


def input_type_of(inputs: ModelInput) -> InputType:
    """The type of these inputs."""
    return "uint8" if inputs.dtype == np.uint8 else "int64" if inputs.dtype == np.int64 else "float32"


class Session(Protocol):
    """A loaded model that is ready to run: a network, or a part of one."""

    def run(self, batch: ModelInput) -> NDArray[np.float32]:
        """`(n, *input_shape) -> (n, *output_shape)` for any n >= 1 and any rank. Returns when the run is finished."""

    def peak_memory_bytes(self) -> int | None:
        """Peak memory of a run: activations, scratch and packed copies, without the file's weights; None if unknown."""

    def kernel_latency_us(self, batch: ModelInput) -> dict[KernelKind, float] | None:
        """Where an inference of the first input of `batch` spends its time, in microseconds per kind of kernel.

        Kinds without a kernel are absent. None if the engine does not report it.
        """


class Engine(Protocol):
    """An inference engine."""

    @property
    def name(self) -> str:
        """The name as profiles and manifests write it, for example `onnxruntime`."""

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """The precisions that `convert` can write."""

    def version(self) -> str:
        """The version of the installed engine. Raises `EngineError` if it is not installed."""

    def convert(
        self,
        module: nn.Module,
        input_shape: tuple[int, ...],
        path: Path,
        *,
        precision: Precision = "fp32",
        calibration: ModelInput | None = None,
        input_type: InputType = "float32",
    ) -> None:
        """Write `module` (evaluation mode, batch normalisation folded) as the engine's file, atomically.

        Args:
            module: A network or a part of one, `(n, *input_shape) -> (n, *output_shape)`.
            input_shape: Shape of one input, of any rank, without the batch.
            path: File to write.
            precision: One of `precisions`.
            calibration: Representative inputs, `(n, *input_shape)`; needed for `int8` only.
            input_type: The type of the module's input, and of `calibration`.

        Raises:
            EngineError: The engine cannot express the module or does not have this precision or input type, or
                `calibration` is missing, has another shape or type, or is not finite.
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
        """Write each of `parts` to its path, then the network that they form to `path`, as `convert` would.

        Args:
            parts: Modules in order; each takes the output of the one before.
            input_shape: Input shape of the first part, without the batch.
            path: File of the whole network.
            part_paths: One path for each part; None writes no file for that part.
            precision: One of `precisions`.
            calibration: Inputs of the network, as for `convert`; the inputs of the parts are computed from them.

        Raises:
            EngineError: As for `convert`, or the parts do not form a chain.
        """

    def load(self, path: Path, threads: int) -> Session:
        """Load a converted file. Raises `EngineError` if the engine refuses it."""

    def limits(self) -> tuple[str, ...]:
        """The limitations of the engine, one short sentence each."""
