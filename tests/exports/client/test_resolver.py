import ast
import sys
from pathlib import Path

import pytest

from exports.client.python import resolver
from exports.client.python.records import ClientState, DeviceFacts, Reason
from exports.client.python.resolver import UnusableManifestError
from exports.client.python.selector_rules import KEYS, ram_class_mib

GIB = 1 << 30


def model(peak=1000, disk=1000, **engine):
    limits = {"name": "onnxruntime", "format_version": 20, "min": "1.17.0", "max_tested": "1.31.1"} | engine
    needs = {"peak_memory_bytes": peak, "disk_bytes": disk, "basis": "modelled"}
    return {"files": [{"sha256": f"{disk:064x}", "bytes": disk}], "engine": limits, "needs": needs}


def tier(name, rank, *selectors, models=("small",), platform="android"):
    return {"id": name, "rank": rank, "match": list(selectors), "models": list(models), "platform": platform}


FLOOR = tier("floor", 0, platform="any", models=("tiny",))


def manifest(*tiers, **models):
    described = {"tiny": model(10, 10), "small": model(), "large": model(9000, 9000)} | models
    return {"manifest_version": "1.0", "critical": [], "tiers": [FLOOR, *tiers], "models": described}


def phone(**facts):
    return DeviceFacts(**({"platform": "android", "ram_bytes": 3 * GIB + 1} | facts))


def resolve(value, facts):
    return resolver.resolve(value, None, facts, ClientState(), now=0)


def codes(resolution):
    return [(reason.tier, reason.model, reason.code) for reason in resolution.reasons]


def test_the_highest_rank_that_matches_wins():
    ranked = manifest(
        tier("entry", 1, {"ram_class_min": 2048}), tier("top", 2, {"ram_class_min": 4096}, models=("large",))
    )
    best = resolve(ranked, phone())
    assert (best.tier, best.rank, best.model) == ("top", 2, "large")
    assert "ram_class_min 4096 MiB" in best.reasons[-1].text
    lower = resolve(ranked, phone(ram_bytes=3 * GIB))
    assert codes(lower) == [("top", "", "selector_unmet"), ("entry", "small", "chosen")]


@pytest.mark.parametrize(
    ("ram_bytes", "mib"), [(1, 256), (256 << 20, 256), ((256 << 20) + 1, 512), (3_900_000_000, 4096), (1 << 50, 65536)]
)
def test_ram_is_rounded_up_to_its_class(ram_bytes, mib):
    assert ram_class_mib(ram_bytes) == mib


@pytest.mark.parametrize(
    ("selector", "facts", "code"),
    [
        ({"ram_class_min": 4096}, {}, "chosen"),
        ({"ram_class_min": 6144}, {}, "selector_unmet"),
        ({"ram_class_max": 4096}, {}, "selector_unmet"),
        ({"ram_class_max": 6144}, {}, "chosen"),
        ({"ram_class_min": 256}, {"ram_bytes": None}, "selector_unknown"),
        ({"ram_class_max": 65536}, {"ram_bytes": None}, "selector_unknown"),
        ({"cores_min": 4}, {"cores": 4}, "chosen"),
        ({"cores_min": 4}, {"cores": 3}, "selector_unmet"),
        ({"cores_min": 4}, {}, "selector_unknown"),
        ({"os_min": "12"}, {"os_version": "12.0.1"}, "chosen"),
        ({"os_min": "9.2"}, {"os_version": "10.0"}, "chosen"),
        ({"os_min": "14.0"}, {"os_version": "14"}, "chosen"),
        ({"os_min": "14"}, {"os_version": "13.9"}, "selector_unmet"),
        ({"os_min": "14"}, {}, "selector_unknown"),
        ({"platforms": ["ios", "android"]}, {}, "chosen"),
        ({"platforms": ["ios"]}, {}, "selector_unmet"),
        ({}, {}, "chosen"),
        ({"cores_min": None}, {}, "chosen"),
        ({"bench_min": 7}, {}, "selector_key_unknown"),
        ({"ram_class_min": 256, "bench_min": 7}, {}, "selector_key_unknown"),
    ],
)
def test_every_key_holds_does_not_hold_or_is_unknown(selector, facts, code):
    resolution = resolve(manifest(tier("only", 1, selector)), phone(**facts))
    assert resolution.reasons[0].code == code
    assert resolution.model == ("small" if code == "chosen" else "tiny")


ACME, ACME_X = {"maker": "Acme"}, {"maker": "Acme", "model": "X1"}


