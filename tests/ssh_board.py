"""A board that is this machine: a real sshd on loopback, with its own keys, files and configurations of clients."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
SETUP = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/client.pub
StrictModes no
UsePAM no
PidFile none
PermitRootLogin yes
PasswordAuthentication no
SetEnv XDG_CACHE_HOME={folder}/cache TMPDIR={folder}/tmp
"""
CONFIG = """\
Host board
  HostName 127.0.0.1
  Port {port}
  IdentityFile {folder}/{identity}
  IdentitiesOnly yes
  UserKnownHostsFile {folder}/{known}
  GlobalKnownHostsFile /dev/null
"""


class SshBoard:
    """A server, started by `start`. Clients reach it at `where()`, or with another key or other known hosts.

    Attributes:
        folder: Its folder, which holds everything that it writes.
        files: The folder in which our program keeps copied files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = folder / "cache" / "model-factory"
        self._numbers = itertools.count()
        (folder / "tmp").mkdir(parents=True)
        for name in ("host", "client", "stranger"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        (folder / "nobody").touch()
        for name, key in (("known", "host"), ("changed", "stranger")):
            public = (folder / f"{key}.pub").read_text()
            (folder / name).write_text(f"[127.0.0.1]:{self.port} {public}")
        (folder / "sshd_config").write_text(SETUP.format(port=self.port, folder=folder))
        self._server: subprocess.Popen[bytes] | None = None

    def where(
        self, python: str = sys.executable, identity: str = "client", known: str = "known", port: str = ""
    ) -> str:
        """An address of the board."""
        config = self.folder / f"config-{identity}-{known}"
        config.write_text(CONFIG.format(port=self.port, folder=self.folder, identity=identity, known=known))
        return f"board{port},python={python},config={config}"

    def python(self, name: str, text: str) -> str:
        """A script on the board that serves as its Python."""
        path = self.folder / f"{name}{next(self._numbers)}"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return str(path)

    def start(self) -> None:
        """Start the server unless it runs; returns when it accepts connections."""
        if self._server is not None:
            return
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # without it sshd of root does not start
        log = (self.folder / "log").open("ab")
        with log:
            command = [str(SSHD), "-D", "-e", "-f", str(self.folder / "sshd_config")]
            self._server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        end = time.monotonic() + 10
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as probe:
                probe.recv(20)
                return
            if time.monotonic() > end or self._server.poll() is not None:
                pytest.fail(f"sshd does not start: {(self.folder / 'log').read_text()}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Kill the server and everything that it runs, as if the board were unplugged."""
        if self._server is not None:
            doomed = self.processes()
            self._server.kill()
            self._server.wait()
            for pid in doomed:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self._server = None

    def reset(self) -> None:
        """End all connections and programs, and delete the files."""
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.folder / "cache", ignore_errors=True)

    def cut(self) -> None:
        """Kill the server's side of all connections; our programs notice it and end."""
        names = {pid: Path(f"/proc/{pid}/comm").read_text().strip() for pid in self.processes()}
        for pid, name in names.items():
            if name.startswith("sshd"):
                os.kill(pid, signal.SIGKILL)

    def processes(self) -> list[int]:
        """Processes that the server started, and their descendants."""
        parents = {}
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        found = [self._server.pid] if self._server is not None else []
        for pid in found:
            found += [child for child, parent in parents.items() if parent == pid]
        return found[1:]

    def program(self) -> int:
        """The process of our program on the board."""
        names = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in self.processes()}
        (found,) = [pid for pid, name in names.items() if b"board.py" in name and b"python" in name.split(b"\0")[0]]
        return found


@pytest.fixture(scope="session")
def shared_ssh_board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshBoard]:
    """One board for all tests of a process."""
    if SSHD is None or shutil.which("ssh") is None or not Path("/proc/self/stat").exists():
        pytest.skip("needs Linux and the Debian packages openssh-server and openssh-client")
    board = SshBoard(tmp_path_factory.mktemp("ssh") / "board")
    yield board
    board.stop()


@pytest.fixture
def ssh_board(shared_ssh_board: SshBoard) -> Iterator[SshBoard]:
    """A board that runs, without connections and files."""
    shared_ssh_board.start()
    yield shared_ssh_board
    shared_ssh_board.reset()
