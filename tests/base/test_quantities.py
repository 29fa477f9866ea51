"""Quantities as people write and read them."""

from __future__ import annotations

import pytest

from model_factory.base.documents import Document, parse_document
from model_factory.base.errors import ConfigError
from model_factory.base.quantities import (
    DurationUs,
    SizeBytes,
    format_bytes,
    format_duration,
    parse_bytes,
    parse_duration_us,
)


@pytest.mark.parametrize(
    ("text", "us"), [("8 ms", 8000), ("8ms", 8000), (" 1.5 s ", 1_500_000), (".5 ms", 500), ("2e3 us", 2000)]
)
def test_durations_are_microseconds(text: str, us: int) -> None:
    assert parse_duration_us(text) == us


@pytest.mark.parametrize(
    ("text", "size"),
    [("64 MiB", 64 * 2**20), ("1 GB", 10**9), ("512 KiB", 2**19), ("7 B", 7), ("1.5 kB", 1500), ("1 GiB", 2**30)],
)
def test_sizes_are_bytes(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", [8, 8.5, None, "", "8", "ms", "8 m s", "8 MB", "1,5 ms", "-8 ms", "8 MS", "nan ms"])
def test_a_duration_without_a_known_unit_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="is not a duration such as '8 ms'; units: us, ms, s"):
        parse_duration_us(text)


@pytest.mark.parametrize("text", ["0 MiB", "0.0 B", "0.4 B"])
def test_nothing_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="is not above zero; write a size such as '64 MiB'"):
        parse_bytes(text)


@pytest.mark.parametrize("text", ["1e400 MB", "1e300 GiB", "9e18 kB"])
def test_an_absurd_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is too large"):
        parse_bytes(text)


@pytest.mark.parametrize(
    ("us", "text"),
    [(0.4, "0 us"), (999, "999 us"), (8200, "8.2 ms"), (350, "350 us"), (999_960, "1000 ms"), (2.5e6, "2.5 s"),
     (1.5e9, "1500 s")],
)  # fmt: skip
def test_durations_are_written_with_three_digits(us: float, text: str) -> None:
    assert format_duration(us) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(12, "12 B"), (1536, "1.5 KiB"), (1010 * 1024, "1010 KiB"), (1023 * 2**20, "1023 MiB"), (1.4 * 2**20, "1.4 MiB"),
     (3 * 2**30, "3 GiB"), (2000 * 2**30, "2000 GiB")],
)  # fmt: skip
def test_sizes_are_written_with_three_digits(size: float, text: str) -> None:
    assert format_bytes(size) == text


@pytest.mark.parametrize("value", [1, 999, 1000, 1023, 1024, 10**6 - 1, 10**6, 10**9 - 1, 2**30 - 1, 2**31])
def test_what_is_written_for_people_is_read_back_within_a_percent(value: int) -> None:
    assert parse_bytes(format_bytes(value)) == pytest.approx(value, rel=0.01)
    assert parse_duration_us(format_duration(value)) == pytest.approx(value, rel=0.01)


class Limits(Document):
    latency: DurationUs
    memory: SizeBytes


def test_fields_of_documents_hold_the_parsed_number() -> None:
    limits = parse_document({"latency": "8 ms", "memory": "1 KiB"}, Limits, "a.yaml")
    assert (limits.latency, limits.memory) == (8000, 1024)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latency": "8 MiB"}, "a.yaml: 'latency': '8 MiB' is not a duration such as '8 ms'; units: us, ms, s"),
        ({"memory": 64}, "a.yaml: 'memory': 64 is not a size such as '64 MiB'; units: B, kB, MB, GB, KiB, MiB, GiB"),
        ({"memory": "1e999 B"}, "a.yaml: 'memory': '1e999 B' is too large"),
    ],
)
def test_a_wrong_unit_is_named_with_its_place(change: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_document({"latency": "8 ms", "memory": "1 KiB"} | change, Limits, "a.yaml")
