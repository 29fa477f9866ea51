import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from device_profiles.profile import (
    RAM_CLASSES,
    SHIPPED_FOLDER,
    DeviceProfile,
    Selectors,
    find_profile,
    ram_class,
    shipped_profiles,
)
from device_profiles.workload.operators import KERNEL_KINDS
from factory_base.documents import parse_document
from factory_base.errors import ConfigError
from factory_base.quantities import format_bytes

GIB = 2**30
MIDRANGE = SHIPPED_FOLDER / "midrange.yaml"


def content() -> dict[str, Any]:
    return dict(yaml.safe_load(MIDRANGE.read_text()))


def refusal(value: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as error:
        parse_document(value, DeviceProfile, "mine.yaml")
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("number", [0, -1, 1e300, 1e-300, float("nan"), float("inf"), "fast", [1]])
def test_a_figure_is_a_positive_number_of_a_size_that_costs_can_be_computed_from(number: object) -> None:
    value = content()
    value["costs"]["kernels"]["conv"]["gbytes_per_s"]["value"] = number
    assert "'costs.kernels.conv.gbytes_per_s.value': must be " in refusal(value)


PHONES = ("lowend_1gb", "lowend_3gb", "midrange", "midrange_6gb", "highend", "flagship", "flagship_16gb")
APPLE = ("iphone_old", "iphone", "iphone_new", "ipad")
OTHERS = ("speaker", "glasses", "highend_gpu", "flagship_npu", "browser", "linux", "host")


def test_the_profiles_that_ship() -> None:
    assert set(shipped_profiles()) == {*PHONES, *APPLE, *OTHERS}


@pytest.mark.parametrize("name", shipped_profiles())
def test_a_shipped_profile_is_complete_and_claims_no_measurement(name: str, tmp_path: Path) -> None:
    profile = find_profile(name, tmp_path).profile
    assert profile.name == name
    assert tuple(profile.costs.kernels) == KERNEL_KINDS
    assert profile.latency_provenance in ("modelled", "assumed")
    assert profile.costs.machine == ""
    assert profile.costs.latency_std is not None
    assert 0.3 <= profile.costs.latency_std.value <= 1
    assert profile.costs.latency_std.provenance == "assumed"
    assert profile.budgets.latency_us is not None


def test_phone_profiles_take_every_phone_from_1_gib_and_more_for_more_ram(tmp_path: Path) -> None:
    selectors = [find_profile(name, tmp_path).profile.selectors for name in PHONES]
    assert [s.ram_class_min for s in selectors] == [size * GIB for size in (1, 2, 4, 6, 8, 12, 16)]
    assert {s.platform for s in selectors} == {"android"}
    assert not any(s.soc_include for s in selectors)
    assert not any(s.ram_class_max or s.os_min for s in selectors)  # a phone with more RAM never gets a weaker profile
    cores = [s.cores_min or 0 for s in selectors]
    assert cores[:2] == [0, 0]
    assert cores == sorted(cores)


def test_profiles_of_ios_take_every_device_from_2_gib_and_tell_ipads_by_their_cores(tmp_path: Path) -> None:
    selectors = [find_profile(name, tmp_path).profile.selectors for name in APPLE]
    assert {s.platform for s in selectors} == {"ios"}
    assert [(s.ram_class_min, s.cores_min) for s in selectors] == [
        (2 * GIB, None), (4 * GIB, 6), (8 * GIB, 6), (8 * GIB, 8),
    ]  # fmt: skip


def test_no_profile_has_an_upper_limit_of_ram(tmp_path: Path) -> None:
    # Devices with more RAM would get a lower tier, or the floor.
    assert not any(find_profile(name, tmp_path).profile.selectors.ram_class_max for name in shipped_profiles())


def test_exactly_one_android_cpu_profile_has_the_most_ram_for_each_ram_class(tmp_path: Path) -> None:
    profiles = [find_profile(name, tmp_path).profile for name in shipped_profiles()]
    cpu = [p for p in profiles if p.compute_unit == "cpu" and p.selectors.platform == "android"]
    for size in (known for known in RAM_CLASSES if GIB <= known <= 24 * GIB):
        floors = [p.selectors.ram_class_min or 0 for p in cpu if (p.selectors.ram_class_min or 0) <= size]
        assert floors.count(max(floors)) == 1


def test_a_profile_of_an_accelerator_is_tied_to_a_chip(tmp_path: Path) -> None:
    profiles = [find_profile(name, tmp_path).profile for name in shipped_profiles()]
    accelerated = [p for p in profiles if p.compute_unit != "cpu"]
    assert {p.name for p in accelerated} == {"glasses", "highend_gpu", "flagship_npu"}
    assert all(p.selectors.soc_include for p in accelerated)


def ram_words(selectors: Selectors) -> str:
    low = selectors.ram_class_min
    return "any" if low is None else f"{format_bytes(low)} and more"


def test_the_documented_table_of_profiles_is_correct(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "devices.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    expected = []
    for name in shipped_profiles():
        p = find_profile(name, tmp_path).profile
        threads = f", {p.threads} thread{'s' if p.threads > 1 else ''}" if p.compute_unit == "cpu" else ""
        std = p.costs.latency_std.value if p.costs.latency_std else None
        expected.append(
            f"| `{name}` | {p.selectors.platform} | {ram_words(p.selectors)} | {p.compute_unit}{threads} "
            f"| {', '.join(p.all_costs)} | {p.latency_provenance} | {std:.0%} | {p.energy_provenance or 'unknown'} |"
        )
    assert sorted(rows) == sorted(expected)


@pytest.mark.parametrize(
    ("reported", "expected"), [(1, 0.25), (0.9 * GIB, 1), (GIB, 1), (GIB + 1, 1.5), (5.6 * GIB, 6), (100 * GIB, 64)]
)
def test_reported_ram_is_rounded_up_to_its_class(reported: float, expected: float) -> None:
    assert ram_class(int(reported)) == expected * GIB


def test_a_latency_has_the_weakest_provenance_of_its_numbers() -> None:
    value = content()
    assert parse_document(value, DeviceProfile, "mine").latency_provenance == "modelled"
    value["costs"]["kernels"]["pool"]["overhead_us"]["provenance"] = "assumed"
    assert parse_document(value, DeviceProfile, "mine").latency_provenance == "assumed"


def test_a_file_wins_over_a_shipped_profile_of_that_name(tmp_path: Path) -> None:
    path = tmp_path / "profiles" / "midrange.yaml"
    path.parent.mkdir()
    path.write_text(MIDRANGE.read_text().replace("latency: 30 ms", "latency: 31 ms"))
    for name in ("midrange", "profiles/midrange.yaml", str(path)):
        found = find_profile(name, tmp_path)
        assert found.origin == f"file {path}"
        assert found.profile.budgets.latency_us == 31_000


def test_the_working_directory_comes_before_the_config_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    for folder in (tmp_path, tmp_path / "here"):
        (folder / "mine.yaml").write_text(MIDRANGE.read_text())
    monkeypatch.chdir(tmp_path / "here")
    assert find_profile("mine.yaml", tmp_path).origin == "file mine.yaml"


@pytest.mark.parametrize("name", ["midrange", "profiles/midrange.yaml"])
def test_a_name_without_a_file_falls_back_to_the_shipped_profile(name: str, tmp_path: Path) -> None:
    assert find_profile(name, tmp_path).origin == "shipped midrange"


@pytest.mark.parametrize("name", ["midrnge", "profiles/midrnge.yaml"])
def test_an_unknown_profile_names_the_nearest(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"neither a file nor a shipped profile; did you mean 'midrange'\?"):
        find_profile(name, tmp_path)


def test_a_missing_file_elsewhere_does_not_fall_back(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="neither a file nor a shipped profile"):
        find_profile("elsewhere/midrange.yaml", tmp_path)


def test_a_folder_is_not_a_profile(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="neither a file nor a shipped profile"):
        find_profile(str(tmp_path), tmp_path)


def test_comments_do_not_change_the_digest_but_values_do(tmp_path: Path) -> None:
    shipped = find_profile("midrange", tmp_path)
    commented, changed = tmp_path / "commented.yaml", tmp_path / "changed.yaml"
    commented.write_text("# a comment\n" + MIDRANGE.read_text())
    changed.write_text(MIDRANGE.read_text().replace("threads: 2", "threads: 1"))
    assert find_profile("commented.yaml", tmp_path).digest == shipped.digest
    assert find_profile("changed.yaml", tmp_path).digest != shipped.digest


def test_a_missing_kind_of_kernel_is_named() -> None:
    value = content()
    del value["costs"]["kernels"]["depthwise"]
    assert "no entry for depthwise; add one for each of conv" in refusal(value)


def test_only_kinds_that_compute_have_a_rate() -> None:
    value = content()
    value["costs"]["kernels"]["pool"]["gmacs_per_s"] = value["costs"]["kernels"]["conv"].pop("gmacs_per_s")
    assert "conv has no gmacs_per_s" in refusal(value)
    value["costs"]["kernels"]["conv"]["gmacs_per_s"] = value["costs"]["kernels"]["pool"]["gmacs_per_s"]
    assert "pool has a gmacs_per_s, but only conv" in refusal(value)


def test_a_rate_of_zero_is_refused() -> None:
    value = content()
    value["costs"]["kernels"]["conv"]["gbytes_per_s"]["value"] = 0
    assert "costs.kernels.conv.gbytes_per_s.value" in refusal(value)


def test_an_arena_ratio_below_one_is_refused() -> None:
    value = content()
    value["costs"]["arena_ratio"]["value"] = 0.5
    assert "0.5 is below 1" in refusal(value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ram_class_min": "5 GiB"}, "5 GiB is not a RAM class; choose one of 256 MiB"),
        ({"ram_class_min": "8 GiB", "ram_class_max": "8 GiB"}, "must be above ram_class_min 8 GiB"),
        ({"ram_class_min": 4}, "4 is not a size such as"),
        ({"os_min": "ten"}, "'ten' is not a version"),
        ({"cores_min": 0}, "selectors.cores_min"),
        ({"platform": "windows"}, "selectors.platform"),
        ({"cores": 4}, "did you mean 'cores_min'?"),
        ({"soc_include": [{"model": "x"}]}, "'selectors.soc_include.0.maker' is missing"),
    ],
)
def test_a_wrong_selector_is_refused(changes: dict[str, Any], message: str) -> None:
    value = content()
    value["selectors"] |= changes
    assert message in refusal(value)


@pytest.mark.parametrize(
    ("key", "wrong"), [("name", "Mid Range"), ("precision", "int4"), ("compute_unit", "tpu"), ("threads", 0)]
)
def test_a_wrong_fact_is_refused_with_its_key(key: str, wrong: object) -> None:
    assert f"'{key}'" in refusal(content() | {key: wrong})


def test_describing_imports_neither_torch_nor_scipy() -> None:
    code = (
        "import sys; from pathlib import Path; import device_profiles.costs, device_profiles.measuring.measure;"
        "from device_profiles.profile import find_profile; find_profile('midrange', Path('.'));"
        "sys.exit(any(name in sys.modules for name in ('torch', 'scipy', 'onnxruntime', 'pandas')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
