"""What native libraries print, kept from the output of a command."""

from __future__ import annotations

import ctypes
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager


@contextmanager
def captured_native_output(streams: tuple[int, ...] = (1, 2)) -> Iterator[Callable[[], str]]:
    """Capture what native code prints in the block; yield a function that returns it.

    Args:
        streams: The file descriptors to capture: 1 is standard output, 2 is standard error. It affects all threads.
    """
    with tempfile.TemporaryFile() as file, ExitStack() as restored:

        def printed() -> str:
            _flush_native()
            file.seek(0)
            return file.read().decode(errors="replace")

        _flush_native()  # what was printed before belongs elsewhere
        for stream in streams:
            saved = os.dup(stream)
            restored.callback(os.close, saved)
            restored.callback(os.dup2, saved, stream)
            os.dup2(file.fileno(), stream)
        restored.callback(_flush_native)
        yield printed


def _flush_native() -> None:
    """Flush the buffers of the C library, which Python does not know."""
    if os.name == "posix":
        ctypes.CDLL(None).fflush(None)
