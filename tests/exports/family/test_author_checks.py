"""What is told to the author of a family: devices without a model, tiers without devices, and less for more."""

from __future__ import annotations

import itertools
import json
import random
import time
from typing import Any

import pytest

from exports.client.python.records import ClientState, DeviceFacts, Probe
from exports.client.python.resolver import resolve
from exports.client.python.selector_rules import RAM_CLASSES_MIB
from exports.client.python.values import version_key
from exports.family import tier_search
from exports.family.author_checks import author_checks, author_warnings, refuse_faults, release_check
from exports.family.manifest import EXAMPLE_MANIFEST, read_manifest
from factory_base.errors import ManifestError

GIB = 1 << 30
FAMILY = dict[str, Any]
ENGINE = {"name": "onnxruntime", "min": "1.17.0", "max_tested": "1.22.0"}
MODEL = {
    "engine": ENGINE,
    "needs": {"disk_bytes": 1, "peak_memory_bytes": 1},
    "files": [{"name": "models/a.onnx", "bytes": 1, "sha256": "0" * 64}],
}


def tier(
    name: str, rank: int, *selectors: FAMILY, platform: str = "android", models: tuple[str, ...] = ("a",)
) -> FAMILY:
    return {"id": name, "platform": platform, "rank": rank, "match": list(selectors), "models": list(models)}


def family(*tiers: FAMILY, floor: str = "a", **more: Any) -> FAMILY:
    floors = tier("floor", 0, platform="any", models=(floor,))
    return {"manifest_version": "1.4", "critical": [], "tiers": [floors, *tiers], "models": {"a": MODEL}} | more


def verdicts(manifest: FAMILY) -> dict[str, str]:
    return {check.name: check.verdict for check in author_checks(manifest)}


def detail(manifest: FAMILY, name: str) -> str:
    found = {check.name: check for check in author_checks(manifest)}[name]
    assert "\n" not in found.detail
    return found.detail


def test_a_family_without_a_fault_passes_every_check() -> None:
    ranked = [tier("small", 1, {"ram_class_min": 2048}), tier("large", 2, {"ram_class_min": 8192, "cores_min": 8})]
    others = [tier(p, 1, {}, platform=p) for p in ("ios", "web", "linux", "linux_iot")]
    assert set(verdicts(family(*ranked, *others)).values()) == {"ok"}


def test_a_floor_whose_model_is_missing_leaves_devices_without_a_model() -> None:
    assert verdicts(family(floor="gone"))["coverage"] == "fault"
    with pytest.raises(ManifestError, match=r"^here: a device of android, .* that meets no selector gets no model"):
        refuse_faults(family(floor="gone"), "here")


def test_platforms_without_a_tier_are_named_in_a_warning() -> None:
    only_android = family(tier("phone", 1, {"ram_class_min": 1024}))
    assert author_warnings(only_android) == (detail(only_android, "platforms"),)
    assert (
        "no tier is for ios, web, linux_iot, linux, so all devices there get the floor"
        in author_warnings(only_android)[0]
    )
    refuse_faults(only_android, "here")


def test_a_floor_that_somebody_chose_for_a_platform_needs_no_warning() -> None:
    floors = [{"platform": name, "action": "cloud"} for name in ("ios", "web", "linux_iot", "linux")]
    assert author_warnings(family(tier("phone", 1, {"ram_class_min": 1024}), floors=floors)) == ()
    assert author_warnings(family(tier("all", 1, {"ram_class_min": 1024}, platform="any"))) == ()


