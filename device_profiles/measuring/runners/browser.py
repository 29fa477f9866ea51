"""Timing in a browser on any device: a page runs the files in ONNX Runtime Web and returns its measured times."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from device_profiles.engine import Engine
from device_profiles.measuring.runner import LOADS, Machine, TimedFile, refuse_tokens
from device_profiles.measuring.runners.page_coordinator import (
    OUTPUT_NUMBERS,
    JobKind,
    PageCoordinator,
    PageFailure,
    Result,
    Timeouts,
)
from device_profiles.measuring.runners.page_facts import PageFacts
from device_profiles.measuring.runners.page_server import OpenedFiles, PageServer, ServedFiles
from device_profiles.measuring.timing import REPEATS, VISIT_SECONDS
from device_profiles.profile_costs import MachinePeak
from device_profiles.workload.operators import KernelKind
from factory_base.documents import nearest
from factory_base.errors import ConfigError, EngineError
from factory_base.foreign import printable
from factory_base.terminal import print_note

ENGINE_FILES: Final = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
"""Files that a page needs from the folder `dist` of the package `onnxruntime-web`."""

DEFAULT_PORT: Final = 8765
"""A fixed port, so that `adb reverse` can be typed once; ports above 1023 need no privilege."""

TIMER_STEPS: Final = 40
"""Whatever is timed lasts at least so many steps of the page's timer, so that a step is at most 2.5 % of it."""

REPORT_SECONDS: Final = 0.3
"""Interval at which a page reports its results: what it measured in this time is lost if it disappears, and a request,
which takes some ms, does not slow the measurement down."""

_KEPT_SHARE: Final = 1 / 32
"""Share of the machine's RAM: total size of the model files that the page keeps loaded. In memory a file takes two or
three times its size, so that the page stays below a tenth of the RAM."""

_KEPT_LIMIT_BYTES: Final = 256 * 2**20
"""Limit of the same total: WebAssembly can address 4 GiB, and browsers on phones stop pages that take far less."""

_OPTIONS: Final = ("port=", "lan", "host=")

_HOST: Final = re.compile(r"[A-Za-z0-9._-]{1,253}")


@dataclass(frozen=True, slots=True, kw_only=True)
class BrowserAddress:
    """The folder of the engine's files, and the machines that may open the page.

    Attributes:
        folder: The folder `onnxruntime-web/dist`.
        port: Port to serve on; 0 is any free one.
        lan: Whether other machines in the network may open the page.
        hosts: Names by which the page may be opened, for example that of an https server that passes requests on.
    """

    folder: Path
    port: int = DEFAULT_PORT
    lan: bool = False
    hosts: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> BrowserAddress:
        """Read `DIST[,port=NUMBER][,lan][,host=NAME]`, where `host=` may be repeated. Raises `ConfigError`."""
        folder, *options = text.split(",")
        if not folder:
            raise ConfigError(
                "'browser:' lacks the folder of ONNX Runtime Web; run 'npm install onnxruntime-web' and write "
                "--on browser:node_modules/onnxruntime-web/dist"
            )
        port, hosts = DEFAULT_PORT, []
        for option in options:
            if option.startswith("port="):
                port = _port(option.removeprefix("port="))
            elif option.startswith("host="):
                hosts.append(_host(option.removeprefix("host=")))
            elif option != "lan":
                form = "browser:DIST[,port=NUMBER][,lan][,host=NAME]"
                raise ConfigError(f"{option!r} is not an option of '{form}'; {_hint(option)}")
        return cls(folder=Path(folder), port=port, lan="lan" in options, hosts=tuple(hosts))

    def engine_files(self) -> dict[str, Path]:
        """The engine's files by name. Raises `ConfigError` if one is missing."""
        missing = [name for name in ENGINE_FILES if not (self.folder / name).is_file()]
        if missing:
            raise ConfigError(
                f"{self.folder}: is not the folder 'dist' of onnxruntime-web ({', '.join(missing)} missing); run "
                "'npm install onnxruntime-web' and name its folder node_modules/onnxruntime-web/dist"
            )
        return {name: self.folder / name for name in ENGINE_FILES}


