"""A family's promises compared with simulated telemetry: phone 800 us, entry 400 us, computer none."""

import csv
import dataclasses

import numpy as np
import pandas as pd
import pytest

from device_profiles.telemetry.rows import read_rows
from exports.family.field import family_in_field, write_measurements
from exports.family.manifest import read_manifest
from exports.family.records import Perf
from factory_base.errors import TelemetryError

NOW = 1_795_000_000.0


@pytest.fixture
def family(make_family, spec):
    """A family that promises latencies of both models for the tiers `phone` and `entry`."""
    promised = {"small": (300, 400), "large": (800, 1100)}
    models = [
        dataclasses.replace(
            model,
            perf=tuple(
                Perf(device=tier, threads=1, compute_unit="cpu", latency_us=latency, basis="modelled")
                for tier, latency in zip(("phone", "entry"), promised[model.artifact.model_id], strict=True)
            ),
        )
        for model in spec.models
    ]
    return make_family(models=tuple(models))


@pytest.fixture
def report_of(family, tmp_path):
    """Makes the report on devices, each given by name, model, median in microseconds and number of rows."""

    def report(*devices, **options):
        rng = np.random.default_rng(3)
        digests = {name: model.files[0].sha256 for name, model in read_manifest(family).models.items()}
        rows = [
            pd.DataFrame(
                {"device": device, "model": digests.get(model, model), "latency_us": median * noise}, index=range(count)
            )
            for device, model, median, count in devices
            for noise in [np.exp(rng.normal(0, 0.1, count))]
        ]
        pd.concat(rows).to_parquet(tmp_path / "rows.parquet")
        return family_in_field(family, read_rows(tmp_path / "rows.parquet", NOW), **options)[1]

    return report


def line_of(report, tier):
    return next(line for line in report.tiers if line.tier == tier)


def test_a_promise_that_is_kept(report_of):
    report = report_of(("acme one", "large", 700, 500), ("acme two", "large", 600, 500))
    line = line_of(report, "phone")
    assert (line.verdict, line.promised_us, line.basis) == ("kept", 800, "modelled")
    assert (line.field.devices, line.field.devices_over, line.field.rows) == (2, 0, 1000)
    assert (report.exit_code, report.broken) == (0, ())


def test_a_broken_promise_names_its_tier(report_of):
    report = report_of(("acme one", "large", 1000, 500), ("acme two", "large", 1200, 500), ("b", "small", 300, 500))
    assert [line.verdict for line in report.tiers if line.field] == ["kept", "broken"]
    (broken,) = report.broken
    assert broken.startswith("tier phone: large takes 1")
    assert "2 devices" in broken
    assert broken.endswith("800 us are promised (modelled)")
    assert report.exit_code == 1


def test_a_promise_within_the_interval_is_unclear_and_not_called_broken(report_of):
    report = report_of(("acme one", "large", 800, 30))
    assert line_of(report, "phone").verdict == "unclear"
    assert report.exit_code == 0


def test_an_allowed_excess_is_kept(report_of):
    devices = [("acme one", "large", 850, 2000)]
    assert report_of(*devices).exit_code == 1
    assert report_of(*devices, max_excess=0.1).exit_code == 0


def test_one_slow_device_of_many_is_counted_but_breaks_no_tier(report_of):
    report = report_of(*((f"d{n}", "large", 600, 300) for n in range(6)), ("slow", "large", 2000, 300))
    line = line_of(report, "phone")
    assert (line.verdict, line.field.devices, line.field.devices_over) == ("kept", 7, 1)


def test_devices_that_differ_are_one_distribution_over_their_rows(report_of):
    field = line_of(report_of(*((f"d{n}", "large", 400 + 100 * n, 300) for n in range(6))), "phone").field
    latencies = np.concatenate(
        [(400 + 100 * n) * np.exp(np.random.default_rng(n).normal(0, 0.1, 9999)) for n in range(6)]
    )
    assert field.low_us < np.median(latencies) < field.high_us < 1.1 * field.low_us
    assert field.p95_us == pytest.approx(np.quantile(latencies, 0.95), rel=0.05)


def test_a_device_with_the_name_of_a_tier_belongs_to_it(report_of):
    report = report_of(("phone", "large", 700, 300), ("entry", "small", 350, 300))
    assert {line.tier for line in report.tiers if line.field} == {"phone", "entry"}
    assert report.telemetry.devices[0].scale.value == pytest.approx(350 / 400, rel=0.03)


def test_the_scale_is_relative_to_the_tier_to_which_most_rows_belong(report_of):
    report = report_of(("acme one", "large", 1600, 500), ("acme one", "small", 600, 50))
    (device,) = report.telemetry.devices
    assert device.scale.value == pytest.approx(2.0, rel=0.03)
    assert (device.scale.models, device.scale.rows) == (2, 550)


def test_a_model_without_a_tier_is_measured_but_not_judged(report_of, make_family, tmp_path):
    report_of(("acme one", "large", 700, 50), ("acme two", "small", 300, 50))
    family = make_family("floor", tiers=())
    _, report = family_in_field(family, read_rows(tmp_path / "rows.parquet", NOW))
    assert [(line.tier, line.verdict) for line in report.tiers] == [("floor", "no promise")]
    assert [device.rows_used for device in report.telemetry.devices] == [50, 50]
    assert (report.exit_code, report.telemetry.unknown_models) == (2, {})


def test_rows_of_unknown_models_alone_give_no_verdict(report_of):
    report = report_of(("acme one", "ab" * 32, 900, 100))
    assert report.exit_code == 2
    assert report.telemetry.unknown_models == {"ab" * 32: 100}
    assert report.telemetry.devices[0].models[0].latency_us == pytest.approx(900, rel=0.1)


def test_measurements_have_a_column_per_choice_of_the_subnets(report_of, family, tmp_path):
    report = report_of(("acme, one", "large", 700, 500), ("bolt", "small", 300, 90), ("x", "ab" * 32, 9, 9))
    manifest = read_manifest(family)
    assert write_measurements(manifest, report.telemetry, tmp_path / "out.csv") == 2
    with (tmp_path / "out.csv").open() as stream:
        first, second = csv.DictReader(stream)
    assert list(first) == ["device", "model", "latency_us", "relative_std", "rows", "ratio", "width"]
    assert (first["device"], first["width"], second["width"]) == ("acme, one", "8", "4")
    assert float(first["latency_us"]) == pytest.approx(700, rel=0.02)
    assert 0.001 < float(first["relative_std"]) < 0.02
    assert first["model"] == manifest.models["large"].files[0].sha256
    assert int(second["rows"]) <= 90


def test_a_manifest_that_cannot_be_read_is_an_error(report_of, tmp_path):
    report_of(("acme one", "large", 700, 5))
    with pytest.raises(TelemetryError, match=r"the telemetry cannot be compared: .*gone"):
        family_in_field(tmp_path / "gone", read_rows(tmp_path / "rows.parquet", NOW))
    assert TelemetryError.exit_code == 2
