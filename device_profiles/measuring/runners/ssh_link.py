"""One connection to a board: a process of the system's OpenSSH client, and messages through it."""

from __future__ import annotations

import json
import queue
import subprocess
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final

from device_profiles.measuring.runners import board, board_engines
from factory_base.errors import EngineError

OLDEST_PYTHON: Final = (3, 8)
"""Oldest Python that runs our program on a board: that of Ubuntu 20.04, which many boards still have (Jetson's Linux
35)."""

TOO_OLD: Final = "too old: python"
"""Prints an older Python, followed by its version."""

_ENGINES_SOURCE: Final = Path(board_engines.__file__).read_bytes()
_SOURCE: Final = Path(board.__file__).read_bytes()

_STEP_BYTES: Final = 2**18
"""Bytes of a file that are sent at a time, within the timeout: 0.3 s at 1 MB/s, so a slow connection does not look
lost."""

_ENDING_S: Final = 2.0
"""How long a process may take to end on its own before it is killed."""

_LINES_BEFORE_GREETING: Final = 1000
"""Lines that login scripts may print: a limit for a program that prints without end."""

_STDERR_LINES: Final = 20
"""Last lines of standard error that are kept: enough for the error messages of SSH clients, which have a few lines."""


class LinkLostError(Exception):
    """The connection or the program on the board has ended, or hangs.

    Attributes:
        status: Exit status of the SSH client, 255 if the connection itself failed; None if it had to be ended.
        stderr_lines: Last lines of its standard error.
    """

    def __init__(self, status: int | None, stderr_lines: tuple[str, ...]) -> None:
        reason = "it does not answer" if status is None else "the connection has ended"
        super().__init__(stderr_lines[-1] if stderr_lines else reason)
        self.status = status
        self.stderr_lines = stderr_lines


def start_command(python: str) -> str:
    """The command that the board's shell runs: `python`, which must be safe there, and a loader of our program.

    The loader reads the two files of the program, one after the other, from its input. The first becomes a module under
    the name that the second imports it by. Nothing is imported from the working directory, which may hold anything.
    """
    oldest, name = f"({OLDEST_PYTHON[0]},{OLDEST_PYTHON[1]})", board_engines.__name__
    program = (
        f'import sys,types;sys.version_info<{oldest} and sys.exit("{TOO_OLD} %d.%d" % sys.version_info[:2]);'
        "sys.path=[p for p in sys.path if p];"
        f'engines=sys.modules["{name}"]=types.ModuleType("{name}");'
        f"source=sys.stdin.buffer.read({len(_ENGINES_SOURCE) + len(_SOURCE)});"
        f'exec(compile(source[:{len(_ENGINES_SOURCE)}],"board_engines.py","exec"),engines.__dict__);'
        f'exec(compile(source[{len(_ENGINES_SOURCE)}:],"board.py","exec"))'
    )
    return f"{python} -c '{program}'"