@pytest.mark.parametrize(
    ("selector", "facts", "code"),
    [
        ({"soc_include": [ACME]}, {"soc_maker": "ACME"}, "chosen"),
        ({"soc_include": [ACME_X]}, {"soc_maker": "acme", "soc_model": "x1"}, "chosen"),
        ({"soc_include": [ACME_X]}, {"soc_maker": "acme", "soc_model": "x2"}, "selector_unmet"),
        ({"soc_include": [ACME_X]}, {"soc_maker": "acme"}, "selector_unknown"),
        ({"soc_include": [ACME_X]}, {"soc_maker": "other"}, "selector_unmet"),
        ({"soc_include": [ACME]}, {}, "selector_unknown"),
        ({"soc_exclude": [ACME]}, {"soc_maker": "acme"}, "selector_unmet"),
        ({"soc_exclude": [ACME_X]}, {"soc_maker": "acme", "soc_model": "X2"}, "chosen"),
        ({"soc_exclude": [ACME]}, {}, "chosen"),
        ({"soc_exclude": [ACME_X]}, {"soc_maker": "acme"}, "chosen"),
        ({"soc_exclude": [ACME], "strict": True}, {}, "selector_unknown"),
        ({"soc_exclude": [ACME_X], "strict": True}, {"soc_maker": "acme"}, "selector_unknown"),
        ({"soc_exclude": [ACME], "strict": True}, {"soc_maker": "other"}, "chosen"),
    ],
)
def test_an_unknown_chip_is_not_included_and_is_excluded_only_by_a_strict_selector(selector, facts, code):
    assert resolve(manifest(tier("only", 1, selector)), phone(**facts)).reasons[0].code == code


def test_any_selector_of_a_tier_is_enough():
    either = manifest(tier("only", 1, {"cores_min": 64}, {"ram_class_min": 256}))
    assert resolve(either, phone(cores=2)).model == "small"


def test_a_tier_of_another_platform_or_without_rules_is_for_no_device():
    empty = manifest(tier("apple", 1, {}, platform="ios"), tier("ruleless", 1))
    assert codes(resolve(empty, phone()))[:2] == [("apple", "", "platform"), ("ruleless", "", "selector_unmet")]


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        ({"free_disk_bytes": 9899}, "disk"),
        ({"available_memory_bytes": 8999}, "memory"),
        ({"engine": "mnn"}, "engine_other"),
        ({"engine": "onnxruntime", "engine_version": "1.16.3"}, "engine_too_old"),
        ({"engine": "onnxruntime", "engine_version": "1.32.0"}, "engine_too_new"),
    ],
)
def test_the_next_model_in_the_list_replaces_one_that_does_not_fit(facts, code):
    small = model(min="1.0", max_tested="2.0", name=facts.get("engine", "onnxruntime"))
    pair = manifest(tier("only", 1, {}, models=("large", "small")), small=small)
    assert codes(resolve(pair, phone(**facts))) == [("only", "large", code), ("only", "small", "chosen")]


@pytest.mark.parametrize(
    "facts",
    [
        {"free_disk_bytes": 9900},
        {"available_memory_bytes": 9000},
        {"engine": "onnxruntime", "engine_version": "1.31.1"},
    ],
)
def test_limits_are_inclusive(facts):
    assert resolve(manifest(tier("only", 1, {}, models=("large",))), phone(**facts)).model == "large"


def test_a_newer_engine_is_accepted_if_the_model_allows_it():
    forward = manifest(tier("only", 1, {}, models=("large",)), large=model(forward_ok=True))
    assert resolve(forward, phone(engine="onnxruntime", engine_version="1.40")).model == "large"


def test_versions_are_compared_as_numbers():
    ranged = manifest(tier("only", 1, {}), small=model(min="1.9", max_tested="1.10.0"))
    assert resolve(ranged, phone(engine="onnxruntime", engine_version="1.10+cpu")).model == "small"


def test_the_next_rank_replaces_a_tier_whose_models_all_fail():
    ranked = manifest(tier("top", 2, {}, models=("large",)), tier("entry", 1, {}, models=("small",)))
    resolution = resolve(ranked, phone(available_memory_bytes=5000))
    assert codes(resolution) == [("top", "large", "memory"), ("entry", "small", "chosen")]


def test_a_model_that_is_not_described_is_passed_over():
    assert codes(resolve(manifest(tier("top", 1, {}, models=("gone",))), phone()))[0] == (
        "top",
        "gone",
        "model_missing",
    )


def test_the_floor_is_for_every_device_and_its_reason_mentions_what_is_short():
    resolution = resolve(manifest(), DeviceFacts(platform="toaster", available_memory_bytes=1))
    assert (resolution.tier, resolution.rank, resolution.model) == ("floor", 0, "tiny")
    assert "although it needs 10 bytes of memory" in resolution.reasons[-1].text


def test_there_is_no_model_if_none_runs_in_the_engine():
    resolution = resolve(manifest(tier("only", 1, {})), phone(engine="mnn"))
    assert resolution.model is None
    assert resolution.reasons[-1].code == "nothing_runs"


@pytest.mark.parametrize(
    "change", [{"manifest_version": "2.0"}, {"critical": ["shards"]}, {"tiers": []}, {"models": None}]
)
def test_a_manifest_it_cannot_use_is_refused(change):
    with pytest.raises(UnusableManifestError):
        resolve(manifest(tier("only", 1, {})) | change, phone())


