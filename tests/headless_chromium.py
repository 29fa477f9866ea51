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
        return self.evaluate_in(self._page, script)

    def evaluate_in(self, session: str | None, script: str) -> Any:
        """The value of an expression in a tab."""
        answer = self._answer("Runtime.evaluate", session, expression=script, returnByValue=True)
        # While a page is being replaced by another one, there is nothing that could evaluate it.
        return answer["result"]["result"].get("value") if "result" in answer else None

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

    def navigate(self, url: str) -> None:
        """Replace the page in its tab, which keeps what was set for it."""
        self._ask("Page.navigate", self._page, url=url)

    def tab(self, url: str) -> Tab:
        """Open another tab beside the page."""
        target = self._ask("Target.createTarget", url=url)["targetId"]
        return Tab(self, self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"])

    def press(self, key: str) -> None:
        """Press and release a key: a character, or a name such as `Enter`."""
        codes = {"Enter": ("\r", 13), " ": (" ", 32), "ArrowDown": ("", 40), "Tab": ("", 9)}
        text, code = codes[key]
        given = {"key": key, "windowsVirtualKeyCode": code} | ({"text": text} if text else {})
        self._ask("Input.dispatchKeyEvent", self._page, type="keyDown", **given)
        self._ask("Input.dispatchKeyEvent", self._page, type="keyUp", key=key, windowsVirtualKeyCode=code)

    def emulate(self, *, width: int, height: int, scheme: str) -> None:
        """Show the page on a screen of that size in CSS pixels, with the colour scheme `light` or `dark`."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": True}
        self._ask("Emulation.setDeviceMetricsOverride", self._page, **size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._ask("Emulation.setEmulatedMedia", self._page, features=features)

    def limit_storage(self, url: str, size: int) -> None:
        """Let the site at `url` store at most `size` bytes."""
        self._ask("Storage.overrideQuotaForOrigin", self._page, origin=url.rstrip("/"), quotaSize=size)

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
        return self._answer(method, session, **parameters)["result"]

    def _answer(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        self._send(method, session, **parameters)
        while True:
            while b"\0" not in self._rest:
                self._rest += os.read(self._read, 2**16) or self._ended()
            line, _, self._rest = self._rest.partition(b"\0")
            answer: dict[str, Any] = json.loads(line)
            if answer.get("id") == self._numbers:
                return answer

    def _ended(self) -> bytes:
        raise RuntimeError("the browser has ended")


class Tab:
    """Another tab of a browser."""

    def __init__(self, browser: Chromium, session: str) -> None:
        self._browser = browser
        self._session = session

    def evaluate(self, script: str) -> Any:
        """The value of an expression in the tab."""
        return self._browser.evaluate_in(self._session, script)

    def wait_for(self, script: str, seconds: float = 30.0) -> None:
        """Wait until an expression in the tab is true."""
        end = time.monotonic() + seconds
        while not self.evaluate(script):
            if time.monotonic() > end:
                raise TimeoutError(f"{script}: not in {seconds} s")
            time.sleep(0.1)
