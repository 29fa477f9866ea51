"""Random families and devices for `resolver.py`. Not a benchmark itself.

Values come from small sets, so that limits are met exactly, and a part of them is nonsense or of a later format.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from exports.client.python.selector_rules import RAM_CLASSES_MIB

NOW = 1_800_000_000
"""The time of all cases, in seconds since 1970. Fixed, so that they are reproducible."""
PLATFORMS = ("android", "ios", "web", "linux")
VERSIONS = ("1", "1.17.0", "1.20", "1.20.0", "1.22", "1.22.1", "1.9", "2.0", "14", "014.00", "9007199254740993")
STRANGE_VERSIONS = ("1.20.0+cpu", "14-generic", "nightly", ".5", "1..2", "1\u0664", "9" * 5000, "0" * 4000 + "1.20")
MAKERS, MODELS = ("Acme", "ACME", "Ähre", "ähre", "__proto__"), ("X1", "x1", "X2", "")
FEATURES = ("webgpu", "wasm_simd", "toString", "WebGPU", "ä")
UNITS = ("npu", "gpu", "cpu")
BYTES = (0, 1, 10, 11, 100, 110, 1000, 1100, 2**52 + 5, 4953959590107551, 2**53 - 1)
RESULTS = ("started", "passed", "wrong", "crashed", "out_of_memory", "refused")
MODEL_IDS = ("m0", "m1", "m2", "m3", "m4", "__proto__", "constructor", "größer")
NOISE: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 1.0, 1.5, -0.0, 1e22, 2.0**53, 2**53 - 1, "", "x", "1", "any", "__proto__", [], [None],
    ["x"], [5], [{}], {}, {"__proto__": {}}, {"maker": "Acme"}, {"id": "p", "score": 1}, "\U0001f600",
)  # fmt: skip
"""Values that replace others. All are valid in JSON as the clients read it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A manifest.

    Attributes:
        manifest: Its JSON.
        sound: Whether the factory could have written it. Then its floors are for every device.
    """

    manifest: dict[str, Any]
    sound: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A device with a policy and what its client knows.

    Attributes:
        case: `policy`, `facts`, `state` and `now`.
        calm: Whether nothing keeps it from running the model of a floor: no other engine, no revocation, no blacklist,
            no failed proof.
    """

    case: dict[str, Any]
    calm: bool


def cases(seed: int, families: int, devices: int) -> Iterator[tuple[Family, list[Device]]]:
    """`families` families, each with `devices` devices."""
    rng = Random(seed)
    for _ in range(families):
        family = random_family(rng, sound=rng.random() < 0.5)
        yield family, [random_device(rng, calm=rng.random() < 0.5) for _ in range(devices)]


def random_family(rng: Random, *, sound: bool) -> Family:
    """A family of up to eight models. One that is not sound may be damaged or of a later format."""
    ids = MODEL_IDS[: rng.randint(1, len(MODEL_IDS))]
    tiers = [_tier(rng, f"t{index}", ids, sound) for index in range(rng.randint(0, 6))]
    floor = {"id": "floor", "platform": "any", "rank": 0, "match": [], "models": _some(rng, ids)}
    tiers.insert(rng.randint(0, len(tiers)), floor)
    manifest: dict[str, Any] = {
        "manifest_version": "1.5",
        "critical": rng.choice(([], ["labels_file"], ["pixel_input", "labels_file"])),
        "tiers": tiers,
        "models": {name: _model(rng, name, sound) for name in ids},
    }
    if rng.random() < 0.6:
        manifest["floors"] = [_floor(rng, ids) for _ in range(rng.randint(0, 4))]
    if not sound:
        for _ in range(rng.choice((0, 0, 1, 1, 2, 4))):
            manifest = _damaged(rng, manifest)
    return Family(manifest=manifest, sound=sound)


def _tier(rng: Random, name: str, ids: Sequence[str], sound: bool) -> dict[str, Any]:
    models: list[Any] = _some(rng, ids)
    if not sound and rng.random() < 0.1:
        models.insert(0, rng.choice((*NOISE, "gone", "toString")))
    return {
        "id": name,
        "platform": rng.choice(("any", "any", "any", "android", *PLATFORMS)),
        "rank": rng.choice((1, 1, 2, 3, 5, 2.0)),
        "match": [_selector(rng) for _ in range(rng.choice((0, 1, 1, 1, 2, 3)))],
        "models": models,
    }