class BrowserRunner:
    """A page in any browser that can reach this machine. Implements `Runner` and `ShowsProgress`.

    Load times are from the bytes of a file to a session that is ready; they do not include fetching the file. Runs that
    are too short for the page's timer are timed several at once, and their mean counts as one run. The page discards
    what it measured while it was hidden, and measures it again.

    Args:
        address: The engine's files and the server's port.
        engine: Engine of the files that are measured.
        timeouts: How long to wait for the page.
        kept_bytes: Total size of the model files that the page keeps loaded; None derives it from the RAM that the page
            reports.
        notify: Called with lines that people should read: the address to open, and which browser opened it.

    Raises:
        ConfigError: The folder is not that of ONNX Runtime Web.
        EngineError: Files of this engine do not run in a page, or the port cannot be used.
    """

    def __init__(
        self,
        address: BrowserAddress,
        engine: Engine,
        *,
        timeouts: Timeouts | None = None,
        kept_bytes: int | None = None,
        notify: Callable[[str], None] | None = None,
    ) -> None:
        if engine.name != "onnxruntime":
            raise EngineError(f"a page runs files of engine 'onnxruntime', not of {engine.name!r}; leave --engine out")
        self._notify = notify or print_note
        self._kept_bytes = kept_bytes
        self._served = ServedFiles(engine=address.engine_files())
        self._coordinator = PageCoordinator(timeouts or Timeouts(), self._notify)
        host = "0.0.0.0" if address.lan else "127.0.0.1"
        self._server = PageServer(self._coordinator, self._served, host, address.port, address.hosts)
        self._lan = address.lan
        self._facts: PageFacts | None = None
        self._inputs: list[dict[str, object]] = []
        self._threads = 1
        self._outputs: dict[int, NDArray[np.float64]] = {}
        self._done = (0, 0)
        self._began: tuple[float, int, int] | None = None

    @property
    def url(self) -> str:
        """Address to open in the browser."""
        return self._server.url

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Show in the page how the measurement ended, and stop serving."""
        text = "Everything is measured." if kind is None else "The command has ended; see its output."
        self._coordinator.finish(text)
        self._server.close()

    def show(self, done: int, total: int, detail: str = "") -> None:
        """A `Progress` of the whole measurement, which the page shows."""
        self._done = done, total
        self._show_progress(0.0, detail)

    def machine(self) -> Machine:
        """See the protocol. The first call waits for a page."""
        if self._facts is None:
            self._facts = self._wait_for_page()
        return self._facts.machine()

    def open(self, files: Sequence[TimedFile], timed: int, threads: int, seed: int) -> NDArray[np.float64]:
        """See the protocol. Only files whose load time is measured are loaded here, others when they are visited."""
        refuse_tokens(files)
        facts = self._facts = self._wait_for_page()
        if threads > 1 and not facts.isolated:
            raise EngineError(
                f"{threads} threads need a page that is isolated, which requires the address 127.0.0.1 or https; on a "
                f"phone: adb reverse tcp:{self._server.port} tcp:{self._server.port}, and open 127.0.0.1 there"
            )
        self._threads, self._began = threads, None
        shapes = list(dict.fromkeys(file.input_shape for file in files))
        self._inputs = [
            {"number": shapes.index(shape), "shape": [1, *shape]} for shape in (f.input_shape for f in files)
        ]
        inputs = (np.random.default_rng(seed).standard_normal(shape, dtype="<f4").tobytes() for shape in shapes)
        self._served.opened = OpenedFiles(
            number=self._served.opened.number + 1, models=tuple(file.path for file in files), inputs=tuple(inputs)
        )
        times = np.empty(timed)
        content = self._content() | {"loads": LOADS, "output_numbers": OUTPUT_NUMBERS}
        for count, result in enumerate(self._run_job("load", range(timed), content), start=1):
            self._show_progress(0.0, f"loading, {count} of {timed} files")
            times[result.file] = np.median(result.times_us)
            self._outputs[result.file] = np.array(result.output, dtype=np.float64)
        return times

    def output(self, file: int) -> NDArray[np.float64]:
        """The first `OUTPUT_NUMBERS` numbers, or fewer, that the page computed from a timed file in `open`."""
        return self._outputs[file]

    def visit(self, order: Sequence[int]) -> Iterator[tuple[int, list[float]]]:
        """See the protocol."""
        self._began = self._began or (time.monotonic(), *self._done)
        for count, result in enumerate(self._run_job("visit", order, self._content()), start=1):
            self._show_progress(count / len(order), f"{count} of {len(order)} files in this round")
            yield result.file, list(result.times_us)

    def run_for(self, file: int, seconds: float) -> NDArray[np.float64]:
        """See the protocol. The page pauses briefly every 100 ms, to notice whether it is hidden."""
        (result,) = self._run_job("sustain", [file], self._content() | {"seconds": seconds})
        return np.array(result.times_us)

    def peak_memory_bytes(self, file: int) -> int | None:
        """None: a page cannot measure it."""
        del file
        return None

    def kernel_latency_us(self, file: int) -> Mapping[KernelKind, float] | None:
        """None: a page cannot measure it."""
        del file
        return None

    def peak(self, threads: int) -> MachinePeak | None:
        """None: a page cannot measure it."""
        del threads
        return None

    def _run_job(self, kind: JobKind, files: Sequence[int], content: Mapping[str, object]) -> Iterator[Result]:
        try:
            yield from self._coordinator.run_job(kind, files, content)
        except PageFailure as failure:
            name = self._served.opened.models[failure.file].name
            message = printable(failure.message)
            raise EngineError(f"{name}: ONNX Runtime Web cannot run the file ({message})") from failure

    def _wait_for_page(self) -> PageFacts:
        if not self._coordinator.has_page():
            self._notify(f"waiting for a browser: open {self.url}")
            if self._lan:
                self._notify(
                    "warning: everyone in the network who knows this address can fetch the models and send results; "
                    "the connection is not encrypted"
                )
        return self._coordinator.wait_for_page()

    def _content(self) -> dict[str, object]:
        ram = self.machine().ram_bytes
        kept = min(int(ram * _KEPT_SHARE), _KEPT_LIMIT_BYTES) if self._kept_bytes is None else self._kept_bytes
        return {
            "opened": self._served.opened.number,
            "threads": self._threads,
            "kept_bytes": kept,
            "inputs": self._inputs,
            "visit_us": VISIT_SECONDS * 1e6,
            "repeats": REPEATS,
            "timer_steps": TIMER_STEPS,
            "report_ms": REPORT_SECONDS * 1e3,
        }

    def _show_progress(self, part: float, detail: str) -> None:
        """Let the page show `part` of a unit beyond the finished ones, and during rounds the time that is left."""
        done, total = self._done
        left = None
        if self._began is not None and self._began[2] == total:
            since, first, _ = self._began
            units, rest = done + part - first, total - 1 - done - part
            left = (time.monotonic() - since) * rest / units if units > 0 and rest > 0 else None
        self._coordinator.show_progress(share=(done + part) / total if total else 0.0, detail=detail, left_s=left)


def browser_runner(address: str, engine: Engine) -> BrowserRunner:
    """The runner for `DIST[,port=NUMBER][,lan][,host=NAME]`. Raises as `BrowserAddress` and `BrowserRunner`."""
    return BrowserRunner(BrowserAddress.parse(address), engine)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise ConfigError(f"'port={text}' is not a port; choose 1024 to 65535, or 0 for any free one")
    return int(text)


def _host(text: str) -> str:
    if not _HOST.fullmatch(text):
        raise ConfigError(f"'host={text}' is not the name of a machine; write one such as host=phone-lab.example")
    return text


def _hint(option: str) -> str:
    hint = nearest(option.partition("=")[0], [name.removesuffix("=") for name in _OPTIONS])
    return f"{hint} (a folder whose name has a comma cannot be given)"
