"""A real PostgreSQL server on loopback for tests, started once for a session; skipped if it cannot be started."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

_STARTS_S = 30.0


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The URL of an empty database."""
    pytest.importorskip("pg8000", reason="the driver pg8000 is not installed")
    with ExitStack() as stack:
        try:
            url = stack.enter_context(running_postgresql())
        except NotStartedError as error:
            pytest.skip(str(error))
        yield url


class NotStartedError(Exception):
    """Why there is no server."""


@contextmanager
def running_postgresql() -> Iterator[str]:
    """The URL of an empty database on a server that runs as long as the context lasts. Raises `NotStartedError`."""
    programs = _programs()
    if programs is None:
        raise NotStartedError("PostgreSQL is not installed (Debian package postgresql)")
    folder, port = Path(tempfile.mkdtemp(prefix="factory-postgresql-")), free_port()
    try:
        prefix = _as_other_user(folder)
        initialise = [*prefix, programs / "initdb", "-D", folder / "data", "-U", "factory", "-A", "trust", "--no-sync"]
        made = subprocess.run(initialise, capture_output=True, text=True, cwd=folder)
        if made.returncode:
            raise NotStartedError(f"PostgreSQL cannot be started here: {made.stderr.strip().splitlines()[-1:]}")
        options = ["-h", "127.0.0.1", "-p", str(port), "-k", folder, "-F"]
        with (folder / "log").open("w") as log:
            command = [*prefix, programs / "postgres", "-D", folder / "data", *options]
            server = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
            try:
                _wait_for(port, server, folder / "log")
                yield f"postgresql+pg8000://factory@127.0.0.1:{port}/postgres"
            finally:
                server.send_signal(signal.SIGINT)  # does not wait until clients disconnect
                server.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path | None:
    """The folder of `initdb` and `postgres`, which Debian keeps out of the path."""
    found = shutil.which("initdb")
    folders = [*([Path(found).parent] if found else []), *sorted(Path("/usr/lib/postgresql").glob("*/bin"))]
    return next((folder for folder in reversed(folders) if (folder / "initdb").exists()), None)


def _as_other_user(folder: Path) -> list[str]:
    """PostgreSQL refuses to run as root; Debian's package makes a user for it."""
    if os.getuid() != 0:
        return []
    try:
        user = pwd.getpwnam("postgres")
    except KeyError:
        raise NotStartedError("PostgreSQL does not run as root, and there is no user postgres") from None
    os.chown(folder, user.pw_uid, user.pw_gid)
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _STARTS_S
    while time.monotonic() < deadline and server.poll() is None:
        if "ready to accept connections" in log.read_text(errors="replace"):
            return
        time.sleep(0.1)
    raise NotStartedError(f"PostgreSQL did not start on port {port}: {log.read_text(errors='replace')[-200:]}")