def _some(rng: Random, ids: Sequence[str]) -> list[Any]:
    return [rng.choice(ids) for _ in range(rng.randint(1, 3))]


def _selector(rng: Random) -> Any:
    makers = {"maker": rng.choice(MAKERS)}
    products = [rng.choice((makers, makers | {"model": rng.choice(MODELS)})) for _ in range(rng.randint(0, 3))]
    values = {
        "platforms": rng.sample(PLATFORMS, rng.randint(1, 4)),
        "ram_class_min": rng.choice(RAM_CLASSES_MIB[:8]),
        "ram_class_max": rng.choice(RAM_CLASSES_MIB[4:]),
        "cores_min": rng.choice((0, 1, 2, 4, 8.0)),
        "os_min": rng.choice(VERSIONS),
        "soc_include": products,
        "soc_exclude": products,
        "device_include": products,
        "device_exclude": products,
        "features_all": rng.sample(FEATURES, rng.randint(0, 2)),
        "features_none": rng.sample(FEATURES, rng.randint(0, 2)),
        "probe_min": {"id": rng.choice("pq"), "score": rng.choice((0, 1, 500))},
        "strict": rng.random() < 0.5,
    }
    names = rng.sample(list(values), rng.choice((0, 0, 1, 1, 2, 3)))
    selector = {name: values[name] for name in names}
    if rng.random() < 0.05:
        selector[rng.choice((*names, "npu_min", "__proto__"))] = rng.choice(NOISE)
    return selector


def _model(rng: Random, name: str, sound: bool) -> dict[str, Any]:
    count = rng.choice((1, 1, 2, 3))
    shared = f"shared{rng.randint(0, 1)}"
    digests = [f"{name}.{index}" if index < 2 else shared for index in range(count)]
    oldest, newest = ("1", "1.22") if sound or rng.random() < 0.6 else (rng.choice(VERSIONS), rng.choice(VERSIONS))
    return {
        "files": [{"name": f"models/{digest}", "bytes": rng.choice(BYTES), "sha256": digest} for digest in digests],
        "engine": {
            "name": "onnxruntime" if sound or rng.random() < 0.8 else "mnn",
            "min": oldest,
            "max_tested": newest,
            "forward_ok": rng.random() < 0.3,
        },
        "needs": {"disk_bytes": rng.choice(BYTES), "peak_memory_bytes": rng.choice(BYTES)},
    }


def _floor(rng: Random, ids: Sequence[str]) -> dict[str, Any]:
    action = rng.choice(("model", "model", "cloud", "off"))
    return {"platform": rng.choice(PLATFORMS), "action": action, "models": _some(rng, ids)}


def _damaged(rng: Random, value: Any) -> Any:
    """A copy with one value replaced by noise, removed, or under another name."""
    changed = copy.deepcopy(value)
    inside, key = changed, rng.choice(("tiers", "models", "floors"))
    if rng.random() < 0.1:
        key = rng.choice(("manifest_version", "critical", *changed))
    # The first step down is almost sure: most of what is damaged at the top makes the whole manifest unusable.
    while rng.random() < (0.97 if inside is changed else 0.75):
        found = inside[key] if isinstance(inside, list) or key in inside else None
        if not isinstance(found, dict | list) or not found:
            break
        inside, key = found, rng.choice(list(found) if isinstance(found, dict) else range(len(found)))
    if isinstance(inside, dict) and rng.random() < 0.3:
        inside.pop(key, None)
    else:
        inside[key] = rng.choice((*NOISE, "2.0"))
    return changed


def random_device(rng: Random, *, calm: bool) -> Device:
    """A device whose facts are partly missing or nonsense. Of a calm one, those of the engine are right."""
    facts: Any = _facts(rng)
    if calm or rng.random() < 0.6:
        facts |= {"engine": "onnxruntime", "engine_version": rng.choice(("1.17.0", "1.20", "1.22.0"))}
    for name in list(facts):
        if rng.random() < 0.25:
            del facts[name]
        elif rng.random() < 0.04 and not (calm and name.startswith("engine")):
            facts[name] = rng.choice(NOISE)
    state = {"installed": _files(rng, 12), "blacklist": [], "proofs": []} if calm else _state(rng, facts)
    policy = rng.choice((None, {"policy_version": "1.3", "revoked": []})) if calm else _policy(rng)
    if not calm and rng.random() < 0.03:
        facts, state = rng.choice(((rng.choice(NOISE), state), (facts, rng.choice(NOISE))))
    return Device(case={"policy": policy, "facts": facts, "state": state, "now": NOW}, calm=calm)


