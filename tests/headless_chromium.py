"""A real browser without a screen, with its own empty profile, that tests can open pages in, query and kill."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

PROGRAM = next((found for name in ("chromium", "google-chrome") if (found := shutil.which(name))), None)

OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=412,915",
    "--remote-debugging-pipe",
)


class Chromium:
    """A browser with one page at a time.

    Args:
        folder: Folder for its profile.
        options: Further options of the program.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        home = folder / "home"
        home.mkdir(parents=True, exist_ok=True)
        read_end, self._write = os.pipe()
        self._read, write_end = os.pipe()
        command = f'exec "$@" 3<&{read_end} 4>&{write_end}'  # the descriptors that the option names
        self._process = subprocess.Popen(
            ["bash", "-c", command, "bash", str(PROGRAM), *OPTIONS, *options, f"--user-data-dir={folder}/profile"],
            env=os.environ | {"HOME": str(home)},
            pass_fds=(read_end, write_end),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(read_end)
        os.close(write_end)
        self._numbers = 0
        self._rest = b""
        self._target = ""
        self._page: str | None = None

    def open(self, url: str) -> None:
        """Close the page, if there is one, and open another."""
        old, self._target = self._target, self._ask("Target.createTarget", url=url)["targetId"]
        if old:
            self._ask("Target.closeTarget", targetId=old)
        self._page = self._ask("Target.attachToTarget", targetId=self._target, flatten=True)["sessionId"]

    def evaluate(self, script: str) -> Any:
        """The value of an expression in the page."""
        answer = self._ask("Runtime.evaluate", self._page, expression=script, returnByValue=True)
        return answer["result"].get("value")

    def wait_for(self, script: str, seconds: float = 30.0) -> None:
        """Wait until an expression in the page is true."""
        end = time.monotonic() + seconds
        while not self.evaluate(script):
            if time.monotonic() > end:
                raise TimeoutError(f"{script}: not in {seconds} s; the page says: {self.text()}")
            time.sleep(0.1)

    def text(self) -> str:
        """The text that the page shows."""
        return str(self.evaluate("document.body.innerText"))

    def reload(self) -> None:
        """Reload the page."""
        self._ask("Page.reload", self._page)

    def crash(self) -> None:
        """Crash the page, so that it cannot send anything; the browser stays."""
        self._send("Page.crash", self._page)  # which nobody answers

    def kill(self) -> None:
        """Kill all of its processes at once, so that the page cannot send anything. Does nothing the second time."""
        if self._process.returncode is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            os.close(self._read)
            os.close(self._write)

    def _send(self, method: str, session: str | None = None, **parameters: Any) -> None:
        self._numbers += 1
        message = {"id": self._numbers, "method": method, "params": parameters}
        message |= {"sessionId": session} if session else {}
        os.write(self._write, json.dumps(message).encode() + b"\0")

    def _ask(self, method: str, session: str | None = None, **parameters: Any) -> Any:
        self._send(method, session, **parameters)
        while True:
            while b"\0" not in self._rest:
                self._rest += os.read(self._read, 2**16) or self._ended()
            line, _, self._rest = self._rest.partition(b"\0")
            answer = json.loads(line)
            if answer.get("id") == self._numbers:
                return answer["result"]

    def _ended(self) -> bytes:
        raise RuntimeError("the browser has ended")