@pytest.mark.parametrize(
    ("lower", "why"),
    [
        (tier("low", 1, {"ram_class_min": 8192}), "such as android, 8 GiB of RAM, gets 'high' (rank 2)"),
        (tier("low", 1, {"platforms": ["ios"]}), "no device meets its selectors"),
        (tier("low", 1, {"bench_min": 7}), "it has no selector that the resolver understands"),
        (tier("low", 1, {"probe_min": 7}), "it has no selector that the resolver understands"),
        (tier("low", 1, {"features_all": ["npu"], "features_none": ["npu"]}), "no device meets its selectors"),
        (tier("low", 1, {"ram_class_min": 4096, "ram_class_max": 2048}), "no device meets its selectors"),
        (tier("low", 1, {"ram_class_min": 65537}), "no device meets its selectors"),
        (tier("low", 1), "it has no selector that the resolver understands"),
        (tier("low", 1, {"cores_min": 2}, models=("gone",)), "none of its models can be used"),
    ],
)
def test_a_tier_that_no_device_gets_is_found_with_its_reason(lower: FAMILY, why: str) -> None:
    found = family(lower, tier("high", 2, {"ram_class_min": 4096}))
    assert detail(found, "tiers reached").startswith("no device gets the tier 'low': ")
    assert why in detail(found, "tiers reached")
    assert verdicts(found)["tiers reached"] == "fault"


@pytest.mark.parametrize(
    "lower",
    [
        {"ram_class_min": 2048},
        {"ram_class_min": 8192, "soc_exclude": [{"maker": "ACME"}]},  # that do not report their cores
        {"soc_include": [{"maker": "ACME", "model": "One"}]},
        {"soc_include": [{"maker": "ACME"}]},
        {"os_min": "12"},
        {"features_all": ["webgpu"]},
        {"ram_class_min": 8192, "cores_min": 8, "device_exclude": [{"maker": "ACME"}], "strict": True},
        {"probe_min": {"id": "small", "score": 900}},
    ],
)
def test_a_tier_is_reached_if_any_device_gets_it(lower: FAMILY) -> None:
    excluded = [{"maker": "acme", "model": "two"}]
    high = tier("high", 2, {"ram_class_min": 4096, "cores_min": 4, "soc_exclude": excluded, "features_none": ["slow"]})
    assert verdicts(family(tier("low", 1, lower), high))["tiers reached"] == "ok"


def test_a_tier_without_a_usable_model_takes_no_devices_from_others() -> None:
    found = family(tier("low", 1, {"ram_class_min": 8192}), tier("high", 2, {"ram_class_min": 4096}, models=("gone",)))
    assert "no device gets the tier 'high'" in detail(found, "tiers reached")
    assert "'low'" not in detail(found, "tiers reached")


def test_more_ram_with_a_lower_rank_is_found_with_both_devices() -> None:
    found = family(
        tier("speaker", 1, {"ram_class_min": 256, "ram_class_max": 1024, "cores_min": 2}, platform="linux_iot")
    )
    expected = (
        "linux_iot, 1 GiB of RAM, 2 cores gets 'floor' (rank 0), but linux_iot, 512 MiB of RAM, 2 cores gets 'speaker' "
        "(rank 1), although it has less: RAM"
    )
    assert expected in detail(found, "more never gets less")
    with pytest.raises(ManifestError, match="although it has less: RAM"):
        refuse_faults(found, "here")


def test_an_upper_limit_is_no_fault_if_a_higher_tier_takes_what_lies_above() -> None:
    low = tier("low", 1, {"ram_class_min": 1024, "ram_class_max": 4096})
    assert verdicts(family(low, tier("high", 2, {"ram_class_min": 4096})))["more never gets less"] == "ok"
    assert verdicts(family(low, tier("high", 2, {"ram_class_min": 6144})))["more never gets less"] == "fault"
    some = tier("high", 2, {"ram_class_min": 4096, "soc_exclude": [{"maker": "ACME"}]})
    assert "4 GiB of RAM, SoC ACME gets 'floor'" in detail(family(low, some), "more never gets less")


def test_devices_with_other_lists_are_not_compared() -> None:
    special = tier("special", 2, {"soc_include": [{"maker": "ACME", "model": "One"}]})
    assert verdicts(family(tier("low", 1, {"ram_class_min": 1024}), special))["more never gets less"] == "ok"


