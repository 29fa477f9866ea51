"""Files of telemetry rows: their formats, faults of rows, and faults of files."""

import time

import numpy as np
import pandas as pd
import pytest
from simulated_rows import DIGESTS, EXPECTED, NOW, device_of, frame, measured, runs

import device_profiles.telemetry.rows as telemetry_rows
from device_profiles.telemetry.aggregate import aggregate, digest_for
from device_profiles.telemetry.rows import read_rows
from factory_base.errors import TelemetryError

HEADER = "device,model,latency_us\n"


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture
def refused(tmp_path):
    """The message with which a file of this content is refused."""

    def read(content: str | bytes) -> str:
        path = tmp_path / "rows.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(TelemetryError) as caught:
            read_rows(path, NOW)
        return str(caught.value)

    return read


def test_csv_and_parquet_say_the_same_in_every_unit(rng, tmp_path):
    rows = frame(*runs(rng, 2.0))
    found = [measured(rows, tmp_path)]
    for unit, factor in (("latency_us", 1), ("latency_ms", 1e3), ("latency_s", 1e6)):
        path = tmp_path / f"{unit}.csv"
        rows.assign(**{unit: rows["latency_us"] / factor})[["device", "model", unit]].to_csv(path, index=False)
        found.append(aggregate(read_rows(path, NOW), EXPECTED))
    assert all(t.devices[0].scale.value == pytest.approx(found[0].devices[0].scale.value, rel=1e-6) for t in found)
    assert {telemetry.rows for telemetry in found} == {1000}


def test_short_and_upper_case_digests_name_the_same_model(rng, tmp_path):
    rows = frame(*runs(rng, 2.0))
    rows["model"] = [m[:12] if i % 3 == 0 else m.upper() if i % 3 == 1 else m for i, m in enumerate(rows["model"])]
    telemetry = measured(rows, tmp_path)
    assert telemetry.unknown_models == {}
    assert [model.model for model in telemetry.devices[0].models] == sorted(DIGESTS)


@pytest.mark.parametrize("written", ["00" * 5, "not hex at all", "zz" * 32, "ab" * 33, "0123456789ab"])
def test_what_is_not_a_known_digest_is_unknown(written):
    assert digest_for(written, DIGESTS) is None


def test_a_digest_that_starts_two_models_is_neither():
    assert digest_for("ab" * 8, ["ab" * 32, "ab" * 8 + "00" * 24]) is None


def test_values_that_are_not_latencies_are_dropped_and_counted(rng, tmp_path):
    model, latency = runs(rng, 2.0, outliers=0)
    for start, bad in enumerate((np.nan, -5.0, np.inf, 0.0)):
        latency[start * 10 : start * 10 + 10] = bad
    device = device_of(frame(model, latency), tmp_path)
    assert device.dropped == {"not_numbers": 10, "negative": 10, "infinite": 10, "zero": 10}
    assert (device.rows, device.rows_used) == (1000, 960)
    assert device.scale.value == pytest.approx(2.0, rel=0.02)


def test_impossible_timestamps_are_dropped_if_they_are_few_and_kept_if_most_are(rng, tmp_path):
    for share in (0.1, 0.9):
        wrong = np.arange(1000) < 1000 * share
        rows = frame(*runs(rng, 2.0), timestamp=np.where(wrong, NOW + 1e8, NOW - 1000.0 - np.arange(1000)))
        device = device_of(rows, tmp_path)
        verb = "dropped" if share < 0.5 else "kept, as most have"
        assert f"{wrong.sum()} rows with a timestamp in the future; {verb}" in device.notes
        assert device.dropped.get("future", 0) == (wrong.sum() if share < 0.5 else 0)
        assert device.scale.value == pytest.approx(2.0, rel=0.03)


def test_rows_that_were_sent_twice_count_once(rng, tmp_path, monkeypatch):
    monkeypatch.setattr("device_profiles.foreign.table_file.BATCH_ROWS", 300)
    rows = frame(*runs(rng, 2.0), timestamp=NOW - rng.uniform(0, 1e6, 1000))
    device = device_of(pd.concat([rows, rows[:200]]), tmp_path)
    assert (device.rows, device.dropped) == (1200, {"sent_twice": 200})
    assert sum(model.rows for model in device.models) == 1000


def test_equal_rows_without_a_timestamp_are_different_runs(tmp_path):
    device = device_of(frame([1] * 50, [3200.0] * 50), tmp_path)
    assert (device.rows_used, device.dropped) == (50, {})


def test_timestamps_may_be_texts_numbers_or_dates(rng, tmp_path):
    dates = pd.to_datetime(NOW - np.arange(1000.0), unit="s", utc=True)
    for timestamp in (dates, dates.strftime("%Y-%m-%dT%H:%M:%SZ"), dates.strftime("%Y-%m-%d"), NOW - np.arange(1000.0)):
        device = device_of(frame(*runs(rng, 2.0), timestamp=timestamp), tmp_path)
        assert not any("timestamp" in note for note in device.notes)
    device = device_of(frame(*runs(rng, 2.0), timestamp=["lately"] * 100 + ["2026-11-01"] * 900), tmp_path)
    assert device.dropped == {"no_timestamp": 100}


