"""The server of the measuring page: a few files and a few kinds of request, all below one secret path.

No part of a request becomes a path of the file system: names and indices are looked up in tables. Requests that a page
of another site may have caused are refused: those that name this machine by a foreign name (DNS rebinding), and those
that come from a foreign origin.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
import re
import secrets
import shutil
import socket
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, TypeVar
from urllib.parse import urlsplit

from pydantic import FailFast, Field, StrictBool, TypeAdapter

from device_profiles.measuring.reported import Report, checked, parse_object
from device_profiles.measuring.runners.capped_server import BODY_SECONDS, HEAD_SECONDS, IDLE_SECONDS, CappedServer
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

_SEND_TIMEOUT_S: Final = 60
"""How long 1 MiB of an answer may take: a phone at the edge of its Wi-Fi receives 100 kB/s."""

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
"""For files whose address never means another file: a week is longer than any measurement."""

_HOST: Final = re.compile(r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]{2,45})\]|(?P<name>[0-9A-Za-z._-]{1,253}))(?::[0-9]{1,5})?")

_LOST: Final = "There is nothing here. Open the address that the command printed."


# The limits of the following messages are generous bounds on what our own page sends.
class _Message(Report):
    page: Annotated[str, Field(max_length=64)]


class _Heartbeat(_Message):
    hidden: StrictBool


class _Results(_Message):
    job: Annotated[str, Field(max_length=32)]
    results: Annotated[tuple[Result, ...], Field(min_length=1, max_length=1000), FailFast()]


class _Failure(_Message):
    job: Annotated[str, Field(max_length=32)]
    file: Annotated[int, Field(strict=True, ge=0)]
    message: Annotated[str, Field(max_length=1000)]


_FACTS: Final = TypeAdapter(PageFacts)
_MESSAGE: Final = TypeAdapter(_Message)
_HEARTBEAT: Final = TypeAdapter(_Heartbeat)
_RESULTS: Final = TypeAdapter(_Results)
_FAILURE: Final = TypeAdapter(_Failure)

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedFiles:
    """The files that a page is to run.

    Attributes:
        number: A part of their addresses, which no other `OpenedFiles` of the server has.
        models: The files.
        inputs: Raw float32 inputs.
    """

    number: int = 0
    models: tuple[Path, ...] = ()
    inputs: tuple[bytes, ...] = ()


@dataclass(slots=True, kw_only=True)
class ServedFiles:
    """Files that the page may fetch.

    Attributes:
        engine: Files of ONNX Runtime Web by name.
        opened: The files that are measured; replaced as a whole while the server runs.
    """

    engine: dict[str, Path]
    opened: OpenedFiles = OpenedFiles()


class PageServer:
    """A server that runs from its construction until `close`.

    Args:
        coordinator: Answers the requests of pages.
        served: Files to serve.
        host: `127.0.0.1`, or `0.0.0.0` for the whole network.
        port: Port to serve on; 0 is any free one.
        names: Names by which pages may call this machine, besides `localhost` and addresses in numbers.

    Raises:
        EngineError: The port is in use or not allowed.
    """

    def __init__(
        self, coordinator: PageCoordinator, served: ServedFiles, host: str, port: int, names: Collection[str] = ()
    ) -> None:
        self._token = "".join(secrets.choice(_TOKEN_LETTERS) for _ in range(_TOKEN_LENGTH))
        own = {"localhost", *(name.lower() for name in names), *(_own_names() if host == "0.0.0.0" else ())}
        given = {"coordinator": coordinator, "served": served, "token": self._token, "names": frozenset(own)}
        try:
            self._server = CappedServer((host, port), type("Handler", (_Handler,), given))
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


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "model-factory"
    sys_version = ""
    timeout = _SEND_TIMEOUT_S
    server: CappedServer

    coordinator: ClassVar[PageCoordinator]
    served: ClassVar[ServedFiles]
    token: ClassVar[str]
    names: ClassVar[frozenset[str]]

    def handle(self) -> None:
        """Answer requests until the connection is to be closed."""
        self.close_connection = True
        self.server.limit(self.connection, HEAD_SECONDS)
        self.handle_one_request()
        while not self.close_connection:
            self.server.limit(self.connection, IDLE_SECONDS)
            self.handle_one_request()

    def do_GET(self) -> None:
        """Send a file."""
        name = self._name()
        if name is None:
            return
        opened = self.served.opened
        if name in ("", "page.mjs"):
            self._send_file(_PAGE_FOLDER / (name or "index.html"), "no-store")
        elif name.startswith("engine/") and name.removeprefix("engine/") in self.served.engine:
            self._send_file(self.served.engine[name.removeprefix("engine/")], _CACHED)
        elif (model := _number(name, f"model/{opened.number}", len(opened.models))) is not None:
            self._send_file(opened.models[model], _CACHED)
        elif (given := _number(name, f"input/{opened.number}", len(opened.inputs))) is not None:
            self._send(HTTPStatus.OK, opened.inputs[given], "application/octet-stream", _CACHED)
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "There is nothing here.")

    def do_POST(self) -> None:
        """Answer a request of the page; both are JSON."""
        name = self._name()
        if name is None:
            return
        if name not in _REQUESTS:
            self._refuse(HTTPStatus.NOT_FOUND, _LOST)
        elif not self._is_of_own_page():
            self._refuse(HTTPStatus.FORBIDDEN, "Only the page itself may send this.")
        elif (body := self._body()) is not None:
            self._answer(_REQUESTS[name], body)

    def _answer(self, request: Callable[[PageCoordinator, bytes], dict[str, Any]], body: bytes) -> None:
        try:
            answer = request(self.coordinator, body)
        except EngineError as error:
            self.coordinator.refuse_message(str(error))
            self._refuse(HTTPStatus.BAD_REQUEST, f"Not a valid request: {error}")
        except PageRefused as refusal:
            self._refuse(HTTPStatus.CONFLICT, str(refusal))
        else:
            self._send(HTTPStatus.OK, json.dumps(answer).encode(), "application/json", "no-store")

    def _body(self) -> bytes | None:
        """The body of the request; None if it is refused or does not arrive."""
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch(r"[0-9]{1,12}", length) or int(length) > BODY_LIMIT_BYTES:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"A request may have at most {BODY_LIMIT_BYTES} bytes.")
            return None
        self.server.limit(self.connection, BODY_SECONDS)
        body = self.rfile.read(int(length))
        self.server.limit(self.connection, None)
        if len(body) == int(length):
            return body
        self.close_connection = True
        return None

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""

    def _name(self) -> str | None:
        """The path below the secret one; None if the secret or the name of this machine is wrong, which is answered."""
        path = self.path.partition("?")[0]
        token, slash, name = path.removeprefix("/").partition("/")
        if not slash or not hmac.compare_digest(token.encode(), self.token.encode()):
            self._refuse(HTTPStatus.NOT_FOUND, _LOST)
            return None
        if not _is_own_host(self.headers.get_all("Host", []), self.names):
            message = "This machine is not known by that name here; write browser:DIST,host=NAME to allow it."
            self._refuse(HTTPStatus.FORBIDDEN, message)
            return None
        self.server.limit(self.connection, None, known=True)
        return name

    def _is_of_own_page(self) -> bool:
        """Whether the request is not from a page of another site. Every browser states the origin of such a request."""
        if self.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
            return False
        origins = self.headers.get_all("Origin", [])
        return not origins or (len(origins) == 1 and _is_own_origin(origins[0], self.headers["Host"], self.names))

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


def _is_own_host(hosts: list[str], names: Collection[str]) -> bool:
    """Whether a request names this machine by an address in numbers or one of `names`.

    With DNS rebinding, a page of another site calls this machine by the name of that site. It has no other way to
    reach it as its own origin, so that any address in numbers is safe.
    """
    found = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
    if found is None:
        return False
    host = found["ipv6"] or found["name"]
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host.lower().removesuffix(".") in names
    return True


def _is_own_origin(origin: str, host: str, names: Collection[str]) -> bool:
    """Whether an origin is that of the page: the host of the request, or a name that a proxy may have replaced."""
    try:
        parts = urlsplit(origin)
        own = parts.netloc.lower() == host.lower() or (parts.hostname or "") in set(names) - {"localhost"}
    except ValueError:  # a bracket that is not closed
        return False
    return parts.scheme in ("http", "https") and own


def _number(name: str, folder: str, count: int) -> int | None:
    """The index in `folder/index` if it is below `count`, otherwise None."""
    found = re.fullmatch(rf"{folder}/([0-9]{{1,6}})", name)
    return int(found[1]) if found and int(found[1]) < count else None


def _read(body: bytes, form: TypeAdapter[_T]) -> _T:
    """The message in `body`. Raises `EngineError`."""
    source = "the message of a page"
    return checked(parse_object(body, source, max_bytes=BODY_LIMIT_BYTES), form, source)


def _register_page(coordinator: PageCoordinator, body: bytes) -> dict[str, Any]:
    return coordinator.register_page(_read(body, _FACTS))


def _next_job(coordinator: PageCoordinator, body: bytes) -> dict[str, Any]:
    return coordinator.next_job(_read(body, _MESSAGE).page)


def _add_results(coordinator: PageCoordinator, body: bytes) -> dict[str, Any]:
    message = _read(body, _RESULTS)
    return coordinator.add_results(message.page, message.job, message.results)


def _report_failure(coordinator: PageCoordinator, body: bytes) -> dict[str, Any]:
    message = _read(body, _FAILURE)
    return coordinator.report_failure(message.page, message.job, PageFailure(message.file, message.message))


def _heartbeat(coordinator: PageCoordinator, body: bytes) -> dict[str, Any]:
    message = _read(body, _HEARTBEAT)
    return coordinator.heartbeat(message.page, message.hidden)


def _unregister_page(coordinator: PageCoordinator, body: bytes) -> dict[str, Any]:
    return coordinator.unregister_page(_read(body, _MESSAGE).page)


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


def _own_names() -> set[str]:
    """The names of this machine in its network."""
    name = socket.gethostname().lower()
    return {name, f"{name.partition('.')[0]}.local"}
