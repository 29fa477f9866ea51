"""The board's side of measuring over SSH: this program is sent to a board and run by the board's own Python.

It consists of this file and `board_engines`, and needs nothing else but Python 3.8 or newer, numpy and the engine's
Python package. Requests come as lines of JSON on standard input, answers go as lines of JSON to what was standard
output; whatever else is printed goes to standard error. The key `do` of a request is a name in `REQUESTS`; the last of
its answers has the key `done` or `error`.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import platform
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import OrderedDict, defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Callable, Iterator

# On the board this module is there under the same name: see `ssh_link.start_command`.
from device_profiles.measuring.runners.board_engines import ENGINES, BoardError, Values, run_us

GREETING = b"\nmodel-factory board 1\n"
"""The first line that this program prints. The other side waits for it, since login scripts may print before it."""

IDLE_SECONDS = 900
"""A process that waits longer for the other side ends, because its connection is gone. Within a measurement the other
side takes seconds between two requests."""

LOCK_SECONDS = 5.0
"""How long to wait for another process to release the board: one that is killed ends within this time."""

DISK_RESERVE = 32 * 2**20
"""Bytes that stay free on the board's disk, for its logs and for the engine's temporary files."""

MEMORY_RESERVE = (0.15, 48 * 2**20)
"""Share of the board's memory, and bytes, that stay available, whichever is more: with less Linux starts to evict its
file cache or to kill processes. Loaded files are dropped to keep it, and loaded again when they are visited."""

SMALLEST_COPY = 16 * 2**20
"""Fewest bytes whose copy measures memory: more than the caches of a small board, which are some MiB."""

COPY_SHARE = 8
"""At most one in so many bytes of available memory is copied: a source and a target of that size leave most of it
free."""

KEEP_ALIVE_SECONDS = 1.0
"""Shortest time between two messages that only state that work continues: rare enough not to disturb it, and far more
often than the other side's timeout."""

ARM_CORES = {
    0xC05: "Cortex-A5", 0xC07: "Cortex-A7", 0xC08: "Cortex-A8", 0xC09: "Cortex-A9", 0xC0F: "Cortex-A15",
    0xD03: "Cortex-A53", 0xD04: "Cortex-A35", 0xD05: "Cortex-A55", 0xD07: "Cortex-A57", 0xD08: "Cortex-A72",
    0xD09: "Cortex-A73", 0xD0A: "Cortex-A75", 0xD0B: "Cortex-A76", 0xD0C: "Neoverse-N1", 0xD0D: "Cortex-A77",
    0xD41: "Cortex-A78", 0xD44: "Cortex-X1", 0xD46: "Cortex-A510", 0xD47: "Cortex-A710", 0xD49: "Neoverse-N2",
}  # fmt: skip
"""Names of Arm's cores (implementer 0x41) by the part number in /proc/cpuinfo, as in `lscpu-arm.c` of util-linux."""

BLAS_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS")
"""Variables that limit the threads of the libraries that numpy may be built with."""


class Channel:
    """Requests and answers: lines of JSON, some of them followed by bytes."""

    def __init__(self) -> None:
        self._in = sys.stdin.buffer
        self._out = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)
        self._written = time.monotonic()
        self._write(GREETING)

    def read(self) -> Values | None:
        """The next request; None at the end."""
        with _idle_timeout():
            line = self._in.readline()
        return json.loads(line) if line else None

    def read_bytes(self, count: int) -> bytes:
        """Exactly `count` bytes. Raises `EOFError` if the input ends before."""
        with _idle_timeout():
            data = self._in.read(count)
        if len(data) < count:
            raise EOFError
        return data

    def send(self, **values: Any) -> None:
        """Send one answer to the request that was read last."""
        self._write(json.dumps(values).encode() + b"\n")

    def keep_alive(self) -> None:
        """State that work continues, unless something was sent just before."""
        if time.monotonic() - self._written > KEEP_ALIVE_SECONDS:
            self.send(alive=True)

    def _write(self, data: bytes) -> None:
        with _idle_timeout():
            self._out.write(data)
            self._out.flush()
        self._written = time.monotonic()