@pytest.mark.parametrize("value", [{}, [], None, 5, {"manifest_version": 1}, {"manifest_version": "1.0", "models": {}}])
def test_anything_but_a_manifest_is_refused(value):
    with pytest.raises(UnusableManifestError, match="not a manifest"):
        resolve(value, phone())


@pytest.mark.parametrize("critical", ["shards", [{}], [5], {"shards": 1}, None, [""], ["a" * 10_000]])
def test_critical_features_in_any_form_are_refused_in_one_short_line(critical):
    with pytest.raises(UnusableManifestError, match="update the app") as caught:
        resolve(manifest() | {"critical": critical}, phone())
    assert len(str(caught.value)) < 120


def test_a_manifest_without_critical_features_need_not_list_them():
    assert resolve({key: value for key, value in manifest().items() if key != "critical"}, phone()).model == "tiny"


NEWER = [None, True, 5, -1, 1.5, "x", "", [], [5], ["x"], [[]], [{}], [{"maker": 5}], {}, {"maker": "Acme"}]


@pytest.mark.parametrize("value", NEWER, ids=repr)
@pytest.mark.parametrize("key", [*KEYS, "bench_min"])
def test_a_selector_with_a_value_of_a_newer_form_costs_only_its_tier(key, value):
    facts = phone(cores=8, os_version="14", soc_maker="acme", soc_model="x1")
    newer = manifest(tier("top", 2, {key: value}, models=("large",)), tier("entry", 1, {"cores_min": 4}))
    assert resolve(newer, facts).tier in ("top", "entry")
    if isinstance(value, dict | float) or value in ([5], [[]], [{}], [{"maker": 5}]) or key == "bench_min":
        assert resolve(newer, facts).reasons[0].code == "selector_key_unknown"


@pytest.mark.parametrize("selector", [5, "ram", None, ["ram_class_min"], [{}]])
def test_a_selector_that_is_no_object_does_not_match(selector):
    assert resolve(manifest(tier("only", 1, selector)), phone()).reasons[0].code == "selector_key_unknown"


def test_an_unknown_field_of_a_system_on_a_chip_makes_its_selector_not_match():
    newer = {"soc_include": [{"maker": "Acme", "stepping": "B0"}]}
    assert resolve(manifest(tier("only", 1, newer)), phone(soc_maker="acme")).reasons[0].code == "selector_key_unknown"


@pytest.mark.parametrize(
    "change",
    [{"rank": "2"}, {"rank": True}, {"rank": -1}, {"id": 5}, {"platform": None}, {"match": {}}, {"models": "x"}],
)
def test_a_tier_of_a_newer_form_is_passed_over(change):
    resolution = resolve(manifest(tier("top", 2, {}) | change, tier("entry", 1, {})), phone())
    assert resolution.tier == "entry"
    assert resolution.reasons[0].code == "tier_unknown"


@pytest.mark.parametrize(
    "newer", [5, [], {}, {"engine": 5}, {"needs": {"disk_bytes": "1"}}, {"engine": {"name": "x", "min": "new"}}]
)
def test_a_model_of_a_newer_form_is_passed_over(newer):
    described = model() | newer if isinstance(newer, dict) and newer else newer
    pair = manifest(tier("only", 1, {}, models=("next", "small")), next=described)
    assert codes(resolve(pair, phone())) == [("only", "next", "model_unknown"), ("only", "small", "chosen")]


@pytest.mark.parametrize("name", [5, None, [], {}])
def test_a_model_is_named_by_a_text_only(name):
    assert resolve(manifest(tier("only", 1, {}, models=(name, "small"))), phone()).model == "small"


@pytest.mark.parametrize(
    ("version", "code"), [("9" * 5000, "chosen"), ("0" * 5000 + "14", "chosen"), ("0" * 5000, "selector_unmet")]
)
def test_versions_of_any_length_are_compared_as_numbers(version, code):
    assert resolve(manifest(tier("only", 1, {"os_min": "14"})), phone(os_version=version)).reasons[0].code == code


def test_memory_is_stated_with_its_unit():
    resolution = resolve(manifest(tier("only", 1, {"ram_class_min": 6144})), phone())
    assert resolution.reasons[0].text == "the device does not meet ram_class_min 6144 MiB"


def test_every_reason_has_a_code_and_a_text():
    mixed = manifest(
        tier("top", 3, {"x": 1}), tier("mid", 2, {}, models=("gone", "large")), tier("low", 1, {"cores_min": 1})
    )
    resolution = resolve(mixed, phone(free_disk_bytes=1))
    assert all(reason.code and reason.text for reason in resolution.reasons)
    assert {code for *_, code in codes(resolution)} <= set(Reason.__doc__.replace("`", " ").replace(",", " ").split())


@pytest.mark.parametrize("name", ["resolver", "selector_rules", "records", "values"])
def test_the_resolver_needs_only_the_standard_library(name):
    tree = ast.parse(Path(resolver.__file__).with_name(f"{name}.py").read_text())
    names = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.level]
    names += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    assert names
    assert {name.split(".")[0] for name in names} <= sys.stdlib_module_names
