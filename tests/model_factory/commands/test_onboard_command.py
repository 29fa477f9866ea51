"""`factory onboard` on the command line: networks to measure, a sheet to fill in, a profile to search with."""

from __future__ import annotations

import csv
import json

import pytest

from exports.engines import get_engine


@pytest.fixture(scope="module")
def sheet(built, factory, tmp_path_factory):
    """The sheet of five suggested networks, filled in with latencies in proportion to the size of their inputs."""
    folder = tmp_path_factory.mktemp("networks")
    answer = factory(built, "onboard", "--suggest", "5", "--output", folder, "--quiet")
    assert answer.code == 0, answer.err
    path = folder / "measurements.csv"
    rows = read(path)
    assert len(rows) == 5
    for row in rows:
        row["latency_ms"] = str(0.02 * float(row["resolution"]))
    write(path, rows)
    return path


def read(path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def write(path, rows) -> None:
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def test_suggested_networks_run_in_the_engine(sheet):
    files = sorted(sheet.parent.glob("*.onnx"))
    assert len(files) == 5
    get_engine("onnxruntime").load(files[0], 1)


def test_a_few_latencies_make_a_profile_that_a_search_uses(sheet, built, factory, tmp_path):
    path = tmp_path / "phone.yaml"
    answer = factory(built, "onboard", sheet, "--output", path, "--quiet")
    assert answer.code == 0, answer.err
    for words in ("5 networks, 5 rows", "of each measured network from the others", "probability of 90%", "written"):
        assert words in answer.out
    found = factory(built, "search", "--device", path, "--json", "--quiet")
    assert found.code == 0, found.err
    result = json.loads(found.out)
    assert result["latency_provenance"] == "few_shot"
    assert result["kept_probability"] >= 0.9


def test_a_sheet_with_latencies_is_never_overwritten(sheet, built, factory):
    answer = factory(built, "onboard", "--suggest", "2", "--output", sheet.parent, "--quiet")
    assert answer.code == 1
    assert "exists and may hold latencies" in answer.error
    more = factory(built, "onboard", sheet, "--suggest", "2", "--output", sheet.parent, "--quiet")
    assert more.code == 0, more.err
    rows = read(sheet)
    assert [bool(row["latency_ms"]) for row in rows] == [True] * 5 + [False] * 2


def test_an_imported_table_is_a_prior_and_one_of_another_space_is_refused(sheet, built, factory, tmp_path):
    rows = [{k: v for k, v in row.items() if k not in ("network", "latency_ms")} for row in read(sheet)]
    fleet = tmp_path / "fleet.csv"
    write(fleet, [{**row, "latency_ms.old": 0.04 * float(row["resolution"])} for row in rows])
    arguments = ("onboard", sheet, "--output", tmp_path / "p.yaml", "--quiet", "--prior", fleet)
    answer = factory(built, *arguments, "--prior", "midrange")
    assert answer.code == 0, answer.err
    assert "old, midrange" in answer.out
    write(fleet, [{"height": 3, "latency_ms.old": 1.0}])
    answer = factory(built, *arguments)
    assert answer.code == 1
    assert "belongs to another search space" in answer.error


def test_microseconds_as_milliseconds_are_refused_unless_they_are_meant(sheet, built, factory, tmp_path):
    wrong = tmp_path / "wrong.csv"
    rows = [row for row in read(sheet) if row["latency_ms"]]
    write(wrong, [{**row, "latency_ms": str(1000 * float(row["latency_ms"]))} for row in rows])
    arguments = ("onboard", wrong, "--output", tmp_path / "p.yaml", "--quiet")
    answer = factory(built, *arguments)
    assert answer.code == 1
    assert "wrong.csv: the latencies in the column latency_ms are" in answer.error
    assert "predicted for midrange: they look like us, not ms;" in answer.error
    assert factory(built, *arguments, "--trust-units").code == 0


def test_without_measurements_the_error_says_what_to_do(built, factory):
    answer = factory(built, "onboard", "--quiet")
    assert answer.code == 1
    assert "--suggest 5" in answer.error
