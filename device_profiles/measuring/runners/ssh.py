"""Timing files on a board that SSH reaches, by a program that is sent there and needs nothing of the factory."""

from __future__ import annotations

import base64
import logging
import re
import secrets
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from device_profiles.measuring import host_peak, timing
from device_profiles.measuring.kernel_times import PROFILED_RUNS, WARM_UP_RUNS, kernel_latency_us
from device_profiles.measuring.reported import REMEDY
from device_profiles.measuring.runner import LOADS, Machine, TimedFile, refuse_tokens
from device_profiles.measuring.runners.board_engines import ENGINES
from device_profiles.measuring.runners.board_messages import (
    HELLO,
    LOADED,
    MISSING,
    PEAK,
    PEAK_MEMORY,
    PROFILED,
    RAN,
    VISITED,
    KernelProfile,
    Lacks,
    NoPeak,
)
from device_profiles.measuring.runners.ssh_link import OLDEST_PYTHON, TOO_OLD, Link, LinkLostError, start_command
from device_profiles.profile_costs import MachinePeak
from device_profiles.workload.operators import KernelKind
from factory_base.documents import nearest
from factory_base.errors import ConfigError, EngineError
from factory_base.files import sha256_file
from factory_base.foreign import printable

TIMEOUT_S: Final = 120.0
"""A board that sends nothing for so long hangs: the longest silent steps, loading a file and profiling it, take
seconds."""

RETRY_PAUSES_S: Final = (1.0, 5.0, 15.0)
"""Pauses before each attempt to reach a lost board again: a network that drops for a moment, and a router that restarts
its radio. A board that reboots takes longer, and the same command resumes then."""

_ADDRESS: Final = re.compile(
    r"(?:(?P<user>\w[\w.+-]*)@)?(?:\[(?P<ipv6>[0-9A-Fa-f:.]+(?:%\w+)?)\]|(?P<host>\w[\w.-]*))(?::(?P<port>\d{1,5}))?",
    re.ASCII,
)
_PYTHON: Final = re.compile(r"(?:~/)?[\w./+][\w./+-]*", re.ASCII)
_FORM: Final = "ssh:[USER@]HOST[:PORT][,python=PATH][,config=FILE]"

# A lost connection is noticed after 3 unanswered probes, 10 s apart: well within `TIMEOUT_S`, as is connecting.
_OPTIONS: Final = (
    "BatchMode=yes",
    "ConnectTimeout=15",
    "ServerAliveInterval=10",
    "ServerAliveCountMax=3",
    "ControlMaster=no",
    "ClearAllForwardings=yes",
    "PermitLocalCommand=no",
    "RemoteCommand=none",
    "LogLevel=ERROR",
)

_LOG: Final = logging.getLogger(__name__)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class SshAddress:
    """A board, and how to reach it.

    Attributes:
        host: The host as the SSH client knows it: a name, an address, or a host of its configuration.
        user: User to log in as; if empty the client decides.
        port: Port to connect to; if None the client decides.
        python: Command or path of the board's Python, which may begin with `~/`; no characters that a shell interprets.
        config: Configuration file of the client; if empty it reads its usual files.
    """

    host: str
    user: str = ""
    port: int | None = None
    python: str = "python3"
    config: str = ""

    @classmethod
    def parse(cls, text: str) -> SshAddress:
        """Read `[USER@]HOST[:PORT][,python=PATH][,config=FILE]`. Raises `ConfigError`."""
        place, *words = text.split(",")
        found = _ADDRESS.fullmatch(place)
        if found is None:
            raise ConfigError(f"'ssh:{text}' is not the address of a board; write {_FORM}")
        port = int(found["port"]) if found["port"] else None
        if port is not None and not 1 <= port <= 65535:
            raise ConfigError(f"'ssh:{text}' has port {port}; ports are 1 to 65535")
        options: dict[str, str] = {}
        for word in words:
            name, _, value = word.partition("=")
            if name not in ("python", "config"):
                raise ConfigError(f"'ssh:{text}' has the option {name!r}; {nearest(name, ('python', 'config'))}")
            options[name] = value
        if "python" in options and not _PYTHON.fullmatch(options["python"]):
            raise ConfigError(
                f"'ssh:{text}' has the python {options['python']!r}; write a command or a path of letters, digits, "
                "and ./_+-"
            )
        if "config" in options:
            options["config"] = str(Path(options["config"]).expanduser())
            if not Path(options["config"]).is_file():
                raise ConfigError(f"'ssh:{text}' has the config {options['config']!r}, which is not a file here")
        return cls(host=found["ipv6"] or found["host"], user=found["user"] or "", port=port, **options)

    @property
    def destination(self) -> str:
        """The destination argument of the SSH client, without the port."""
        return f"{self.user}@{self.host}" if self.user else self.host

    def by_hand(self) -> list[str]:
        """The command that a person would type to reach the board."""
        config = ("-F", self.config) if self.config else ()
        port = ("-p", str(self.port)) if self.port else ()
        return ["ssh", *config, *port, self.destination]

    def command(self) -> list[str]:
        """The command of the SSH client that runs our program there."""
        ssh, *words, destination = self.by_hand()
        options = (part for option in _OPTIONS for part in ("-o", option))
        return [ssh, *words, "-T", "-a", "-x", *options, "--", destination, start_command(self.python)]

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        user, port = f"{self.user}@" if self.user else "", f":{self.port}" if self.port else ""
        python = f",python={self.python}" if self.python != "python3" else ""
        config = f",config={self.config}" if self.config else ""
        return f"ssh:{user}{host}{port}{python}{config}"


