"""Timing on an Android phone through `adb`, with the benchmark program that the engine provides for phones."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from shlex import quote
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from device_profiles.measuring.reported import REMEDY, RUNS, checked
from device_profiles.measuring.runner import LOADS, Machine, TimedFile, refuse_tokens
from device_profiles.measuring.runners.adb_client import END, RESUME, Answer, Phone, find_phone
from device_profiles.measuring.runners.perf_tools import PERF_TOOLS, PerfTool, Reading
from device_profiles.measuring.runners.phone_facts import FACTS_COMMAND, read_facts
from factory_base.documents import nearest
from factory_base.errors import ConfigError, EngineError
from factory_base.files import digest_of, sha256_file
from factory_base.foreign import printable
from factory_base.quantities import format_bytes

if TYPE_CHECKING:
    from device_profiles.engine import Engine
    from device_profiles.profile_costs import MachinePeak
    from device_profiles.workload.operators import KernelKind

FOLDER: Final = "/data/local/tmp/model-factory"
"""Folder on the phone: under the only one in which the shell's user may write and start programs."""

_VISIT_US, _RUNS = 20_000.0, (10, 100)
"""Duration of a visit, and its fewest and most runs: far more than on this machine (`timing`), because each visit
starts a process, which takes longer than that, and the phone's governor has to raise the clock first."""

_FILES_PER_COMMAND = 24
"""Files of one command. A file takes about 120 bytes, which keeps commands below the 4096 that the oldest phones
accept."""

_COPIES_PER_COMMAND = 50
"""Files that are renamed in one command after copying: an interrupted call copies at most so many again."""

_SPARE_BYTES = 64 * 2**20
"""Bytes that stay free on the phone: Android warns and stops apps when its storage is full."""

_TIMEOUT_S = 120.0
"""A phone that prints nothing for so long hangs: a visit takes tens of milliseconds, loading a large file seconds."""

_LOWEST_BATTERY = 20
"""Lowest charge in percent: below it phones offer, or start, their battery saver, which lowers the clock."""

_THROTTLING = 2
"""Android's thermal status from which on it throttles noticeably (`THERMAL_STATUS_MODERATE`)."""

_MOST_RUNS = 10**6
"""Most runs of a sustained run: a limit for files that take no measurable time."""

_SLOWDOWN = 10
"""A sustained run may take so many times longer than planned, since a phone that gets hot slows down by several
times."""

_HEALTH = (
    "dumpsys battery | grep level:; dumpsys thermalservice | grep 'Thermal Status:'; "
    "echo low_power=$(settings get global low_power)"
)
_LISTED = re.compile(r"^-\S*\s+[0-9]+\s+\S+\s+\S+\s+([0-9]{1,15})\s.*\s(\S+)$", re.MULTILINE)
_FREE = re.compile(r"\b([0-9]{1,15})\s+[0-9]{1,3}%\s+/")
_CRASH = range(129, 160)
"""Exit statuses by which a shell reports the signals 1 to 31."""

_EXAMPLE = "adb:SERIAL,binary=path/to/onnxruntime_perf_test"


@dataclass(frozen=True, slots=True, kw_only=True)
class AdbAddress:
    """The address after `adb:`, written as `SERIAL,binary=FILE,library=FILE,version=1.22.0,taskset=f0`.

    Attributes:
        serial: Serial number of the phone; empty for the only one.
        binary: The benchmark program, built for the phone; a file on this machine.
        libraries: Libraries that it loads, files on this machine; `library=` may be repeated.
        version: Version of the engine; empty to read it from the files.
        taskset: Hexadecimal mask of the cores to run on; empty for all.
    """

    serial: str
    binary: Path
    libraries: tuple[Path, ...] = ()
    version: str = ""
    taskset: str = ""


@dataclass(slots=True, kw_only=True)
class _Model:
    """A file on the phone: its name there, the shape of a batch, and microseconds of a run as last measured."""

    name: str
    shape: str
    typical_us: float | None = field(default=None)

    def runs(self, microseconds: float, least: int, most: int) -> int:
        """Number of runs that take `microseconds`, within the limits; `least` if nothing was measured yet."""
        return least if self.typical_us is None else min(max(int(microseconds / self.typical_us), least), most)


