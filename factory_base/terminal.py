"""The only way to the terminal: every line that the product prints passes through here.

Much of what is printed holds text from outside: names in manifests, names of files, answers of boards, telemetry. Such
text may hold control characters, which recolour or rewrite a terminal, and line breaks, which forge lines. Here every
line becomes one line without them, in characters that the terminal has.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import textwrap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from factory_base.errors import FactoryError
from factory_base.foreign import printable

_LONGEST_LINE = 10_000
"""Characters of a line: far above whatever people read, and little enough for any terminal or log."""
_BOX_CHARACTERS = "─━"
_USUAL_COLUMNS = 80
"""The width of terminals that do not report one."""
_ANY = "utf-8"
"""The encoding of streams that have none, which keep text as it is."""
_IN_ASCII = str.maketrans({"─": "-", "━": "=", "±": "+/-", "…": "...", "–": "-", "×": "x"})
"""How the few characters beyond ASCII that the product itself prints are written in ASCII."""
_COERCED_LOCALES = frozenset({"C.UTF-8", "C.utf8", "UTF-8"})
"""Values that Python itself gives `LC_CTYPE` in the C locale (PEP 538); they say nothing about the terminal."""


def print_line(text: object = "") -> None:
    """Write a line of a command's result to standard output."""
    write_line(str(text), sys.stdout)


def print_note(text: object) -> None:
    """Write a line about the work (progress, notes, errors) to standard error, at once."""
    write_line(str(text), sys.stderr)


def print_error(error: object) -> None:
    """Write an error to standard error: one line, or one for each fault of a file that people write."""
    first, *others = error.lines() if isinstance(error, FactoryError) else (_one_line(error),)
    print_note(f"error: {_one_line(first)}")
    for line in others:
        print_note(f"  {_one_line(line)}")


def print_json(value: Any) -> None:
    """Write a command's result to standard output as indented JSON in ASCII, which escapes all control characters."""
    sys.stdout.write(json.dumps(value, indent=2).replace("\x7f", "\\u007f") + "\n")


class _LogLines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        print_note(f"{record.levelname.lower()}: {_one_line(record.getMessage())}")


@contextmanager
def messages_as_lines() -> Iterator[None]:
    """Print warnings, and log records for which there is no other handler, as one line each while the context is open.

    Libraries write both, and what they say may quote a file or an answer from outside.
    """

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        print_note(f"warning: {_one_line(message)}")

    before = logging.lastResort, warnings.showwarning
    logging.lastResort, warnings.showwarning = _LogLines(logging.WARNING), show
    try:
        yield
    finally:
        logging.lastResort, warnings.showwarning = before


def write_line(text: str, stream: TextIO) -> None:
    """Write `text` to `stream` as one line that the stream can encode; control characters are escaped.

    A terminal gets it broken between words, with the parts after the first indented, so that none looks like a line.
    """
    line = encodable(printable(text, _LONGEST_LINE), stream)
    if stream.isatty():
        line = "\n".join(_broken(line, _columns(stream)))
    stream.write(line + "\n")
    stream.flush()


def encodable(text: str, stream: TextIO) -> str:
    """`text` in characters that `stream` has; the others are replaced, or escaped as in Python."""
    if ascii_only(stream):
        text = text.translate(_IN_ASCII)
    encoding = stream.encoding or _ANY
    return text.encode(encoding, "backslashreplace").decode(encoding)


def ascii_only(stream: TextIO) -> bool:
    """Whether rules and bars on `stream` are drawn in ASCII: its encoding lacks box characters, or the locale is C."""
    try:
        _BOX_CHARACTERS.encode(stream.encoding or _ANY)
    except UnicodeEncodeError:
        return True
    coerced = os.environ.get("LC_CTYPE") in _COERCED_LOCALES
    names = ("LC_ALL", "LANG") if coerced else ("LC_ALL", "LC_CTYPE", "LANG")
    chosen = next((value for name in names if (value := os.environ.get(name))), "")
    return chosen in ("C", "POSIX")


def is_interactive(stream: TextIO) -> bool:
    """Whether `stream` is a terminal on which lines can be rewritten in place."""
    return stream.isatty() and os.environ.get("TERM", "") != "dumb"


def has_colours(stream: TextIO) -> bool:
    """Whether styles may be used on `stream`: it is a terminal, and `NO_COLOR` is not set (https://no-color.org)."""
    return is_interactive(stream) and not os.environ.get("NO_COLOR")


def _broken(line: str, width: int) -> list[str]:
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    return textwrap.wrap(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _columns(stream: TextIO) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns or _USUAL_COLUMNS
    except OSError:
        return _USUAL_COLUMNS


def _one_line(text: object) -> str:
    return " ".join(str(text).split())