class Link:
    """A connection: a process that is sent our program, then requests.

    Args:
        name: Name of the board, for errors.
        command: A command that starts `start_command` on the board.
        timeout_s: The connection counts as lost after so many seconds without a message.

    Raises:
        EngineError: There is no such command on this machine.
        LinkLostError: Our program does not start on the board.
    """

    def __init__(self, name: str, command: list[str], timeout_s: float) -> None:
        pipe = subprocess.PIPE
        try:
            # In its own session: Ctrl-C reaches only us, and there is no terminal on which to ask for a password.
            process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True)
        except OSError as error:
            raise EngineError(
                f"{command[0]!r} cannot be started ({error.strerror}); install OpenSSH's client, on Debian: "
                "apt-get install openssh-client"
            ) from error
        self._name, self._process, self._timeout_s = name, process, timeout_s
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._stderr: deque[bytes] = deque(maxlen=_STDERR_LINES)
        self._readers = (_reader(process.stdout, self._lines.put), _reader(process.stderr, self._stderr.append))
        self._finalize = weakref.finalize(self, _end, process, self._readers)
        self._write(_ENGINES_SOURCE + _SOURCE)
        for _ in range(_LINES_BEFORE_GREETING):
            if self._line(0.0) == board.GREETING.lstrip():
                return
        raise self._lost()

    @property
    def pid(self) -> int:
        """Identifier of the process on this machine."""
        return self._process.pid

    def ask(self, do: str, extra_s: float = 0.0, **values: Any) -> dict[str, Any]:
        """Send a request and wait for its answer.

        Args:
            do: A name in `board.REQUESTS`.
            extra_s: Seconds that it may take beyond the usual timeout.
            values: Arguments of the request.

        Raises:
            EngineError: The board answers with an error, which is the message.
            LinkLostError: No answer comes.
        """
        self._send(do, values)
        return self._done(extra_s)

    def stream(self, do: str, **values: Any) -> Iterator[dict[str, Any]]:
        """Send a request and yield all answers but the last. Raises as `ask`."""
        self._send(do, values)
        while "done" not in (answer := self._answer(0.0)):
            yield answer

    def put(self, path: Path, sha256: str) -> None:
        """Send a file. Raises as `ask`."""
        self._send("put", {"sha256": sha256, "size": path.stat().st_size})
        with path.open("rb") as stream:
            for data in iter(lambda: stream.read(_STEP_BYTES), b""):
                self._write(data)
        self._done(0.0)

    def close(self) -> None:
        """End the process."""
        self._finalize()

    def _send(self, do: str, values: dict[str, Any]) -> None:
        self._write(json.dumps({"do": do, **values}).encode() + b"\n")

    def _done(self, extra_s: float) -> dict[str, Any]:
        done: dict[str, Any] = self._answer(extra_s)["done"]
        return done

    def _answer(self, extra_s: float) -> dict[str, Any]:
        while True:
            answer: dict[str, Any] = json.loads(self._line(extra_s))
            if "error" in answer:
                raise EngineError(f"{self._name}: {answer['error']}")
            if "alive" not in answer:
                return answer

    def _line(self, extra_s: float) -> bytes:
        try:
            line = self._lines.get(timeout=self._timeout_s + extra_s)
        except queue.Empty:
            line = b""
        if not line.endswith(b"\n"):
            raise self._lost()
        return line

    def _write(self, data: bytes) -> None:
        """Send bytes. If the board does not read them in time, the process is killed, which ends the waiting."""
        watch = threading.Timer(self._timeout_s, self._process.kill)
        watch.start()
        try:
            stdin = self._process.stdin
            if stdin is not None:
                stdin.write(data)
                stdin.flush()
        except (OSError, ValueError) as error:
            raise self._lost() from error
        finally:
            watch.cancel()

    def _lost(self) -> LinkLostError:
        try:
            status: int | None = self._process.wait(_ENDING_S)
        except subprocess.TimeoutExpired:
            status = None
        self.close()
        lines = (line.decode(errors="replace").strip() for line in self._stderr)
        return LinkLostError(status, tuple(line for line in lines if line))


def _reader(stream: IO[bytes] | None, take: Callable[[bytes], object]) -> threading.Thread:
    """A thread that passes each line to `take`, then an empty one at the end."""

    def read() -> None:
        with suppress(OSError, ValueError):
            for line in stream or ():
                take(line)
        take(b"")

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread


def _end(process: subprocess.Popen[bytes], readers: tuple[threading.Thread, ...]) -> None:
    """End the client; the program on the board ends when its input does."""
    with suppress(OSError):
        if process.stdin is not None:
            process.stdin.close()
    process.terminate()
    try:
        process.wait(_ENDING_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for reader, stream in zip(readers, (process.stdout, process.stderr), strict=True):
        reader.join(_ENDING_S)
        if stream is not None and not reader.is_alive():
            stream.close()
