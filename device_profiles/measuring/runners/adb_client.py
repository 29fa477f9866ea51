"""Android phones through the `adb` program, whatever the engine: finding a phone, shell commands, copying files."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from factory_base.errors import EngineError

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

_WATCH_SECONDS = 1.0
"""How often a silent process is noticed: a small share of any timeout."""

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

    def shell(self, command: str) -> Answer:
        """Run `command`, whose arguments the caller has quoted; standard output and standard error are merged.

        Raises:
            EngineError: The phone is gone, or did not answer in a minute.
        """
        done = _adb("-s", self.serial, "shell", _with_status(command), seconds=_ANSWER_SECONDS)
        text, marker, code = done.stdout.replace("\r\n", "\n").rpartition(_EXIT)
        if not marker or not code.strip().isdigit():
            raise self.failure(last_line(done.stderr) or "a command was aborted")
        return Answer(text=text.removesuffix("\n"), code=int(code))

    def stream(self, command: str, timeout_s: float) -> Iterator[str]:
        """Run `command` and yield each line when it arrives; standard output and standard error are merged.

        Raises:
            EngineError: The phone is gone, printed nothing for `timeout_s` seconds, or aborted the command.
        """
        arguments = [_program(), "-s", self.serial, "shell", _with_status(command)]
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                errors="replace",
            )
            with closing(_Watchdog(process, timeout_s)) as watchdog:
                for line in process.stdout or ():
                    watchdog.reset()
                    if line.startswith(_EXIT):
                        return
                    yield line.rstrip("\r\n")
            errors.seek(0)
            message = last_line(errors.read().decode(errors="replace"))
        raise self.failure(f"silent for {timeout_s:.0f} s" if watchdog.expired else message or "a command was aborted")

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
            return EngineError(f"phone {self.serial}: {detail}; {RESUME}")
        return EngineError(f"phone {self.serial} is gone ({detail}); plug it in and {RESUME}")


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
    if not states:
        raise EngineError("no phone is attached; plug one in with USB debugging on, so that `adb devices` lists it")
    if not serial and len(states) > 1:
        raise EngineError(f"{len(states)} phones are attached; name one, as in adb:{min(states)}: {', '.join(states)}")
    serial = serial or next(iter(states))
    if serial not in states:
        raise EngineError(f"phone {serial!r} is not attached; attached: {', '.join(states)}; plug it in")
    if states[serial] != "device":
        remedy = next(
            (text for word, text in _REMEDIES.items() if states[serial].startswith(word)), "start Android on it"
        )
        raise EngineError(f"phone {serial} is not ready, its state is {states[serial]!r}; {remedy}")
    return Phone(serial)


def _with_status(command: str) -> str:
    """The command with its outputs merged, and its exit status in a separate line at the end."""
    return f"({command}) 2>&1; code=$?; echo; echo {_EXIT}$code"


def last_line(text: str) -> str:
    """The last line of `text` that is not empty, shortened."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:_LINE_CHARACTERS] if lines else ""


class _Watchdog:
    """Kills a process after `timeout_s` seconds without a `reset`, and in any case when it is closed."""

    def __init__(self, process: subprocess.Popen[str], timeout_s: float) -> None:
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
    """Run `adb`; if it does not end within `seconds`, it counts as failed."""
    command = [_program(), *arguments]
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, "", f"no answer in {seconds:.0f} s")


def _program() -> str:
    found = shutil.which("adb")
    if found is None:
        raise EngineError(
            "the program adb is not installed; install Android's platform tools (the Debian package is called adb)"
        )
    return found
