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

from device_profiles.measuring.runners import board
from factory_base.errors import EngineError

OLDEST_PYTHON: Final = (3, 8)
TOO_OLD: Final = "too old: python"

_SOURCE: Final = Path(board.__file__).read_bytes()
_STEP_BYTES: Final = 2**18
_ENDING_S: Final = 2.0
_LINES_BEFORE_GREETING: Final = 1000


class LinkLostError(Exception):
    """The connection or the program on the board has ended, or hangs.

    Attributes:
        status: that the SSH client left with, 255 where the connection itself failed; None where it had to be ended.
        said: the last lines of its standard error.
    """

    def __init__(self, status: int | None, said: tuple[str, ...]) -> None:
        super().__init__(said[-1] if said else "it does not answer" if status is None else "the connection has ended")
        self.status = status
        self.said = said


def start_command(python: str) -> str:
    """What the board's shell runs: `python`, a word that is safe there, with what takes our program from its input.

    The working directory is no place to import from, as it may hold anything.
    """
    oldest, size = f"({OLDEST_PYTHON[0]},{OLDEST_PYTHON[1]})", len(_SOURCE)
    program = (
        f'import sys;sys.version_info<{oldest} and sys.exit("{TOO_OLD} %d.%d" % sys.version_info[:2]);'
        "sys.path=[p for p in sys.path if p];"
        f'exec(compile(sys.stdin.buffer.read({size}),"board.py","exec"))'
    )
    return f"{python} -c '{program}'"


class Link:
    """A process that is sent our program, then requests.

    Args:
        name: of the board, for errors.
        command: that ends in a Python on the board which reads our program from its input.
        silence_s: after so many seconds without a word the connection counts as lost.

    Raises:
        EngineError: there is no such command on this machine.
        LinkLostError: our program does not start on the board.
    """

    def __init__(self, name: str, command: list[str], silence_s: float) -> None:
        pipe = subprocess.PIPE
        try:
            # A session of its own: Ctrl-C is for us to hear, and there is no terminal to ask for a password.
            process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True)
        except OSError as error:
            raise EngineError(
                f"{command[0]!r} cannot be started ({error.strerror}); install OpenSSH's client, on Debian: "
                "apt-get install openssh-client"
            ) from error
        self._name, self._process, self._silence_s = name, process, silence_s
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._said: deque[bytes] = deque(maxlen=20)
        self._readers = (_reader(process.stdout, self._lines.put), _reader(process.stderr, self._said.append))
        self._finalize = weakref.finalize(self, _end, process, self._readers)
        self._write(_SOURCE)
        for _ in range(_LINES_BEFORE_GREETING):
            if self._line(0.0) == board.GREETING.lstrip():
                return
        raise self._lost()

    @property
    def pid(self) -> int:
        """Of the process on this machine."""
        return self._process.pid

    def ask(self, do: str, extra_s: float = 0.0, **values: Any) -> dict[str, Any]:
        """Send a request and wait for its answer.

        Args:
            do: a name in `board.REQUESTS`.
            extra_s: so much longer than other requests may it take.
            values: of the request.

        Raises:
            EngineError: the board's own words.
            LinkLostError: no answer comes.
        """
        self._send(do, values)
        return self._done(extra_s)

    def stream(self, do: str, **values: Any) -> Iterator[dict[str, Any]]:
        """Send a request and yield the answers before its last. Raises as `ask`."""
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
            line = self._lines.get(timeout=self._silence_s + extra_s)
        except queue.Empty:
            line = b""
        if not line.endswith(b"\n"):
            raise self._lost()
        return line

    def _write(self, data: bytes) -> None:
        """Where the board reads nothing, the process is ended, which ends the waiting too."""
        watch = threading.Timer(self._silence_s, self._process.kill)
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
        lines = (line.decode(errors="replace").strip() for line in self._said)
        return LinkLostError(status, tuple(line for line in lines if line))


def _reader(stream: IO[bytes] | None, take: Callable[[bytes], object]) -> threading.Thread:
    """Hands over lines, then an empty one."""

    def read() -> None:
        with suppress(OSError, ValueError):
            for line in stream or ():
                take(line)
        take(b"")

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread


def _end(process: subprocess.Popen[bytes], readers: tuple[threading.Thread, ...]) -> None:
    """A program on the board ends when its input does."""
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
