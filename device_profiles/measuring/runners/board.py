"""The board's side of measuring over SSH: this file is sent to a board and run by the board's own Python.

It stands alone: Python 3.8 or newer, numpy and the engine's Python package. Requests come as lines of JSON on standard
input, answers go as lines of JSON to what was standard output; whatever else is printed goes to standard error. A
request says what to `do`, a name in `REQUESTS`; the last of its answers has `done` or `error`.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import importlib.util
import json
import os
import platform
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections import OrderedDict, defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Callable, Dict, Iterator

Values = Dict[str, Any]

GREETING = b"\nmodel-factory board 1\n"
"""What the other side waits for: login scripts may print before it."""

IDLE_SECONDS = 900
"""A process that waits longer for the other side ends: its connection is gone."""

LOCK_SECONDS = 5.0
"""How long another process may take to end before it counts as busy."""

DISK_RESERVE = 32 * 2**20
"""Bytes that stay free on the board's disk."""

MEMORY_RESERVE = (0.15, 48 * 2**20)
"""Share of the board's memory, and bytes, that stay available: loaded files are dropped for it, and loaded again."""

SMALLEST_COPY = 16 * 2**20
"""Bytes that no cache of a small board holds."""

ALIVE_SECONDS = 1.0

ARM_CORES = {
    0xC05: "Cortex-A5", 0xC07: "Cortex-A7", 0xC08: "Cortex-A8", 0xC09: "Cortex-A9", 0xC0F: "Cortex-A15",
    0xD03: "Cortex-A53", 0xD04: "Cortex-A35", 0xD05: "Cortex-A55", 0xD07: "Cortex-A57", 0xD08: "Cortex-A72",
    0xD09: "Cortex-A73", 0xD0A: "Cortex-A75", 0xD0B: "Cortex-A76", 0xD0C: "Neoverse-N1", 0xD0D: "Cortex-A77",
    0xD41: "Cortex-A78", 0xD44: "Cortex-X1", 0xD46: "Cortex-A510", 0xD47: "Cortex-A710", 0xD49: "Neoverse-N2",
}  # fmt: skip
"""By the part number in /proc/cpuinfo, where the implementer is 0x41."""

BLAS_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS")


class BoardError(Exception):
    """What the other side is told in one line."""


class Channel:
    """Lines of JSON, and bytes that follow some of them."""

    def __init__(self) -> None:
        self._in = sys.stdin.buffer
        self._out = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)
        self._said = time.monotonic()
        self._write(GREETING)

    def read(self) -> Values | None:
        """The next request; None at the end."""
        with _patience():
            line = self._in.readline()
        return json.loads(line) if line else None

    def read_bytes(self, count: int) -> bytes:
        """Exactly so many. Raises `EOFError`."""
        with _patience():
            data = self._in.read(count)
        if len(data) < count:
            raise EOFError
        return data

    def send(self, **values: Any) -> None:
        """One answer to the request that was read last."""
        self._write(json.dumps(values).encode() + b"\n")

    def alive(self) -> None:
        """Tell that work goes on, once in a while."""
        if time.monotonic() - self._said > ALIVE_SECONDS:
            self.send(alive=True)

    def _write(self, data: bytes) -> None:
        with _patience():
            self._out.write(data)
            self._out.flush()
        self._said = time.monotonic()


@contextmanager
def _patience() -> Iterator[None]:
    """The process ends where this takes too long."""
    signal.alarm(IDLE_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)


class OnnxRuntime:
    """Files of ONNX Runtime, set up as the factory sets it up on its own machine."""

    module = "onnxruntime"

    def __init__(self) -> None:
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before the import: its Linux builds send usage data from there on
        self._library = importlib.import_module(self.module)
        if hasattr(self._library, "disable_telemetry_events"):
            self._library.disable_telemetry_events()

    def version(self) -> str:
        """Of the library."""
        return str(self._library.__version__)

    def load(self, path: Path, threads: int) -> OnnxRuntimeSession:
        """A session. Raises whatever the library raises."""
        return OnnxRuntimeSession(self._library, path, threads)


