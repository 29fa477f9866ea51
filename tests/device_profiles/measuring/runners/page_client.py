"""Runners that measure in a page, and plain requests in place of a page."""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

from device_profiles.measuring.runners.browser import ENGINE_FILES, BrowserAddress, BrowserRunner
from device_profiles.measuring.runners.page_coordinator import Timeouts
from exports.engines import get_engine

DIST = os.environ.get("MODEL_FACTORY_ONNXRUNTIME_WEB", "")
PATIENT = Timeouts(first_page_s=60, answer_s=30, reload_s=30, poll_s=1)

CURT = Timeouts(poll_s=0.1, finish_s=0)
"""For pages that send nothing."""

Make = Callable[..., BrowserRunner]


def files_in(folder: Path) -> Path:
    for name in ENGINE_FILES:
        (folder / name).write_text(name)
    return folder


def new_runner(
    folder: str | Path = DIST, kind: type[BrowserRunner] = BrowserRunner, hosts: tuple[str, ...] = (), **options
) -> BrowserRunner:
    """A runner on a free port; the lines that it notifies people of are in `said`."""
    said: list[str] = []
    options = {"timeouts": PATIENT if folder == DIST else CURT, "notify": said.append} | options
    runner = kind(BrowserAddress(folder=Path(folder), port=0, hosts=hosts), get_engine("onnxruntime"), **options)
    runner.said = said
    return runner


def ask(
    runner: BrowserRunner,
    method: str,
    name: str,
    body: bytes | None = None,
    token: str | None = None,
    headers: dict[str, str] | None = None,
):
    """Status, body and headers of the answer to a plain request below the secret path."""
    url = urlsplit(runner.url)
    path = f"{url.path if token is None else token}{name}"
    with closing(http.client.HTTPConnection(url.hostname, url.port, timeout=10)) as connection:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read(), dict(answer.getheaders())


def facts(**changes) -> dict[str, object]:
    agent = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0.0.0 Safari/537.36"
    return {
        "user_agent": agent, "cores": 4, "memory_gib": 8, "engine_version": "1.30.0", "isolated": True, "timer_us": 5,
    } | changes  # fmt: skip


def register(runner: BrowserRunner, **changes) -> tuple[int, dict[str, str]]:
    status, body, _ = ask(runner, "POST", "register_page", json.dumps(facts(**changes)).encode())
    return status, json.loads(body)


def as_page(registered: dict[str, str]) -> bytes:
    return json.dumps({"page": registered["page"]}).encode()
