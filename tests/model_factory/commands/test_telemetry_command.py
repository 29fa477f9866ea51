"""`factory telemetry` on the command line, and its benchmark in the reduced form."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import numpy as np
import pytest

from device_profiles.profile import find_profile


@pytest.fixture
def write_rows(built, tmp_path):
    """Writes rows of one device with every model of the tiny family, slower than promised by a given factor."""
    manifest = json.loads((built / "dist" / "tiny" / "manifest.json").read_text())

    def write(slower: float, **columns: str) -> Path:
        rng = np.random.default_rng(5)
        lines = ["device,model,latency_ms"]
        for name, model in manifest["models"].items():
            tiers = {tier["id"] for tier in manifest["tiers"] if name in tier["models"]}
            promised = max(perf["latency_us"] for perf in model["perf"] if perf["device"] in tiers)
            for noise in rng.normal(0, 0.05, 200):
                digest = columns.get("model", model["files"][0]["sha256"][:16])
                lines.append(f"acme one,{digest},{slower * promised / 1e3 * np.exp(noise):.6f}")
        path = tmp_path / "rows.csv"
        path.write_text("\n".join(lines) + "\n")
        return path

    return write


def test_kept_promises_exit_with_0(factory, built, write_rows):
    answer = factory(built, "telemetry", write_rows(0.5), "--family", "dist/tiny")
    assert (answer.code, answer.err) == (0, "")
    assert "no promise is broken" in answer.out


def test_broken_promises_name_the_tier_and_exit_with_1(factory, built, write_rows):
    answer = factory(built, "telemetry", write_rows(2.0), "--family", "dist/tiny/manifest.json")
    assert answer.code == 1
    assert "broken: tier " in answer.out
    assert "us are promised (modelled)" in answer.out


def test_json_and_measurements_hold_every_device(factory, built, write_rows, tmp_path):
    out = tmp_path / "measured.csv"
    arguments = ("telemetry", write_rows(2.0), "--family", "dist/tiny", "--measurements", out, "--json")
    value = json.loads(factory(built, *arguments).out)
    (device,) = value["telemetry"]["devices"]
    assert value["exit_code"] == 1
    assert device["rows"] >= device["rows_used"] > 190
    assert out.read_text().startswith("device,model,latency_us,relative_std,rows,resolution,")
    assert len(out.read_text().splitlines()) == 1 + len(device["models"])


def test_measurements_from_the_field_onboard_a_device(factory, built, write_rows, tmp_path):
    out = tmp_path / "measured.csv"
    factory(built, "telemetry", write_rows(3.0), "--family", "dist/tiny", "--measurements", out)
    path = tmp_path / "acme.yaml"
    answer = factory(built, "onboard", out, "--only", "acme one", "--output", path, "--quiet")
    assert answer.code == 0, answer.err
    profile = find_profile("acme.yaml", tmp_path).profile
    assert profile.latency_provenance == "few_shot"
    assert profile.costs.rows > 190
    assert f"{profile.costs.rows} rows" in profile.costs.latency_std.source


def test_rows_of_other_models_are_named_and_exit_with_2(factory, built, write_rows):
    answer = factory(built, "telemetry", write_rows(1.0, model="ab" * 32), "--family", "dist/tiny")
    assert answer.code == 2
    assert "unknown: no row belongs to a model" in answer.out
    assert f"model {'ab' * 32}: " in answer.out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("gone.csv", "--family", "dist/tiny"), "gone.csv: cannot be read"),
        (("factory.yaml", "--family", "dist/tiny"), "there is no column 'device'"),
        (("rows", "--family", "gone"), "the telemetry cannot be compared: gone: cannot be read"),
    ],
)
def test_a_wrong_argument_ends_in_one_line_and_exits_with_2(factory, built, write_rows, options, words):
    rows, *rest = options
    answer = factory(built, "telemetry", write_rows(1.0) if rows == "rows" else rows, *rest)
    assert answer.code == 2
    assert words in answer.error


def test_the_benchmark_ends_with_errors_coverage_and_seconds(monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3] / "benchmarks"))
    assert importlib.import_module("telemetry").main(["--quick", "--devices", "20"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["scale_error_median"] < 0.02 < result["baselines"]["mean"]["median"]
    assert {"scale_error_p95", "coverage_95", "seconds", "peak_mib", "machine", "date"} <= result.keys()
    assert (result["quick"], result["seed"], result["devices"]) == (True, 0, 20)
