"""Android phones through the `adb` program, whatever the engine: finding a phone, shell commands, copying files."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO

from factory_base.errors import EngineError
from factory_base.foreign import printable

RESUME = "run the same command again to resume"

_ANSWER_SECONDS = 60.0
"""How long a short command may take: its answer comes within a second, or minutes later from a phone that is
starting."""

_STATE_SECONDS = 10.0
"""How long `adb get-state` may take, which asks the server on this machine and not the phone."""

_SLOWEST_BYTES_PER_S = 1e6
"""Slowest rate of copying that is waited for: USB 1.1 reaches it, and Wi-Fi with a poor signal."""

_LINE_CHARACTERS = 200
"""Most characters of another program's output that an error message quotes."""

_LAST_CHARACTERS = 2000
"""Characters at the end of the output in which its last line is looked for."""

_ENDING_SECONDS = 10.0
"""How long the output of a process may take to arrive after it has ended."""

_WATCH_SECONDS = 1.0
"""How often a silent process is noticed: a small share of any timeout."""

_OUTPUT_BYTES = 2**24
"""Most bytes of the output of a command: a list of 100,000 copied files has 12 MB."""

_FILE_BYTES = 2**26
"""Most bytes that a benchmark program prints for one file: a million runs have 35 MB."""

END = "@end "
"""Precedes the exit status in the line that ends the output of each part of a command whose parts are reported."""

_EXIT = "@exit "
"""Precedes the exit status in the last line of every command: old phones do not pass it to `adb`."""

_REMEDIES = {
    "unauthorized": "unlock it and allow USB debugging from this computer",
    "authorizing": "unlock it and allow USB debugging from this computer",
    "offline": "unplug it and plug it in again, or run: adb reconnect offline",
    "no permissions": "let this user open USB devices (udev rules for Android), then plug it in again",
    "bootloader": "start Android on it",
    "recovery": "start Android on it",
    "sideload": "start Android on it",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The output of a command in the phone's shell, and its exit status."""

    text: str
    code: int

    @property
    def last_line(self) -> str:
        """The last line that is not empty, shortened."""
        return last_line(self.text)


class Phone:
    """One phone that `adb` lists as ready.

    Args:
        serial: Serial number as `adb devices` prints it.
    """

    def __init__(self, serial: str) -> None:
        self.serial = serial
        self.name = f"phone {printable(serial, 80)}"
        """Name of the phone in messages."""

    def shell(self, command: str) -> Answer:
        """Run `command`, whose arguments the caller has quoted; standard output and standard error are merged.

        Raises:
            EngineError: The phone is gone, or did not answer in a minute.
        """
        done = _adb("-s", self.serial, "shell", _with_status(command), seconds=_ANSWER_SECONDS)
        text, marker, code = done.stdout.replace("\r\n", "\n").rpartition(_EXIT)
        status = _status(code)
        if not marker or status is None:
            raise self.failure(last_line(done.stderr) or "a command was aborted")
        return Answer(text=text.removesuffix("\n"), code=status)

    def answers(self, command: str, timeout_s: float) -> Iterator[Answer]:
        """Run `command` and yield the output before each line `END`, with its status, as soon as it arrives.

        Standard output and standard error are merged.

        Raises:
            EngineError: The phone is gone, aborted the command, did not finish a part in `timeout_s` seconds, or
                printed too much.
        """
        arguments = [_program(), "-s", self.serial, "shell", _with_status(command)]
        pipe = subprocess.PIPE
        process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe)
        errors = _Collected(process, process.stderr)
        with closing(_Watchdog(process, timeout_s)) as watchdog:
            trouble = yield from _parts(process.stdout, watchdog)
        if trouble is None:
            return
        if watchdog.expired:
            trouble = f"did not finish a file in {timeout_s:.0f} s"
        raise self.failure(trouble or last_line(errors.text()) or "a command was aborted")

    def push(self, source: Path, target: str) -> None:
        """Copy a file to the phone. Raises `EngineError` if that fails."""
        seconds = _ANSWER_SECONDS + source.stat().st_size / _SLOWEST_BYTES_PER_S
        done = _adb("-s", self.serial, "push", str(source), target, seconds=seconds)
        if done.returncode:
            raise self.failure(f"{source.name}: {last_line(done.stderr) or last_line(done.stdout)}")

    def failure(self, detail: str) -> EngineError:
        """The error to raise after a failure; it states whether the phone is gone."""
        state = _adb("-s", self.serial, "get-state", seconds=_STATE_SECONDS)
        if state.stdout.strip() == "device":
            return EngineError(f"{self.name}: {detail}; {RESUME}")
        return EngineError(f"{self.name} is gone ({detail}); plug it in and {RESUME}")


