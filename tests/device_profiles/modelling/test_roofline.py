"""From a sheet to a profile: the arithmetic and the stated provenance. Shipped profiles are its result."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from device_profiles.cost_models.models import LatencyModel
from device_profiles.modelling import modelled_host
from device_profiles.modelling.core_classes import CORE_CLASSES, INT8_SHARE
from device_profiles.modelling.modelled_host import host_sheet
from device_profiles.modelling.roofline import comment_of, explained, profile_of
from device_profiles.modelling.soc import SheetFigure, SocSheet, find_sheet
from device_profiles.profile import SHIPPED_FOLDER, shipped_profiles
from device_profiles.profile_costs import MachinePeak
from device_profiles.profile_writer import write_profile
from device_profiles.workload.tracing import trace
from factory_base.errors import ConfigError

torch.set_num_threads(1)


@pytest.mark.parametrize("name", shipped_profiles())
def test_a_shipped_profile_is_what_its_sheet_gives(name: str, tmp_path: Path) -> None:
    sheet = find_sheet(name)
    write_profile(profile_of(sheet), tmp_path / "again.yaml", comment=comment_of(sheet))
    again, shipped = (tmp_path / "again.yaml").read_text("utf-8"), (SHIPPED_FOLDER / f"{name}.yaml").read_text("utf-8")
    assert again == shipped, f"write it again: factory profile --modelled {name} --output {SHIPPED_FOLDER}/{name}.yaml"


def figure(value: float, provenance: str = "published") -> SheetFigure:
    return SheetFigure(value=value, provenance=provenance, source="a page")


def changed(sheet: SocSheet, section: str, **figures: object) -> SocSheet:
    return sheet.model_copy(update={section: getattr(sheet, section).model_copy(update=figures)})


def test_the_peak_is_cores_times_clock_times_lanes_and_a_share_of_it_is_reached() -> None:
    kernels = profile_of(find_sheet("midrange")).costs.kernels
    peak = 2 * 2.2 * 8 * 0.9
    assert kernels["pointwise"].gmacs_per_s.value == pytest.approx(peak * 0.65, rel=0.03)
    assert kernels["depthwise"].gmacs_per_s.value == pytest.approx(peak * 0.22, rel=0.03)
    assert kernels["conv"].overhead_us.value == pytest.approx(7000 / 2200, rel=0.03)
    assert kernels["pool"].gmacs_per_s is None


def test_a_single_core_does_not_wait_for_another() -> None:
    sheet = find_sheet("midrange")
    one, two = (profile_of(changed(sheet, "cpu", cores=cores)) for cores in (1, 2))
    ratio = two.costs.kernels["conv"].gmacs_per_s.value / one.costs.kernels["conv"].gmacs_per_s.value
    assert ratio == pytest.approx(1.8, rel=0.05)
    assert (one.threads, two.threads) == (1, 2)


def test_the_bus_or_the_cores_bound_the_bandwidth() -> None:
    sheet = find_sheet("midrange")
    narrow = profile_of(changed(sheet, "memory", bus_bits=figure(16)))
    wide = profile_of(changed(sheet, "memory", bus_bits=figure(256)))
    assert narrow.costs.kernels["elementwise"].gbytes_per_s.value == pytest.approx(16 * 4.266 / 8 * 0.55, rel=0.03)
    assert wide.costs.kernels["elementwise"].gbytes_per_s.value == pytest.approx(2 * 2.2 * 3.2, rel=0.03)


def test_int8_has_the_peak_of_int8_lanes() -> None:
    profile = profile_of(find_sheet("midrange"))
    fp32, int8 = (profile.costs_in(precision) for precision in ("fp32", "int8"))
    for kind, share in INT8_SHARE.items():
        ratio = int8.kernels[kind].gmacs_per_s.value / fp32.kernels[kind].gmacs_per_s.value
        assert ratio == pytest.approx(share * 32 / 8, rel=0.05)
    assert profile_of(find_sheet("midrange"), ("int8",)).costs == int8


def test_what_stays_in_float32_moves_four_bytes_for_each_value_of_an_int8_network() -> None:
    fp32, int8 = profile_of(find_sheet("midrange")).all_costs.values()
    for kind, share in (("elementwise", 1 / 4), ("pool", 1 / 4), ("conv", 1)):
        ratio = int8.kernels[kind].gbytes_per_s.value / fp32.kernels[kind].gbytes_per_s.value
        assert ratio == pytest.approx(share, rel=0.05)


def test_a_precision_without_figures_is_refused_with_what_the_sheet_lacks() -> None:
    with pytest.raises(ConfigError, match=r"browser has no figures for int8, but for fp32: it lacks cpu.int8_lanes"):
        profile_of(find_sheet("browser"), ("int8",))
    with pytest.raises(ConfigError, match=r"flagship_npu has no figures for fp32, but for int8: it lacks an accel"):
        profile_of(find_sheet("flagship_npu"), ("fp32",))


def test_an_assumed_figure_makes_what_follows_from_it_assumed() -> None:
    profile = profile_of(changed(find_sheet("midrange"), "memory", bus_bits=figure(32, "assumed")))
    kernel = profile.costs.kernels["conv"]
    assert kernel.gbytes_per_s.provenance == "assumed"
    assert kernel.gmacs_per_s.provenance == kernel.overhead_us.provenance == "modelled"
    assert profile.latency_provenance == "assumed"
    assert profile.costs.latency_std.value > profile_of(find_sheet("midrange")).costs.latency_std.value


def test_measured_figures_still_give_a_modelled_latency() -> None:
    sheet = changed(find_sheet("midrange"), "cpu", clock_ghz=figure(2.2, "measured"))
    assert profile_of(sheet).latency_provenance == "modelled"


@pytest.mark.parametrize("name", shipped_profiles())
def test_the_explanation_states_every_figure_with_its_source(name: str) -> None:
    sheet = find_sheet(name)
    text = "\n".join(explained(sheet))
    for place, found in sheet.figures().items():
        assert f"{place}: {found.value:g}, {found.provenance}: {found.source}." in text


def mobilenet_v2() -> nn.Module:
    """MobileNetV2 with 300 million multiply-adds at 224 pixels, without normalisation, which is folded."""
    layers: list[nn.Module] = [nn.Conv2d(3, 32, 3, 2, 1), nn.ReLU6()]
    width = 32
    rows = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    for expand, channels, blocks, stride in rows:
        for block in range(blocks):
            inner, step = expand * width, stride if block == 0 else 1
            layers += [nn.Conv2d(width, inner, 1), nn.ReLU6()] if expand > 1 else []
            layers += [nn.Conv2d(inner, inner, 3, step, 1, groups=inner), nn.ReLU6(), nn.Conv2d(inner, channels, 1)]
            width = channels
    head = [nn.Conv2d(width, 1280, 1), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, 1000)]
    return nn.Sequential(*layers, *head)


def test_the_npu_is_within_a_factor_of_two_of_a_published_run() -> None:
    """MobileNetV2 on a Snapdragon 8 Gen 3: 0.37 ms, reported by EdgeGate from Qualcomm's device farm."""
    workload = trace(mobilenet_v2(), (3, 224, 224))
    assert workload.macs == pytest.approx(300e6, rel=0.02)
    assert 185 < LatencyModel().predict([workload], profile_of(find_sheet("flagship_npu")))[0] < 740


