"""One connection to a board: a process of the system's OpenSSH client, and messages through it.

Whatever comes from there is bounded: the length of a line, the lines that wait to be read, the signs of life in place
of an answer, standard error, and the time of all of these.
"""

from __future__ import annotations

import json
import queue
import subprocess
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final, TypeVar

from pydantic import TypeAdapter

from device_profiles.measuring.reported import REMEDY, checked, parse_object
from device_profiles.measuring.runners import board, board_engines
from device_profiles.measuring.runners.board_messages import NOTHING
from factory_base.errors import EngineError
from factory_base.foreign import printable

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

_LOOK_S: Final = 0.2
"""How often a reader that waits for its lines to be taken checks whether the connection was closed."""

_LINES_BEFORE_GREETING: Final = 1000
"""Lines that login scripts may print: a limit for a program that prints without end."""

_LINE_BYTES: Final = 2**25
"""Longest line: the times of a run of 10 s with 3 us a run have 24 MiB."""

_WAITING_LINES: Final = 4
"""Lines that are read before somebody takes them; after that the board waits."""

_STDERR_LINES: Final = 20
"""Last lines of standard error that are kept: enough for the error messages of SSH clients, which have a few lines."""

_STDERR_LINE_BYTES: Final = 2**12
"""Bytes of standard error that count as a line, even if it does not end."""

_STDERR_BYTES: Final = 2**26
"""Most bytes of standard error: a board that prints without end disturbs what it measures."""

_ERROR_CHARACTERS: Final = 600
"""Most characters of an error of the board: ours have two paths and less than 300 other characters."""

