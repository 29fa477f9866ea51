"""An HTTP server for a folder that counts what it sends, and misbehaves as told for single files."""

from __future__ import annotations

import gzip
import re
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ENDLESS = 1 << 26
"""Bytes that stand for an endless body: far more than the buffers of two sockets hold."""
HTML = b"<!doctype html><title>Log in</title><p>Welcome to the hotel!" + b" " * 200


@dataclass
class Server:
    """What the server did, and what it is to do.

    Attributes:
        folder: What it serves.
        url: Where.
        faults: Part of a path -> how requests for such files are answered: a method of `Handler` without its `do_`,
            or a list of such, one for each request; after the last one it answers properly.
        sent: Path -> the bytes of all bodies.
        ranges: Path -> the ranges that were asked for, "" for none.
        closing: Set when the server stops, so that nobody waits for ever.
    """

    folder: Path
    url: str = ""
    faults: dict[str, str | list[str]] = field(default_factory=dict)
    sent: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    ranges: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    closing: threading.Event = field(default_factory=threading.Event)

    def forget(self) -> None:
        """Count from zero."""
        self.sent.clear()
        self.ranges.clear()

    def bytes_of(self, part: str) -> int:
        """The bytes of bodies for paths with that part."""
        return sum(count for path, count in self.sent.items() if part in path)

    def files(self) -> set[str]:
        """The names that were asked for, without the manifest."""
        return {path.removeprefix("/moved").lstrip("/") for path in self.ranges} - {"manifest.json"}

    def next_fault(self, path: str) -> str:
        for part, fault in self.faults.items():
            if part in path and fault:
                return fault if isinstance(fault, str) else fault.pop(0)
        return "properly"


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """A server for the folder on a free port of this machine."""
    server = Server(folder)
    handler = type("BoundHandler", (Handler,), {"server_state": server})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        http.daemon_threads = True
        http.block_on_close = False
        server.url = f"http://127.0.0.1:{http.server_port}"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            http.shutdown()
            thread.join()


class Handler(BaseHTTPRequestHandler):
    server_state: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.close_connection = True
        self.server_state.ranges[self.path].append(self.headers.get("Range", ""))
        with suppress(OSError):
            getattr(self, f"do_{self.server_state.next_fault(self.path)}")()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def answer(self, status: int, headers: dict[str, object], body: bytes) -> None:
        self.send_response(status)
        for name, value in {"Connection": "close", **headers}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.send(body)

    def send(self, body: bytes) -> None:
        self.wfile.write(body)
        self.wfile.flush()
        self.server_state.sent[self.path] += len(body)

    @property
    def content(self) -> bytes | None:
        path = self.server_state.folder / self.path.removeprefix("/moved").lstrip("/")
        return path.read_bytes() if path.is_file() else None

    def wanted(self) -> tuple[int, int, bytes]:
        """The first byte and the end of the range that was asked for, and those bytes."""
        data = self.content or b""
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        first = int(found[1]) if found else 0
        end = int(found[2]) + 1 if found and found[2] else len(data)
        return first, end, data[first:end]

    def head(self) -> tuple[int, dict[str, object], bytes]:
        first, end, body = self.wanted()
        headers: dict[str, object] = {"Content-Length": len(body)}
        if "Range" not in self.headers:
            return 200, headers, body
        return 206, headers | {"Content-Range": f"bytes {first}-{end - 1}/{len(self.content or b'')}"}, body

    def do_properly(self) -> None:
        if self.content is None:
            self.do_missing()
        else:
            self.answer(*self.head())

    def do_missing(self) -> None:
        self.answer(404, {"Content-Length": len(HTML)}, HTML)

    def do_broken(self) -> None:
        self.answer(503, {"Content-Length": len(HTML)}, HTML)

    def do_html(self) -> None:
        self.answer(200, {"Content-Type": "text/html", "Content-Length": len(HTML)}, HTML)

    def do_other_length(self) -> None:
        status, headers, body = self.head()
        self.answer(status, headers | {"Content-Length": len(body) + 10}, body)

    def do_longer(self) -> None:
        """More bytes than the manifest states, and no word about how many."""
        status, headers, body = self.head()
        del headers["Content-Length"]
        self.answer(status, headers, body + b"x" * 100_000)

    def do_endless(self) -> None:
        status, headers, body = self.head()
        del headers["Content-Length"]
        self.answer(status, headers, body)
        for _ in range(ENDLESS // 65536):
            self.send(b" " * 65536)

    def do_half(self) -> None:
        """The right length is promised, and the connection ends after half of it."""
        status, headers, body = self.head()
        self.answer(status, headers, body[: len(body) // 2])

    def do_half_unsaid(self) -> None:
        """The connection ends after half of the body, and no length was promised."""
        status, headers, body = self.head()
        del headers["Content-Length"]
        self.answer(status, headers, body[: len(body) // 2])

    def do_stalls(self) -> None:
        self.do_half()
        self.server_state.closing.wait()

    def do_drips(self) -> None:
        """A byte now and then, so that no single wait is long."""
        status, headers, body = self.head()
        self.answer(status, headers, b"")
        for byte in body:
            self.send(bytes([byte]))
            if self.server_state.closing.wait(0.1):
                return

    def do_drips_header(self) -> None:
        """A header that never ends."""
        self.drip(b"HTTP/1.1 200 OK\r\nX-Endless: ")

    def do_drips_chunk(self) -> None:
        """A body in chunks, the first of which never begins."""
        self.drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;x=")

    def drip(self, start: bytes) -> None:
        """`start`, then a byte now and then."""
        self.wfile.write(start)
        while not self.server_state.closing.wait(0.1):
            self.wfile.write(b"x")

    def do_silent(self) -> None:
        self.server_state.closing.wait()

    def do_without_ranges(self) -> None:
        body = self.content or b""
        self.answer(200, {"Content-Length": len(body)}, body)

    def do_other_range(self) -> None:
        """A range that begins elsewhere than was asked for; without a range, a proper answer."""
        first, end, body = self.wanted()
        if first == 0:
            return self.do_properly()
        size = len(self.content or b"")
        headers = {"Content-Length": len(body), "Content-Range": f"bytes {first - 1}-{end - 2}/{size}"}
        return self.answer(206, headers, (self.content or b"")[first - 1 : end - 1])

    def do_damaged(self) -> None:
        """Zeros in place of 64 KiB in the middle."""
        status, headers, body = self.head()
        first = self.wanted()[0]
        middle = (len(self.content or b"") // 2) - first
        if 0 <= middle < len(body):
            hole = body[middle : middle + 65536]
            body = body[:middle] + bytes(len(hole)) + body[middle + len(hole) :]
        self.answer(status, headers, body)

    def do_redirect(self) -> None:
        if self.path.startswith("/moved"):
            return self.do_properly()
        return self.answer(302, {"Location": f"/moved{self.path}", "Content-Length": 0}, b"")

    def do_redirect_for_ever(self) -> None:
        self.answer(302, {"Location": self.path, "Content-Length": 0}, b"")

    def do_gzip(self) -> None:
        self.answer(200, {"Content-Encoding": "gzip"}, gzip.compress(self.wanted()[2]))
