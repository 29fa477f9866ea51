"""The engines that time files on a board; the second of the two files that are sent there (see `board`).

It stands alone: Python 3.8 or newer, numpy and the engine's Python package.
"""

from __future__ import annotations

import base64
import importlib
import json
import os
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any, Callable, Dict

Values = Dict[str, Any]
"""A JSON object: a request, an answer, or a part of one."""


class BoardError(Exception):
    """An error with a one-line message that the other side shows to people."""


class OnnxRuntime:
    """ONNX Runtime, configured as the factory configures it on its own machine."""

    module = "onnxruntime"

    def __init__(self) -> None:
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before the import: its Linux builds send usage data from there on
        self._library = importlib.import_module(self.module)
        if hasattr(self._library, "disable_telemetry_events"):
            self._library.disable_telemetry_events()

    def version(self) -> str:
        """The version of the library."""
        return str(self._library.__version__)

    def load(self, path: Path, threads: int) -> OnnxRuntimeSession:
        """A session of a file. Raises whatever the library raises."""
        return OnnxRuntimeSession(self._library, path, threads)


class OnnxRuntimeSession:
    """One loaded file."""

    def __init__(self, library: Any, path: Path, threads: int) -> None:
        self._library, self._path, self._threads = library, path, threads
        self._session = self._open(self._options())
        (self._input,) = [entry.name for entry in self._session.get_inputs()]

    def run(self, batch: Any) -> Any:
        """The output of one input, `(1, *shape)`."""
        return self._session.run(None, {self._input: batch})[0]

    def peak_memory_bytes(self, batch: Any) -> int | None:
        """Most bytes that the arena had in use during a run; None if the library does not report it."""
        events, _ = self._profiled(batch, 1)
        peaks = [int(e["args"]["mem_in_use_peak"]) for e in events if "mem_in_use_peak" in e.get("args", {})]
        return max(peaks, default=None)

    def profile(self, batch: Any, warm_up: int, runs: int) -> Values | None:
        """The median of runs without the profiler, durations by node from the profiler, and the optimised graph."""
        times = [run_us(self.run, batch) for _ in range(warm_up + runs)]
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
        # otherwise the threads of a session keep spinning after a run, which disturbs whatever is timed next
        options.add_session_config_entry("session.force_spinning_stop", "1")
        return options

    def _open(self, options: Any) -> Any:
        return self._library.InferenceSession(str(self._path), options, providers=["CPUExecutionProvider"])


class Mnn:
    """MNN, configured as the factory configures it on its own machine."""

    module = "MNN"

    def __init__(self) -> None:
        self._library = importlib.import_module(self.module)

    def version(self) -> str:
        """The version of the library."""
        return str(self._library.version())

    def load(self, path: Path, threads: int) -> MnnSession:
        """A session of a file. Raises whatever the library raises."""
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
        """The output of one input, `(1, *shape)`."""
        self._memory[0] = batch[0]
        code = self._interpreter.runSession(self._session)
        if code != 0:
            raise BoardError(f"MNN failed with its error code {code}")
        self._output.copyToHostTensor(self._host)
        return self._numpy.array(self._host.getNumpyData(), dtype=self._numpy.float32)

    def peak_memory_bytes(self, _batch: Any) -> int | None:
        """Bytes in the memory pools of the session, minus the file's size; None if that is not positive."""
        held = round(self._interpreter.getSessionInfo(self._session, 0) * 2**20)
        above = held - self._path.stat().st_size
        return above if above > 0 else None

    def profile(self, _batch: Any, _warm_up: int, _runs: int) -> Values | None:
        """None: MNN does not report the time of its kernels."""
        return None


ENGINES: dict[str, Any] = {"onnxruntime": OnnxRuntime, "mnn": Mnn}
"""The known engines by name."""


def run_us(run: Callable[[Any], object], batch: Any) -> float:
    """Microseconds of one run."""
    start = time.perf_counter_ns()
    run(batch)
    return max(time.perf_counter_ns() - start, 1) / 1e3


def without_weights(model: bytes) -> bytes:
    """An ONNX file whose initializers keep only their names, types and shapes.

    Field numbers are those of `onnx/onnx.proto`: ModelProto.graph is 7, GraphProto.initializer 5; TensorProto.dims is
    1, data_type 2, name 8.
    """
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
    """Number, whole bytes and value of each field of a message.

    The encoding of Protocol Buffers (protobuf.dev/programming-guides/encoding): a key is the field's number times 8
    plus its wire type, which is 0 for a varint, 1 for 8 bytes, 2 for a length and as many bytes, 5 for 4 bytes. A
    varint has 7 bits in each byte, the lowest first, and a set eighth bit in all bytes but the last.
    """
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
    """The value of the varint at `at`, and the index behind it."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        shift, at = shift + 7, at + 1
        if byte < 128:
            return value, at


def _message(number: int, value: bytes) -> bytes:
    """Field `number`, with bytes as its value."""
    return bytes([number << 3 | 2]) + _encoded(len(value)) + value


def _encoded(value: int) -> bytes:
    """A varint."""
    encoded = b""
    while value > 127:
        encoded += bytes([value & 127 | 128])
        value >>= 7
    return encoded + bytes([value])