@contextmanager
def _idle_timeout() -> Iterator[None]:
    """End the process if the body takes longer than `IDLE_SECONDS`."""
    signal.alarm(IDLE_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)


class Board:
    """Answers the requests: each name in `REQUESTS` is a method."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._lock: Any = None
        self._engine: Any = None
        self._files: list[Values] = []
        self._threads = 1
        self._noise: Any = None
        self._sessions: OrderedDict[int, Any] = OrderedDict()

    def hello(self, engine: str, token: str) -> Values:
        """Reserve this machine for the measurement `token`; facts about it, or the packages that it `lacks`."""
        if not sys.platform.startswith("linux"):
            raise BoardError(f"this is {sys.platform}; only Linux can be measured over SSH")
        self._lock = hold_machine(token)
        kind = ENGINES[engine]
        lacks = [name for name in ("numpy", kind.module) if importlib.util.find_spec(name) is None]
        if lacks:
            return {"lacks": lacks, "python": sys.executable, "venv": sys.prefix != sys.base_prefix}
        try:
            self._engine = kind()
        except Exception as error:  # a wheel for another C library or processor fails in many ways
            raise BoardError(f"{kind.module} is installed but cannot be imported ({_line(error)})") from error
        return {
            "processor": processor(),
            "cores": len(os.sched_getaffinity(0)),
            "ram_bytes": memory("MemTotal"),
            "engine_version": self._engine.version(),
        }

    def missing(self, files: dict[str, int]) -> Values:
        """Which of `files` (SHA-256 to bytes) are not here yet. There is room for them, else `BoardError`."""
        folder = cache_folder()
        missing = [name for name in files if not self._is_whole(folder / name)]
        make_room(folder, sum(files[name] for name in missing), files)
        return {"missing": missing}

    def put(self, sha256: str, size: int) -> Values:
        """Store the `size` bytes that follow the request as a file."""
        digest, path = hashlib.sha256(), cache_folder() / sha256
        partial = path.with_name(f"{sha256}.partial")
        failure = ""
        with partial.open("wb") as stream:
            while size:
                data = self._channel.read_bytes(min(size, 2**20))
                size -= len(data)
                digest.update(data)
                try:
                    stream.write(data)
                    stream.flush()
                except OSError as error:  # the rest is read nevertheless, up to the next request
                    failure = f"{partial}: cannot be written ({error.strerror})"
                self._channel.keep_alive()
        if failure or digest.hexdigest() != sha256:
            partial.unlink()
            raise BoardError(failure or f"the file {sha256} arrived damaged; run the command again")
        partial.replace(path)
        return {}

    def load(self, files: list[Values], threads: int, seed: int, timed: int, loads: int) -> Values:
        """Make the files ready; microseconds of `loads` loads of each of the first `timed` files."""
        import numpy

        self._files, self._threads = files, threads
        self._sessions.clear()
        sizes = [int(numpy.prod(file["shape"])) for file in files]
        self._noise = numpy.random.default_rng(seed).standard_normal(max(sizes), dtype=numpy.float32)
        times = []
        for index in range(len(files)):
            repeats = loads if index < timed else 1
            times.append([self._load(index) for _ in range(repeats)])
            self._channel.keep_alive()
        return {"load_us": times[:timed]}

    def visit(self, order: list[int], seconds: float, repeats: list[int]) -> Values:
        """Run each file of `order` for about `seconds`, within `repeats` runs; an answer for each file."""
        for index in order:
            run, batch = self._session(index).run, self._input(index)
            warm_up = run_us(run, batch)
            count = min(max(int(seconds * 1e6 / warm_up), repeats[0]), repeats[1])
            self._channel.send(file=index, us=[run_us(run, batch) for _ in range(count)])
        return {}

    def run_for(self, file: int, seconds: float) -> Values:
        """Microseconds of each run, for `seconds` without a pause."""
        run, batch = self._session(file).run, self._input(file)
        end = time.perf_counter() + seconds
        times = [run_us(run, batch)]
        while time.perf_counter() < end:
            times.append(run_us(run, batch))
        return {"us": times}

    def peak_memory(self, file: int) -> Values:
        """The peak memory that the session reports."""
        return {"bytes": self._session(file).peak_memory_bytes(self._input(file))}

    def profile(self, file: int, warm_up: int, runs: int) -> Values:
        """The profile that the session reports."""
        return {"profile": self._session(file).profile(self._input(file), warm_up, runs)}

    def peak(self, threads: int, side: int, copied: int, attempts: int) -> Values:
        """Seconds of the fastest matrix product and the fastest copy; only as the first request of a process."""
        if "numpy" in sys.modules or importlib.util.find_spec("numpy") is None:
            return {"reason": "numpy is missing, or was already in use"}
        copied = min(copied, memory("MemAvailable") // COPY_SHARE)
        if copied < SMALLEST_COPY:
            return {"reason": f"memory allows a copy of {copied} bytes only, at least {SMALLEST_COPY} are needed"}
        os.environ.update(dict.fromkeys(BLAS_VARIABLES, str(threads)))
        import numpy

        left, right = numpy.ones((side, side), numpy.float32), numpy.ones((side, side), numpy.float32)
        product = numpy.empty((side, side), numpy.float32)
        multiply = self._best(lambda: numpy.matmul(left, right, out=product), attempts)
        source = numpy.ones(copied // 4, numpy.float32)
        parts = list(zip(numpy.array_split(source, threads), numpy.array_split(numpy.empty_like(source), threads)))
        with ThreadPoolExecutor(threads) as pool:
            copy = self._best(lambda: list(pool.map(lambda part: numpy.copyto(part[1], part[0]), parts)), attempts)
        return {"multiply": multiply, "copy": copy, "copied": source.nbytes}

    def _best(self, work: Callable[[], object], attempts: int) -> float:
        times = []
        for _ in range(attempts):
            start = time.perf_counter()
            work()
            times.append(time.perf_counter() - start)
            self._channel.keep_alive()
        return min(times)

    def _is_whole(self, path: Path) -> bool:
        self._channel.keep_alive()
        return path.is_file() and sha256_file(path) == path.name

    def _input(self, index: int) -> Any:
        """All inputs are prefixes of one sequence, as separate generators with the same seed would give them."""
        shape = self._files[index]["shape"]
        count = 1
        for size in shape:
            count *= size
        return self._noise[:count].reshape(1, *shape)

    def _session(self, index: int) -> Any:
        if index not in self._sessions:
            self._load(index)
            self._sessions[index].run(self._input(index))  # the first run of a session allocates
        self._sessions.move_to_end(index)
        return self._sessions[index]

    def _load(self, index: int) -> float:
        """Load a file, and drop others if memory is short; the microseconds that loading took."""
        floor = max(MEMORY_RESERVE[0] * memory("MemTotal"), MEMORY_RESERVE[1])
        while self._sessions and memory("MemAvailable") < floor:
            self._sessions.popitem(last=False)
        file = self._files[index]
        path = cache_folder() / file["sha256"]
        start = time.perf_counter()
        try:
            session = self._engine.load(path, self._threads)
        except Exception as error:  # engines have error types of their own
            raise BoardError(f"{file['name']}: the engine refuses the file ({_line(error)})") from error
        passed = (time.perf_counter() - start) * 1e6
        self._sessions[index] = session
        return passed


def processor(proc: Path = Path("/proc")) -> str:
    """The name of the board, if it has one, and of its processor."""
    fields: Any = defaultdict(list)
    for line in _text(proc / "cpuinfo").splitlines():
        key, _, value = line.partition(":")
        fields[key.strip()].append(value.strip())
    parts = fields["CPU part"] if "0x41" in fields["CPU implementer"] else []
    arm = [ARM_CORES.get(int(part, 16), f"ARM {part}") for part in parts if re.fullmatch("0x[0-9a-fA-F]{1,8}", part)]
    cores = " + ".join(f"{arm.count(name)} x {name}" for name in dict.fromkeys(arm))
    board = _text(proc / "device-tree" / "model").strip("\0 \n")
    if board:
        return f"{board} ({cores})" if cores else board
    names = [name for name in fields["model name"] if name and not name.startswith("ARM")]
    return next(iter(names), "") or cores or platform.processor() or platform.machine()


def memory(name: str, proc: Path = Path("/proc")) -> int:
    """Bytes of an entry of /proc/meminfo."""
    entries = dict(re.findall(r"^(\w+):\s*([0-9]{1,15}) kB$", _text(proc / "meminfo"), re.MULTILINE))
    if name == "MemAvailable" and name not in entries:  # kernels before 3.14
        name = "MemFree"
    if name not in entries:
        raise BoardError(f"/proc/meminfo has no entry {name}; only Linux with a complete /proc can be measured")
    return int(entries[name]) * 1024


def cache_folder() -> Path:
    """The folder in which files are kept between connections."""
    caches = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    mine = f"model-factory-{os.getuid()}"
    for folder in (Path(caches) / "model-factory", Path(tempfile.gettempdir()) / mine):
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(str(folder), os.W_OK) and folder.stat().st_uid == os.getuid():
            return folder
    raise BoardError(
        f"no folder can keep files: neither {caches} nor {tempfile.gettempdir()} can be written; set XDG_CACHE_HOME "
        "there to one that can"
    )


def make_room(folder: Path, size: int, wanted: dict[str, int]) -> None:
    """Delete files of earlier measurements, oldest first, while the disk is too full for `size` bytes.

    Raises:
        BoardError: There is not enough space even then.
    """
    old = sorted((path for path in folder.iterdir() if path.name not in wanted), key=lambda path: path.stat().st_mtime)
    while old and shutil.disk_usage(str(folder)).free < size + DISK_RESERVE:
        old.pop(0).unlink()
    free = shutil.disk_usage(str(folder)).free
    if free < size + DISK_RESERVE:
        raise BoardError(
            f"{folder}: {size / 1e6:.0f} MB have to be copied there and {DISK_RESERVE / 1e6:.0f} MB to stay free, but "
            f"only {free / 1e6:.0f} MB are free; free some space, or set XDG_CACHE_HOME there to a larger disk"
        )


def hold_machine(token: str) -> Any:
    """A lock that lasts as long as this process: two measurements at once would disturb each other.

    A process with the same `token` is left over from a lost connection of this measurement, and is ended.

    Raises:
        BoardError: Another measurement holds the lock.
    """
    import fcntl

    path = Path(tempfile.gettempdir()) / f"model-factory-{os.getuid()}.lock"
    lock = os.fdopen(os.open(str(path), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "r+")
    end = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError as error:
            lock.seek(0)
            pid, _, holder = lock.read().partition(" ")
            if holder == token:
                _end(int(pid))
            if time.monotonic() > end:
                lock.close()
                raise BoardError(
                    f"it is already being measured, by process {pid}; wait, or run there: kill {pid}"
                ) from error
            time.sleep(0.1)
    lock.seek(0)
    lock.truncate()
    lock.write(f"{os.getpid()} {token}")
    lock.flush()
    return lock


def _end(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def sha256_file(path: Path) -> str:
    """The SHA-256 of a file in lower-case hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for data in iter(lambda: stream.read(2**20), b""):
            digest.update(data)
    return digest.hexdigest()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


REQUESTS = ("hello", "missing", "put", "load", "visit", "run_for", "peak_memory", "profile", "peak")


def serve(channel: Channel) -> None:
    """Answer requests until the other side is gone."""
    board = Board(channel)
    while True:
        request = channel.read()
        if request is None:
            return
        try:
            name = request.pop("do")
            if name not in REQUESTS:
                raise BoardError(f"the request {name!r} is unknown; known are {', '.join(REQUESTS)}")
            channel.send(done=getattr(board, name)(**request))
        except (BrokenPipeError, EOFError):
            return
        except BoardError as error:
            channel.send(error=str(error))
        except Exception as error:
            channel.send(error=f"{type(error).__name__}: {_line(error)}")


if __name__ == "__main__":
    serve(Channel())
