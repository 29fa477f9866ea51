"""The server of the measuring page: a few named files and a few questions, all below one secret path.

Nothing that a request says becomes a path of the file system: names and numbers are looked up.
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

from device_profiles.measuring.runners.page_desk import Desk, PageFailure, Refusal, Result
from device_profiles.measuring.runners.page_facts import PageFacts
from factory_base.errors import EngineError

BODY_LIMIT_BYTES: Final = 8 * 2**20
"""Of a request: more than the runs of a sustained run take."""

_PAGE_FOLDER: Final = Path(__file__).parent / "page"

_TYPES: Final = {".html": "text/html; charset=utf-8", ".mjs": "text/javascript", ".wasm": "application/wasm"}

_TOKEN_LETTERS: Final = "abcdefghjkmnpqrstuvwxyz23456789"
"""Without those that are easily taken for others: a person may have to type them into a phone."""

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
"""The first two isolate the page, which gives it threads and a finer timer."""

_FOR_GOOD: Final = "private, max-age=604800, immutable"


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    page: Annotated[str, Field(max_length=64)]


class _Alive(_Message):
    hidden: bool


class _Results(_Message):
    job: Annotated[str, Field(max_length=32)]
    results: Annotated[tuple[Result, ...], Field(min_length=1, max_length=1000)]


class _Failure(_Message):
    job: Annotated[str, Field(max_length=32)]
    file: Annotated[int, Field(ge=0)]
    message: Annotated[str, Field(max_length=1000)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What the page may fetch.

    Attributes:
        engine: files of ONNX Runtime Web by name.
        models: the files that are measured, by number.
        inputs: raw float32, by number.
    """

    engine: dict[str, Path]
    models: list[Path] = field(default_factory=list)
    inputs: list[bytes] = field(default_factory=list)


class PageServer:
    """Serves from its construction until `close`.

    Args:
        desk: that pages work at.
        served: files; may grow.
        host: `127.0.0.1`, or `0.0.0.0` for the whole network.
        port: 0 takes a free one.

    Raises:
        EngineError: the port is in use or not allowed.
    """

    def __init__(self, desk: Desk, served: Served, host: str, port: int) -> None:
        self._token = "".join(secrets.choice(_TOKEN_LETTERS) for _ in range(14))
        handler = type("Handler", (_Handler,), {"desk": desk, "served": served, "token": self._token})
        try:
            self._server = _Server((host, port), handler)
        except OSError as error:
            raise EngineError(
                f"port {port} cannot be served on ({error.strerror or error}); "
                "choose another one, such as port=8900, or a free one with port=0"
            ) from error
        self._shown_host = _address_in_network() if host == "0.0.0.0" else host
        threading.Thread(target=self._server.serve_forever, daemon=True, name="page server").start()

    @property
    def url(self) -> str:
        """Of the page."""
        return f"http://{self._shown_host}:{self.port}/{self._token}/"

    @property
    def port(self) -> int:
        """That it serves on."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def server_bind(self) -> None:
        """Without looking up the name of this machine, which can take long and serves nobody here."""
        socketserver.TCPServer.server_bind(self)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that disappears in the middle of an answer is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "model-factory"
    sys_version = ""
    timeout = 60

    desk: ClassVar[Desk]
    served: ClassVar[Served]
    token: ClassVar[str]

    def do_GET(self) -> None:
        """A file."""
        name = self._name()
        if name is None:
            self._refuse(HTTPStatus.NOT_FOUND, "There is nothing here. Open the address that the command printed.")
        elif name in ("", "page.mjs"):
            self._send_file(_PAGE_FOLDER / (name or "index.html"), "no-store")
        elif name.startswith("engine/") and name.removeprefix("engine/") in self.served.engine:
            self._send_file(self.served.engine[name.removeprefix("engine/")], _FOR_GOOD)
        elif (model := _number(name, "model", len(self.served.models))) is not None:
            self._send_file(self.served.models[model], _FOR_GOOD)
        elif (given := _number(name, "input", len(self.served.inputs))) is not None:
            self._send(HTTPStatus.OK, self.served.inputs[given], "application/octet-stream", _FOR_GOOD)
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "There is nothing here.")

    def do_POST(self) -> None:
        """A question of the page, JSON for JSON."""
        question = _QUESTIONS.get(self._name() or "")
        if question is None:
            self._refuse(HTTPStatus.NOT_FOUND, "There is nothing here. Open the address that the command printed.")
            return
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch(r"\d{1,12}", length) or int(length) > BODY_LIMIT_BYTES:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"At most {BODY_LIMIT_BYTES} bytes are read.")
            return
        try:
            answer = question(self.desk, self.rfile.read(int(length)))
        except ValidationError as error:
            self._refuse(HTTPStatus.BAD_REQUEST, f"Not understood: {error.errors(include_url=False)[0]['msg']}")
        except Refusal as refusal:
            self._refuse(HTTPStatus.CONFLICT, str(refusal))
        else:
            self._send(HTTPStatus.OK, json.dumps(answer).encode(), "application/json", "no-store")

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def _name(self) -> str | None:
        """What stands behind the secret part of the path; None where that is wrong."""
        path = self.path.partition("?")[0]
        token, slash, name = path.removeprefix("/").partition("/")
        return name if slash and hmac.compare_digest(token.encode(), self.token.encode()) else None

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        self.close_connection = True  # what is left of the request is not read
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
    """Of `folder/number`, where it is below `count`."""
    found = re.fullmatch(rf"{folder}/([0-9]{{1,6}})", name)
    return int(found[1]) if found and int(found[1]) < count else None


def _work(desk: Desk, body: bytes) -> dict[str, Any]:
    return desk.work(_Message.model_validate_json(body).page)


def _results(desk: Desk, body: bytes) -> dict[str, Any]:
    message = _Results.model_validate_json(body)
    return desk.bring(message.page, message.job, message.results)


def _failed(desk: Desk, body: bytes) -> dict[str, Any]:
    message = _Failure.model_validate_json(body)
    return desk.fail(message.page, message.job, PageFailure(message.file, message.message))


def _alive(desk: Desk, body: bytes) -> dict[str, Any]:
    message = _Alive.model_validate_json(body)
    return desk.alive(message.page, message.hidden)


_QUESTIONS: Final[dict[str, Callable[[Desk, bytes], dict[str, Any]]]] = {
    "hello": lambda desk, body: desk.hello(PageFacts.model_validate_json(body)),
    "work": _work,
    "results": _results,
    "failed": _failed,
    "alive": _alive,
    "bye": lambda desk, body: desk.bye(_Message.model_validate_json(body).page),
}


def _address_in_network() -> str:
    """This machine's address as other machines in its network see it; nothing is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()
