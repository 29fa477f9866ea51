"""Fleets as CSV files: what is read, and what is refused with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from device_profiles.app_fleet import find_fleet, read_fleet, shipped_fleets
from factory_base.errors import ConfigError, UnknownNameError

HEADER = "name,share,profile,latency_scale,latency\n"


def read(folder: Path, text: str):
    path = folder / "fleet.csv"
    path.write_text(text, encoding="utf-8")
    return read_fleet(path, "file fleet.csv")


def test_rows_are_classes_of_devices(tmp_path):
    fleet = read(tmp_path, "# ours\n" + HEADER + '"old, slow",40 %,midrange,1.5,20 ms\n\nnew,0.6,flagship,,\n')
    old, new = fleet.classes
    assert (old.name, old.share, old.profile, old.latency_scale) == ("old, slow", 0.4, "midrange", 1.5)
    assert (old.budgets.latency_us, new.budgets.latency_us, new.latency_scale) == (20_000, None, 1.0)
    assert (fleet.name, fleet.notes) == ("fleet", ())


def test_installs_are_counts(tmp_path):
    fleet = read(tmp_path, "name,installs,profile\na,3e6,midrange\nb,1000000,flagship\n")
    assert [one.share for one in fleet.classes] == [0.75, 0.25]


def test_rounded_percentages_are_scaled_and_said_to_be(tmp_path):
    fleet = read(tmp_path, "name,share,profile\na,33.3%,midrange\nb,33.3 %,midrange\nc,33.3 %,midrange\n")
    assert [one.share for one in fleet.classes] == pytest.approx([1 / 3] * 3)
    assert fleet.notes == ("the shares add up to 99.9 %; each was scaled so that they add up to 100 %",)


def test_a_byte_order_mark_and_windows_lines_do_no_harm(tmp_path):
    path = tmp_path / "fleet.csv"
    path.write_bytes(b"\xef\xbb\xbfname,share,profile\r\na,100 %,midrange\r\n")
    assert read_fleet(path, "").classes[0].share == 1


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "is empty"),
        ("name,share,profile\n", "has no classes of devices, but only a header"),
        ("name,share\na,100 %\n", "line 1: column 'profile' is missing"),
        ("name,profile\na,midrange\n", "expected one of the columns 'share' and 'installs'"),
        ("name,share,installs,profile\na,100 %,1,midrange\n", "expected one of the columns 'share' and 'installs'"),
        ("name,share,profile,latencey\na,100 %,midrange,\n", "unknown column 'latencey'; did you mean 'latency'"),
        ("name;share;profile\na;100 %;midrange\n", "separate cells with commas"),
        ("name,share,share,profile\na,1,1,midrange\n", "column 'share' is there twice"),
        (HEADER + "a,50 %,midrange,,\na,50 %,flagship,,\n", "line 3: class 'a' is there already (line 2)"),
        (HEADER + "a,50 %,midrange,,\nb,40 %,midrange,,\n", "the shares add up to 90 %, expected 100 %"),
        (HEADER + "a,120 %,midrange,,\nb,-20 %,midrange,,\n", "line 2: share '120 %' is not a share"),
        (HEADER + "a,80 %,midrange,,\nb,-20 %,midrange,,\n", "line 3: share '-20 %' is not above 0"),
        (HEADER + "a,18,midrange,,\n", "line 2: share '18' is not a share such as '12.5 %' or 0.125"),
        (HEADER + "a,nan,midrange,,\n", "line 2: share 'nan' is not a number"),
        (HEADER + "a,,midrange,,\n", "line 2: 'share' is empty"),
        (HEADER + "a,100 %,,,\n", "line 2: 'profile' is empty"),
        (HEADER + "a,100 %,midrange,0,\n", "line 2: latency_scale '0' is not a factor from 0.01 to 100"),
        (HEADER + "a,100 %,midrange,150 %,\n", "line 2: latency_scale '150 %' is not a factor"),
        (HEADER + "a,100 %,midrange,,20 MiB\n", "line 2: 'latency': '20 MiB' is not"),
        (HEADER + "a,100 %,midrange,,20\n", "line 2: 'latency': '20' is not"),
        (HEADER + "a,100 %,midrange\n", "line 2: has 3 cells, but the header has 5"),
        (HEADER + 'a,"100 %,midrange,,\n', "is not CSV"),
        ("name,installs,profile\na,0,midrange\n", "installs '0' is not a number above 0"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path, text, fault):
    with pytest.raises(ConfigError) as raised:
        read(tmp_path, text)
    assert fault in str(raised.value)


def test_a_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "fleet.csv"
    path.write_bytes(b"PK\x03\x04\xff\xfe")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        read_fleet(path, "")


def test_shipped_fleets_are_found_by_name():
    assert "example" in shipped_fleets()
    assert find_fleet("example").origin == "shipped example"
    with pytest.raises(UnknownNameError, match="neither a file nor a shipped fleet; did you mean 'example'"):
        find_fleet("exampel")
    with pytest.raises(ConfigError, match=r"missing\.csv: cannot be read"):
        find_fleet("missing.csv")
