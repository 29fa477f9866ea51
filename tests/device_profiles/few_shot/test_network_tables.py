"""Tables of measured latencies from users: one device, many devices, and faults of a file."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from device_profiles.few_shot.network_tables import read_fleet, read_measurements
from factory_base.errors import ConfigError
from supernet.space import Choice, SearchSpace

SPACE = SearchSpace(
    (
        Choice(name="width", options=(8, 16)),
        Choice(name="depth", options=(1, 2)),
        Choice(name="second.expand", options=(2.0, 4.0), depth_choice="depth", exists_from=2),
    )
)
ROWS = [
    {"width": 8, "depth": 1, "second.expand": None, "latency_ms": 2.0},
    {"width": 16, "depth": 2, "second.expand": 4.0, "latency_ms": 5.0},
]


def table(folder: Path, rows=ROWS, name: str = "t.csv", **columns) -> Path:
    path = folder / name
    frame = pd.DataFrame(rows).assign(**columns)
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False)
    return path


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_rows_are_subnets_of_the_space_and_latencies_microseconds(tmp_path: Path, name: str) -> None:
    found = read_measurements(table(tmp_path, name=name), SPACE)
    assert found.subnets == (SPACE.smallest, SPACE.largest)
    assert found.latency_us.tolist() == pytest.approx([2000, 5000])
    assert found.rows == 2


def test_networks_without_a_latency_are_left_out(tmp_path: Path) -> None:
    path = table(tmp_path, [ROWS[0], {**ROWS[1], "latency_ms": None}])
    assert read_measurements(path, SPACE).subnets == (SPACE.smallest,)


def test_rows_of_one_network_are_averaged_with_their_numbers_of_measurements(tmp_path: Path) -> None:
    path = table(tmp_path, [{**ROWS[0], "rows": 1}, {**ROWS[0], "latency_ms": 3.0, "rows": 999}])
    found = read_measurements(path, SPACE)
    assert len(found.subnets) == 1
    assert found.latency_us[0] == pytest.approx(3000, rel=0.001)
    assert found.rows == 1000


def test_one_of_several_devices_is_chosen(tmp_path: Path) -> None:
    path = table(tmp_path, device=["pixel", "galaxy"])
    assert read_measurements(path, SPACE, "galaxy").subnets == (SPACE.largest,)
    with pytest.raises(ConfigError, match=r"holds several devices \(galaxy, pixel\); choose one with --only"):
        read_measurements(path, SPACE)
    with pytest.raises(ConfigError, match="no row is of the device 'galaxi'; did you mean 'galaxy'"):
        read_measurements(path, SPACE, "galaxi")


WRONG = {
    "no rows": ([], "the first line is empty; it must name the columns"),
    "nothing measured": ([{**ROWS[0], "latency_ms": None}], "no network is measured; fill in the column latency_ms"),
    "another space": ([{"height": 1, "latency_ms": 1.0}], "it lacks the column 'width' and 2 more"),
    "another option": (
        [{**ROWS[0], "width": 9}],
        r"row 1: the network belongs to another search space: choice 'width': 9 is not one of",
    ),
    "no choice": ([{**ROWS[1], "second.expand": None}], "choice 'second.expand' is empty"),
    "negative": ([{**ROWS[0], "latency_ms": -2.0}], r"row 1: latency_ms -2.0 is not a latency above zero"),
    "words": ([{**ROWS[0], "latency_ms": "fast"}], "latency_ms fast is not a latency above zero"),
    "two units": (
        [{**ROWS[0], "latency_us": 2000.0}],
        "there are the columns latency_ms and latency_us; the table needs exactly one of",
    ),
    "no unit": (
        [{"width": 8, "depth": 1, "second.expand": 2.0, "latency": 3.0}],
        "there is no column of latencies; the table needs exactly one of",
    ),
    "tenfold": ([ROWS[0], {**ROWS[0], "latency_ms": 20.0}], "rows 1 and 2: measurements .* differ by a factor of 10"),
    "unknown network": ([{**ROWS[0], "network": "0123456789ab"}], "row 1: network 0123456789ab does not match"),
    "no count": ([{**ROWS[0], "rows": 0}], "the column rows holds 0; every value must be 1 or more"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_fault_is_reported_on_one_line_with_its_row(tmp_path: Path, case: str) -> None:
    rows, message = WRONG[case]
    with pytest.raises(ConfigError, match=message) as caught:
        read_measurements(table(tmp_path, rows), SPACE)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_missing_or_not_a_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read \(No such file"):
        read_measurements(tmp_path / "none.csv", SPACE)
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(ConfigError, match="damaged, or not Parquet or CSV"):
        read_measurements(tmp_path / "bad.parquet", SPACE)


def test_a_fleet_has_a_column_for_each_device_with_gaps_for_networks_that_were_not_measured(tmp_path: Path) -> None:
    rows = [{k: v for k, v in row.items() if k != "latency_ms"} for row in ROWS]
    path = table(tmp_path, rows, **{"latency_ms.old": [3.0, 9.0], "latency_us.new": [None, 700.0]})
    fleet = read_fleet(path, SPACE)
    assert fleet["old"].latency_us.tolist() == [3000, 9000]
    assert fleet["new"].subnets == (SPACE.largest,)
    with pytest.raises(ConfigError, match=r"there is no column such as latency_ms\.pixel3"):
        read_fleet(table(tmp_path, rows, "none.csv"), SPACE)
    with pytest.raises(ConfigError, match=r"column latency_ms\.old is empty"):
        read_fleet(table(tmp_path, rows, "gone.csv", **{"latency_ms.old": [None, None]}), SPACE)