class AdbRunner:
    """Implements `Runner` with one process of the benchmark program for each visit to a file.

    The program generates the inputs. If it reports single runs (ONNX Runtime), a visit yields these; otherwise (MNN) it
    yields their average as one run, and the spread of single runs is that of averages. Peak memory is None, because the
    programs report at best the peak of the whole process. Time per kind of kernel and the machine's peak are None.

    Args:
        address: The phone and the program, see `parse_address`.
        engine: Name of the engine of the files.

    Raises:
        EngineError: No program is known for this engine.
    """

    def __init__(self, address: AdbAddress, engine: str) -> None:
        if engine not in PERF_TOOLS:
            raise EngineError(f"engine {engine!r} has no known program for phones; {nearest(engine, PERF_TOOLS)}")
        self._address, self._engine, self._tool = address, engine, PERF_TOOLS[engine]
        self._phone: Phone | None = None
        self._program = ""
        self._models: list[_Model] = []
        self._function = ""

    def machine(self) -> Machine:
        """See the protocol. Copies the program to the phone and checks that it runs."""
        version = self._version()
        phone = self._phone = find_phone(self._address.serial)
        facts = read_facts(phone.shell(FACTS_COMMAND).text, phone.name)
        self._check_health(phone)
        self._program = self._install(phone, facts.abi or "another processor")
        pinned = f", taskset {self._address.taskset}" if self._address.taskset else ""
        return facts.machine(version, phone.serial, pinned)

    def open(self, files: Sequence[TimedFile], timed: int, threads: int, seed: int) -> NDArray[np.float64]:
        """See the protocol. Copies files that are not on the phone yet; their names are their digests."""
        refuse_tokens(files)
        phone = self._connected()
        names = [f"{sha256_file(file.path)}.{self._tool.suffix}" for file in files]
        _copy_missing(phone, FOLDER, dict(zip(names, (file.path for file in files), strict=True)))
        self._models = [
            _Model(name=name, shape=",".join(map(str, (1, *file.input_shape))))
            for name, file in zip(names, files, strict=True)
        ]
        self._function = self._tool.script(self._program, threads, seed)
        times = np.full((LOADS, timed), np.nan)
        for attempt in range(LOADS):
            for index, reading in self._readings(range(timed), _RUNS[0]):
                if reading.load_us is None:
                    raise EngineError(
                        f"{phone.name}: {self._tool.name} does not report how long a file takes to load; is it "
                        "another program?"
                    )
                times[attempt, index] = reading.load_us
        return np.asarray(np.median(times, axis=0))

    def visit(self, order: Sequence[int]) -> Iterator[tuple[int, list[float]]]:
        """See the protocol. Raises `EngineError` before the first file if the phone is hot or low on battery."""
        self._check_health(self._connected())
        for start in range(0, len(order), _FILES_PER_COMMAND):
            for index, reading in self._readings(order[start : start + _FILES_PER_COMMAND]):
                yield index, list(reading.runs_us)

    def run_for(self, file: int, seconds: float) -> NDArray[np.float64]:
        """See the protocol. The number of runs follows from the last visit; with MNN their average is the one time."""
        runs = self._models[file].runs(seconds * 1e6, _RUNS[0], _MOST_RUNS)
        ((_, reading),) = self._readings([file], runs, timeout_s=_TIMEOUT_S + _SLOWDOWN * seconds)
        return np.array(reading.runs_us)

    def peak_memory_bytes(self, file: int) -> int | None:  # noqa: ARG002
        """None: the program does not report it."""
        return None

    def kernel_latency_us(self, file: int) -> Mapping[KernelKind, float] | None:  # noqa: ARG002
        """None: the program does not report it."""
        return None

    def peak(self, threads: int) -> MachinePeak | None:  # noqa: ARG002
        """None: the program does not measure it."""
        return None

    def _connected(self) -> Phone:
        if self._phone is None:
            self.machine()
        if self._phone is None:
            raise EngineError(f"no phone is attached; plug one in and {RESUME}")
        return self._phone

    def _version(self) -> str:
        address = self._address
        if address.version:
            return address.version
        found = (self._tool.version_in(path.read_bytes()) for path in (address.binary, *address.libraries))
        version = next((version for version in found if version), None)
        if version is None:
            raise ConfigError(
                f"{address.binary} does not contain its version of {self._engine}; add ,version=... to the address"
            )
        return version

    def _install(self, phone: Phone, abi: str) -> str:
        """Copy the program and its libraries; the quoted command to start it. Raises `EngineError` if it cannot run."""
        paths = [self._address.binary, *self._address.libraries]
        folder = f"{FOLDER}/tools-{digest_of([[path.name, sha256_file(path)] for path in paths])[:16]}"
        _copy_missing(phone, folder, {path.name: path for path in paths}, mode="755")
        pinned = f"taskset {self._address.taskset} " if self._address.taskset else ""
        program = f"LD_LIBRARY_PATH={folder} {pinned}{quote(str(PurePosixPath(folder, self._address.binary.name)))}"
        _check_program(self._address.binary.name, phone.shell(f"cd {FOLDER}; {program} </dev/null"), abi)
        return program

    def _check_health(self, phone: Phone) -> None:
        state = phone.shell(_HEALTH).text
        level, heat = _reported(phone, state, "level: ", 100), _reported(phone, state, "Thermal Status: ", 6)
        trouble = ""
        if heat is not None and heat >= _THROTTLING:
            trouble = f"is hot and throttles (thermal status {heat}, allowed {_THROTTLING - 1}); let it cool"
        elif level is not None and level < _LOWEST_BATTERY:
            trouble = f"has {level}% of its battery left; charge it to {_LOWEST_BATTERY}% or more"
        elif "low_power=1" in state:
            trouble = "is in battery saver mode, which slows it down; switch that off"
        if trouble:
            raise EngineError(f"{phone.name} {trouble} and {RESUME}")

    def _readings(
        self, files: Sequence[int], runs: int | None = None, timeout_s: float = _TIMEOUT_S
    ) -> Iterator[tuple[int, Reading]]:
        """Run the files in one command; yields the reading of each as soon as it arrives. Raises `EngineError`."""
        if not files:
            return
        phone, models = self._connected(), [self._models[file] for file in files]
        jobs = (f"job {m.name} {runs or m.runs(_VISIT_US, *_RUNS)} {m.shape}" for m in models)
        shell = f'run() {{ {self._function}; }}; job() {{ run "$@" </dev/null; code=$?; echo; echo {END}$code; }}'
        answers = phone.answers(f"cd {FOLDER}; {shell}; {'; '.join(jobs)}", timeout_s)
        for file, model in zip(files, models, strict=True):
            answer = next(answers, None)
            if answer is None:
                raise phone.failure(f"it ended before {model.name}")
            reading = _checked(self._tool, model.name, answer, phone)
            model.typical_us = statistics.median(reading.runs_us)
            yield file, reading
        if next(answers, None) is not None:
            raise phone.failure("it answered for more files than it was asked to run")