RAMS = [mib << 20 for mib in RAM_CLASSES_MIB[:9]]
"""All classes up to the largest that `invented` names."""
PRODUCTS = [(None, None), ("other", "other"), ("A", None), ("A", "1"), ("A", "2"), ("A", "x"), ("B", "1"), ("B", "x")]
FEATURES = [None, (), ("f",), ("g",), ("f", "g")]
PROBES = [None, Probe(id="p", score=1), Probe(id="p", score=50), Probe(id="p", score=90), Probe(id="q", score=70)]
FACTS = (
    {"ram_bytes": [None, *RAMS], "cores": [None, 1, 2, 4, 8], "os_version": [None, "9", "10", "12.1"], "soc": PRODUCTS},
    {"ram_bytes": [None, *RAMS], "features": FEATURES, "probe": PROBES, "device": PRODUCTS},
)
"""Two sets of facts with a value at, below and above every threshold of `invented`."""
KEYS = (
    ("ram_class_min", "ram_class_max", "cores_min", "os_min", "soc_include", "soc_exclude"),
    (
        "ram_class_min",
        "ram_class_max",
        "features_all",
        "features_none",
        "probe_min",
        "device_include",
        "device_exclude",
    ),
)
"""The keys of selectors that depend on these facts."""


def invented(seed: int) -> FAMILY:
    chance = random.Random(seed)
    products = [{"maker": "a", "model": "1"}, {"maker": "A", "model": "2"}, {"maker": "B"}]

    def value(key: str) -> Any:
        if key.endswith(("include", "exclude")):
            return chance.sample(products, chance.randint(1, 2))
        return chance.choice(
            {
                "ram_class_min": [512, 1024, 2048, 4096, 5000],
                "ram_class_max": [1024, 2048, 4096, 8192],
                "cores_min": [2, 4, 8],
                "os_min": ["10", "12.1"],
                "features_all": [["f"], ["g"], ["f", "g"]],
                "features_none": [["f"], ["f", "g"]],
                "probe_min": [{"id": "p", "score": 50}, {"id": "p", "score": 90}, {"id": "q", "score": 70}],
            }[key]
        )

    def selector() -> FAMILY:
        found = {key: value(key) for key in chance.sample(KEYS[seed % 2], chance.choice([1, 1, 2, 3]))}
        return found | ({"strict": True} if chance.random() < 0.3 else {})

    ranks = range(1, chance.randint(3, 5))
    tiers = [tier(f"t{rank}", rank, *(selector() for _ in range(chance.choice([1, 1, 2])))) for rank in ranks]
    return family(*tiers, *([tier("any", 1, selector(), platform="any")] if chance.random() < 0.3 else []))


def answer(manifest: FAMILY, platform: str, facts: FAMILY) -> tuple[str, int]:
    """The tier and the rank of a device."""
    plain = {key: value for key, value in facts.items() if key not in ("soc", "device")}
    for what in {"soc", "device"} & facts.keys():
        plain |= {f"{what}_maker": facts[what][0], f"{what}_model": facts[what][1]}
    found = resolve(manifest, None, DeviceFacts(platform=platform, **plain), ClientState(), now=0)
    return found.tier, found.rank


def surpasses(one: FAMILY, other: FAMILY, excluding: set[str]) -> bool:
    """Whether a device has one step more of one fact than another, and is equal otherwise."""
    changed = [key for key in one if one[key] != other[key]]
    if len(changed) != 1 or changed[0] in ("soc", "device"):
        return False
    more, less = one[changed[0]], other[changed[0]]
    if more is None or less is None:
        return False
    if changed[0] == "features":
        return set(less) < set(more) and not excluding & (set(more) - set(less))
    if changed[0] == "probe":
        return bool(more.id == less.id and more.score > less.score)
    return bool(version_key(more) > version_key(less)) if changed[0] == "os_version" else bool(more > less)


