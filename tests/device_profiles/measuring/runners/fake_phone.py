"""A fake Android phone: it implements the transport protocol of adb over TCP, so that the real `adb` attaches to it.

Its `/data/local/tmp` is a folder; its `getprop`, `dumpsys` and `settings` are scripts. Its shell and small programs are
those of Android, mksh and toybox, if the Debian packages of these names are installed, otherwise this machine's. It
implements a part of the protocol (adb/protocol.txt, SYNC.TXT, shell_protocol.h): the messages CNXN, AUTH, OPEN, OKAY,
WRTE and CLSE, the service `shell,v2:`, and the service `sync:` with STAT and SEND. It announces only the feature
`shell_v2`.
"""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Queue

CNXN, AUTH, OPEN, OKAY, WRTE, CLSE = struct.unpack("<6I", b"CNXNAUTHOPENOKAYWRTECLSE")
VERSION, MAX_DATA = 0x01000001, 256 * 1024
STDOUT, EXIT = 1, 3
TOKEN, PUBLIC_KEY = 1, 3
TMP = "/data/local/tmp"
SHELL = shutil.which("mksh") or "/bin/sh"
TOYBOX = shutil.which("toybox")
TOYS = ("cat", "chmod", "df", "grep", "ls", "mkdir", "mv", "rm", "sleep", "taskset", "touch")
PROPERTIES = {
    "ro.soc.manufacturer": "Acme",
    "ro.soc.model": "A1",
    "ro.product.manufacturer": "Acme",
    "ro.product.model": "Fake One",
    "ro.build.version.sdk": "34",
    "ro.product.cpu.abi": "arm64-v8a",
    "ro.serialno": "FAKE1",
}


class FakePhone:
    """A phone that listens on `port` (0: any free one) until it is closed.

    Args:
        folder: Its storage, which outlives it.
        port: Port to listen on.
        authorised: Whether it accepts the connection; otherwise it asks for a signature for ever.
        vanish_after: It disappears after the benchmark program has run so many times; None: never.
    """

    def __init__(
        self, folder: Path, *, port: int = 0, authorised: bool = True, vanish_after: int | None = None
    ) -> None:
        self.folder, self.authorised, self.vanish_after = folder, authorised, vanish_after
        self.storage = folder / "tmp"
        self.runs_log = folder / "runs.log"
        self.pushed: list[str] = []
        self._connections: list[socket.socket] = []
        self.storage.mkdir(parents=True, exist_ok=True)
        self.set(properties=PROPERTIES, battery=80, thermal_status=0)
        for name in TOYS if TOYBOX else ():
            (folder / "bin" / name).unlink(missing_ok=True)
            (folder / "bin" / name).symlink_to(TOYBOX)
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> FakePhone:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def serial(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def runs(self) -> int:
        """Number of runs of the benchmark program."""
        return len(self.runs_log.read_text().splitlines()) if self.runs_log.exists() else 0

    def set(self, *, properties: dict[str, str], battery: int, thermal_status: int) -> None:
        """Set what `getprop`, `dumpsys battery` and `dumpsys thermalservice` print from now on."""
        cases = "".join(f"{name}) echo '{value}';; " for name, value in properties.items())
        self._program("getprop", f"case $1 in {cases}esac")
        status = f"battery) echo '  level: {battery}';; thermalservice) echo 'Thermal Status: {thermal_status}';;"
        self._program("dumpsys", f"case $1 in {status} esac")
        self._program("settings", "echo 0")

    def close(self) -> None:
        """Disappear: close all connections and listen no longer."""
        for connection in [self._listener, *self._connections]:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def gone_yet(self) -> bool:
        """Whether it has disappeared, which it does here if the time has come."""
        if self.vanish_after is not None and self.runs >= self.vanish_after:
            self.close()
            return True
        return False

    def here(self, text: str) -> str:
        """The text with paths of the phone replaced by paths of this machine."""
        return text.replace(TMP, str(self.storage))

    def _program(self, name: str, body: str) -> None:
        path = self.folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._connections.append(connection)
                threading.Thread(target=_Transport(self, connection).serve, daemon=True).start()


@dataclass(eq=False)
class _Stream:
    """One open service: the bytes that the client wrote, and whether it is ready to receive."""

    local: int
    remote: int
    received: Queue[bytes] = field(default_factory=Queue)
    ready: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(1))
    buffer: bytes = b""


class _ClosedError(Exception):
    pass


