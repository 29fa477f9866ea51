"""The one way in which files and texts from outside are read: regular files, limits, strict JSON, printable text.

Whoever made a family, a measurement or a run folder may have made a mistake or mean harm. Nothing here blocks, or takes
more time or memory than the limits allow, and whatever is refused is a `ForeignError` of one line.
"""

from __future__ import annotations

import json
import math
import os
import re
import stat
from pathlib import Path
from typing import Any, BinaryIO

from factory_base.errors import ForeignError

INT64 = range(-(2**63), 2**63)
"""The integers that every language which reads our files can hold."""
MAX_DEPTH = 64
"""Default limit on nested objects and lists. Our own files need less than 10."""
MAX_VALUES = 2_000_000
"""Default limit on the number of JSON values, which take about 100 bytes of memory each."""

_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
"""A JSON string. The possessive quantifier keeps the search linear if the closing quote is missing."""
_BRACKET = re.compile(rb"[\[\]{}]")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_INT64_DIGITS = 20
_NUMBER_CHARACTERS = 400
"""A double needs at most 17 significant digits; longer numbers than this are not written by any program."""


def open_regular(path: Path, *, inside: Path | None = None) -> BinaryIO:
    """Open a regular file for reading, without waiting for anything: opening a FIFO would block until somebody writes.

    Args:
        path: The file.
        inside: A folder that `path`, with all links resolved, must not leave; None if any place is allowed.

    Raises:
        ForeignError: There is no such file, it is a folder, FIFO, socket or device, or it lies outside `inside`.
    """
    shown = printable(str(path))
    try:
        if inside is not None and not path.resolve().is_relative_to(inside.resolve()):
            raise ForeignError(
                f"{shown}: leads out of {printable(str(inside))}; links to other places are not followed"
            )
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (OSError, RuntimeError) as error:  # a RuntimeError is a loop of links
        raise ForeignError(f"{shown}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    except ValueError as error:  # a NUL in the name, or a name that the file system cannot encode
        raise ForeignError(f"{shown}: is not a valid file name") from error
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    raise ForeignError(f"{shown}: is {'a folder' if stat.S_ISDIR(mode) else 'not a regular file'}")


def read_regular(path: Path, limit: int, *, inside: Path | None = None) -> bytes:
    """The content of a regular file of at most `limit` bytes.

    Args:
        path: The file.
        limit: The most bytes to read.
        inside: As for `open_regular`.

    Raises:
        ForeignError: As for `open_regular`, or the file is larger than `limit`.
    """
    with open_regular(path, inside=inside) as stream:
        try:
            size = os.fstat(stream.fileno()).st_size
            data = stream.read(limit + 1) if size <= limit else None
        except OSError as error:
            raise ForeignError(f"{printable(str(path))}: cannot be read ({error.strerror})") from error
    if data is None or len(data) > limit:
        raise ForeignError(f"{printable(str(path))}: is larger than the limit of {limit:,} bytes")
    return data


def parse_json(
    data: bytes, source: str, *, max_bytes: int, max_depth: int = MAX_DEPTH, max_values: int = MAX_VALUES
) -> Any:
    """The value of strict JSON (RFC 8259, I-JSON): what every parser of every language reads alike, within limits.

    Size, depth and number of values are checked before anything is parsed.

    Args:
        data: The text, UTF-8 without a byte order mark.
        source: Name of the file or sender in messages.
        max_bytes: The largest accepted size.
        max_depth: The deepest nesting of objects and lists.
        max_values: The largest number of values.

    Raises:
        ForeignError: A limit is exceeded, a key is repeated, an integer exceeds 64 bits, a number is not finite, a
            string is not valid Unicode, or `data` is not JSON.
    """
    source = printable(source)
    if len(data) > max_bytes:
        raise ForeignError(f"{source}: is larger than the limit of {max_bytes:,} bytes")
    if data.startswith(b"\xef\xbb\xbf"):
        raise ForeignError(f"{source}: starts with a byte order mark; save it as plain UTF-8")
    _check_structure(_STRING.sub(b'""', data), source, max_depth, max_values)
    try:
        text = data.decode("utf-8")
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_float,
            parse_constant=_refuse_constant,
        )
        if _SURROGATE.search(data):
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeDecodeError as error:
        raise ForeignError(f"{source}: is not UTF-8 text") from error
    except UnicodeEncodeError as error:
        raise ForeignError(f"{source}: half of a surrogate pair is not valid Unicode") from error
    except ValueError as error:
        raise ForeignError(f"{source}: is not valid JSON ({printable(str(error))})") from error
    return value


def printable(text: str, limit: int = 500) -> str:
    """`text` as part of one line: whatever is not printable (control codes, line breaks, bidirectional marks) escaped.

    >>> print(printable("red\\x1b[31m\\nline"))
    red\\x1b[31m\\nline

    Args:
        text: A text from outside.
        limit: The most characters to show; the rest is replaced by `...`.
    """
    cut = text if len(text) <= limit else text[:limit] + "..."
    if cut.isprintable():
        return cut
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in cut)


def one_line(text: object, limit: int = 200) -> str:
    """`printable`, with each run of white space as one space: for what the errors of libraries and other code say.

    Args:
        text: An error or a text, whose lines may fill a page.
        limit: The most characters to show.
    """
    return printable(" ".join(str(text).split()), limit)


def _check_structure(bare: bytes, source: str, max_depth: int, max_values: int) -> None:
    """Check depth and number of values of JSON whose strings are empty."""
    if 1 + bare.count(b",") + bare.count(b"[") + bare.count(b"{") > max_values:
        raise ForeignError(f"{source}: holds more than {max_values:,} values")
    depth = 0
    for bracket in _BRACKET.finditer(bare):
        depth += 1 if bracket[0] in b"[{" else -1
        if depth > max_depth:
            raise ForeignError(f"{source}: is nested deeper than {max_depth} levels")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        seen: set[str] = set()
        repeated = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"key {repeated!r} is given twice")
    return value


def _integer(text: str) -> int:
    value = int(text) if len(text) <= _INT64_DIGITS else None
    if value is None or value not in INT64:
        raise ValueError(f"the integer {printable(text, 40)} exceeds 64 bits")
    return value


def _float(text: str) -> float:
    value = float(text) if len(text) <= _NUMBER_CHARACTERS else math.inf
    if not math.isfinite(value):
        raise ValueError(f"the number {printable(text, 40)} is too large")
    return value


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is not a number in JSON")