_T = TypeVar("_T")


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
        self._lines = lines = queue.Queue[bytes](_WAITING_LINES)
        self._errors = _Errors(process)
        closed = threading.Event()
        readers = (
            _reader(process.stdout, _LINE_BYTES, lambda line: _put(lines, line, closed)),
            _reader(process.stderr, _STDERR_LINE_BYTES, self._errors.take),
        )
        self._finalize = weakref.finalize(self, _end, process, readers, closed)
        self._write(_ENGINES_SOURCE + _SOURCE)
        self._wait_for_greeting()

    @property
    def pid(self) -> int:
        """Identifier of the process on this machine."""
        return self._process.pid

    def ask(self, do: str, form: TypeAdapter[_T], extra_s: float = 0.0, *, steps: int = 0, **values: Any) -> _T:
        """Send a request and wait for its answer.

        Args:
            do: A name in `board.REQUESTS`.
            form: The form of the answer.
            extra_s: Seconds that it may take beyond the usual timeout.
            steps: Most signs of life that the board may send before, each within the usual timeout.
            values: Arguments of the request.

        Raises:
            EngineError: The board answers with an error, which is the message, or not as it should.
            LinkLostError: No answer comes.
        """
        self._send(do, values)
        return self._done(do, form, self._answer(do, extra_s, steps))

    def stream(self, do: str, form: TypeAdapter[_T], **values: Any) -> Iterator[_T]:
        """Send a request and yield all answers but the last, which has no content. Raises as `ask`."""
        self._send(do, values)
        while "done" not in (answer := self._answer(do)):
            yield self._checked(do, form, answer)
        self._done(do, NOTHING, answer)

    def put(self, path: Path, sha256: str) -> None:
        """Send a file. Raises as `ask`."""
        size = path.stat().st_size
        self._send("put", {"sha256": sha256, "size": size})
        with path.open("rb") as stream:
            for data in iter(lambda: stream.read(_STEP_BYTES), b""):
                self._write(data)
        self._done("put", NOTHING, self._answer("put", steps=1 + size // 2**20))

    def nonsense(self, fault: str) -> EngineError:
        """The error to raise if the board sends what our program would not; the connection is closed."""
        self.close()
        return EngineError(f"{self._name}: {fault}; {REMEDY}")

    def close(self) -> None:
        """End the process."""
        self._finalize()

    def _wait_for_greeting(self) -> None:
        end = time.monotonic() + self._timeout_s
        for _ in range(_LINES_BEFORE_GREETING):
            if self._line(end - time.monotonic()) == board.GREETING.lstrip():
                return
        raise self._lost()

    def _send(self, do: str, values: dict[str, Any]) -> None:
        with suppress(queue.Empty):
            if self._lines.get_nowait().endswith(b"\n"):
                raise self.nonsense(f"sent something that nobody asked for before the request {do!r}")
            raise self._lost()
        self._write(json.dumps({"do": do, **values}).encode() + b"\n")

    def _answer(self, do: str, extra_s: float = 0.0, steps: int = 0) -> dict[str, Any]:
        """The next answer that is neither a sign of life nor an error."""
        for _ in range(steps + 2):  # a sign of life may precede the answer itself
            try:
                answer = parse_object(self._line(self._timeout_s + extra_s), self._source(do), max_bytes=_LINE_BYTES)
            except EngineError:
                self.close()
                raise
            if answer.keys() == {"error"}:
                raise EngineError(f"{self._name}: {printable(str(answer['error']), _ERROR_CHARACTERS)}")
            if answer.keys() != {"alive"}:
                return answer
        raise self.nonsense(f"sends more signs of life than {do!r} has steps, but no answer")

    def _done(self, do: str, form: TypeAdapter[_T], answer: dict[str, Any]) -> _T:
        if answer.keys() != {"done"}:
            raise self.nonsense(
                f"answered {do!r} with the keys {printable(', '.join(answer) or 'none', 80)}, not 'done'"
            )
        return self._checked(do, form, answer["done"])

    def _checked(self, do: str, form: TypeAdapter[_T], value: Any) -> _T:
        try:
            return checked(value, form, self._source(do))
        except EngineError:
            self.close()
            raise

    def _source(self, do: str) -> str:
        return f"{self._name}: its answer to {do!r}"

    def _line(self, seconds: float) -> bytes:
        try:
            line = self._lines.get(timeout=max(seconds, 0.0))
        except queue.Empty:
            line = b""
        if len(line) >= _LINE_BYTES:
            raise self.nonsense(f"sent a line of {_LINE_BYTES:,} bytes or more")
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

    def _lost(self) -> LinkLostError | EngineError:
        try:
            status: int | None = self._process.wait(_ENDING_S)
        except subprocess.TimeoutExpired:
            status = None
        self.close()
        if self._errors.flooded:
            return self.nonsense(f"printed more than {_STDERR_BYTES:,} bytes to standard error")
        return LinkLostError(status, self._errors.lines())


class _Errors:
    """The last lines of a process's standard error. A process that prints without end is killed."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process, self._bytes = process, 0
        self._lines: deque[bytes] = deque(maxlen=_STDERR_LINES)

    @property
    def flooded(self) -> bool:
        """Whether it printed more than is allowed."""
        return self._bytes > _STDERR_BYTES

    def take(self, line: bytes) -> bool:
        """Keep a line; whether more may come."""
        self._lines.append(line)
        self._bytes += len(line)
        if self.flooded:
            self._process.kill()
        return not self.flooded

    def lines(self) -> tuple[str, ...]:
        """The lines that are not empty, printable."""
        texts = (line.decode(errors="replace").strip() for line in tuple(self._lines))
        return tuple(printable(text) for text in texts if text)


def _reader(stream: IO[bytes] | None, limit: int, take: Callable[[bytes], bool]) -> threading.Thread:
    """A thread that passes each line to `take`, long ones in pieces of `limit` bytes, then an empty one at the end.

    It ends early if `take` returns False.
    """

    def read() -> None:
        with suppress(OSError, ValueError):
            while stream is not None and (line := stream.readline(limit)):
                if not take(line):
                    return
        take(b"")

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread


def _put(lines: queue.Queue[bytes], line: bytes, closed: threading.Event) -> bool:
    """Wait until there is room for the line; False if nobody will take it any more."""
    while not closed.is_set():
        with suppress(queue.Full):
            lines.put(line, timeout=_LOOK_S)
            return True
    return False


def _end(
    process: subprocess.Popen[bytes], readers: tuple[threading.Thread, threading.Thread], closed: threading.Event
) -> None:
    """End the client; the program on the board ends when its input does."""
    closed.set()
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