@pytest.mark.parametrize(
    ("unit", "factor"), [("seconds", 1), ("milliseconds", 1e3), ("microseconds", 1e6), ("nanoseconds", 1e9)]
)
@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet"])
def test_the_unit_of_numeric_timestamps_is_found_and_said(rng, tmp_path, unit, factor, name):
    rows = frame(*runs(rng, 2.0), timestamp=((NOW - np.arange(1000.0) * 60) * factor).astype(np.int64))
    rows = pd.concat([rows, rows[:10]])
    rows.to_csv(tmp_path / name, index=False) if name.endswith("csv") else rows.to_parquet(tmp_path / name)
    telemetry = aggregate(read_rows(tmp_path / name, NOW), EXPECTED)
    assert telemetry.devices[0].dropped == {"sent_twice": 10}
    assert telemetry.notes == ((f"the unit of 1,010 timestamps is {unit} since 1970",) if factor > 1 else ())


@pytest.mark.parametrize(
    "written",
    ["%Y-%m-%d %H:%M:%S UTC", "%Y-%m-%dT%H:%M:%S+00:00", "%Y-%m-%d %H:%M:%S.%f UTC", "  %Y-%m-%dT%H:%M:%SZ "],
)
def test_dates_of_data_warehouses_are_read(rng, tmp_path, written):
    dates = pd.to_datetime(NOW - np.arange(1000.0) * 60, unit="s").strftime(written)
    rows = frame(*runs(rng, 2.0), timestamp=dates)
    rows.loc[7, "timestamp"] = "2099-01-01T00:00:00Z"
    assert device_of(rows, tmp_path).dropped == {"future": 1}


def test_days_and_months_are_not_guessed(rng, tmp_path):
    rows = frame(*runs(rng, 2.0), timestamp=["03/04/2026 10:00"] * 1000)
    telemetry = measured(rows, tmp_path)
    assert telemetry.devices[0].rows_used > 900
    (note,) = telemetry.notes
    assert "1,000 timestamps such as 03/04/2026 10:00 cannot be read, because day and month could be confused" in note


@pytest.mark.parametrize("timestamp", ["1e999", "-1e999", "9" * 400, "2^63", "x" * 100_000, "9223372036854775808"])
def test_impossible_timestamps_and_numbers_are_counted(tmp_path, timestamp):
    path = tmp_path / "rows.csv"
    good = f"a,{DIGESTS[0]},900,{NOW - 5}\n"
    path.write_text(f"device,model,latency_us,timestamp\n{good * 3}a,{DIGESTS[0]},{'9' * 400},5\na,b,5,{timestamp}\n")
    (device,) = aggregate(read_rows(path, NOW), EXPECTED).devices
    assert device.dropped["infinite"] == 1
    assert {"future", "before_2015", "no_timestamp"} & set(device.dropped)


def test_a_spreadsheet_with_decimal_commas_is_read_and_it_is_said(tmp_path):
    path = tmp_path / "rows.csv"
    lines = "".join(f"a;{DIGESTS[0]};0,{900 + i}\n" for i in range(50))
    path.write_bytes(f"device;model;latency_ms\n{lines}".encode("utf-16"))
    telemetry = aggregate(read_rows(path, NOW), EXPECTED)
    assert telemetry.rows_used == 50
    assert telemetry.devices[0].scale.value == pytest.approx(924.5 / 900, rel=0.01)
    assert telemetry.notes == ("numbers are read with a decimal comma: 0,900 is 0.9",)


def test_numbers_that_may_be_thousands_are_refused_unless_another_one_shows_it(refused, tmp_path):
    assert "1,234 may be 1.234 or 1234" in refused(f'{HEADER}a,{DIGESTS[0]},"1,234"\n')
    (tmp_path / "rows.csv").write_text(f'{HEADER}a,{DIGESTS[0]},"1,234"\na,{DIGESTS[0]},"1,234.5"\n')
    assert read_rows(tmp_path / "rows.csv", NOW).latency_us.tolist() == [1234, 1234.5]


