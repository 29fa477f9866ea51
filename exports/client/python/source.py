"""Where a family comes from: a folder at a URL of HTTP, or a folder of this machine. Bodies are read piece by piece.

A server may be hostile or broken: every wait is limited, and what it sends is only ever compared with what the manifest
states. Nothing is read beyond what was asked for.
"""

from __future__ import annotations

import http.client
import io
import os
import re
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol
from urllib.parse import quote, urlsplit

from .files import CHUNK, open_regular, read

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

ATTEMPTS = 3
"""Attempts for a file, and for a manifest that somebody waits for."""
MAX_REDIRECTS = 5
RETRIED = frozenset({408, 416, 429})
"""Statuses below 500 that another attempt may not give: timeout, unusable range, too many requests."""


class SourceError(Exception):
    """The file, or the part of it, could not be had.

    Attributes:
        answered: Whether anybody answered.
        final: Whether another attempt is useless.
    """

    def __init__(self, message: str, *, answered: bool = True, final: bool = False) -> None:
        super().__init__(message)
        self.answered, self.final = answered, final


class RangeError(SourceError):
    """The server does not give the range that was asked for; the file must be read from its first byte."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """What a source sends.

    Attributes:
        start: The offset in the file of the first byte that is sent.
        pieces: The bytes, possibly more or fewer than asked for. Reading them raises `SourceError` if they stop coming.
    """

    start: int
    pieces: Iterator[bytes]


class Source(Protocol):
    """Reads the files of a family by their names in the manifest."""

    @property
    def attempts(self) -> int:
        """How often it is worth asking for a file."""
        ...

    def manifest(self, limit: int) -> bytes:
        """The content of `manifest.json`, at most `limit` bytes. Raises `SourceError`."""
        ...

    def open(self, name: str, size: int, first: int = 0, last: int | None = None) -> Body:
        """The bytes `first` to `last` (inclusive; default the end) of a file of `size` bytes.

        The body may start at 0 instead of `first`.

        Raises:
            SourceError: The source does not have it, or does not answer.
        """
        ...


def source_of(url: str, timeout: float) -> Source:
    """The source for a URL or the path of a folder.

    Args:
        url: `http://...` or `https://...` of the folder with `manifest.json`, or of that file; else a path.
        timeout: The longest wait, in seconds, for an answer and for a further byte.

    Raises:
        ValueError: The URL is not one of HTTP.
    """
    url = url.rstrip("/").removesuffix("/manifest.json")
    if "://" not in url:
        return FolderSource(Path(url))
    if urlsplit(url).scheme not in ("http", "https"):
        raise ValueError(f"{url} cannot be read; give an address that starts with http:// or https://, or a folder")
    return HttpSource(url, timeout)


@dataclass(frozen=True, slots=True)
class FolderSource:
    """A folder of this machine: regular files inside it only."""

    folder: Path
    attempts: int = 1

    def manifest(self, limit: int) -> bytes:
        """See `Source.manifest`."""
        try:
            return read(self.folder / "manifest.json", limit, self.folder)
        except FileNotFoundError as error:
            raise SourceError(f"manifest.json is missing in {self.folder}", answered=False, final=True) from error
        except OSError as error:
            raise SourceError(str(error), answered=False, final=True) from error
        except ValueError as error:
            raise SourceError(str(error), final=True) from error

    def open(self, name: str, size: int, first: int = 0, last: int | None = None) -> Body:
        """See `Source.open`."""
        try:
            stream = open_regular(self.folder / name, self.folder)
        except FileNotFoundError as error:
            raise SourceError(f"{name} is missing in {self.folder}", final=True) from error
        except (OSError, ValueError) as error:
            raise SourceError(str(error), final=True) from error
        if (found := os.fstat(stream.fileno()).st_size) != size:
            stream.close()
            raise SourceError(f"{name} has {found} bytes in {self.folder}, expected {size}", final=True)
        return Body(start=first, pieces=_pieces(stream, first, size if last is None else last + 1))


def _pieces(stream: IO[bytes], first: int, end: int) -> Iterator[bytes]:
    with stream:
        stream.seek(first)
        while first < end:
            try:
                piece = stream.read(min(CHUNK, end - first))
            except OSError as error:
                raise SourceError(f"the file cannot be read: {error}") from error
            if not piece:
                return
            first += len(piece)
            yield piece


class HttpSource:
    """A folder that an HTTP server serves."""

    attempts = ATTEMPTS

    def __init__(self, url: str, timeout: float) -> None:
        self._url, self._timeout = url, timeout
        self._opener = urllib.request.build_opener(_Redirects, _Http, _Https)

    def manifest(self, limit: int) -> bytes:
        """See `Source.manifest`. The whole answer must come within the timeout."""
        end = time.monotonic() + self._timeout
        response = self._request("manifest.json", {})
        length, data = _length(response), b""
        for piece in _received(response):
            data += piece
            if len(data) > limit:
                raise SourceError(f"manifest.json is larger than the limit of {limit} bytes", final=True)
            if time.monotonic() > end:
                raise SourceError(f"manifest.json did not come within {self._timeout:g} s", answered=False)
        if length not in (None, len(data)):
            raise SourceError(f"manifest.json has {len(data)} bytes, the server promised {length}")
        return data

    def open(self, name: str, size: int, first: int = 0, last: int | None = None) -> Body:
        """See `Source.open`."""
        wanted = {} if first == 0 and last is None else {"Range": f"bytes={first}-{'' if last is None else last}"}
        response = self._request(name, wanted)
        end = size if last is None else last + 1
        start = 0 if response.status == 200 else first
        try:
            if response.status == 206 and not _is_range(response.headers.get("Content-Range", ""), first, end, size):
                raise RangeError(f"the server answers with another range of {name}")
            expected = (size if response.status == 200 else end) - start
            if (length := _length(response)) not in (None, expected):
                raise SourceError(f"the server promises {length} bytes of {name}, expected {expected}")
        except SourceError:
            response.close()
            raise
        return Body(start=start, pieces=_received(response))

    def _request(self, name: str, headers: dict[str, str]) -> http.client.HTTPResponse:
        address = f"{self._url}/{quote(name)}"
        request = urllib.request.Request(address, headers={"Accept-Encoding": "identity", **headers})
        try:
            response: http.client.HTTPResponse = self._opener.open(request, timeout=self._timeout)
        except urllib.error.HTTPError as error:
            error.close()
            kind = RangeError if error.code == 416 else SourceError
            final = error.code < 500 and error.code not in RETRIED
            raise kind(f"the server answers with the status {error.code} for {name}", final=final) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "reason", error)  # what `URLError` wraps
            raise SourceError(f"no answer for {name}: {_text(reason)}", answered=False) from error
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            response.close()
            raise SourceError(f"the server packed {name}, although it was asked not to")
        if response.status not in (200, 206 if "Range" in headers else 200):
            response.close()
            raise SourceError(f"the server answers with the status {response.status} for {name}", final=True)
        return response


def _text(error: object) -> str:
    """What an error of the network says, without the number of the error."""
    return str(getattr(error, "strerror", None) or error)


def _is_range(text: str, first: int, end: int, size: int) -> bool:
    """Whether a `Content-Range` (RFC 9110, section 14.4) is that of the bytes `first` to before `end`."""
    found = re.fullmatch(r"bytes ([0-9]{1,16})-([0-9]{1,16})/([0-9]{1,16}|\*)", text)
    return bool(found and (int(found[1]), int(found[2])) == (first, end - 1) and found[3] in ("*", str(size)))


def _length(response: http.client.HTTPResponse) -> int | None:
    text = response.headers.get("Content-Length", "")
    return int(text) if re.fullmatch(r"[0-9]{1,16}", text) else None


def _received(response: http.client.HTTPResponse) -> Iterator[bytes]:
    with response:
        while True:
            try:
                if isinstance(response, _Response):
                    response.wait()
                piece = response.read1(CHUNK)
            except (OSError, http.client.HTTPException, ValueError) as error:
                raise SourceError(f"the server stopped sending: {_text(error)}", answered=False) from error
            if not piece:
                return
            yield piece


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows few redirects, and none from https to http, which would undo the protection of the connection."""

    max_redirections = MAX_REDIRECTS

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if urlsplit(newurl).scheme != "https" and (req.type == "https" or urlsplit(newurl).scheme != "http"):
            raise urllib.error.HTTPError(newurl, code, "a redirect to another protocol", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Response(http.client.HTTPResponse):
    """An answer whose headers, and each piece of whose body, come within the connection's timeout as a whole.

    The timeout of a socket is for a single byte: a server that sends one now and then would keep the app for ever.
    """

    def __init__(
        self, sock: socket.socket, debuglevel: int = 0, method: str | None = None, url: str | None = None
    ) -> None:
        super().__init__(sock, debuglevel, method, url)
        self._bytes = _TimedBytes(self.fp.detach(), sock)
        self.fp = io.BufferedReader(self._bytes)

    def wait(self) -> None:
        """What is read next may take the timeout again."""
        self._bytes.wait()


class _TimedBytes(io.RawIOBase):
    """The bytes of a socket, until its timeout has passed since the last `wait`."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket) -> None:
        self._raw, self._sock, self._timeout = raw, sock, sock.gettimeout()
        self.wait()

    def wait(self) -> None:
        self._end = None if self._timeout is None else time.monotonic() + self._timeout

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int | None:
        if self._end is not None:
            if (left := self._end - time.monotonic()) <= 0:
                raise TimeoutError("timed out")
            self._sock.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Connection(http.client.HTTPConnection):
    response_class = _Response


class _TlsConnection(http.client.HTTPSConnection):
    response_class = _Response


class _Http(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Connection, req)


class _Https(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_TlsConnection, req)