def parse_address(text: str) -> AdbAddress:
    """Read the address after `adb:`. Raises `ConfigError` if it is not valid."""
    first, _, rest = text.partition(",")
    serial, query = ("", text) if "=" in first else (first, rest)
    values: dict[str, list[str]] = {"binary": [], "library": [], "version": [], "taskset": []}
    for entry in filter(None, query.split(",")):
        key, _, value = entry.partition("=")
        if key not in values or not value or (values[key] and key != "library"):
            raise ConfigError(f"{entry!r} in 'adb:{text}' is unknown, empty or repeated; {nearest(key, values)}")
        values[key].append(value)
    if serial.startswith("-") or re.search(r"\s", serial):
        raise ConfigError(f"{serial!r} is not the serial number of a phone; copy it from the output of `adb devices`")
    if not values["binary"]:
        raise ConfigError(f"'adb:{text}' does not name the engine's benchmark program; write {_EXAMPLE}")
    paths = [Path(value).expanduser() for value in (*values["binary"], *values["library"])]
    for path in paths:
        if not path.is_file():
            raise ConfigError(f"{path} is not a file; name the benchmark program built for the phone, as in {_EXAMPLE}")
    version, mask = "".join(values["version"]), "".join(values["taskset"])
    if mask and not re.fullmatch(r"[0-9a-fA-F]{1,16}", mask):
        raise ConfigError(
            f"taskset {mask!r} is not a mask of cores; write a hexadecimal number, such as f0 for cores 4 to 7"
        )
    return AdbAddress(serial=serial, binary=paths[0], libraries=tuple(paths[1:]), version=version, taskset=mask)