class OnnxRuntimeSession:
    """One loaded file."""

    def __init__(self, library: Any, path: Path, threads: int) -> None:
        self._library, self._path, self._threads = library, path, threads
        self._session = self._open(self._options())
        (self._input,) = [entry.name for entry in self._session.get_inputs()]

    def run(self, batch: Any) -> Any:
        """One input."""
        return self._session.run(None, {self._input: batch})[0]

    def peak_memory_bytes(self, batch: Any) -> int | None:
        """Most bytes that the arena had in use in a run; None where the library does not tell."""
        events, _ = self._profiled(batch, 1)
        peaks = [int(e["args"]["mem_in_use_peak"]) for e in events if "mem_in_use_peak" in e.get("args", {})]
        return max(peaks, default=None)

    def profile(self, batch: Any, warm_up: int, runs: int) -> Values | None:
        """The median of runs without the profiler, what the profiler noted, and the graph as it was optimised."""
        times = [_run_us(self.run, batch) for _ in range(warm_up + runs)]
        events, graph = self._profiled(batch, warm_up + runs)
        durations: Any = defaultdict(list)
        for event in events:
            if event["cat"] == "Node":
                durations[event["name"]].append(event["dur"])
        return {
            "run_us": statistics.median(times[warm_up:]),
            "durations": durations,
            "graph": base64.b64encode(without_weights(graph)).decode(),
        }

    def _profiled(self, batch: Any, runs: int) -> Any:
        with tempfile.TemporaryDirectory() as folder:
            options = self._options()
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(folder) / "profile")
            options.optimized_model_filepath = str(Path(folder) / "optimised.onnx")
            session = self._open(options)
            for _ in range(runs):
                session.run(None, {self._input: batch})
            events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
            return events, Path(options.optimized_model_filepath).read_bytes()

    def _options(self) -> Any:
        options = self._library.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.execution_mode = self._library.ExecutionMode.ORT_SEQUENTIAL
        options.use_deterministic_compute = True
        options.log_severity_level = 4
        # else the threads of a session spin on after a run, and disturb whatever is timed next
        options.add_session_config_entry("session.force_spinning_stop", "1")
        return options

    def _open(self, options: Any) -> Any:
        return self._library.InferenceSession(str(self._path), options, providers=["CPUExecutionProvider"])


class Mnn:
    """Files of MNN, set up as the factory sets it up on its own machine."""

    module = "MNN"

    def __init__(self) -> None:
        self._library = importlib.import_module(self.module)

    def version(self) -> str:
        """Of the library."""
        return str(self._library.version())

    def load(self, path: Path, threads: int) -> MnnSession:
        """A session. Raises whatever the library raises."""
        return MnnSession(self._library, path, threads)


class MnnSession:
    """One loaded file."""

    def __init__(self, library: Any, path: Path, threads: int) -> None:
        import numpy

        self._numpy, self._path = numpy, path
        self._interpreter = library.Interpreter(str(path))
        settings = {"numThread": threads, "backend": "CPU", "precision": "normal"}
        self._session = self._interpreter.createSession(settings)
        given = self._interpreter.getSessionInput(self._session)
        self._output = self._interpreter.getSessionOutput(self._session)
        shape = self._output.getShape()
        kind, layout = library.Halide_Type_Float, library.Tensor_DimensionType_Caffe
        self._host = library.Tensor(shape, kind, numpy.zeros(shape, numpy.float32), layout)
        self._memory = given.getNumpyData()

    def run(self, batch: Any) -> Any:
        """One input."""
        self._memory[0] = batch[0]
        code = self._interpreter.runSession(self._session)
        if code != 0:
            raise BoardError(f"MNN failed with its error code {code}")
        self._output.copyToHostTensor(self._host)
        return self._numpy.array(self._host.getNumpyData(), dtype=self._numpy.float32)

    def peak_memory_bytes(self, _batch: Any) -> int | None:
        """What the pools of the session hold, less the file's size; None where they hold less."""
        held = round(self._interpreter.getSessionInfo(self._session, 0) * 2**20)
        above = held - self._path.stat().st_size
        return above if above > 0 else None

    def profile(self, _batch: Any, _warm_up: int, _runs: int) -> Values | None:
        """None: it does not tell."""
        return None


ENGINES: dict[str, Any] = {"onnxruntime": OnnxRuntime, "mnn": Mnn}


