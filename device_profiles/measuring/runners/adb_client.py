"""Android phones through the `adb` program: finding one, commands in its shell, files. Knows nothing of engines."""

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

GO_ON = "run the same command again to go on"

_ANSWER_SECONDS = 60.0
_SLOWEST_BYTES_PER_S = 1e6
_EXIT = "@exit "
"""Before the exit status in the last line of every command: old phones do not hand it to `adb`."""

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
    """What a command in the phone's shell printed, and its exit status."""

    text: str
    code: int

    @property
    def last_line(self) -> str:
        """The last line that is not empty, shortened."""
        return last_line(self.text)


class Phone:
    """One phone that `adb` lists as ready.

    Args:
        serial: as `adb devices` prints it.
    """

    def __init__(self, serial: str) -> None:
        self.serial = serial

    def shell(self, command: str) -> Answer:
        """Run `command`, both outputs as one. The caller has quoted what is in it.

        Raises:
            EngineError: the phone is gone, or did not answer in a minute.
        """
        done = _adb("-s", self.serial, "shell", _closed(command), seconds=_ANSWER_SECONDS)
        text, marker, code = done.stdout.replace("\r\n", "\n").rpartition(_EXIT)
        if not marker or not code.strip().isdigit():
            raise self.failure(last_line(done.stderr) or "a command broke off")
        return Answer(text=text.removesuffix("\n"), code=int(code))

    def stream(self, command: str, patience_s: float) -> Iterator[str]:
        """Run `command` and yield each line as it comes, both outputs as one.

        Raises:
            EngineError: the phone is gone, or printed nothing for `patience_s` seconds, or broke the command off.
        """
        arguments = [_program(), "-s", self.serial, "shell", _closed(command)]
        with tempfile.TemporaryFile() as complaints:
            process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=complaints,
                text=True,
                errors="replace",
            )
            with closing(_Watchdog(process, patience_s)) as watchdog:
                for line in process.stdout or ():
                    watchdog.seen()
                    if line.startswith(_EXIT):
                        return
                    yield line.rstrip("\r\n")
            complaints.seek(0)
            said = last_line(complaints.read().decode(errors="replace"))
        raise self.failure(f"silent for {patience_s:.0f} s" if watchdog.bit else said or "a command broke off")

    def push(self, source: Path, target: str) -> None:
        """Copy a file to the phone. Raises `EngineError` where that fails."""
        seconds = _ANSWER_SECONDS + source.stat().st_size / _SLOWEST_BYTES_PER_S
        done = _adb("-s", self.serial, "push", str(source), target, seconds=seconds)
        if done.returncode:
            raise self.failure(f"{source.name}: {last_line(done.stderr) or last_line(done.stdout)}")

    def failure(self, detail: str) -> EngineError:
        """The error to raise after something failed: it tells a phone that is gone from one that refuses."""
        state = _adb("-s", self.serial, "get-state", seconds=10.0)
        if state.stdout.strip() == "device":
            return EngineError(f"phone {self.serial}: {detail}; {GO_ON}")
        return EngineError(f"phone {self.serial} is gone ({detail}); plug it in and {GO_ON}")


def find_phone(serial: str) -> Phone:
    """The phone of that serial, or with an empty one the only phone.

    Raises:
        EngineError: `adb` is missing, or there is no such phone, or several, or it is not ready; with what to do.
    """
    listed = _adb("devices", seconds=_ANSWER_SECONDS)
    if listed.returncode:
        raise EngineError(f"adb does not work ({last_line(listed.stderr)}); try: adb kill-server")
    rows = (line.split("\t", 1) for line in listed.stdout.splitlines() if "\t" in line)
    states = {name: state.strip() for name, state in rows}
    if not states:
        raise EngineError("no phone is attached; plug one in with USB debugging on, then `adb devices` lists it")
    if not serial and len(states) > 1:
        raise EngineError(f"{len(states)} phones are attached; name one, as in adb:{min(states)}: {', '.join(states)}")
    serial = serial or next(iter(states))
    if serial not in states:
        raise EngineError(f"phone {serial!r} is not attached; attached: {', '.join(states)}; plug it in")
    if states[serial] != "device":
        remedy = next(
            (text for word, text in _REMEDIES.items() if states[serial].startswith(word)), "start Android on it"
        )
        raise EngineError(f"phone {serial} is not ready, adb calls it {states[serial]!r}; {remedy}")
    return Phone(serial)


def _closed(command: str) -> str:
    """The command, its outputs as one, with its exit status in a line of its own at the end."""
    return f"({command}) 2>&1; code=$?; echo; echo {_EXIT}$code"


def last_line(text: str) -> str:
    """The last line of `text` that is not empty, shortened."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else ""


class _Watchdog:
    """Ends a process that was not `seen` for so long, and whatever is left of it when closed."""

    def __init__(self, process: subprocess.Popen[str], patience_s: float) -> None:
        self._process, self._patience_s = process, patience_s
        self._last, self._closed = time.monotonic(), threading.Event()
        self.bit = False
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def seen(self) -> None:
        self._last = time.monotonic()

    def close(self) -> None:
        self._closed.set()
        self._thread.join()
        self._process.kill()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._process.wait()

    def _watch(self) -> None:
        while not self._closed.wait(min(1.0, self._patience_s)):
            if time.monotonic() - self._last > self._patience_s:
                self.bit = True
                self._process.kill()
                return


def _adb(*arguments: str, seconds: float) -> subprocess.CompletedProcess[str]:
    """Run `adb`; one that does not end in `seconds` counts as failed."""
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
