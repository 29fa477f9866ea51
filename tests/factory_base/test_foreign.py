"""Files and texts from outside are read within limits, and refused in one line."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest

from factory_base.errors import ForeignError
from factory_base.foreign import open_regular, parse_json, printable, read_regular


def parse(data: bytes, **limits: int) -> object:
    return parse_json(data, "a.json", **{"max_bytes": 10_000_000} | limits)


def test_a_regular_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    assert read_regular(tmp_path / "a", 5) == b"12345"
    with pytest.raises(ForeignError, match="a: is larger than the limit of 4 bytes"):
        read_regular(tmp_path / "a", 4)


def test_a_file_that_only_claims_to_be_empty_is_limited_too() -> None:
    with pytest.raises(ForeignError, match="larger than the limit of 3 bytes"):
        read_regular(Path("/proc/self/status"), 3)


def test_what_is_not_a_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for path, message in (
        (tmp_path / "fifo", "is not a regular file"),
        (Path("/dev/zero"), "is not a regular file"),
        (tmp_path, "is a folder"),
        (tmp_path / "loop", "cannot be read"),
        (tmp_path / "none", r"cannot be read \(No such file or directory\)"),
        (tmp_path / "a\0b", r"a\\x00b: is not a valid file name"),
    ):
        with pytest.raises(ForeignError, match=message):
            read_regular(path, 10)


def test_links_may_not_lead_out_of_a_folder(tmp_path: Path) -> None:
    family, secret = tmp_path / "family", tmp_path / "secret"
    family.mkdir()
    secret.write_text("s")
    (family / "real").write_text("r")
    (family / "out").symlink_to(secret)
    (family / "within").symlink_to(family / "real")
    assert read_regular(family / "within", 10, inside=family) == b"r"
    assert read_regular(family / "out", 10) == b"s"
    for path in (family / "out", family / ".." / "secret", family / "loop"):
        (family / "loop").unlink(missing_ok=True)
        (family / "loop").symlink_to("loop")
        with pytest.raises(ForeignError):
            open_regular(path, inside=family)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"a": 1, "b": 2, "a": 3}', "key 'a' is given twice"),
        (b"[1e999]", "the number 1e999 is too large"),
        (b"[0." + b"0" * 5000 + b"1]", r"the number 0.0+\.\.\. is too large"),
        (b"[9223372036854775808]", "the integer 9223372036854775808 exceeds 64 bits"),
        (b"[" + b"9" * 5000 + b"]", r"the integer 9+\.\.\. exceeds 64 bits"),
        (b"[NaN]", "NaN is not a number in JSON"),
        (b"[-Infinity]", "-Infinity is not a number in JSON"),
        (b"[" * 100, "is nested deeper than 64 levels"),
        (b"[" + b"1," * 200 + b"1]", "holds more than 200 values"),
        (b'"\xff"', "is not UTF-8 text"),
        (b'["\\ud800"]', "half of a surrogate pair is not valid Unicode"),
        (b"\xef\xbb\xbf[]", "starts with a byte order mark"),
        (b"{", "is not valid JSON"),
        (b"", "is not valid JSON"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_json_that_parsers_read_differently_or_choke_on_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ForeignError, match="^a.json: .*" + message) as caught:
        parse(data, max_values=200)
    assert len(str(caught.value)) < 300


def test_plain_json_is_read() -> None:
    assert parse(b'{"a": [1, -2.5e3, "[{,", "\\"", "\\ud83d\\ude00"], "b": null}', max_depth=2, max_values=9) == {
        "a": [1, -2500.0, "[{,", '"', "\U0001f600"],
        "b": None,
    }
    assert parse(b"[9223372036854775807, -9223372036854775808]") == [2**63 - 1, -(2**63)]


@pytest.mark.parametrize("piece", [b'"', b'\\"', b"\\", b'"\\', b'{"a":', b'"a",'])
def test_the_time_grows_with_the_size_only(piece: bytes) -> None:
    started = time.process_time()
    with pytest.raises(ForeignError):
        parse(piece * (1_000_000 // len(piece)))
    assert time.process_time() - started < 2


def test_a_million_different_keys_take_little_time() -> None:
    data = b"{" + b",".join(b'"%d":0' % n for n in range(200_000)) + b',"7":0}'
    started = time.process_time()
    with pytest.raises(ForeignError, match=re.escape("key '7' is given twice")):
        parse(data)
    assert time.process_time() - started < 2


def test_text_from_outside_is_one_line_without_control_characters() -> None:
    assert printable("plain \u00e4 text") == "plain \u00e4 text"
    assert printable("\x1b[31mred\r\nerror: x\x07") == r"\x1b[31mred\r\nerror: x\x07"
    assert printable("abc\u202edef\u2028\ud800") == r"abc\u202edef\u2028\ud800"
    assert printable("x" * 1000, 10) == "x" * 10 + "..."