def _facts(rng: Random) -> dict[str, Any]:
    version = rng.choice(VERSIONS if rng.random() < 0.9 else STRANGE_VERSIONS)
    size = rng.choice(RAM_CLASSES_MIB) << 20
    return {
        "platform": rng.choice((*PLATFORMS, *PLATFORMS, "toaster")),
        "ram_bytes": rng.choice((size, size + 1, size - 1, float(size))),
        "cores": rng.choice((1, 2, 4, 8, 16)),
        "os_version": rng.choice((version, rng.choice(VERSIONS))),
        "soc_maker": rng.choice(MAKERS),
        "soc_model": rng.choice(MODELS),
        "device_maker": rng.choice(MAKERS),
        "device_model": rng.choice(MODELS),
        "features": rng.sample(FEATURES, rng.randint(0, 4)),
        "probe": {"id": rng.choice("pq"), "score": rng.choice((1, 499, 500))},
        "free_disk_bytes": rng.choice((*BYTES, None, None)),
        "available_memory_bytes": rng.choice((*BYTES, None, None)),
        "engine": rng.choice(("onnxruntime", "mnn", None)),
        "engine_version": version,
        "compute_units": rng.sample(UNITS, rng.randint(0, 3)),
    }


def _digest(rng: Random) -> str:
    return rng.choice([f"{rng.choice(MODEL_IDS)}.{rng.randint(0, 1)}", f"shared{rng.randint(0, 1)}"])


def _files(rng: Random, most: int) -> list[Any]:
    return [_digest(rng) for _ in range(rng.randint(0, most))]


def _state(rng: Random, facts: dict[str, Any]) -> dict[str, Any]:
    blacklist: list[Any] = [{"sha256": _digest(rng)} for _ in range(rng.choice((0, 0, 1, 2)))]
    for entry in blacklist:
        if rng.random() < 0.6:
            entry["until"] = rng.choice((NOW - 1, NOW, NOW + 1, NOW + 1.0, 0, *NOISE))
    state = {
        "installed": _files(rng, 16),
        "blacklist": blacklist,
        "proofs": [_proof(rng, facts) for _ in range(rng.choice((0, 2, 6, 30)))],
    }
    return _damaged_state(rng, state) if rng.random() < 0.1 else state


def _damaged_state(rng: Random, state: dict[str, Any]) -> dict[str, Any]:
    name = rng.choice(list(state))
    if rng.random() < 0.5:
        return state | {name: rng.choice(NOISE)}
    return state | {name: [*state[name], rng.choice(NOISE), *state[name][:1]]}


def _proof(rng: Random, facts: dict[str, Any]) -> dict[str, Any]:
    name, count = rng.choice(MODEL_IDS), rng.choice((1, 1, 2))
    proof: dict[str, Any] = {
        "files": [f"{name}.{index}" for index in range(count)],
        "compute_unit": rng.choice(UNITS),
        "engine": facts.get("engine"),
        "engine_version": facts.get("engine_version"),
        "os_version": facts.get("os_version"),
        "result": rng.choice(RESULTS),
        "starts": rng.choice((0, 1, 1, 2, 3, 2.0)),
    }
    if rng.random() < 0.1:
        proof[rng.choice(list(proof))] = rng.choice((*NOISE, "1.20"))
    return proof


def _policy(rng: Random) -> Any:
    if rng.random() < 0.6:
        return None
    policy = {"policy_version": "1.0", "critical": [], "revoked": [{"sha256": _digest(rng)} for _ in range(2)]}
    if rng.random() < 0.1:
        policy[rng.choice(list(policy))] = rng.choice((*NOISE, "2.0", ["kill"]))
    return policy if rng.random() < 0.98 else rng.choice(NOISE)
