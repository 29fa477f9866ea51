"""A real browser without a screen, with an empty profile of its own, that a test can ask and kill."""

from __future__ import annotations

import base64
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
    """Opened with a page.

    Args:
        folder: for its profile; what is kept of an earlier one is used again.
        url: of the page.
        options: further ones of the program.
    """

    def __init__(self, folder: Path, url: str, *options: str) -> None:
        home = folder / "home"
        home.mkdir(parents=True, exist_ok=True)
        read_end, self._write = os.pipe()
        self._read, write_end = os.pipe()
        command = f'exec "$@" 3<&{read_end} 4>&{write_end}'  # the descriptors that the option names
        self._process = subprocess.Popen(
            ["bash", "-c", command, "bash", str(PROGRAM), *OPTIONS, *options, f"--user-data-dir={folder}/profile", url],
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
        self._page: str | None = None

    def evaluate(self, script: str) -> Any:
        """The value of an expression in the page."""
        answer = self._in_page("Runtime.evaluate", expression=script, returnByValue=True)
        return answer["result"].get("value")

    def wait_for(self, script: str, seconds: float = 30.0) -> None:
        """Until an expression in the page is true."""
        end = time.monotonic() + seconds
        while not self.evaluate(script):
            if time.monotonic() > end:
                raise TimeoutError(f"{script}: not in {seconds} s; the page says: {self.text()}")
            time.sleep(0.1)

    def text(self) -> str:
        """What the page shows."""
        return str(self.evaluate("document.body.innerText"))

    def reload(self) -> None:
        """As a person does."""
        self._in_page("Page.reload")

    def screenshot(self, path: Path) -> None:
        """Of the page, as PNG."""
        path.write_bytes(base64.b64decode(self._in_page("Page.captureScreenshot")["data"]))

    def kill(self) -> None:
        """All of its processes at once, which say nothing to anybody. Twice is once."""
        if self._process.returncode is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            os.close(self._read)
            os.close(self._write)

    def _in_page(self, method: str, **parameters: Any) -> Any:
        end = time.monotonic() + 30
        while self._page is None:
            targets = self._ask("Target.getTargets")["targetInfos"]
            found = [target["targetId"] for target in targets if target["url"].startswith("http")]
            if found:
                self._page = self._ask("Target.attachToTarget", targetId=found[0], flatten=True)["sessionId"]
            elif time.monotonic() > end:
                raise TimeoutError(f"no page was opened: {targets}")
        return self._ask(method, self._page, **parameters)

    def _ask(self, method: str, session: str | None = None, **parameters: Any) -> Any:
        self._numbers += 1
        message = {"id": self._numbers, "method": method, "params": parameters}
        message |= {"sessionId": session} if session else {}
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self._rest:
                self._rest += os.read(self._read, 2**16) or self._ended()
            line, _, self._rest = self._rest.partition(b"\0")
            answer = json.loads(line)
            if answer.get("id") == self._numbers:
                return answer["result"]

    def _ended(self) -> bytes:
        raise RuntimeError("the browser has ended")
