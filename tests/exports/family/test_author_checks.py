"""What is told to the author of a family: devices without a model, tiers without devices, and less for more."""

from __future__ import annotations

import itertools
import json
import random
import time
from typing import Any

import pytest

from exports.client.python.resolver import RAM_CLASSES_MIB, DeviceFacts, resolve
from exports.family import author_checks as checks
from exports.family.author_checks import author_checks, author_warnings, refuse_faults, release_check
from exports.family.manifest import EXAMPLE_MANIFEST, read_manifest
from factory_base.errors import ManifestError

GIB = 1 << 30
FAMILY = dict[str, Any]
ENGINE = {"name": "onnxruntime", "min": "1.17.0", "max_tested": "1.22.0"}
MODEL = {"engine": ENGINE, "needs": {"disk_bytes": 1, "peak_memory_bytes": 1}}


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
        (tier("low", 1, {"bench_min": 7}), "no device meets its selectors"),
        (tier("low", 1, {"ram_class_min": 4096, "ram_class_max": 2048}), "no device meets its selectors"),
        (tier("low", 1, {"ram_class_min": 65537}), "no device meets its selectors"),
        (tier("low", 1), "it has no selector"),
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
    ],
)
def test_a_tier_is_reached_if_any_device_gets_it(lower: FAMILY) -> None:
    high = tier("high", 2, {"ram_class_min": 4096, "cores_min": 4, "soc_exclude": [{"maker": "acme", "model": "two"}]})
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


def devices(platform: str) -> list[tuple[Any, ...]]:
    """All combinations of facts; each fact has a value at, below and above every threshold."""
    socs = [(None, None), ("other", "other"), ("A", None), ("A", "1"), ("A", "2"), ("A", "x"), ("B", "1"), ("B", "x")]
    rams = [None, *(mib << 20 for mib in RAM_CLASSES_MIB)]
    axes = (rams, [None, 1, 2, 4, 8], [None, "9", "10", "12.1"], socs)
    return [(platform, *values) for values in itertools.product(*axes)]


def rank_of(manifest: FAMILY, device: tuple[Any, ...]) -> tuple[str, int]:
    platform, ram, cores, os_version, (maker, model) = device
    facts = DeviceFacts(
        platform=platform, ram_bytes=ram, cores=cores, os_version=os_version, soc_maker=maker, soc_model=model
    )
    found = resolve(manifest, facts)
    return found.tier, found.rank


def invented(seed: int) -> FAMILY:
    chance = random.Random(seed)

    def selector() -> FAMILY:
        socs = [{"maker": "a", "model": "1"}, {"maker": "A", "model": "2"}, {"maker": "B"}]
        found: FAMILY = {
            "ram_class_min": chance.choice([512, 1024, 2048, 4096, 5000]),
            "ram_class_max": chance.choice([1024, 2048, 4096, 8192]),
            "cores_min": chance.choice([2, 4, 8]),
            "os_min": chance.choice(["10", "12.1"]),
            "soc_include": chance.sample(socs, chance.randint(1, 2)),
            "soc_exclude": chance.sample(socs, chance.randint(1, 2)),
        }
        kept = {key: found[key] for key in chance.sample(sorted(found), chance.choice([1, 1, 2, 3]))}
        return kept | ({"strict": True} if chance.random() < 0.3 else {})

    tiers = [
        tier(f"t{r}", r, *(selector() for _ in range(chance.choice([1, 1, 2])))) for r in range(1, chance.randint(3, 5))
    ]
    if chance.random() < 0.3:
        tiers.append(tier("any", 1, selector(), platform="any"))
    return family(*tiers)


@pytest.mark.parametrize("seed", range(12))
def test_the_search_finds_what_trying_every_combination_finds(seed: int) -> None:
    manifest = invented(seed)
    answers = {device: rank_of(manifest, device) for device in devices("android")}
    elsewhere = {device: rank_of(manifest, device) for device in devices("ios")}
    reached = {name for name, _ in (*answers.values(), *elsewhere.values())}
    missing = {t["id"] for t in manifest["tiers"] if t["rank"]} - reached
    told = detail(manifest, "tiers reached")
    assert {
        t["id"] for t in manifest["tiers"] if f"no device gets the tier {t['id']!r}" in told
    } == missing or "more" in told
    assert (verdicts(manifest)["tiers reached"] == "fault") == bool(missing)
    assert (verdicts(manifest)["more never gets less"] == "fault") == (lowers(answers) or lowers(elsewhere))


def lowers(answers: dict[tuple[Any, ...], tuple[str, int]]) -> bool:
    """Whether one more step of a fact gives a lower rank."""
    steps = (
        (1, [mib << 20 for mib in RAM_CLASSES_MIB]), (2, [1, 2, 4, 8]), (3, ["9", "10", "12.1"]),
    )  # fmt: skip
    for place, values in steps:
        following = dict(itertools.pairwise(values))
        for device, (_, rank) in answers.items():
            more = following.get(device[place])
            if more is not None and answers[(*device[:place], more, *device[place + 1 :])][1] < rank:
                return True
    return False


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
    monkeypatch.setattr(checks, "_MAX_STEPS", 10)
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
