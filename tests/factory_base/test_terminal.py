"""Whatever is printed passes one place, which lets nothing from outside reach the terminal as control characters."""

from __future__ import annotations

import io
import logging
import warnings

import pytest

from factory_base import terminal

FOREIGN = "\x1b]0;title\x07\x1b[31mred\nFAULT  forged\r\u202e\x9b1m\x7f"


class Stream(io.StringIO):
    """A text stream with an encoding, and perhaps a terminal."""

    def __init__(self, encoding: str = "utf-8", *, is_terminal: bool = False) -> None:
        super().__init__()
        self._encoding, self._is_terminal = encoding, is_terminal

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    def isatty(self) -> bool:
        return self._is_terminal


@pytest.fixture(autouse=True)
def utf8_locale(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LC_ALL", "LC_CTYPE", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LANG", "en_US.UTF-8")
    monkeypatch.setenv("TERM", "xterm")


@pytest.mark.parametrize("is_terminal", [False, True])
def test_foreign_text_is_one_line_without_control_characters(is_terminal):
    stream = Stream(is_terminal=is_terminal)
    terminal.write_line(f"ok     name: {FOREIGN}", stream)
    (line,) = stream.getvalue().splitlines()
    assert line.isprintable()
    assert r"\x1b[31mred\nFAULT  forged" in line


def test_results_go_to_standard_output_and_notes_and_errors_to_standard_error(capsys):
    terminal.print_line(FOREIGN)
    terminal.print_note(FOREIGN)
    terminal.print_error("two\nlines")
    terminal.print_json({"name": FOREIGN})
    out, err = capsys.readouterr()
    assert (out + err).replace("\n", "").isprintable()
    assert len(out.splitlines()) == 4
    assert err.splitlines()[-1] == "error: two lines"


def test_warnings_and_log_records_are_lines_too(capsys, monkeypatch):
    logger = logging.getLogger("device_profiles.runner")
    monkeypatch.setattr(logger, "propagate", False)  # pytest has handlers of its own
    with warnings.catch_warnings(), terminal.messages_as_lines():
        warnings.simplefilter("always")
        warnings.warn(FOREIGN, stacklevel=1)
        logger.warning("%s is gone", FOREIGN)
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["warning", "warning"]
    assert all(line.isprintable() for line in lines)


def test_a_terminal_breaks_long_lines_between_words_and_indents_the_rest():
    stream = Stream(is_terminal=True)
    terminal.write_line("word " * 40, stream)
    first, *rest = stream.getvalue().splitlines()
    assert len(first) <= 80
    assert all(line.startswith("  word") and len(line) <= 80 for line in rest)


def test_a_file_gets_every_line_whole():
    stream = Stream()
    terminal.write_line("word " * 40, stream)
    assert stream.getvalue() == "word " * 40 + "\n"


def test_characters_that_the_stream_lacks_are_replaced_or_escaped():
    stream = Stream("ascii")
    terminal.write_line("Käse ±60%", stream)
    assert stream.getvalue() == "K\\xe4se +/-60%\n"


@pytest.mark.parametrize(
    ("encoding", "locale", "expected"),
    [
        ("utf-8", {"LANG": "de_DE.UTF-8"}, False),
        ("utf-8", {"LANG": ""}, False),
        ("ascii", {"LANG": "de_DE.UTF-8"}, True),
        ("latin-1", {"LANG": "de_DE"}, True),
        ("utf-8", {"LANG": "C"}, True),
        ("utf-8", {"LANG": "C", "LC_CTYPE": "C.UTF-8"}, True),
        ("utf-8", {"LANG": "C", "LC_CTYPE": "en_US.UTF-8"}, False),
        ("utf-8", {"LANG": "en_US.UTF-8", "LC_ALL": "POSIX"}, True),
    ],
)
def test_a_stream_is_ascii_if_its_encoding_or_the_locale_is(encoding, locale, expected, monkeypatch):
    for name, value in locale.items():
        monkeypatch.setenv(name, value)
    assert terminal.ascii_only(Stream(encoding)) is expected


def test_colours_need_a_capable_terminal_and_no_objection(monkeypatch):
    assert terminal.has_colours(Stream(is_terminal=True))
    assert not terminal.has_colours(Stream())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not terminal.has_colours(Stream(is_terminal=True))
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not terminal.has_colours(Stream(is_terminal=True))
