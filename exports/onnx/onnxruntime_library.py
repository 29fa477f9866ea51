"""The only place that imports ONNX Runtime, so that it is never imported with its telemetry enabled."""

from __future__ import annotations

import os
from typing import Any

from factory_base.errors import EngineError


def onnxruntime_library() -> Any:
    """The installed library, with its telemetry disabled.

    Since version 1.29 its Linux builds upload usage data and store an identifier in the home folder, from the first
    import on, unless the variable below is set (see its Privacy.md). If the process has imported it before, only the
    function `disable_telemetry_events` remains, which comes after the import.

    Raises:
        EngineError: It is not installed.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except ImportError as error:
        raise EngineError("the engine 'onnxruntime' is not installed; run: pip install onnxruntime") from error
    onnxruntime.disable_telemetry_events()
    return onnxruntime


def session_options(threads: int) -> Any:
    """Options of a session with deterministic kernels and `threads` threads within an operator, at least 1.

    Raises:
        EngineError: The library is not installed.
    """
    library = onnxruntime_library()
    options = library.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = library.ExecutionMode.ORT_SEQUENTIAL
    options.use_deterministic_compute = True
    options.log_severity_level = 4  # fatal: errors are raised, and nothing is printed
    # Otherwise the threads of a session keep spinning after a run and disturb whatever is timed next.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return options