class Board:
    """Answers the requests."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._lock: Any = None
        self._engine: Any = None
        self._files: list[Values] = []
        self._threads = 1
        self._noise: Any = None
        self._sessions: OrderedDict[int, Any] = OrderedDict()

    def hello(self, engine: str, token: str) -> Values:
        """What this machine is; what it lacks is named in `lacks`."""
        if not sys.platform.startswith("linux"):
            raise BoardError(f"this is {sys.platform}, only Linux is measured over SSH")
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
        """Which of the files, SHA-256 to bytes, are not here yet; there is room for them."""
        folder = cache_folder()
        missing = [name for name in files if not self._is_whole(folder / name)]
        make_room(folder, sum(files[name] for name in missing), files)
        return {"missing": missing}

    def put(self, sha256: str, size: int) -> Values:
        """Take the bytes that follow as a file."""
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
                except OSError as error:  # what follows is read all the same, up to the next request
                    failure = f"{partial}: cannot be written ({error.strerror})"
                self._channel.alive()
        if failure or digest.hexdigest() != sha256:
            partial.unlink()
            raise BoardError(failure or "a file arrived damaged")
        partial.replace(path)
        return {}

    def load(self, files: list[Values], threads: int, seed: int, timed: int, loads: int) -> Values:
        """Make the files ready; microseconds of `loads` loads of each of the first `timed`."""
        import numpy

        self._files, self._threads = files, threads
        self._sessions.clear()
        sizes = [int(numpy.prod(file["shape"])) for file in files]
        self._noise = numpy.random.default_rng(seed).standard_normal(max(sizes), dtype=numpy.float32)
        times = []
        for index in range(len(files)):
            again = loads if index < timed else 1
            times.append([self._load(index) for _ in range(again)])
            self._channel.alive()
        return {"load_us": times[:timed]}

    def visit(self, order: list[int], seconds: float, repeats: list[int]) -> Values:
        """Run each file of `order` some times in a row; an answer for each."""
        for index in order:
            run, batch = self._session(index).run, self._input(index)
            warm_up = _run_us(run, batch)
            count = min(max(int(seconds * 1e6 / warm_up), repeats[0]), repeats[1])
            self._channel.send(file=index, us=[_run_us(run, batch) for _ in range(count)])
        return {}

    def run_for(self, file: int, seconds: float) -> Values:
        """Microseconds of runs without a pause."""
        run, batch = self._session(file).run, self._input(file)
        end = time.perf_counter() + seconds
        times = [_run_us(run, batch)]
        while time.perf_counter() < end:
            times.append(_run_us(run, batch))
        return {"us": times}

    def peak_memory(self, file: int) -> Values:
        """As the session tells it."""
        return {"bytes": self._session(file).peak_memory_bytes(self._input(file))}

    def profile(self, file: int, warm_up: int, runs: int) -> Values:
        """As the session tells it."""
        return {"profile": self._session(file).profile(self._input(file), warm_up, runs)}

    def peak(self, threads: int, side: int, copied: int, tries: int) -> Values:
        """Seconds of the best matrix product and the best copy; only as the first request of a process."""
        if "numpy" in sys.modules or importlib.util.find_spec("numpy") is None:
            return {"reason": "numpy is missing, or was already in use"}
        copied = min(copied, memory("MemAvailable") // 8)
        if copied < SMALLEST_COPY:
            return {"reason": f"{copied} bytes are too few to copy, more memory is not available"}
        os.environ.update(dict.fromkeys(BLAS_VARIABLES, str(threads)))
        import numpy

        left, right = numpy.ones((side, side), numpy.float32), numpy.ones((side, side), numpy.float32)
        product = numpy.empty((side, side), numpy.float32)
        multiply = self._best(lambda: numpy.matmul(left, right, out=product), tries)
        source = numpy.ones(copied // 4, numpy.float32)
        parts = list(zip(numpy.array_split(source, threads), numpy.array_split(numpy.empty_like(source), threads)))
        with ThreadPoolExecutor(threads) as pool:
            copy = self._best(lambda: list(pool.map(lambda part: numpy.copyto(part[1], part[0]), parts)), tries)
        return {"multiply": multiply, "copy": copy, "copied": source.nbytes}

    def _best(self, work: Callable[[], object], tries: int) -> float:
        times = []
        for _ in range(tries):
            start = time.perf_counter()
            work()
            times.append(time.perf_counter() - start)
            self._channel.alive()
        return min(times)

    def _is_whole(self, path: Path) -> bool:
        self._channel.alive()
        return path.is_file() and sha256_file(path) == path.name

    def _input(self, index: int) -> Any:
        """All inputs are the beginning of the same numbers, as generators with the same seed would give them."""
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
        """Microseconds that it took."""
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


def _run_us(run: Callable[[Any], object], batch: Any) -> float:
    start = time.perf_counter_ns()
    run(batch)
    return max(time.perf_counter_ns() - start, 1) / 1e3


def processor(proc: Path = Path("/proc")) -> str:
    """The name of the board, where it has one, and of its processor."""
    fields: Any = defaultdict(list)
    for line in _text(proc / "cpuinfo").splitlines():
        key, _, value = line.partition(":")
        fields[key.strip()].append(value.strip())
    parts = fields["CPU part"] if "0x41" in fields["CPU implementer"] else []
    arm = [ARM_CORES.get(int(part, 16), f"ARM {part}") for part in parts]
    cores = " + ".join(f"{arm.count(name)} x {name}" for name in dict.fromkeys(arm))
    board = _text(proc / "device-tree" / "model").strip("\0 \n")
    if board:
        return f"{board} ({cores})" if cores else board
    names = [name for name in fields["model name"] if name and not name.startswith("ARM")]
    return next(iter(names), "") or cores or platform.processor() or platform.machine()


def memory(name: str) -> int:
    """Bytes of an entry of /proc/meminfo."""
    entries = {line.partition(":")[0]: line.split()[1] for line in _text(Path("/proc/meminfo")).splitlines()}
    if name == "MemAvailable" and name not in entries:  # kernels before 3.14
        name = "MemFree"
    if name not in entries:
        raise BoardError(f"/proc/meminfo tells no {name}")
    return int(entries[name]) * 1024


def cache_folder() -> Path:
    """Where files stay between connections."""
    caches = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    mine = f"model-factory-{os.getuid()}"
    for folder in (Path(caches) / "model-factory", Path(tempfile.gettempdir()) / mine):
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(str(folder), os.W_OK) and folder.stat().st_uid == os.getuid():
            return folder
    raise BoardError(f"no folder to keep files in: neither {caches} nor {tempfile.gettempdir()} can be written")


def make_room(folder: Path, size: int, wanted: dict[str, int]) -> None:
    """Delete files of earlier measurements where the disk is too full. Raises `BoardError` where that is not enough."""
    old = sorted((path for path in folder.iterdir() if path.name not in wanted), key=lambda path: path.stat().st_mtime)
    while old and shutil.disk_usage(str(folder)).free < size + DISK_RESERVE:
        old.pop(0).unlink()
    free = shutil.disk_usage(str(folder)).free
    if free < size + DISK_RESERVE:
        raise BoardError(
            f"{folder}: {size / 1e6:.0f} MB are to be copied there and {DISK_RESERVE / 1e6:.0f} MB stay free, but only "
            f"{free / 1e6:.0f} MB are; free some space, or set XDG_CACHE_HOME there to a larger disk"
        )


def hold_machine(token: str) -> Any:
    """One measurement at a time: two would time each other. A process of the same `token` is what a lost connection
    left behind, and is ended. Raises `BoardError`."""
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
                raise BoardError(
                    f"it is being measured already, by process {pid}; wait, or run there: kill {pid}"
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


def without_weights(model: bytes) -> bytes:
    """An ONNX file whose initializers keep their names and shapes alone."""
    return b"".join(
        _message(7, _graph_without_weights(value)) if number == 7 else whole for number, whole, value in _fields(model)
    )


def _graph_without_weights(graph: bytes) -> bytes:
    light = []
    for number, whole, value in _fields(graph):
        kept = (part for field, part, _ in _fields(value) if field in (1, 2, 8)) if number == 5 else ()
        light.append(_message(5, b"".join(kept)) if number == 5 else whole)
    return b"".join(light)


def _fields(data: bytes) -> Any:
    """Number, whole bytes and value of each field of a message; the encoding of Protocol Buffers."""
    at = 0
    while at < len(data):
        start = at
        key, at = _varint(data, at)
        kind = key & 7
        if kind == 0:
            value, (_, end) = at, _varint(data, at)
        elif kind == 2:
            size, value = _varint(data, at)
            end = value + size
        else:
            value, end = at, at + (8 if kind == 1 else 4)
        yield key >> 3, data[start:end], data[value:end]
        at = end


def _varint(data: bytes, at: int) -> Any:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        shift, at = shift + 7, at + 1
        if byte < 128:
            return value, at


def _message(number: int, value: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _encoded(len(value)) + value


def _encoded(value: int) -> bytes:
    encoded = b""
    while value > 127:
        encoded += bytes([value & 127 | 128])
        value >>= 7
    return encoded + bytes([value])


def sha256_file(path: Path) -> str:
    """Lower-case hex."""
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
    """Answer until the other side is gone."""
    board = Board(channel)
    while True:
        request = channel.read()
        if request is None:
            return
        try:
            name = request.pop("do")
            if name not in REQUESTS:
                raise BoardError(f"the request {name!r} is unknown")
            channel.send(done=getattr(board, name)(**request))
        except (BrokenPipeError, EOFError):
            return
        except BoardError as error:
            channel.send(error=str(error))
        except Exception as error:
            channel.send(error=f"{type(error).__name__}: {_line(error)}")


if __name__ == "__main__":
    serve(Channel())