def test_torn_rows_are_dropped_and_said(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text(HEADER + f"a,{DIGESTS[0]},900\n" * 30 + f"a,{DIGESTS[0]}\n" * 2)
    telemetry = aggregate(read_rows(path, NOW), EXPECTED)
    assert telemetry.rows_used == 30
    assert telemetry.notes == ("2 rows had to be dropped, for example: row 32 has 2 cells, but the header has 3",)


def test_names_without_end_are_refused(refused, monkeypatch):
    assert "a name of 2,000 characters, at most 1000 are read" in refused(f"{HEADER}{'a' * 2000},b,5\n")
    monkeypatch.setattr(telemetry_rows, "MOST_MODELS", 3)
    assert "more than 3 different models" in refused(HEADER + "".join(f"a,{m},900\n" for m in "abcd"))


@pytest.mark.parametrize("column", ["device", "model", "latency_us", "timestamp"])
def test_nested_columns_of_parquet_are_refused(tmp_path, column):
    path = tmp_path / "rows.parquet"
    frame([0, 1], [900.0, 1600.0], timestamp=[NOW, NOW]).assign(**{column: [[1], [2, 3]]}).to_parquet(path)
    with pytest.raises(TelemetryError, match=f"the column '{column}' holds list<"):
        read_rows(path, NOW)


def test_truth_values_are_no_latencies(tmp_path):
    path = tmp_path / "rows.parquet"
    frame([0, 1], [True, False]).to_parquet(path)
    with pytest.raises(TelemetryError, match="the column 'latency_us' holds bool"):
        read_rows(path, NOW)


def test_rows_without_a_device_or_a_model_are_counted(rng, tmp_path):
    rows = frame(*runs(rng, 2.0))
    rows.loc[:9, "device"] = None
    rows.loc[10:14, "model"] = " "
    telemetry = measured(rows, tmp_path)
    assert (telemetry.nameless_rows, telemetry.rows, telemetry.devices[0].rows) == (15, 1000, 985)


def test_a_device_without_a_usable_row_is_still_named(tmp_path):
    device = device_of(frame([0, 1], [-1.0, 0.0]), tmp_path)
    assert (device.rows, device.rows_used, device.models, device.scale) == (2, 0, (), None)
    assert device.notes[-1] == "no row is left"


def test_a_device_called_na_is_a_device(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text(f"{HEADER}NA,{DIGESTS[0]},900\nNA,{DIGESTS[0]},n/a\nNA,{DIGESTS[0]},\n")
    (device,) = aggregate(read_rows(path, NOW), EXPECTED).devices
    assert (device.device, device.rows, device.dropped) == ("NA", 3, {"not_numbers": 2})


def test_a_million_rows_of_one_device_take_seconds_and_a_bounded_table(rng, tmp_path, monkeypatch):
    monkeypatch.setattr(telemetry_rows, "_MOST_VALUES", 50_000)
    model, latency = runs(rng, 2.0, rows=1_000_000)
    path = tmp_path / "rows.parquet"
    frame(model, latency + rng.uniform(0, 0.05, len(latency))).to_parquet(path)
    started = time.process_time()
    rows = read_rows(path, NOW)
    (device,) = aggregate(rows, EXPECTED).devices
    assert time.process_time() - started < 20
    assert len(rows.count) < 100_000
    assert rows.count.sum() == device.rows == 1_000_000
    assert device.scale.value == pytest.approx(2.0, rel=0.002)
    assert "so many rows that the latencies of some models were rounded to four digits" in device.notes


def test_a_file_without_rows_is_refused(refused):
    assert "the file is empty; a table in CSV or Parquet is expected" in refused("")
    assert "the file has columns but no rows" in refused(HEADER)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("devise,model,latency_us", "there is no column 'device'; did you mean 'devise'?"),
        ("device,modell,latency_us", "there is no column 'model'; did you mean 'modell'?"),
        ("device,model,latencyus", "one of latency_us, latency_ms, latency_s; did you mean 'latencyus'?"),
        ("device,model,latency_us,latency_ms", "there are the columns latency_us and latency_ms; keep one"),
    ],
)
def test_missing_or_double_columns_are_named_with_the_nearest(refused, header, words):
    assert words in refused(f"{header}\n1,2,3,4\n")


def test_a_column_of_texts_is_refused_with_an_example(refused):
    assert "the column latency_us holds no numbers, but values such as '8 ms'" in refused(f"{HEADER}a,b,8 ms\n")


def test_a_file_that_is_neither_csv_nor_parquet_is_refused(refused, tmp_path):
    assert "neither Parquet nor UTF-8 text" in refused(b"\xff\x00\x01")
    assert "damaged, or not Parquet or CSV" in refused(b"PAR1 cut")
    with pytest.raises(TelemetryError, match="is a folder"):
        read_rows(tmp_path, NOW)
    with pytest.raises(TelemetryError, match="cannot be read"):
        read_rows(tmp_path / "gone.csv", NOW)


def test_installations_instead_of_kinds_of_devices_are_refused(refused, monkeypatch):
    monkeypatch.setattr(telemetry_rows, "MOST_DEVICES", 3)
    assert "must name a kind of device, not one installation" in refused(
        HEADER + "".join(f"{device},{DIGESTS[0]},900\n" for device in "abcd")
    )


def test_an_expected_latency_of_zero_is_refused(tmp_path):
    with pytest.raises(TelemetryError, match=r"the expected latency is 0\.0 us; give one above zero"):
        measured(frame([0], [900.0]), tmp_path, expected={DIGESTS[0]: 0.0})
