"""Quantities as people write and read them."""

from __future__ import annotations

import pytest

from factory_base.documents import Document, parse_document
from factory_base.errors import ConfigError
from factory_base.quantities import (
    WITH_UNITS,
    DurationUs,
    FrameRate,
    Share,
    SizeBytes,
    exact_bytes,
    exact_duration,
    exact_energy,
    exact_frame_rate,
    exact_macs,
    exact_share,
    format_bytes,
    format_duration,
    format_energy,
    format_macs,
    kind_of,
    parse_bytes,
    parse_duration_us,
    parse_energy_uj,
    parse_frame_rate,
    parse_macs,
    parse_share,
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
def test_a_size_that_rounds_to_zero_is_refused(text: str) -> None:
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


@pytest.mark.parametrize(("text", "fps"), [("30 fps", 30), ("29.97fps", 29.97), (".5 fps", 0.5)])
def test_frame_rates_are_frames_per_second(text: str, fps: float) -> None:
    assert parse_frame_rate(text) == fps


@pytest.mark.parametrize("text", [30, None, "30", "30 FPS", "30 Hz", "33 ms", "-30 fps", "nan fps"])
def test_a_frame_rate_without_its_unit_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="is not a frame rate such as '30 fps'; units: fps"):
        parse_frame_rate(text)


@pytest.mark.parametrize("text", ["1e7 fps", "1e400 fps"])
def test_an_absurd_frame_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is too large, the most is 1000000 fps; write a frame rate"):
        parse_frame_rate(text)


@pytest.mark.parametrize("text", ["0 fps", "1e-300 fps"])
def test_a_frame_rate_of_nearly_zero_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not above zero; write a frame rate"):
        parse_frame_rate(text)


@pytest.mark.parametrize(("value", "share"), [("10 %", 0.1), ("7%", 0.07), (0.1, 0.1), ("100 %", 1), ("0.5 %", 0.005)])
def test_shares_are_percentages_or_numbers_below_one(value: object, share: float) -> None:
    assert parse_share(value) == share


@pytest.mark.parametrize(
    ("value", "hint"),
    [(10, r"; did you mean '10 %'\?"), (1, r"; did you mean '1 %'\?"), (0, ""), (-0.1, ""), (1e9, "")],
)
def test_a_number_that_may_be_meant_as_percent_is_refused_with_a_hint(value: float, hint: str) -> None:
    with pytest.raises(ValueError, match=f"is not a share such as '10 %' or 0.1{hint}$"):
        parse_share(value)


@pytest.mark.parametrize("value", ["0 %", "0.00001 %", 1e-7])
def test_a_share_that_rounds_to_zero_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="is not above zero; write a share"):
        parse_share(value)


@pytest.mark.parametrize("us", [1, 999, 1000, 1234, 33_333, 30_000, 1_500_000, 10**12 - 1])
def test_a_duration_written_exactly_is_read_back_equal(us: int) -> None:
    assert parse_duration_us(exact_duration(us)) == us


@pytest.mark.parametrize("size", [1, 1000, 1_000_001, 5_000_000, 1_288_490_189, 2**20 + 1, 3 * 2**30, 2**49 + 2**20])
def test_a_size_written_exactly_is_read_back_equal(size: int) -> None:
    assert parse_bytes(exact_bytes(size)) == size


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (exact_duration(30_000), "30 ms"),
        (exact_bytes(5_000_000), "5 MB"),
        (exact_bytes(1_288_490_189), "1.2 GiB"),
        (exact_bytes(1_000_001), "1000001 B"),
        (exact_bytes(12_345 * 2**10), "12345 KiB"),
        (exact_frame_rate(30.0), "30 fps"),
        (exact_frame_rate(0.5), "0.5 fps"),
        (exact_share(0.07), "7 %"),
    ],
)
def test_exact_texts_are_in_the_largest_unit_that_loses_nothing(written: str, text: str) -> None:
    assert written == text


@pytest.mark.parametrize("number", [1 / 3, 23.976023976, 30.0, 1e-3, 0.07])
def test_rates_and_shares_written_exactly_are_read_back_equal(number: float) -> None:
    assert parse_frame_rate(exact_frame_rate(number)) == number
    share = parse_share(f"{number} %")
    assert parse_share(exact_share(share)) == share


@pytest.mark.parametrize(
    ("value", "kind"),
    [("8 ms", "duration"), ("5 MB", "size"), ("30fps", "frame rate"), ("10 %", "share"), ("8 apples", None), (8, None)],
)
def test_the_unit_determines_the_kind_of_a_quantity(value: object, kind: str | None) -> None:
    assert kind_of(value) == kind


class Frames(Document):
    rate: FrameRate
    share: Share


def test_rates_and_shares_of_documents_are_written_as_they_are_read() -> None:
    frames = parse_document({"rate": "30 fps", "share": 0.1}, Frames, "a.yaml")
    assert frames.model_dump() == {"rate": 30, "share": 0.1}
    assert frames.model_dump(mode="json", context=WITH_UNITS) == {"rate": "30 fps", "share": "10 %"}


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
def test_a_wrong_unit_is_named_with_its_location(change: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_document({"latency": "8 ms", "memory": "1 KiB"} | change, Limits, "a.yaml")


@pytest.mark.parametrize(
    ("uj", "text"), [(0.5, "0.5 uJ"), (12.34, "12.3 uJ"), (1234, "1.23 mJ"), (5e5, "500 mJ"), (2.5e6, "2.5 J")]
)
def test_energies_are_written_for_people(uj: float, text: str) -> None:
    assert format_energy(uj) == text


@pytest.mark.parametrize("text", ["60 M", "60M", "60 MMACs", "60 MMAC", "0.06 GMACs", "6e4 k", "60000000 MACs"])
def test_macs_are_read_in_the_units_that_people_write(text: str) -> None:
    assert parse_macs(text) == 60_000_000


@pytest.mark.parametrize("macs", [1, 999, 1000, 60_000_000, 60_123_457, 10**18])
def test_macs_and_energies_written_exactly_are_read_back_equal(macs: int) -> None:
    assert parse_macs(exact_macs(macs)) == macs
    uj = min(macs, 10**12)
    assert parse_energy_uj(exact_energy(uj)) == uj
    assert (exact_macs(60_000_000), exact_energy(3000)) == ("60 M", "3 mJ")


@pytest.mark.parametrize(("macs", "text"), [(999, "999"), (999.6, "1 k"), (1.5e6, "1.5 M"), (2.34567e9, "2.35 G")])
def test_macs_are_written_for_people(macs: float, text: str) -> None:
    assert format_macs(macs) == text


def test_a_quantity_of_a_million_digits_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match=r"^'1{63} is not a duration such as '8 ms'") as caught:
        parse_duration_us("1" * 1_000_000)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("parse", "text", "most"),
    [
        (parse_duration_us, "1e300 ms", "1000000 s"),
        (parse_bytes, "9e15 GiB", "1048576 GiB"),
        (parse_frame_rate, "1e9 fps", "1000000 fps"),
    ],
)
def test_what_is_too_large_states_the_most_that_is_allowed(parse, text: str, most: str) -> None:
    with pytest.raises(ValueError, match=f"'{text}' is too large, the most is {most}; write a "):
        parse(text)
    assert parse(most) > 0
