"""Scenarios: ranks and floors, policies, and manifests that are newer than the resolver, or damaged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from scenario import GIB, LARGEST, MANIFESTS, Patch, Scenario, android, model, proof, sha, tier

BAD_MANIFEST, BAD_POLICY = "error manifest", "error policy"
POLICY = {"policy_version": "1.0", "critical": [], "revoked": []}


def scenarios() -> Iterator[Scenario]:
    """All scenarios of families."""
    yield from _ranks()
    yield from _order_of_tiers()
    yield from _without_platform()
    yield from _floors()
    yield from _floors_of_later()
    yield from _policies()
    yield from _versions()
    yield from _damaged()
    yield from _tiers_of_later()
    yield from _models_of_later()
    yield from _names()


def _ranks() -> Iterator[Scenario]:
    for name, facts, gets, codes in (
        ("a phone with much RAM", android(ram_bytes=8 * GIB), "large", ()),
        ("a phone of the middle", android(ram_bytes=4 * GIB), "small", ("selector_unmet",)),
        ("a small phone", android(ram_bytes=1 * GIB), "tiny", ("selector_unmet", "selector_unmet")),
        ("a phone below all tiers", android(ram_bytes=1, cores=1), "tiny",
         ("selector_unmet",) * 3 + ("platform", "platform", "selector_unmet")),
        ("a phone that reports nothing", android(), "tiny",
         ("selector_unknown",) * 3 + ("platform", "platform", "selector_unknown")),
        ("a phone with many cores gets the tier for any platform", android(cores=8), "large",
         ("selector_unknown",) * 3 + ("platform", "platform")),
        ("a large model that does not fit: the second of the tier", android(ram_bytes=8 * GIB, free_disk_bytes=2000),
         "small", ("disk",)),
        ("no model of the top tier fits: the same small one of the next tier does not either",
         android(ram_bytes=8 * GIB, free_disk_bytes=500), "tiny", ("disk",) * 3),
        ("an iPhone", {"platform": "ios", "os_version": "17.1"}, "small", ("platform", "platform", "platform")),
        ("an old iPhone", {"platform": "ios", "os_version": "14", "cores": 2}, "tiny",
         ("platform",) * 3 + ("selector_unmet", "platform", "selector_unmet")),
        ("a page", {"platform": "web", "features": ["wasm_simd"], "probe": {"id": "mac_1", "score": 900}}, "small",
         ("platform",) * 4),
        ("a slow page", {"platform": "web", "features": ["wasm_simd"], "probe": {"id": "mac_1", "score": 9}}, "tiny",
         ("platform",) * 4 + ("selector_unmet", "selector_unknown")),
        ("a page whose probe was not run", {"platform": "web", "features": ["wasm_simd"]}, "tiny",
         ("platform",) * 4 + ("selector_unknown",) * 2),
        ("a computer", {"platform": "linux", "cores": 16}, "large", ("platform",) * 5),
        ("a computer with few cores", {"platform": "linux", "cores": 4}, "tiny",
         ("platform",) * 5 + ("selector_unmet",)),
        ("a computer of an unknown platform", {"cores": 16}, "large", ("platform",) * 5),
    ):  # fmt: skip
        yield Scenario(name=name, gets=gets, codes=codes, manifest="ranks", facts=facts)


def _tiers(*tiers: Any) -> Patch:
    return [[["tiers"], list(tiers)]]


def _order_of_tiers() -> Iterator[Scenario]:
    floor, a, b = tier("floor", "any", 0, [], "tiny"), "android", [{}]
    for name, tiers, gets, codes in (
        ("the highest rank first, wherever it stands",
         (tier("x", a, 2, b, "small"), floor, tier("y", a, 7, b, "large")), "large", ()),
        ("of equal ranks the first", (floor, tier("x", a, 1, b, "small"), tier("y", a, 1, b, "large")), "small", ()),
        ("of equal ranks that of the platform", (floor, tier("x", "any", 1, b, "small"), tier("y", a, 1, b, "large")),
         "large", ()),
        ("a higher rank for any platform", (floor, tier("x", a, 1, b, "small"), tier("y", "any", 2, b, "large")),
         "large", ()),
        ("another platform's tier keeps its place among equals",
         (floor, tier("x", "any", 1, b, "small"), tier("y", "ios", 1, b, "large")), "small", ("platform",)),
        ("a rank written with a fraction", (floor, tier("x", a, 1, b, "small"), tier("y", a, 2.0, b, "large")),
         "large", ()),  # type: ignore[arg-type]
        ("the largest rank", (floor, tier("x", a, LARGEST - 1, b, "small"), tier("y", a, LARGEST, b, "large")),
         "large", ()),
        ("ranks with a gap", (floor, tier("x", a, 3, [{"cores_min": 64}], "large"), tier("y", a, 1, b, "small")),
         "small", ("selector_unmet",)),
        ("two floors: the first", (floor, tier("other", "any", 0, [], "small")), "tiny", ()),
        ("the floor of another platform is a floor all the same", (tier("other", "ios", 0, [], "small"), floor),
         "small", ()),
        ("a floor's selectors do not count", (tier("floor", "any", 0, [{"cores_min": 64}], "small"),), "small", ()),
        ("a floor that stands last", (tier("x", a, 1, [{"cores_min": 64}], "large"), floor), "tiny",
         ("selector_unmet",)),
        ("a floor of rank minus zero", (tier("floor", "any", -0.0, [], "small"),), "small", ()),
         # type: ignore[arg-type]
        ("two tiers of one id", (floor, tier("x", a, 2, [{"cores_min": 64}], "large"), tier("x", a, 1, b, "small")),
         "small", ("selector_unmet",)),
        ("a tier without models", (floor, tier("x", a, 2, b), tier("y", a, 1, b, "small")), "small", ()),
        ("a floor without models", (tier("floor", "any", 0, []),), "none", ()),
        ("a model twice in a tier", (floor, tier("x", a, 1, b, "large", "large")), "tiny", ("disk", "disk")),
    ):  # fmt: skip
        facts = android(free_disk_bytes=1) if "twice" in name else android(cores=2)
        yield Scenario(name=name, gets=gets, codes=codes, patch=_tiers(*tiers), facts=facts)


def _without_platform() -> Iterator[Scenario]:
    """A device without a platform gets tiers for any alone, even if a manifest names a platform "" by mistake."""
    floor = tier("floor", "any", 0, [], "tiny")
    for name, found, code in (
        ("a tier for an empty platform", tier("x", "", 1, [{}], "large"), "platform"),
        ("an empty text in the list of platforms", tier("x", "any", 1, [{"platforms": [""]}], "large"),
         "selector_unmet"),
        ("a list of platforms", tier("x", "any", 1, [{"platforms": ["ios", "web"]}], "large"), "selector_unmet"),
        ("a tier for any platform", tier("x", "any", 1, [{}], "large"), ""),
    ):  # fmt: skip
        for kind, facts in (("without a platform", {}), ("of an empty platform", {"platform": ""})):
            gets, codes = ("tiny", (code,)) if code else ("large", ())
            yield Scenario(
                name=f"a device {kind}: {name}", gets=gets, codes=codes, patch=_tiers(floor, found), facts=facts
            )


def _floors() -> Iterator[Scenario]:
    ios, linux = {"platform": "ios"}, {"platform": "linux"}
    for name, patch, facts, gets, codes in (
        ("the floor of a platform is the cloud", (), ios, "cloud", ("platform",)),
        ("the floor of a platform is to do without", (), {"platform": "web"}, "off", ("platform",)),
        ("the floor of a platform is a model of its own", (), linux, "small", ("platform",)),
        ("the floor of a platform without an entry is the tier of rank 0", (), {"platform": "toaster"}, "tiny",
         ("platform",)),
        ("an unknown platform has the floor of rank 0", (), {}, "tiny", ("platform",)),
        ("a tier that matches comes before the floor", (), android(cores=4), "large", ()),
        ("the floor if no tier matches", (), android(cores=3), "tiny", ("selector_unmet",)),
        ("the floor ignores the disk", (), {**linux, "free_disk_bytes": 0}, "small", ("platform",)),
        ("the floor ignores the memory", (), {**linux, "available_memory_bytes": 0}, "small", ("platform",)),
        ("the floor does not ignore the engine", (), {**linux, "engine": "mnn"}, "none",
         ("platform", "engine_other", "engine_other")),
        ("the floor does not ignore the version of the engine", (), {**linux, "engine_version": "1"}, "none",
         ("platform", "engine_too_old", "engine_too_old")),
        ("the first entry of a platform decides", [[["floors", 1], {"platform": "ios", "action": "off"}]], ios,
         "cloud", ("platform",)),
        ("the cloud, although the device has no space", (), {**ios, "free_disk_bytes": 0}, "cloud", ("platform",)),
        ("the floor's model is not described: the next", [[["floors", 2, "models"], ["gone", "tiny"]]], linux, "tiny",
         ("platform", "model_missing")),
        ("no floor's model is described", [[["floors", 2, "models"], ["gone"]]], linux, "none",
         ("platform", "model_missing")),
        ("a floor without models runs nothing", [[["floors", 2, "models"], []]], linux, "none", ("platform",)),
        ("models beside the cloud do not count", [[["floors", 0, "models"], ["tiny"]]], ios, "cloud", ("platform",)),
        ("fields of later in an entry", [[["floors", 0, "url"], "https://example.org"]], ios, "cloud", ("platform",)),
        ("an empty platform of a floor is that of no device", [[["floors", 0, "platform"], ""]], {}, "tiny",
         ("platform",)),
        ("an empty platform of a floor is not that of an empty one", [[["floors", 0, "platform"], ""]],
         {"platform": ""}, "tiny", ("platform",)),
        ("any is no platform of a floor", [[["floors", 0, "platform"], "any"]], ios, "tiny", ("platform",)),
        ("platforms of floors are compared with their case", [[["floors", 0, "platform"], "iOS"]], ios, "tiny",
         ("platform",)),
        ("no floors at all", [[["floors"]]], ios, "tiny", ("platform",)),
        ("an empty list of floors", [[["floors"], []]], ios, "tiny", ("platform",)),
    ):  # fmt: skip
        yield Scenario(name=name, gets=gets, codes=codes, manifest="floors", patch=patch, facts=facts)
    yield Scenario(
        name="the floor does not ignore proofs", gets="tiny", codes=("platform", "proof_failed"), manifest="floors",
        facts={"platform": "linux", "engine": "onnxruntime", "engine_version": "1.20.0", "os_version": "14"},
        state={"proofs": [proof("b", "cpu", "wrong")]},
    )  # fmt: skip
    yield Scenario(
        name="the floor does not ignore revocations", gets="tiny", codes=("platform", "revoked"), manifest="floors",
        facts=linux, policy={**POLICY, "revoked": [{"sha256": sha("b")}]},
    )  # fmt: skip
    yield Scenario(
        name="all models of a tier failed, and the floor is another one", gets="tiny", codes=("blacklisted",),
        manifest="floors", facts=android(cores=4), state={"blacklist": [{"sha256": sha("c")}]},
    )  # fmt: skip


def _floors_of_later() -> Iterator[Scenario]:
    for name, entry in (
        ("a number", 5),
        ("null", None),
        ("a text", "ios"),
        ("a list", ["ios", "off"]),
        ("an entry without an action", {"platform": "ios"}),
        ("an action of later", {"platform": "ios", "action": "queue"}),
        ("an action in capitals", {"platform": "ios", "action": "OFF"}),
        ("the action none", {"platform": "ios", "action": "none"}),
        ("the action toString", {"platform": "ios", "action": "toString"}),
        ("an action that is a list", {"platform": "ios", "action": ["off"]}),
        ("a model without a list", {"platform": "ios", "action": "model"}),
        ("models as a text", {"platform": "ios", "action": "model", "models": "small"}),
        ("models as an object", {"platform": "ios", "action": "model", "models": {"0": "small"}}),
        ("a list of platforms", {"platform": ["ios"], "action": "off"}),
        ("a platform that is null", {"platform": None, "action": "off"}),
    ):
        patch = [[["floors"], [entry, {"platform": "ios", "action": "cloud"}]]]
        yield Scenario(
            name=f"not understood as a floor: {name}", gets="cloud", codes=("platform",), manifest="floors",
            patch=patch, facts={"platform": "ios"},
        )  # fmt: skip
    for value in ({"ios": "off"}, "off", 5, True, None):
        yield Scenario(
            name=f"floors in a form of later: {value!r}", gets="tiny", codes=("platform",), manifest="floors",
            patch=[[["floors"], value]], facts={"platform": "ios"},
        )  # fmt: skip


def _policies() -> Iterator[Scenario]:
    large, small = {"sha256": sha("c")}, {"sha256": sha("b")}
    for name, policy, gets, codes in (
        ("a policy that revokes nothing", POLICY, "large", ()),
        ("a policy without lists", {"policy_version": "1.0"}, "large", ()),
        ("a policy revokes a model", {**POLICY, "revoked": [large]}, "small", ("revoked",)),
        ("a policy revokes two models", {**POLICY, "revoked": [small, large]}, "tiny", ("revoked",) * 2),
        ("a policy revokes everything", {**POLICY, "revoked": [small, large, {"sha256": sha("a")}]}, "none",
         ("revoked",) * 3),
        ("a policy revokes another file", {**POLICY, "revoked": [{"sha256": sha("f")}]}, "large", ()),
        ("a digest in capitals is another file", {**POLICY, "revoked": [{"sha256": "C" * 64}]}, "large", ()),
        ("an empty digest revokes nothing", {**POLICY, "revoked": [{"sha256": ""}]}, "large", ()),
        ("a revocation with a reason and an action",
         {**POLICY, "revoked": [{**large, "action": "off", "reason": "x"}]}, "small", ("revoked",)),
        ("a policy of a later minor version", {**POLICY, "policy_version": "1.9", "rollouts": [{}]}, "large", ()),
        ("a policy of version 1", {**POLICY, "policy_version": "1"}, "large", ()),
        ("a policy of another major version", {**POLICY, "policy_version": "2.0"}, BAD_POLICY, ()),
        ("a policy of version 10", {**POLICY, "policy_version": "10.0"}, BAD_POLICY, ()),
        ("a policy of version 01", {**POLICY, "policy_version": "01.0"}, BAD_POLICY, ()),
        ("a policy whose version is a number", {**POLICY, "policy_version": 1}, BAD_POLICY, ()),
        ("a policy without a version", {"revoked": []}, BAD_POLICY, ()),
        ("a policy whose version is of the prototype", {"__proto__": POLICY}, BAD_POLICY, ()),
        ("an empty policy", {}, BAD_POLICY, ()),
        ("a policy that is a list", [], BAD_POLICY, ()),
        ("a policy that is a text", "1.0", BAD_POLICY, ()),
        ("a policy that is false", False, BAD_POLICY, ()),
        ("a policy that is zero", 0, BAD_POLICY, ()),
        ("a critical feature of a policy", {**POLICY, "critical": ["kill"]}, BAD_POLICY, ()),
        ("a critical feature of manifests in a policy", {**POLICY, "critical": ["labels_file"]}, BAD_POLICY, ()),
        ("a policy whose critical features are null", {**POLICY, "critical": None}, BAD_POLICY, ()),
        ("a policy whose critical features are an object", {**POLICY, "critical": {}}, BAD_POLICY, ()),
        ("revocations that are null", {**POLICY, "revoked": None}, BAD_POLICY, ()),
        ("revocations that are an object", {**POLICY, "revoked": large}, BAD_POLICY, ()),
        ("a revocation that is a digest alone", {**POLICY, "revoked": [sha("c")]}, BAD_POLICY, ()),
        ("a revocation without a digest", {**POLICY, "revoked": [large, {"model": "large"}]}, BAD_POLICY, ()),
        ("a revocation whose digest is a number", {**POLICY, "revoked": [{"sha256": 5}]}, BAD_POLICY, ()),
        ("a revocation that is null", {**POLICY, "revoked": [None]}, BAD_POLICY, ()),
        ("a revocation whose digest is in the prototype", {**POLICY, "revoked": [{"__proto__": large}]}, BAD_POLICY,
         ()),
    ):  # fmt: skip
        yield Scenario(name=name, gets=gets, codes=codes, policy=policy)
    yield Scenario(
        name="one revoked file stops a model of two", gets="small", codes=("revoked",), manifest="shared",
        policy={**POLICY, "revoked": [{"sha256": sha("d")}]},
    )  # fmt: skip
    yield Scenario(
        name="a revoked model is not used although installed and proven", gets="small", codes=("revoked",),
        policy={**POLICY, "revoked": [large]},
        state={"installed": [sha("c")], "proofs": [proof("c", "cpu", "passed")]},
    )  # fmt: skip
    yield Scenario(
        name="the revocation comes before the blacklist", gets="tiny", codes=("revoked", "blacklisted"),
        policy={**POLICY, "revoked": [large]}, state={"blacklist": [large, small]},
    )  # fmt: skip
    yield Scenario(
        name="a manifest and a policy that are both of another version", gets=BAD_MANIFEST,
        patch=[[["manifest_version"], "2.0"]], policy={**POLICY, "policy_version": "2.0"},
    )  # fmt: skip


def _versions() -> Iterator[Scenario]:
    for version, usable in (
        ("1.0", True), ("1", True), ("1.99", True), ("1.5.2", True), ("1.", True), ("1.x", True),
        ("2.0", False), ("0.9", False), ("10.0", False), ("11", False), ("01.0", False), ("", False), (" 1.0", False),
        ("v1.0", False), ("1-5", False), ("\u0661.0", False), ("1" * 5000, False), ("1." + "9" * 5000, True),
        (1, False), (1.5, False), (None, False), (True, False), (["1.5"], False), ({"major": 1}, False),
    ):  # fmt: skip
        shown = repr(version) if len(repr(version)) < 40 else f"{repr(version)[:12]}..."
        yield Scenario(
            name=f"the version of the manifest is {shown}", gets="large" if usable else BAD_MANIFEST,
            patch=[[["manifest_version"], version]],
        )  # fmt: skip
    for critical, usable in (
        (["labels_file"], True), (["pixel_input", "labels_file"], True), (["labels_file", "labels_file"], True),
        (["shards"], False), (["labels_file", "shards"], False), (["Labels_file"], False), ([""], False), ([5], False),
        ([None], False), ([["labels_file"]], False), ([{}], False), (["__proto__"], False), (["toString"], False),
        (None, False), ("labels_file", False), ({"labels_file": True}, False), ({}, False), (0, False), (False, False),
    ):  # fmt: skip
        yield Scenario(
            name=f"the critical features are {critical!r}", gets="large" if usable else BAD_MANIFEST,
            patch=[[["critical"], critical]],
        )  # fmt: skip
    yield Scenario(name="critical features need not be listed", gets="large", patch=[[["critical"]]])
    later: Patch = [[["signatures"], [{"key": "x"}]], [["models", "large", "deltas"], []], [["tiers", 1, "note"], "x"]]
    yield Scenario(name="fields of later are ignored", gets="large", patch=later)


def _damaged() -> Iterator[Scenario]:
    one: dict[str, Any] = MANIFESTS["one"]
    above = [tier("only", "android", 1, [{}], "large")]
    for name, patch in (
        ("the manifest has no version", [[["manifest_version"]]]),
        ("the manifest has no tiers", [[["tiers"]]]),
        ("the manifest has no models", [[["models"]]]),
        ("the tiers are null", [[["tiers"], None]]),
        ("the tiers are an object", [[["tiers"], {"floor": one["tiers"][0]}]]),
        ("the tiers are a text", [[["tiers"], "floor"]]),
        ("there are no tiers", [[["tiers"], []]]),
        ("the models are a list", [[["models"], [one["models"]["tiny"]]]]),
        ("the models are null", [[["models"], None]]),
        ("the models are a text", [[["models"], "tiny"]]),
        ("there is no floor", [[["tiers"], above]]),
        ("the floor is not understood", [[["tiers", 0, "models"], "tiny"]]),
        ("the rank of the floor is negative", [[["tiers", 0, "rank"], -1]]),
        ("the rank of the floor is a text", [[["tiers", 0, "rank"], "0"]]),
        ("the rank of the floor is false", [[["tiers", 0, "rank"], False]]),
        ("the rank of the floor is null", [[["tiers", 0, "rank"], None]]),
        ("the floor has no platform", [[["tiers", 0, "platform"]]]),
        ("floors of platforms replace no floor of rank 0", [
            [["tiers"], above], [["floors"], [{"platform": "android", "action": "model", "models": ["tiny"]}]]]),
    ):  # fmt: skip
        yield Scenario(name=name, gets=BAD_MANIFEST, patch=patch)
    yield Scenario(name="there are no models, but a floor", gets="none", codes=("model_missing",) * 3,
                   patch=[[["models"], {}]])  # fmt: skip


def _tiers_of_later() -> Iterator[Scenario]:
    for name, change in (
        ("a rank that is a text", {"rank": "2"}),
        ("a rank that is true", {"rank": True}),
        ("a negative rank", {"rank": -1}),
        ("a rank with a fraction", {"rank": 1.5}),
        ("a rank above 2^53", {"rank": 1e17}),
        ("a rank that is null", {"rank": None}),
        ("a platform that is null", {"platform": None}),
        ("a list of platforms", {"platform": ["android"]}),
        ("selectors as an object", {"match": {}}),
        ("selectors that are null", {"match": None}),
        ("selectors as a text", {"match": "all"}),
        ("models as a text", {"models": "large"}),
        ("models as an object", {"models": {"large": 1}}),
        ("models that are null", {"models": None}),
    ):
        patch = [[["tiers", 1, key], value] for key, value in change.items()]
        yield Scenario(name=f"not understood as a tier: {name}", gets="tiny", codes=("tier_unknown",), patch=patch)
    for value in (5, None, "only", [], {}, {"id": 5}, {"id": None}, {"id": "only"}, {"__proto__": {"id": "only"}}):
        yield Scenario(
            name=f"not understood as a tier: {value!r}", gets="tiny", codes=("tier_unknown",),
            patch=[[["tiers", 1], value]],
        )  # fmt: skip
    yield Scenario(
        name="tiers that are not understood are reported first, in order", gets="large", manifest="ranks",
        codes=("tier_unknown", "tier_unknown"), facts=android(ram_bytes=8 * GIB),
        patch=[[["tiers", 1, "rank"], "1"], [["tiers", 5], 5]],
    )  # fmt: skip


def _models_of_later() -> Iterator[Scenario]:
    def described(**change: Any) -> dict[str, Any]:
        return model("c", 9000) | change

    engine, needs = model("c", 9000)["engine"], model("c", 9000)["needs"]
    file = {"sha256": sha("c"), "bytes": 9000}
    for name, value in (
        ("a number", 5),
        ("a list", []),
        ("an empty object", {}),
        ("a text", "large"),
        ("true", True),
        ("false", False),
        ("zero", 0),
        ("an empty text", ""),
        ("no files", described(files=[])),
        ("files that are null", described(files=None)),
        ("files as an object", described(files={"0": file})),
        ("a file that is a digest", described(files=[sha("c")])),
        ("a file that is null", described(files=[None])),
        ("a file without a digest", described(files=[{"bytes": 9000}])),
        ("a file whose digest is a number", described(files=[{**file, "sha256": 5}])),
        ("a file without a size", described(files=[{"sha256": sha("c")}])),
        ("a file whose size is negative", described(files=[{**file, "bytes": -1}])),
        ("a file whose size has a fraction", described(files=[{**file, "bytes": 0.5}])),
        ("a second file that is not understood", described(files=[file, {**file, "bytes": "1"}])),
        ("an engine that is null", described(engine=None)),
        ("an engine as a text", described(engine="onnxruntime")),
        ("a list of engines", described(engine=[engine])),
        ("an engine whose name is null", described(engine={**engine, "name": None})),
        ("an engine whose oldest version is a number", described(engine={**engine, "min": 1.17})),
        ("an engine whose oldest version has a suffix", described(engine={**engine, "min": "1.17rc1"})),
        ("an engine whose oldest version is empty", described(engine={**engine, "min": ""})),
        ("an engine whose newest version is null", described(engine={**engine, "max_tested": None})),
        ("an engine whose newest version has 33 characters", described(engine={**engine, "max_tested": "1" * 33})),
        ("needs that are null", described(needs=None)),
        ("needs as a list", described(needs=[9000])),
        ("disk that is a text", described(needs={**needs, "disk_bytes": "9000"})),
        ("disk that is negative", described(needs={**needs, "disk_bytes": -1})),
        ("disk that is true", described(needs={**needs, "disk_bytes": True})),
        ("disk above 2^53", described(needs={**needs, "disk_bytes": 1e17})),
        ("memory that is null", described(needs={**needs, "peak_memory_bytes": None})),
        ("memory with a fraction", described(needs={**needs, "peak_memory_bytes": 0.5})),
    ):
        yield Scenario(
            name=f"not understood as a model: {name}", gets="small", codes=("model_unknown",),
            patch=[[["models", "large"], value]],
        )  # fmt: skip
    for name, change in (
        ("a size of zero", {"files": [{**file, "bytes": 0}]}),
        ("sizes written with fractions", {"files": [{**file, "bytes": 9000.0}]}),
        ("fields of later", {"npu": {"dsp": 1}, "blocks": 5, "__proto__": {"files": []}}),
        ("an empty digest", {"files": [{**file, "sha256": ""}]}),
        ("a name of an engine that is empty, in an app that does not tell its own", {"engine": {**engine, "name": ""}}),
    ):
        yield Scenario(
            name=f"a model with {name}", gets="large", patch=[[["models", "large"], model("c", 9000) | change]]
        )


def _names() -> Iterator[Scenario]:
    names: tuple[Any, ...] = ("gone", "", "Large", "large ", "__proto__", "constructor", "toString", "valueOf",
                              "hasOwnProperty", 5, 0, None, True, [], {}, ["large"])  # fmt: skip
    for name in names:
        yield Scenario(
            name=f"a tier's model is named {name!r}", gets="small", codes=("model_missing",),
            patch=[[["tiers", 1, "models", 0], name]],
        )  # fmt: skip
    yield Scenario(
        name="a model that is null is missing", gets="small", codes=("model_missing",),
        patch=[[["models", "large"], None]],
    )  # fmt: skip
    for name in ("__proto__", "constructor", "toString", "hasOwnProperty", "", "größer", "\U0001f600"):
        yield Scenario(
            name=f"a model whose id is {name!r} is described", gets=name,
            patch=[[["models", name], model("c", 9000)], [["tiers", 1, "models", 0], name]],
        )  # fmt: skip
        yield Scenario(
            name=f"a tier whose id is {name!r}", gets="large", patch=[[["tiers", 1, "id"], name]]
        )  # fmt: skip
