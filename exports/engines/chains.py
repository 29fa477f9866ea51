"""Converting a chain of parts: one ONNX export, then each engine's own conversion of an ONNX file to its format."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from exports.onnx.chain_file import export_chain

if TYPE_CHECKING:
    from torch import nn

ConvertFile = Callable[[Path, Path, NDArray[np.float32] | None], None]
"""Converts an ONNX file (the first path) to an engine's file (the second), with calibration inputs for int8."""


def convert_chain(
    convert: ConvertFile,
    parts: Sequence[nn.Module],
    input_shape: tuple[int, ...],
    path: Path,
    part_paths: Sequence[Path | None],
    calibration: NDArray[np.float32] | None,
    opset: int,
) -> None:
    """See `Engine.convert_chain`. Raises `EngineError`, `DiskError`."""
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole.onnx"
        sources = [Path(folder) / f"{index}.onnx" if part else None for index, part in enumerate(part_paths)]
        export_chain(parts, input_shape, whole, sources, opset=opset)
        inputs = _inputs(parts, calibration)
        for source, target, given in zip(sources, part_paths, inputs, strict=True):
            if source is not None and target is not None:
                convert(source, target, given)
        convert(whole, path, calibration)


def _inputs(
    parts: Sequence[nn.Module], calibration: NDArray[np.float32] | None
) -> Iterator[NDArray[np.float32] | None]:
    """The calibration inputs of each part."""
    import torch

    if calibration is None:
        yield from [None] * len(parts)
        return
    value = torch.from_numpy(calibration)
    with torch.inference_mode():
        for part in parts:
            yield value.numpy()
            value = part(value)