def find_phone(serial: str) -> Phone:
    """The phone with that serial number, or the only phone if `serial` is empty.

    Raises:
        EngineError: `adb` is missing, there is no such phone, several phones are attached, or the phone is not ready.
            The message states what to do.
    """
    listed = _adb("devices", seconds=_ANSWER_SECONDS)
    if listed.returncode:
        raise EngineError(f"adb does not work ({last_line(listed.stderr)}); try: adb kill-server")
    rows = (line.split("\t", 1) for line in listed.stdout.splitlines() if "\t" in line)
    states = {name: state.strip() for name, state in rows}
    names = printable(", ".join(states))
    if not states:
        raise EngineError("no phone is attached; plug one in with USB debugging on, so that `adb devices` lists it")
    if not serial and len(states) > 1:
        raise EngineError(
            f"{len(states)} phones are attached; name one, as in adb:{printable(min(states), 80)}: {names}"
        )
    serial = serial or next(iter(states))
    if serial not in states:
        raise EngineError(f"phone {serial!r} is not attached; attached: {names}; plug it in")
    if states[serial] != "device":
        remedy = next(
            (text for word, text in _REMEDIES.items() if states[serial].startswith(word)), "start Android on it"
        )
        raise EngineError(f"{Phone(serial).name} is not ready, its state is {states[serial]!r}; {remedy}")
    return Phone(serial)


def _with_status(command: str) -> str:
    """The command with its outputs merged, and its exit status in a separate line at the end."""
    return f"({command}) 2>&1; code=$?; echo; echo {_EXIT}$code"


def _status(text: str) -> int | None:
    """An exit status; None if `text` is not one."""
    return int(text) if re.fullmatch(r"[0-9]{1,3}", text.strip(), re.ASCII) else None


def _parts(stream: IO[bytes] | None, watchdog: _Watchdog) -> Generator[Answer, None, str | None]:
    """Yield the output of each part; returns what went wrong, "" if the output ended too early, None if nothing did."""
    output, size = [], 0
    while stream is not None and (data := stream.readline(_FILE_BYTES)):
        size += len(data)
        line = data.decode(errors="replace").rstrip("\r\n")
        if size > _FILE_BYTES:
            return f"printed more than {_FILE_BYTES:,} bytes for one file"
        if line.startswith(_EXIT):
            return None
        if not line.startswith(END):
            output.append(line)
            continue
        code = _status(line.removeprefix(END))
        if code is None:
            return f"ended a file with {printable(line, 80)!r}, not with an exit status"
        watchdog.reset()
        yield Answer(text="\n".join(output), code=code)
        output, size = [], 0
    return last_line("\n".join(output))


def last_line(text: str) -> str:
    """The last line of `text` that is not empty, shortened and printable."""
    end = len(text.rstrip())
    return printable(text[max(text.rfind("\n", 0, end) + 1, end - _LAST_CHARACTERS) : end].strip(), _LINE_CHARACTERS)


class _Collected:
    """What a process writes to a pipe, in a thread. A process that writes more than `_OUTPUT_BYTES` is killed."""

    def __init__(self, process: subprocess.Popen[bytes], stream: IO[bytes] | None) -> None:
        self._process, self._stream = process, stream
        self._data = b""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    @property
    def too_long(self) -> bool:
        """Whether it wrote too much."""
        return len(self._data) > _OUTPUT_BYTES

    def text(self) -> str:
        """All of it, when the process has ended."""
        self._thread.join(_ENDING_SECONDS)
        return self._data.decode(errors="replace")

    def _read(self) -> None:
        with suppress(OSError, ValueError), closing(self._stream or BytesIO()) as stream:
            self._data = stream.read(_OUTPUT_BYTES + 1)
            if self.too_long:
                self._process.kill()


class _Watchdog:
    """Kills a process after `timeout_s` seconds without a `reset`, and in any case when it is closed."""

    def __init__(self, process: subprocess.Popen[bytes], timeout_s: float) -> None:
        self._process, self._timeout_s = process, timeout_s
        self._last, self._closed = time.monotonic(), threading.Event()
        self.expired = False
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def reset(self) -> None:
        self._last = time.monotonic()

    def close(self) -> None:
        self._closed.set()
        self._thread.join()
        self._process.kill()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._process.wait()

    def _watch(self) -> None:
        while not self._closed.wait(min(_WATCH_SECONDS, self._timeout_s)):
            if time.monotonic() - self._last > self._timeout_s:
                self.expired = True
                self._process.kill()
                return


def _adb(*arguments: str, seconds: float) -> subprocess.CompletedProcess[str]:
    """Run `adb`; if it does not end within `seconds`, or prints too much, it counts as failed."""
    command = [_program(), *arguments]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe)
    output, errors = _Collected(process, process.stdout), _Collected(process, process.stderr)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return subprocess.CompletedProcess(command, 124, "", f"no answer in {seconds:.0f} s")
    texts = output.text(), errors.text()
    if output.too_long or errors.too_long:
        return subprocess.CompletedProcess(command, 124, "", f"printed more than {_OUTPUT_BYTES:,} bytes")
    return subprocess.CompletedProcess(command, process.returncode, *texts)


def _program() -> str:
    found = shutil.which("adb")
    if found is None:
        raise EngineError(
            "the program adb is not installed; install Android's platform tools (the Debian package is called adb)"
        )
    return found
