"""Checks of arguments that all engines share."""

from __future__ import annotations

import numpy as np

from device_profiles.engine import InputType, ModelInput, Precision
from factory_base.errors import EngineError


def check_precision(engine: str, known: tuple[Precision, ...], precision: str, calibration: ModelInput | None) -> None:
    """Raises `EngineError` if `engine` does not have this precision, or if calibration inputs it needs are missing."""
    if precision not in known:
        raise EngineError(f"engine {engine!r} cannot convert to {precision!r}; it supports: {', '.join(known)}")
    if precision == "int8" and calibration is None:
        raise EngineError("int8 needs calibration inputs (n, *input_shape); pass some images of the data set")


def check_batch(file: str, batch: ModelInput, input_shape: tuple[int, ...], input_type: InputType = "float32") -> None:
    """Raises `EngineError` unless `batch` is `(n, *input_shape)` of the type `input_type`, with n >= 1."""
    if batch.dtype != np.dtype(input_type) or batch.shape[1:] != input_shape or not batch.shape[0]:
        raise EngineError(f"{file}: got {batch.dtype} {batch.shape}, expected {input_type} {('n', *input_shape)}")


def check_threads(threads: int) -> None:
    """Raises `EngineError` if there is not at least one thread."""
    if threads < 1:
        raise EngineError(f"{threads} threads cannot run a model; use 1 or more")
