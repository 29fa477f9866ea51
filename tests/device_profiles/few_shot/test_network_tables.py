"""Measured latencies that people bring: one device, many devices, and what is wrong with a file."""

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


def test_rows_of_one_network_are_joined_by_the_measurements_behind_them(tmp_path: Path) -> None:
    path = table(tmp_path, [{**ROWS[0], "rows": 1}, {**ROWS[0], "latency_ms": 3.0, "rows": 999}])
    found = read_measurements(path, SPACE)
    assert len(found.subnets) == 1
    assert found.latency_us[0] == pytest.approx(3000, rel=0.001)
    assert found.rows == 1000


def test_of_several_devices_one_is_chosen(tmp_path: Path) -> None:
    path = table(tmp_path, device=["pixel", "galaxy"])
    assert read_measurements(path, SPACE, "galaxy").subnets == (SPACE.largest,)
    with pytest.raises(ConfigError, match=r"of several devices \(galaxy, pixel\); say which with --only"):
        read_measurements(path, SPACE)
    with pytest.raises(ConfigError, match="no rows of 'galaxi'; did you mean 'galaxy'"):
        read_measurements(path, SPACE, "galaxi")


WRONG = {
    "no rows": ([], "has no rows|is no table"),
    "nothing measured": ([{**ROWS[0], "latency_ms": None}], "holds no measured network; fill the column latency_ms"),
    "another space": (
        [{"height": 1, "latency_ms": 1.0}],
        "it has no column 'width' nor 2 others",
    ),
    "another option": (
        [{**ROWS[0], "width": 9}],
        r"row 1: is of another search space: choice 'width': 9 is not one of",
    ),
    "no choice": ([{**ROWS[1], "second.expand": None}], "choice 'second.expand' is empty"),
    "negative": ([{**ROWS[0], "latency_ms": -2.0}], r"row 1: latency_ms -2.0 is no latency above zero"),
    "words": ([{**ROWS[0], "latency_ms": "fast"}], "latency_ms fast is no latency above zero"),
    "two units": ([{**ROWS[0], "latency_us": 2000.0}], "has latency_ms and latency_us; needs one of"),
    "no unit": ([{"width": 8, "depth": 1, "second.expand": 2.0, "latency": 3.0}], "has no latency; needs one of"),
    "tenfold": ([ROWS[0], {**ROWS[0], "latency_ms": 20.0}], "rows 1 and 2: measurements of network .* differ 10 times"),
    "unknown network": ([{**ROWS[0], "network": "0123456789ab"}], "row 1: network 0123456789ab is unknown"),
    "no count": ([{**ROWS[0], "rows": 0}], "the column rows holds 0; each must be 1 or more"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_one_line_that_names_the_row(tmp_path: Path, case: str) -> None:
    rows, message = WRONG[case]
    with pytest.raises(ConfigError, match=message) as caught:
        read_measurements(table(tmp_path, rows), SPACE)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_missing_or_no_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        read_measurements(tmp_path / "none.csv", SPACE)
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(ConfigError, match="is no table in CSV or Parquet"):
        read_measurements(tmp_path / "bad.parquet", SPACE)


def test_a_fleet_has_a_column_a_device_and_gaps_where_nothing_was_measured(tmp_path: Path) -> None:
    rows = [{k: v for k, v in row.items() if k != "latency_ms"} for row in ROWS]
    path = table(tmp_path, rows, **{"latency_ms.old": [3.0, 9.0], "latency_us.new": [None, 700.0]})
    fleet = read_fleet(path, SPACE)
    assert fleet["old"].latency_us.tolist() == [3000, 9000]
    assert fleet["new"].subnets == (SPACE.largest,)
    with pytest.raises(ConfigError, match=r"has no column such as latency_ms\.pixel3"):
        read_fleet(table(tmp_path, rows, "none.csv"), SPACE)
    with pytest.raises(ConfigError, match=r"column latency_ms\.old is empty"):
        read_fleet(table(tmp_path, rows, "gone.csv", **{"latency_ms.old": [None, None]}), SPACE)
