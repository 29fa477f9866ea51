"""The server of the measuring page: a few files and a few kinds of request, all below one secret path.

No part of a request becomes a path of the file system: names and indices are looked up in tables.
"""

from __future__ import annotations

import hmac
import json
import re
import secrets
import shutil
import socket
import socketserver
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from device_profiles.measuring.runners.page_coordinator import PageCoordinator, PageFailure, PageRefused, Result
from device_profiles.measuring.runners.page_facts import PageFacts
from factory_base.errors import EngineError

BODY_LIMIT_BYTES: Final = 8 * 2**20
"""Largest body of a request. A sustained run of 10 s at 10 us a run has a million times of 8 characters or fewer."""

_PAGE_FOLDER: Final = Path(__file__).parent / "page"

_TYPES: Final = {".html": "text/html; charset=utf-8", ".mjs": "text/javascript", ".wasm": "application/wasm"}

_TOKEN_LETTERS: Final = "abcdefghjkmnpqrstuvwxyz23456789"
"""No letters and digits that look alike: a person may have to type them into a phone."""

_TOKEN_LENGTH: Final = 14
"""Of 31 letters, 14 have 69 bits: too many to guess over a network, and few enough to type."""

_REQUEST_TIMEOUT_S: Final = 60
"""A connection that sends nothing for so long is closed, and its thread ends. Pages open another one when they need
it."""

_HEADERS: Final = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; script-src 'self' blob: 'wasm-unsafe-eval'; "
    "worker-src 'self' blob:; connect-src 'self'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""The first two isolate the page from other origins, which gives it threads and a finer timer."""

_CACHED: Final = "private, max-age=604800, immutable"
"""For files that do not change below one secret path: a week is longer than any measurement."""


# The limits of the following messages are generous bounds on what our own page sends.
class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    page: Annotated[str, Field(max_length=64)]


class _Heartbeat(_Message):
    hidden: bool


class _Results(_Message):
    job: Annotated[str, Field(max_length=32)]
    results: Annotated[tuple[Result, ...], Field(min_length=1, max_length=1000)]