@pytest.fixture
def quick_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modelled_host, "measure_peak", lambda _: MachinePeak(gmacs_per_s=50, gbytes_per_s=12))


@pytest.mark.usefixtures("quick_peak")
def test_the_host_is_modelled_from_its_measured_peak_and_bandwidth() -> None:
    sheet = host_sheet(threads=1)
    kernels = profile_of(sheet).costs.kernels
    assert kernels["pointwise"].gmacs_per_s.value == pytest.approx(50 * CORE_CLASSES["x86"].efficiency["pointwise"])
    assert kernels["elementwise"].gbytes_per_s.value == 12
    assert sheet.figures()["cpu.gmacs_per_s"].provenance == "measured"
    assert sheet.selectors.platform == "linux"


@pytest.mark.usefixtures("quick_peak")
def test_the_host_in_int8_is_as_much_faster_as_its_lanes_are_more() -> None:
    profile = profile_of(host_sheet())
    fp32, int8 = (profile.costs_in(precision) for precision in ("fp32", "int8"))
    ratio = int8.kernels["conv"].gmacs_per_s.value / fp32.kernels["conv"].gmacs_per_s.value
    assert ratio in (2 * INT8_SHARE["conv"], 4 * INT8_SHARE["conv"])


@pytest.mark.parametrize("threads", [0, 1000])
def test_threads_that_the_machine_lacks_are_refused(threads: int) -> None:
    with pytest.raises(ConfigError, match=rf"{threads} threads cannot be measured on this machine; choose 1 to"):
        host_sheet(threads=threads)
