"""The one place where ONNX Runtime is imported, so that it cannot be imported with its telemetry on."""

from __future__ import annotations

import os
from typing import Any

from factory_base.errors import EngineError


def onnxruntime_library() -> Any:
    """The installed library.

    Since 1.29 its Linux builds upload usage data and keep an identifier in the home folder, from the first import on,
    unless this variable is set (its Privacy.md). A process that imported it before us has only the weaker switch.

    Raises:
        EngineError: it is not installed.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except ImportError as error:
        raise EngineError("the engine 'onnxruntime' is not installed; run: pip install onnxruntime") from error
    onnxruntime.disable_telemetry_events()
    return onnxruntime
