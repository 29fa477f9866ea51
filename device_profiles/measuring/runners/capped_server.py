"""An HTTP server that slow, silent and numerous clients cannot block."""

from __future__ import annotations

import socket
import socketserver
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from http.server import ThreadingHTTPServer
from typing import Any, Final

MOST_CONNECTIONS: Final = 48
"""Most connections at a time, each of which has a thread. A browser opens 6 to a server, and two pages may be open."""

HEAD_SECONDS: Final = 15.0
"""How long a new connection may take until the head of its first request has arrived."""

IDLE_SECONDS: Final = 60.0
"""The same for further requests. Pages send one every 10 s, and open another connection when they need it."""

BODY_SECONDS: Final = 60.0
"""How long the body of a request may take: 8 MiB at 140 kB/s."""


@dataclass(slots=True, kw_only=True)
class _Connection:
    """An open connection.

    Attributes:
        end: Monotonic time at which it is closed; None while an answer is computed or sent.
        known: Whether a request on it was allowed; such a connection makes no room for others.
    """

    end: float | None
    known: bool = False


class CappedServer(ThreadingHTTPServer):
    """Serves at most `MOST_CONNECTIONS` at a time; handlers state how long each may still take.

    When there are as many, the oldest one without an allowed request makes room for a new one.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, *arguments: Any) -> None:
        self._lock = threading.Lock()
        self._connections: dict[socket.socket, _Connection] = {}
        super().__init__(*arguments)

    def server_bind(self) -> None:
        """Bind without looking up the name of this machine, which can take long and is not needed here."""
        socketserver.TCPServer.server_bind(self)

    def limit(self, connection: socket.socket, seconds: float | None, *, known: bool = False) -> None:
        """Close a connection after so many seconds, unless this is called again; None means no limit.

        Args:
            connection: One that is open.
            seconds: The limit.
            known: Whether a request on it was allowed; this is remembered.
        """
        with self._lock:
            entry = self._connections.get(connection)
            if entry is not None:
                entry.end = None if seconds is None else time.monotonic() + seconds
                entry.known |= known

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a new connection in a thread, or close it if there is no room."""
        if self._has_room():
            with self._lock:
                self._connections[request] = _Connection(end=time.monotonic() + HEAD_SECONDS)
            super().process_request(request, client_address)
        else:
            super().shutdown_request(request)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection."""
        with self._lock:
            self._connections.pop(request, None)
        super().shutdown_request(request)

    def end_connections(self) -> None:
        """Close all connections; `server_close` closes only the socket that accepts new ones."""
        with self._lock:
            found = list(self._connections)
        for connection in found:
            _end(connection)

    def service_actions(self) -> None:
        """Close connections whose time is over; called twice a second."""
        now = time.monotonic()
        with self._lock:
            late = [key for key, entry in self._connections.items() if entry.end is not None and entry.end < now]
        for connection in late:
            _end(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a browser that disappears in the middle of an answer."""

    def _has_room(self) -> bool:
        with self._lock:
            if len(self._connections) < MOST_CONNECTIONS:
                return True
            oldest = next((key for key, entry in self._connections.items() if not entry.known), None)
            if oldest is None:
                return False
            del self._connections[oldest]
        _end(oldest)
        return True


def _end(connection: socket.socket) -> None:
    """Wake the thread of a connection, which closes it."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