def has_a_lowered_device(manifest: FAMILY, platform: str, facts: FAMILY) -> bool:
    """Whether a device gets a lower rank than one that it surpasses."""
    selectors = [selector for t in manifest["tiers"] for selector in t["match"]]
    excluding = {token for selector in selectors for token in selector.get("features_none", ())}
    devices = [dict(zip(facts, values, strict=True)) for values in itertools.product(*facts.values())]
    ranks = {tuple(device.values()): answer(manifest, platform, device)[1] for device in devices}
    for key, values in facts.items():
        for less, more in itertools.permutations(values, 2):
            if surpasses({key: more}, {key: less}, excluding):
                for device in devices:
                    if (
                        device[key] == less
                        and ranks[tuple((device | {key: more}).values())] < ranks[tuple(device.values())]
                    ):
                        return True
    return False


@pytest.mark.parametrize("seed", range(6))
def test_the_search_finds_what_trying_every_combination_finds(seed: int) -> None:
    manifest, facts = invented(seed), FACTS[seed % 2]
    every = list(itertools.product(*facts.values()))
    reached = {
        answer(manifest, platform, dict(zip(facts, values, strict=True)))[0]
        for platform, values in itertools.product(("android", "ios"), every)
    }
    told = detail(manifest, "tiers reached")
    for name in {t["id"] for t in manifest["tiers"] if t["rank"]}:
        assert (f"no device gets the tier {name!r}" in told) == (name not in reached)
    lowered = any(has_a_lowered_device(manifest, platform, facts) for platform in ("android", "ios"))
    assert verdicts(manifest)["more never gets less"] == ("fault" if lowered else "ok")


def puzzling(index: int) -> FAMILY:
    """A selector with a list of its own and thresholds in no order."""
    models = [{"maker": "m", "model": str(j)} for j in range(30) if (index >> j % 7) & 1]
    limit = (512, 2048, 8192)[index % 3]
    return {"soc_include": models or [{"maker": "m"}], "cores_min": 1 + index * 7 % 13, "ram_class_max": limit}


def test_a_hostile_manifest_is_answered_in_bounded_time() -> None:
    many = [
        tier(
            f"t{i}",
            i + 1,
            *({"soc_include": [{"maker": f"m{i}", "model": f"x{j}"}], "cores_min": j + 1} for j in range(8)),
        )
        for i in range(250)
    ]
    puzzle = [tier(f"p{i}", i + 1, puzzling(i)) for i in range(200)]
    for tiers in (many, puzzle):
        started = time.process_time()
        author_checks(family(*tiers))
        assert time.process_time() - started < 10


def test_selectors_that_cannot_be_decided_are_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tier_search, "_MAX_STEPS", 10)
    found = family(tier("low", 1, {"ram_class_min": 1024}), tier("high", 2, {"ram_class_min": 4096}))
    assert "nothing was proved" in detail(found, "tiers reached")
    assert verdicts(found)["tiers reached"] == "fault"


def test_other_content_needs_a_higher_release_number() -> None:
    old = read_manifest(EXAMPLE_MANIFEST)
    changed = old.model_copy(update={"tiers": old.tiers[:-1]})
    answers = [
        (old, "ok", "with the content that it had"),
        (changed, "fault", "its content changed, but it is still release 1, and 1 was before; set `release: 2`"),
        (changed.model_copy(update={"release": 2}), "ok", "release 2 follows 1"),
        (old.model_copy(update={"family_id": "other"}), "fault", "the previous family is digits, not other"),
    ]
    for new, verdict, words in answers:
        found = release_check(old, new)
        assert (found.name, found.verdict) == ("release", verdict)
        assert words in found.detail
    assert release_check(old.model_copy(update={"release": 3}), old).verdict == "fault"


def test_the_example_manifest_has_no_fault() -> None:
    value = json.loads(EXAMPLE_MANIFEST.read_text(encoding="utf-8"))
    refuse_faults(value, "the example")