def adb_runner(address: str, engine: Engine) -> AdbRunner:
    """The runner for the phone at `address`. Raises as `parse_address` and `AdbRunner`."""
    return AdbRunner(parse_address(address), engine.name)


def _copy_missing(phone: Phone, folder: str, files: Mapping[str, Path], mode: str = "644") -> None:
    """Copy files that `folder` lacks or has in another size; partial copies have other names. Raises `EngineError`."""
    listed = phone.shell(f"mkdir -p {folder} && cd {folder} && df -k . && ls -l")
    if listed.code:
        raise EngineError(
            f"{phone.name}: {folder} cannot be created ({listed.last_line}); make it writable for `adb shell`"
        )
    present = {name: int(size) for size, name in _LISTED.findall(listed.text)}
    missing = {name: path for name, path in files.items() if present.get(name) != path.stat().st_size}
    needed = sum(path.stat().st_size for path in missing.values())
    free = _FREE.search(listed.text)
    if missing and free and int(free[1]) * 1024 < needed + _SPARE_BYTES:
        raise EngineError(
            f"{phone.name} has {format_bytes(int(free[1]) * 1024)} free, but {format_bytes(needed)} have to be "
            f"copied and {format_bytes(_SPARE_BYTES)} to stay free; make room, for example: adb shell rm -r {FOLDER}"
        )
    names = list(missing)
    for start in range(0, len(names), _COPIES_PER_COMMAND):
        batch = names[start : start + _COPIES_PER_COMMAND]
        for name in batch:
            phone.push(missing[name], f"{folder}/{name}.partial")
        moves = " && ".join(
            f"mv {quote(name + '.partial')} {quote(name)} && chmod {mode} {quote(name)}" for name in batch
        )
        moved = phone.shell(f"cd {folder} && {moves}")
        if moved.code:
            raise EngineError(
                f"{phone.name}: files cannot be written to {folder} ({moved.last_line}); check its storage"
            )


def _check_program(name: str, answer: Answer, abi: str) -> None:
    """Check a program that was started without arguments: it asks for some, unless the phone cannot run it."""
    if "not executable" in answer.text or "Exec format error" in answer.text:
        raise EngineError(
            f"{name} is not built for this phone, which runs {abi} ({answer.last_line}); build it for that"
        )
    if "CANNOT LINK" in answer.text:
        raise EngineError(f"{name} lacks a library on the phone ({answer.last_line}); add ,library=FILE to the address")
    if answer.code in (126, 127) or answer.code in _CRASH:
        raise EngineError(
            f"{name} does not run on the phone (exit status {answer.code}, {answer.last_line!r}); try it in `adb shell`"
        )


def _checked(tool: PerfTool, model: str, answer: Answer, phone: Phone) -> Reading:
    if answer.code:
        raise EngineError(
            f"{phone.name}: {tool.name} failed on {model} (exit status {answer.code}): {answer.last_line}"
        )
    reading = tool.parse(answer.text)
    if not reading.runs_us:
        raise EngineError(
            f"{phone.name}: {tool.name} printed no times for {model}, its last line was {answer.last_line!r}; is it "
            "another program?"
        )
    times = reading.runs_us if reading.load_us is None else (reading.load_us, *reading.runs_us)
    checked(times, RUNS, f"{phone.name}: the times in us that {tool.name} printed for {model}")
    return reading


def _reported(phone: Phone, state: str, name: str, most: int) -> int | None:
    """The number after `name`, from 0 to `most`; None if the phone does not report it. Raises `EngineError`."""
    found = re.search(rf"{name}(\S*)", state)
    if found is None:
        return None
    if not re.fullmatch("[0-9]{1,3}", found[1]) or int(found[1]) > most:
        raise EngineError(f"{phone.name}: reports '{name}{printable(found[1], 40)}', expected 0 to {most}; {REMEDY}")
    return int(found[1])