class _Transport:
    """One connection of an adb server."""

    def __init__(self, phone: FakePhone, connection: socket.socket) -> None:
        self._phone, self._connection = phone, connection
        self._sending = threading.Lock()
        self._streams: dict[int, _Stream] = {}

    def serve(self) -> None:
        with suppress(OSError, _ClosedError):
            while True:
                command, first, second, length = struct.unpack("<4I", self._exactly(24)[:16])
                self._take(command, first, second, self._exactly(length))
        for stream in self._streams.values():
            stream.received.put(b"")

    def _take(self, command: int, first: int, second: int, data: bytes) -> None:
        if command in (CNXN, AUTH) and not self._phone.authorised:
            if (command, first) != (AUTH, PUBLIC_KEY):  # a person would have to accept the key on the screen
                self._send(AUTH, TOKEN, 0, os.urandom(20))
        elif command == CNXN:
            self._send(CNXN, VERSION, MAX_DATA, b"device::ro.product.name=fake;ro.product.model=Fake;features=shell_v2")
        elif command == OPEN:
            stream = _Stream(local=len(self._streams) + 1, remote=first)
            self._streams[stream.local] = stream
            threading.Thread(target=self._run, args=(stream, data.rstrip(b"\0").decode()), daemon=True).start()
        elif command == WRTE and second in self._streams:
            self._streams[second].received.put(data)
            self._send(OKAY, second, first)
        elif command == OKAY and second in self._streams:
            self._streams[second].ready.release()
        elif command == CLSE and second in self._streams:
            self._streams[second].received.put(b"")
            self._streams[second].ready.release()

    def _run(self, stream: _Stream, service: str) -> None:
        name, _, argument = service.partition(":")
        with suppress(OSError, _ClosedError):
            if name.split(",")[0] == "shell":
                self._send(OKAY, stream.local, stream.remote)
                self._shell(stream, argument)
            elif name == "sync":
                self._send(OKAY, stream.local, stream.remote)
                self._sync(stream)
            self._send(CLSE, stream.local, stream.remote)

    def _shell(self, stream: _Stream, command: str) -> None:
        environment = {**os.environ, "PATH": f"{self._phone.folder / 'bin'}:{os.environ['PATH']}"}
        process = subprocess.Popen(
            [SHELL, "-c", self._phone.here(command)],
            cwd=self._phone.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert process.stdout is not None
        try:
            while piece := os.read(process.stdout.fileno(), 4096):
                if self._phone.gone_yet():
                    return
                self._write(stream, struct.pack("<BI", STDOUT, len(piece)) + piece)
            self._write(stream, struct.pack("<BIB", EXIT, 1, process.wait()))
        finally:
            process.kill()
            process.stdout.close()
            process.wait()

    def _sync(self, stream: _Stream) -> None:
        while True:
            request, length = struct.unpack("<4sI", self._read(stream, 8))
            text = self._read(stream, length).decode() if request != b"QUIT" else ""
            if request == b"STAT":
                path = Path(self._phone.here(text))
                found = path.stat() if path.exists() else None
                facts = (found.st_mode, found.st_size, int(found.st_mtime)) if found else (0, 0, 0)
                self._write(stream, struct.pack("<4s3I", b"STAT", *facts))
            elif request == b"SEND":
                self._receive_file(stream, text.rpartition(",")[0])
            else:
                return

    def _receive_file(self, stream: _Stream, target: str) -> None:
        self._phone.pushed.append(Path(target).name)
        with Path(self._phone.here(target)).open("wb") as file:
            while (head := struct.unpack("<4sI", self._read(stream, 8)))[0] == b"DATA":
                file.write(self._read(stream, head[1]))
        self._write(stream, struct.pack("<4sI", b"OKAY", 0))

    def _read(self, stream: _Stream, length: int) -> bytes:
        while len(stream.buffer) < length:
            piece = stream.received.get(timeout=60)
            if not piece:
                raise _ClosedError
            stream.buffer += piece
        taken, stream.buffer = stream.buffer[:length], stream.buffer[length:]
        return taken

    def _write(self, stream: _Stream, data: bytes) -> None:
        stream.ready.acquire(timeout=60)
        self._send(WRTE, stream.local, stream.remote, data)

    def _send(self, command: int, first: int, second: int, data: bytes = b"") -> None:
        head = struct.pack("<6I", command, first, second, len(data), sum(data) & 0xFFFFFFFF, command ^ 0xFFFFFFFF)
        with self._sending:
            self._connection.sendall(head + data)

    def _exactly(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            piece = self._connection.recv(length - len(data))
            if not piece:
                raise _ClosedError
            data += piece
        return data


class AdbServer:
    """A server of the real `adb` on a free port, with its own home folder; a context manager that ends it."""

    def __init__(self, home: Path) -> None:
        home.mkdir(exist_ok=True)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.environment = {
            "ANDROID_ADB_SERVER_PORT": str(port),
            "HOME": str(home),
            "ADB_MDNS": "0",
            "TMPDIR": str(home),
        }

    def __enter__(self) -> AdbServer:
        self.adb("start-server")
        return self

    def __exit__(self, *_: object) -> None:
        self.adb("kill-server")

    def adb(self, *arguments: str) -> str:
        done = subprocess.run(
            [shutil.which("adb") or "adb", *arguments],
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.stdout + done.stderr