class _Failure(_Message):
    job: Annotated[str, Field(max_length=32)]
    file: Annotated[int, Field(ge=0)]
    message: Annotated[str, Field(max_length=1000)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedFiles:
    """Files that the page may fetch.

    Attributes:
        engine: Files of ONNX Runtime Web by name.
        models: The files that are measured, by index.
        inputs: Raw float32 inputs, by index.
    """

    engine: dict[str, Path]
    models: list[Path] = field(default_factory=list)
    inputs: list[bytes] = field(default_factory=list)


class PageServer:
    """A server that runs from its construction until `close`.

    Args:
        coordinator: Answers the requests of pages.
        served: Files to serve; its lists may be replaced while the server runs.
        host: `127.0.0.1`, or `0.0.0.0` for the whole network.
        port: Port to serve on; 0 is any free one.

    Raises:
        EngineError: The port is in use or not allowed.
    """

    def __init__(self, coordinator: PageCoordinator, served: ServedFiles, host: str, port: int) -> None:
        self._token = "".join(secrets.choice(_TOKEN_LETTERS) for _ in range(_TOKEN_LENGTH))
        handler = type("Handler", (_Handler,), {"coordinator": coordinator, "served": served, "token": self._token})
        try:
            self._server = _Server((host, port), handler)
        except OSError as error:
            raise EngineError(
                f"port {port} cannot be used ({error.strerror or error}); "
                "choose another one, such as port=8900, or any free one with port=0"
            ) from error
        self._shown_host = _address_in_network() if host == "0.0.0.0" else host
        threading.Thread(target=self._server.serve_forever, daemon=True, name="page server").start()

    @property
    def url(self) -> str:
        """Address of the page."""
        return f"http://{self._shown_host}:{self.port}/{self._token}/"

    @property
    def port(self) -> int:
        """Port that it serves on."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def server_bind(self) -> None:
        """Bind without looking up the name of this machine, which can take long and is not needed here."""
        socketserver.TCPServer.server_bind(self)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a browser that disappears in the middle of an answer."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "model-factory"
    sys_version = ""
    timeout = _REQUEST_TIMEOUT_S

    coordinator: ClassVar[PageCoordinator]
    served: ClassVar[ServedFiles]
    token: ClassVar[str]

    def do_GET(self) -> None:
        """Send a file."""
        name = self._name()
        if name is None:
            self._refuse(HTTPStatus.NOT_FOUND, "There is nothing here. Open the address that the command printed.")
        elif name in ("", "page.mjs"):
            self._send_file(_PAGE_FOLDER / (name or "index.html"), "no-store")
        elif name.startswith("engine/") and name.removeprefix("engine/") in self.served.engine:
            self._send_file(self.served.engine[name.removeprefix("engine/")], _CACHED)
        elif (model := _number(name, "model", len(self.served.models))) is not None:
            self._send_file(self.served.models[model], _CACHED)
        elif (given := _number(name, "input", len(self.served.inputs))) is not None:
            self._send(HTTPStatus.OK, self.served.inputs[given], "application/octet-stream", _CACHED)
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "There is nothing here.")

    def do_POST(self) -> None:
        """Answer a request of the page; both are JSON."""
        request = _REQUESTS.get(self._name() or "")
        if request is None:
            self._refuse(HTTPStatus.NOT_FOUND, "There is nothing here. Open the address that the command printed.")
            return
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch(r"\d{1,12}", length) or int(length) > BODY_LIMIT_BYTES:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"A request may have at most {BODY_LIMIT_BYTES} bytes.")
            return
        try:
            answer = request(self.coordinator, self.rfile.read(int(length)))
        except ValidationError as error:
            self._refuse(HTTPStatus.BAD_REQUEST, f"Not a valid request: {error.errors(include_url=False)[0]['msg']}")
        except PageRefused as refusal:
            self._refuse(HTTPStatus.CONFLICT, str(refusal))
        else:
            self._send(HTTPStatus.OK, json.dumps(answer).encode(), "application/json", "no-store")

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""

    def _name(self) -> str | None:
        """The path below the secret one; None if the secret is wrong."""
        path = self.path.partition("?")[0]
        token, slash, name = path.removeprefix("/").partition("/")
        return name if slash and hmac.compare_digest(token.encode(), self.token.encode()) else None

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        self.close_connection = True  # the rest of the request is not read
        self._send(status, json.dumps({"message": message}).encode(), "application/json", "no-store")

    def _send(self, status: HTTPStatus, body: bytes, kind: str, caching: str) -> None:
        self._send_head(status, len(body), kind, caching)
        self.wfile.write(body)

    def _send_file(self, path: Path, caching: str) -> None:
        try:
            stream = path.open("rb")
        except OSError:
            self._refuse(HTTPStatus.NOT_FOUND, f"{path.name} is no longer there.")
            return
        with stream:
            kind = _TYPES.get(path.suffix, "application/octet-stream")
            self._send_head(HTTPStatus.OK, path.stat().st_size, kind, caching)
            shutil.copyfileobj(stream, self.wfile, 2**20)

    def _send_head(self, status: HTTPStatus, length: int, kind: str, caching: str) -> None:
        self.send_response(status)
        fields = {"Content-Type": kind, "Content-Length": str(length), "Cache-Control": caching, **_HEADERS}
        for name, value in fields.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()


def _number(name: str, folder: str, count: int) -> int | None:
    """The index in `folder/index` if it is below `count`, otherwise None."""
    found = re.fullmatch(rf"{folder}/([0-9]{{1,6}})", name)
    return int(found[1]) if found and int(found[1]) < count else None


def _register_page(coordinator: PageCoordinator, body: bytes) -> dict[str, Any]:
    return coordinator.register_page(PageFacts.model_validate_json(body))


def _next_job(coordinator: PageCoordinator, body: bytes) -> dict[str, Any]:
    return coordinator.next_job(_Message.model_validate_json(body).page)


def _add_results(coordinator: PageCoordinator, body: bytes) -> dict[str, Any]:
    message = _Results.model_validate_json(body)
    return coordinator.add_results(message.page, message.job, message.results)


def _report_failure(coordinator: PageCoordinator, body: bytes) -> dict[str, Any]:
    message = _Failure.model_validate_json(body)
    return coordinator.report_failure(message.page, message.job, PageFailure(message.file, message.message))


def _heartbeat(coordinator: PageCoordinator, body: bytes) -> dict[str, Any]:
    message = _Heartbeat.model_validate_json(body)
    return coordinator.heartbeat(message.page, message.hidden)


def _unregister_page(coordinator: PageCoordinator, body: bytes) -> dict[str, Any]:
    return coordinator.unregister_page(_Message.model_validate_json(body).page)


_REQUESTS: Final[dict[str, Callable[[PageCoordinator, bytes], dict[str, Any]]]] = {
    "register_page": _register_page,
    "next_job": _next_job,
    "add_results": _add_results,
    "report_failure": _report_failure,
    "heartbeat": _heartbeat,
    "unregister_page": _unregister_page,
}
"""The requests of the page by name; each is answered by the method of `PageCoordinator` of that name."""


def _address_in_network() -> str:
    """This machine's address as other machines in its network see it. Nothing is sent to find it.

    The address that is connected to is reserved for documentation (RFC 5737).
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()
