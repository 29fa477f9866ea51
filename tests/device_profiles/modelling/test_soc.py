"""Sheets of published figures: what is read, and what is refused with a hint to the right unit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from device_profiles.modelling.core_classes import CORE_CLASSES
from device_profiles.modelling.soc import SHEETS_FOLDER, SocSheet, find_sheet, shipped_sheets
from device_profiles.profile import shipped_profiles
from device_profiles.workload.operators import COMPUTE_KINDS
from factory_base.documents import parse_document
from factory_base.errors import ConfigError


def content(name: str = "midrange") -> dict[str, Any]:
    return dict(yaml.safe_load((SHEETS_FOLDER / f"{name}.yaml").read_text(encoding="utf-8")))


def refusal(value: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as error:
        parse_document(value, SocSheet, "mine.yaml")
    assert "\n" not in str(error.value)
    return str(error.value)


def test_every_shipped_profile_has_a_sheet_and_every_sheet_a_profile() -> None:
    assert shipped_sheets() == shipped_profiles()


@pytest.mark.parametrize("name", shipped_sheets())
def test_a_shipped_sheet_states_its_name_and_a_source_for_every_figure(name: str) -> None:
    sheet = find_sheet(name)
    assert sheet.name == name
    assert sheet.figures()
    assert all(len(figure.source) > 5 for figure in sheet.figures().values())


@pytest.mark.parametrize("name", CORE_CLASSES)
def test_a_class_of_core_states_a_share_for_every_kind_that_computes(name: str) -> None:
    core = CORE_CLASSES[name]
    assert set(core.efficiency) == set(COMPUTE_KINDS)
    assert all(0 < share <= 1 for share in core.efficiency.values())
    assert 0 < core.bus_share <= 1 <= min(core.cache_factor, core.other_cache_factor)
    assert (core.call_cycles is None) == (core.compute_unit != "cpu") == (core.call_us is not None)


def test_a_file_is_read_before_a_shipped_sheet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (SHEETS_FOLDER / "midrange.yaml").read_text(encoding="utf-8")
    (tmp_path / "midrange").write_text(text.replace("cores: 2", "cores: 4"), encoding="utf-8")
    assert find_sheet("midrange").cpu.cores == 2
    monkeypatch.chdir(tmp_path)
    assert find_sheet("midrange").cpu.cores == 4


def test_an_unknown_sheet_names_the_nearest() -> None:
    with pytest.raises(
        ConfigError, match=r"'midrnge' is neither a file nor a shipped sheet; did you mean 'midrange'\?"
    ):
        find_sheet("midrnge")


@pytest.mark.parametrize("place", ["cpu.clock_ghz", "cpu.fp32_lanes", "memory", "selectors", "soc"])
def test_a_missing_figure_is_named(place: str) -> None:
    value = content()
    section, _, key = place.partition(".")
    if key:
        del value[section][key]
    else:
        del value[section]
    assert f"key '{place}' is missing" in refusal(value)


@pytest.mark.parametrize("wrong", [0, -2.2])
def test_zero_and_negative_figures_are_refused(wrong: float) -> None:
    value = content()
    value["cpu"]["clock_ghz"]["value"] = wrong
    assert f"'cpu.clock_ghz.value': must be from 1e-12 to 1000000000000, got {wrong}" in refusal(value)


def test_an_unknown_key_names_the_nearest() -> None:
    value = content()
    value["cpu"]["clok_ghz"] = value["cpu"].pop("clock_ghz")
    assert "unknown key 'cpu.clok_ghz'; did you mean 'clock_ghz'?" in refusal(value)


def test_a_figure_without_a_source_or_of_unknown_origin_is_refused() -> None:
    value = content()
    value["cpu"]["clock_ghz"]["source"] = ""
    assert "cpu.clock_ghz.source" in refusal(value)
    value["cpu"]["clock_ghz"] |= {"source": "a page", "provenance": "modelled"}
    assert "cpu.clock_ghz.provenance" in refusal(value)


@pytest.mark.parametrize(
    ("section", "key", "wrong", "hint"),
    [
        ("cpu", "clock_ghz", 2.2e9, "it looks like MHz or Hz: write 2.2 for 2200 MHz"),
        ("cpu", "clock_ghz", 2200, "it looks like MHz or Hz"),
        ("cpu", "fp32_lanes", 256, "count multiply-adds of one core in one cycle"),
        ("memory", "bus_bits", 4, "it looks like bytes or channels"),
        ("memory", "rate_mt_per_s", 4.266, "it looks like GT/s or like a bandwidth in GB/s"),
        ("memory", "rate_mt_per_s", 17, "it looks like GT/s or like a bandwidth in GB/s"),
        ("memory", "rate_mt_per_s", 4.266e9, "it looks like kT/s or T/s"),
        ("memory", "rate_mt_per_s", 2133, "a clock in MHz is half of the rate: write 4266 for 2133 MHz"),
        ("energy", "running_mw", 0.5, "it looks like watts"),
        ("energy", "process_nm", 7000, "it looks like picometres"),
        ("energy", "dram_pj_per_bit", 0.005, "it looks like nJ/bit"),
    ],
)
def test_a_figure_in_another_unit_is_refused_with_a_hint(section: str, key: str, wrong: float, hint: str) -> None:
    value = content()
    value[section][key]["value"] = wrong
    message = refusal(value)
    assert hint in message
    assert f"{wrong:g}" in message
    assert section in message


@pytest.mark.parametrize(("name", "tera"), [("flagship_npu", 45), ("highend_gpu", 1.3)])
def test_a_peak_in_tera_operations_is_refused(name: str, tera: float) -> None:
    value = content(name)
    value["accelerator"]["gmacs_per_s"]["value"] = tera
    assert "it looks like TFLOPS or TOPS: write 500 for 1 TOPS" in refusal(value)


@pytest.mark.parametrize(
    ("name", "section", "core", "message"),
    [
        ("midrange", "cpu", "cortexa76", "'cortexa76' is not a class of cpu cores; did you mean 'cortex-a76'?"),
        ("midrange", "cpu", "npu", "'npu' is not a class of cpu cores"),
        ("flagship_npu", "accelerator", "cortex-a53", "is not a class of gpu or npu cores; known: mobile-gpu, npu"),
    ],
)
def test_an_unknown_class_of_core_is_refused(name: str, section: str, core: str, message: str) -> None:
    value = content(name)
    value[section]["core"] = core
    assert message in refusal(value)


def test_a_sheet_describes_one_compute_unit() -> None:
    value = content() | {"accelerator": content("flagship_npu")["accelerator"]}
    assert "write either cpu or accelerator" in refusal(value)
    del value["accelerator"], value["cpu"]
    assert "write either cpu or accelerator" in refusal(value)


def test_a_bandwidth_is_stated_once() -> None:
    value = content()
    value["memory"]["streamed_gbytes_per_s"] = {"value": 9.4, "provenance": "measured", "source": "a copy"}
    assert "streamed_gbytes_per_s replaces bus_bits and rate_mt_per_s; remove these two" in refusal(value)
    del value["memory"]["streamed_gbytes_per_s"], value["memory"]["bus_bits"]
    assert "write bus_bits and rate_mt_per_s, or streamed_gbytes_per_s alone" in refusal(value)


def test_what_a_class_of_core_needs_is_named() -> None:
    value = content()
    value["cpu"]["core"] = "x86"
    assert "bandwidth of x86 cores does not follow from the bus; write memory.streamed_gbytes_per_s" in refusal(value)
    value = content() | {"precision": "int8"}
    del value["cpu"]["int8_lanes"]
    assert "precision int8 needs cpu.int8_lanes" in refusal(value)
    value = content("host") | {"energy": content()["energy"]}
    assert "energy: known only for some classes of CPU cores" in refusal(value)