class SshRunner:
    """A board that SSH reaches. Implements `Runner`.

    If the connection is lost, the runner connects again and loads all files again; nothing is timed twice. It gives up
    after as many attempts as there are pauses.

    Args:
        address: Address of the board, see `SshAddress.parse`.
        engine: Name of the engine whose files are timed.
        timeout_s: A board that sends nothing for so many seconds hangs.
        retry_pauses_s: Seconds to wait before each attempt to reach a lost board again.

    Raises:
        ConfigError: The address is not valid.
        EngineError: Boards do not run this engine.
    """

    def __init__(
        self,
        address: str,
        engine: str,
        *,
        timeout_s: float = TIMEOUT_S,
        retry_pauses_s: Sequence[float] = RETRY_PAUSES_S,
    ) -> None:
        if engine not in ENGINES:
            raise EngineError(f"files of {engine!r} cannot be timed over SSH; {nearest(engine, ENGINES)}")
        self._address, self._engine = SshAddress.parse(address), engine
        self._name = str(self._address)
        self._timeout_s, self._retry_pauses_s = timeout_s, tuple(retry_pauses_s)
        self._token = secrets.token_hex(8)
        self._machine: Machine | None = None
        self._link: Link | None = None
        self._files: list[dict[str, Any]] = []
        self._paths: dict[str, Path] = {}
        self._setting: dict[str, int] = {}

    def machine(self) -> Machine:
        """See the protocol. The connection is closed again: converting the files may take long."""
        try:
            self._connect()
        except LinkLostError as lost:
            raise self._unreachable(lost) from lost
        finally:
            self.close()
        if self._machine is None:
            raise EngineError(f"{self._name}: sent no facts about itself; run the command again")
        return self._machine

    def open(self, files: Sequence[TimedFile], timed: int, threads: int, seed: int) -> NDArray[np.float64]:
        """See the protocol. Only files that are not on the board yet are copied."""
        refuse_tokens(files)
        self.close()
        digests = [sha256_file(file.path) for file in files]
        self._paths = {digest: file.path for digest, file in zip(digests, files, strict=True)}
        self._files = [
            {"sha256": digest, "name": file.path.name, "shape": list(file.input_shape)}
            for digest, file in zip(digests, files, strict=True)
        ]
        self._setting = {"threads": threads, "seed": seed}
        return np.array([np.median(times) for times in self._retried(lambda: self._load(timed))])

    def visit(self, order: Sequence[int]) -> Iterator[tuple[int, list[float]]]:
        """See the protocol."""
        done = attempts = 0
        limits = {"seconds": timing.VISIT_SECONDS, "repeats": list(timing.REPEATS)}
        while done < len(order):
            try:
                link = self._loaded()
                for answer in link.stream("visit", VISITED, order=list(order[done:]), **limits):
                    if done == len(order) or answer.file != order[done]:
                        expected = f"file {order[done]}" if done < len(order) else "no further file"
                        raise link.nonsense(f"sent times of file {answer.file}, {expected} was next")
                    done, attempts = done + 1, 0
                    yield answer.file, list(answer.us)
                if done < len(order):
                    raise link.nonsense(f"ended a round with {len(order) - done} files left")
            except LinkLostError as lost:
                self._pause(attempts, lost)
                attempts += 1
            except BaseException:
                self.close()  # the board would continue to send what nobody reads
                raise

    def run_for(self, file: int, seconds: float) -> NDArray[np.float64]:
        """See the protocol."""
        return np.array(self._ask("run_for", RAN, seconds, file=file, seconds=seconds).us)

    def peak_memory_bytes(self, file: int) -> int | None:
        """See the protocol."""
        return self._ask("peak_memory", PEAK_MEMORY, file=file).bytes

    def kernel_latency_us(self, file: int) -> Mapping[KernelKind, float] | None:
        """See the protocol."""
        profile = self._ask("profile", PROFILED, file=file, warm_up=WARM_UP_RUNS, runs=PROFILED_RUNS).profile
        if profile is None:
            return None
        try:
            return _kernel_latency_us(profile)
        except Exception as error:  # the decoder of ONNX files has error types of its own
            raise EngineError(
                f"{self._name}: its profile of file {file} cannot be evaluated ({printable(str(error))}); {REMEDY}"
            ) from error

    def peak(self, threads: int) -> MachinePeak | None:
        """See the protocol. Measured with numpy, whose matrix product is as fast as the library that it was built with.

        This needs a new process, because the number of threads is fixed when numpy is imported.
        """
        self.close()
        sizes = {"side": host_peak.SIDE, "copied": host_peak.COPIED_BYTES, "attempts": host_peak.ATTEMPTS}
        steps = 2 * host_peak.ATTEMPTS
        found = self._retried(lambda: self._new_link().ask("peak", PEAK, steps=steps, threads=threads, **sizes))
        self.close()
        if isinstance(found, NoPeak):
            _LOG.warning("%s: its peak rates were not measured: %s", self._name, found.reason)
            return None
        return MachinePeak(
            gmacs_per_s=float(f"{host_peak.SIDE**3 / found.multiply_s / 1e9:.4g}"),
            gbytes_per_s=float(f"{2 * found.copied / found.copy_s / 1e9:.4g}"),
        )

    def __enter__(self) -> SshRunner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; the next request opens another."""
        if self._link is not None:
            self._link.close()
        self._link = None

    def _new_link(self) -> Link:
        self.close()
        self._link = Link(self._name, self._address.command(), self._timeout_s)
        return self._link

    def _connect(self) -> Link:
        """A new connection. Raises `EngineError` if another machine answers than before."""
        link = self._new_link()
        answer = link.ask("hello", HELLO, engine=self._engine, token=self._token)
        if isinstance(answer, Lacks):
            raise EngineError(self._missing_packages(answer))
        machine = Machine(platform="linux", **answer.model_dump())
        known = self._machine or machine  # a restarted kernel may report another size of memory
        if (machine.processor, machine.engine_version) != (known.processor, known.engine_version):
            raise EngineError(
                f"{self._name}: {machine.processor} with engine {machine.engine_version} answers, not "
                f"{known.processor} with {known.engine_version} as before; start a new measurement of that one"
            )
        self._machine = machine
        return link

    def _load(self, timed: int) -> tuple[tuple[float, ...], ...]:
        """Connect, copy missing files, load all of them; the load times of the first `timed` files."""
        link = self._connect()
        try:
            for digest in self._missing(link):
                link.put(self._paths[digest], digest)
            steps = len(self._files)
            loaded = link.ask(
                "load", LOADED, steps=steps, files=self._files, timed=timed, loads=LOADS, **self._setting
            ).load_us
            if [len(times) for times in loaded] != [LOADS] * timed:
                raise link.nonsense(f"sent load times of {len(loaded)} files; {LOADS} of each of {timed} are needed")
        except BaseException:
            self.close()
            raise
        return loaded

    def _missing(self, link: Link) -> tuple[str, ...]:
        """The digests of the files that the board lacks."""
        sizes = {digest: path.stat().st_size for digest, path in self._paths.items()}
        missing = link.ask("missing", MISSING, steps=len(sizes), files=sizes).missing
        if len(set(missing)) < len(missing) or not sizes.keys() >= set(missing):
            raise link.nonsense("asks for a file that it was not offered, or for one of them twice")
        return missing

    def _loaded(self) -> Link:
        if self._link is None:
            self._load(0)
        if self._link is None:
            raise EngineError(f"{self._name}: no files were opened")
        return self._link

    def _ask(self, do: str, form: TypeAdapter[_T], extra_s: float = 0.0, **values: Any) -> _T:
        return self._retried(lambda: self._loaded().ask(do, form, extra_s, **values))

    def _retried(self, work: Callable[[], _T]) -> _T:
        """The result of `work`, which is called again, on a new connection, if it lost its own."""
        attempts = 0
        while True:
            try:
                return work()
            except LinkLostError as lost:
                self._pause(attempts, lost)
                attempts += 1

    def _pause(self, attempts: int, lost: LinkLostError) -> None:
        """Wait before the next attempt. Raises `EngineError` if there were as many attempts as are allowed."""
        self.close()
        if attempts == len(self._retry_pauses_s):
            again = f", and {attempts} attempts to reach it again failed" if attempts else ""
            raise EngineError(f"{self._name} is gone ({lost}){again}; run the same command again to resume") from lost
        pause = self._retry_pauses_s[attempts]
        _LOG.warning("%s is gone (%s); attempt %d to reach it again in %g s", self._name, lost, attempts + 1, pause)
        time.sleep(pause)

    def _missing_packages(self, answer: Lacks) -> str:
        """What to install on the board, and how. Distributions protect their own Python, so it gets an environment."""
        packages, module = " ".join(answer.lacks), ENGINES[self._engine].module
        lacks = f"{self._name}: {answer.python} lacks {' and '.join(answer.lacks)}"
        if answer.venv:
            return f"{lacks}; run on the board: {shlex.quote(answer.python)} -m pip install {packages}"
        where = replace(self._address, python="~/model-factory/bin/python")
        return (
            f"{lacks}; run on the board: python3 -m venv ~/model-factory && ~/model-factory/bin/pip install numpy "
            f"{module}; then measure --on {where}"
        )

    def _unreachable(self, lost: LinkLostError) -> EngineError:
        """The error of a first connection that failed. It is not tried again, as mostly something has to be set up."""
        output, ssh = "\n".join(lost.stderr_lines), shlex.join(self._address.by_hand())
        copy = shlex.join(["ssh-copy-id", *self._address.by_hand()[1:]])
        where, python = self._name, self._address.python
        if old := re.search(rf"{TOO_OLD} ([0-9.]{{1,10}})", output):
            oldest = ".".join(map(str, OLDEST_PYTHON))
            return EngineError(
                f"{where}: {python} is Python {old[1]}, {oldest} or newer is needed; name another: {_FORM}"
            )
        if lost.status in (126, 127) or "ommand not found" in output:
            return EngineError(
                f"{where}: there is no {python!r} on the board; install it there, on Debian: apt-get install python3 "
                f"python3-venv, or name another: {_FORM}"
            )
        hints = {
            "Host key verification failed": f"its key is not known here, or has changed; run once: {ssh}, and compare",
            "Permission denied": f"it does not accept your key; install one there: {copy}",
        }
        hint = next((hint for words, hint in hints.items() if words in output), f"check that this works: {ssh} true")
        reason = next((line for line in lost.stderr_lines if any(words in line for words in hints)), str(lost))
        failed = f"{python!r} does not run our program" if lost.status not in (None, 255) else "cannot be reached"
        return EngineError(f"{where}: {failed} ({reason}); {hint}")


def _kernel_latency_us(profile: KernelProfile) -> dict[KernelKind, float]:
    """Microseconds by kind of kernel. Raises whatever the decoder of the graph raises."""
    import onnx

    graph = onnx.ModelProto.FromString(base64.b64decode(profile.graph, validate=True)).graph
    events = [
        {"cat": "Node", "name": name, "dur": duration}
        for name, durations in profile.durations.items()
        for duration in durations
    ]
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    return kernel_latency_us(events, graph.node, shapes, warm_up=WARM_UP_RUNS, run_us=profile.run_us)
