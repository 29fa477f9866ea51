"""Serves a page to browsers on this machine."""

from __future__ import annotations

import re
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import ClassVar, Final
from urllib.parse import unquote

from device_profiles.measuring.runners.capped_server import HEAD_SECONDS, IDLE_SECONDS, CappedServer
from exports.page.site import Site
from factory_base.errors import ConfigError

HOST: Final = "127.0.0.1"
_NAMES: Final = ("127.0.0.1", "localhost")
"""By which a browser may name this machine: a page of another site would name it otherwise (DNS rebinding)."""
_TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "mjs": "text/javascript; charset=utf-8",
    "json": "application/json",
    "wasm": "application/wasm",
    "png": "image/png",
}
_HEADERS: Final = {
    # The first two isolate the page from other origins, which gives it threads and a finer timer.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; script-src 'self' blob: 'wasm-unsafe-eval'; "
    "worker-src 'self' blob:; connect-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
_RANGE: Final = re.compile(r"bytes=([0-9]{1,15})-([0-9]{0,15})")
_SEND_TIMEOUT_S: Final = 60.0


class SiteServer:
    """A server that runs from its construction until `close`.

    Args:
        site: What it serves.
        port: The port; 0 is any free one.
        isolated: Whether the page is isolated from other origins, which lets WebAssembly use threads.

    Raises:
        ConfigError: The port is in use or not allowed.
    """

    def __init__(self, site: Site, port: int = 0, *, isolated: bool = True) -> None:
        try:
            self._server = CappedServer(
                (HOST, port), type("Handler", (_Handler,), {"site": site, "isolated": isolated})
            )
        except OSError as error:
            raise ConfigError(
                f"port {port} cannot be used ({error.strerror or error}); choose another one with --port, 0 for any"
            ) from error
        threading.Thread(target=self._server.serve_forever, daemon=True, name="site server").start()

    @property
    def url(self) -> str:
        """Address of the page."""
        return f"http://{HOST}:{self._server.server_address[1]}/"

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.end_connections()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "model-factory"
    sys_version = ""
    timeout = _SEND_TIMEOUT_S
    server: CappedServer

    site: ClassVar[Site]
    isolated: ClassVar[bool]

    def handle(self) -> None:
        """Answer requests until the connection is to be closed."""
        self.close_connection = True
        self.server.limit(self.connection, HEAD_SECONDS)
        self.handle_one_request()
        while not self.close_connection:
            self.server.limit(self.connection, IDLE_SECONDS)
            self.handle_one_request()

    def do_GET(self) -> None:
        """Send a file, or a part of it."""
        if (self.headers.get("Host") or "").partition(":")[0] not in _NAMES:
            self._send(HTTPStatus.FORBIDDEN, b"This machine is not known by that name here.", "text/plain", {})
            return
        self.server.limit(self.connection, None, known=True)
        name = unquote(self.path.partition("?")[0].removeprefix("/")) or "index.html"
        try:
            content = self.site.content(name)
        except OSError:
            content = None
        if content is None:
            self._send(HTTPStatus.NOT_FOUND, b"There is nothing here.", "text/plain", {})
        else:
            self._send_part(content, _TYPES.get(name.rpartition(".")[2], "application/octet-stream"))

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""

    def _send_part(self, content: bytes, kind: str) -> None:
        found = _RANGE.fullmatch(self.headers.get("Range", ""))
        if found is None:
            self._send(HTTPStatus.OK, content, kind, {"Accept-Ranges": "bytes"})
            return
        first, last = int(found[1]), min(int(found[2] or len(content) - 1), len(content) - 1)
        if first > last:
            self._send(
                HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, b"", kind, {"Content-Range": f"bytes */{len(content)}"}
            )
            return
        part = content[first : last + 1]
        self._send(HTTPStatus.PARTIAL_CONTENT, part, kind, {"Content-Range": f"bytes {first}-{last}/{len(content)}"})

    def _send(self, status: HTTPStatus, body: bytes, kind: str, more: dict[str, str]) -> None:
        self.send_response(status)
        headers = {"Content-Type": kind, "Content-Length": str(len(body)), **_HEADERS, **more}
        if not self.isolated:
            headers = {name: value for name, value in headers.items() if not name.startswith("Cross-Origin")}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
