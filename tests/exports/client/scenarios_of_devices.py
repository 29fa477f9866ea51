"""Scenarios: facts that cannot be true, limits of disk, memory and engine, and what the client remembers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from scenario import GIB, LARGEST, PROOF_FACTS, Scenario, android, model, proof, sha, tier, with_selector

ACME_X = {"maker": "Acme", "model": "X1"}
NEEDED: dict[str, tuple[dict[str, Any], dict[str, Any], tuple[Any, ...]]] = {
    # fact: a selector that depends on it, the other facts, and values that cannot be true
    "ram_bytes": ({"ram_class_min": 256}, {}, (0, -1, -4 * GIB, 1.5, 1e22, 2.0**53, "4294967296", True, None, [], {})),
    "cores": ({"cores_min": 1}, {}, (0, -8, 2.5, 1e300, "8", True, None, [8])),
    "os_version": ({"os_min": "0"}, {}, ("", 14, 14.5, True, None, ["14"], {"major": 14})),
    "soc_maker": ({"soc_include": [{"maker": "Acme"}]}, {"soc_model": "X1"}, ("", 5, None, ["Acme"], {})),
    "soc_model": ({"soc_include": [ACME_X]}, {"soc_maker": "Acme"}, ("", 1, True, ["X1"])),
    "device_maker": ({"device_include": [{"maker": "Acme"}]}, {"device_model": "X1"}, ("", 5, None)),
    "device_model": ({"device_include": [ACME_X]}, {"device_maker": "Acme"}, ("", 1, {})),
    "features": ({"features_all": []}, {}, ("a", 5, None, {"a": True}, ["a", 5], ["a", ""], ["a", None], [["a"]])),
    "probe": (
        {"probe_min": {"id": "p", "score": 0}},
        {},
        (
            500, "p", [], {}, {"id": "p"}, {"score": 500}, {"id": "", "score": 500}, {"id": 5, "score": 500},
            {"id": "p", "score": 0}, {"id": "p", "score": -1}, {"id": "p", "score": 1.5}, {"id": "p", "score": "500"},
            {"id": "p", "score": True}, {"id": "p", "score": None},
        ),
    ),
}  # fmt: skip
UNCHECKED: dict[str, tuple[Any, ...]] = {
    "free_disk_bytes": (-1, 0.5, "1", False, None, [0], 1e22),
    "available_memory_bytes": (-1, 0.5, "1", False, None, {}),
    "engine": ("", 5, None, ["mnn"], True),
    "engine_version": ("", 1, 0.1, None, ["0.1"], False),
    "compute_units": ([], "gpu", None, 5, {}, ["gpu", 5], ["gpu", ""], [["gpu"]], [None]),
}
"""Values that cannot be true of facts that are then not checked; of `compute_units`, the default counts."""
DISK, MEMORY = 9000, 90_000
"""What the model `large` needs."""


def scenarios() -> Iterator[Scenario]:
    """All scenarios of devices."""
    yield from _nonsense()
    yield from _platforms()
    yield from _budgets()
    yield from _installed_bytes()
    yield from _engines()
    yield from _proofs()
    yield from _unreadable_proofs()
    yield from _installed()
    yield from _blacklisted()


def _nonsense() -> Iterator[Scenario]:
    for fact, (selector, others, values) in NEEDED.items():
        for value in values:
            yield Scenario(
                name=f"nonsense: {fact} is {value!r}", gets="tiny", codes=("selector_unknown",),
                patch=with_selector(selector), facts=android(**others, **{fact: value}),
            )  # fmt: skip
    for fact, values in UNCHECKED.items():
        for value in values:
            yield Scenario(name=f"nonsense: {fact} is {value!r}", gets="large", facts=android(**{fact: value}))
    probe = {"id": "p", "score": 500, "unit": "mac", "__proto__": {"score": 1}}
    yield Scenario(
        name="a probe with more than id and score", gets="large", facts=android(probe=probe),
        patch=with_selector({"probe_min": {"id": "p", "score": 500}}),
    )  # fmt: skip


def _platforms() -> Iterator[Scenario]:
    for name, facts in (
        ("no platform", {}),
        ("an empty platform", {"platform": ""}),
        ("a platform that is a number", {"platform": 5}),
        ("a platform that is null", {"platform": None}),
        ("a platform that is a list", {"platform": ["android"]}),
        ("a platform in other case", {"platform": "Android"}),
        ("a platform with a space", {"platform": "android "}),
        ("a platform that no tier names", {"platform": "toaster"}),
        ("the platform any", {"platform": "any"}),
        ("the platform __proto__", {"platform": "__proto__"}),
        ("a platform in the prototype", {"__proto__": {"platform": "android"}}),
        ("a platform under another name", {"Platform": "android", "os": "android"}),
        ("facts that are null", None),
        ("facts that are a list", ["android"]),
        ("facts that are a text", "android"),
        ("facts that are a number", 5),
    ):
        yield Scenario(name=name, gets="tiny", codes=("platform",), facts=facts)
    facts = {"gpu": "acme", "toString": 5, "constructor": {}, "__proto__": {"cores": 1}}
    yield Scenario(name="facts of later are ignored", gets="large", facts=android(**facts))
    yield Scenario(
        name="a fact in the prototype is none", gets="tiny", codes=("selector_unknown",),
        patch=with_selector({"cores_min": 1}), facts=android(**{"__proto__": {"cores": 8}}),
    )  # fmt: skip


def _budgets() -> Iterator[Scenario]:
    for name, facts, gets, codes in (
        ("10 % of the disk to spare, to the byte", {"free_disk_bytes": DISK * 11 // 10}, "large", ()),
        ("a byte less", {"free_disk_bytes": DISK * 11 // 10 - 1}, "small", ("disk",)),
        ("room for the file alone", {"free_disk_bytes": DISK}, "small", ("disk",)),
        ("a full disk leads to the floor", {"free_disk_bytes": 0}, "tiny", ("disk", "disk")),
        ("free space written with a fraction", {"free_disk_bytes": 9900.0}, "large", ()),
        ("the largest disk", {"free_disk_bytes": LARGEST}, "large", ()),
        ("as much memory as needed", {"available_memory_bytes": MEMORY}, "large", ()),
        ("a byte of memory less", {"available_memory_bytes": MEMORY - 1}, "small", ("memory",)),
        ("no memory at all leads to the floor", {"available_memory_bytes": 0}, "tiny", ("memory", "memory")),
        ("the disk comes before the memory", {"free_disk_bytes": 1100, "available_memory_bytes": 10_000}, "small",
         ("disk",)),
        ("one fails by the disk, one by memory", {"free_disk_bytes": 1100, "available_memory_bytes": 9999}, "tiny",
         ("disk", "memory")),
    ):  # fmt: skip
        yield Scenario(name=name, gets=gets, codes=codes, facts=android(**facts))
    for name, needs, facts, codes in (
        ("the most bytes of disk, and the most free", {"disk_bytes": LARGEST}, {"free_disk_bytes": LARGEST}, ("disk",)),
        ("products above 2^53 are exact: too little", {"disk_bytes": 2**52 + 5},
         {"free_disk_bytes": 4953959590107551}, ("disk",)),
        ("products above 2^53 are exact: just enough", {"disk_bytes": 2**52 + 5},
         {"free_disk_bytes": 4953959590107552}, ()),
        ("no disk is needed, none is free", {"disk_bytes": 0}, {"free_disk_bytes": 0}, ("large", "disk")),
        ("no memory is needed, none is free", {"peak_memory_bytes": 0}, {"available_memory_bytes": 0},
         ("large", "memory")),
        ("the most memory", {"peak_memory_bytes": LARGEST}, {"available_memory_bytes": LARGEST}, ()),
        ("one byte less than the most memory", {"peak_memory_bytes": LARGEST},
         {"available_memory_bytes": LARGEST - 1}, ("memory",)),
        ("needs written with a fraction", {"disk_bytes": 10.0, "peak_memory_bytes": 10.0},
         {"free_disk_bytes": 11, "available_memory_bytes": 10}, ("large", "disk")),
        ("needs that are not known yet are not checked", {"load_us": 10**9, "npu_bytes": 5},
         {"free_disk_bytes": DISK * 2}, ()),
    ):  # fmt: skip
        patch = [[["models", "large", "needs", key], value] for key, value in needs.items()]
        # The second model of the tier is judged, too, since it could be installed.
        gets, codes = ("large", codes[1:]) if codes[:1] in ((), ("large",)) else ("small", codes)
        yield Scenario(name=name, gets=gets, codes=codes, patch=patch, facts=android(**facts))


def _installed_bytes() -> Iterator[Scenario]:
    graph, weights = sha("d"), sha("e")
    for name, installed, free, gets, codes in (
        ("nothing is installed, too little space", [], 6049, "small", ("disk",)),
        ("nothing is installed, enough space", [], 6050, "graph_and_weights", ()),
        ("the weights are installed: only the graph is to be stored", [weights], 550, "graph_and_weights", ("disk",)),
        ("the weights are installed, no space for the graph", [weights], 549, "tiny", ("disk", "disk")),
        ("the graph is installed, no space for the weights", [graph], 5499, "small", ("disk",)),
        ("a file of another model does not count", [sha("c"), weights], 549, "tiny", ("disk", "disk")),
        ("a file twice in the record counts once", [graph, graph], 5499, "small", ("disk",)),
        ("a digest in capitals is another file on the disk", ["E" * 64], 550, "tiny", ("disk", "disk")),
    ):
        yield Scenario(
            name=name, gets=gets, codes=codes, manifest="shared", facts=android(free_disk_bytes=free),
            state={"installed": installed},
        )  # fmt: skip
    yield Scenario(
        name="all files are installed, the disk is full", gets="graph_and_weights", manifest="shared", installed=True,
        facts=android(free_disk_bytes=0), state={"installed": [graph, weights]},
    )  # fmt: skip
    for name, disk, gets, codes in (
        ("more is needed than the files have, and it does not fit", 6500, "small", ("disk",)),
        ("fewer bytes are needed than the files have", 100, "graph_and_weights", ("disk",)),
    ):
        patch = [[["models", "graph_and_weights", "needs", "disk_bytes"], disk]]
        yield Scenario(
            name=f"all but the graph is installed: {name}", gets=gets, codes=codes, manifest="shared", patch=patch,
            facts=android(free_disk_bytes=1100 if gets == "small" else 0), state={"installed": [weights]},
        )  # fmt: skip
    patch = [[["models", "large", "files"], [{"sha256": "c", "bytes": LARGEST}] * 1025],
             [["models", "large", "needs", "disk_bytes"], LARGEST]]  # fmt: skip
    yield Scenario(
        name="sums of sizes above 2^63", gets="large", installed=True, patch=patch, facts=android(free_disk_bytes=0),
        state={"installed": ["c"]},
    )  # fmt: skip


def _engines() -> Iterator[Scenario]:
    ort = "onnxruntime"
    for name, facts, codes in (
        ("the oldest version of the engine", {"engine": ort, "engine_version": "1.17"}, ()),
        ("the newest version of the engine", {"engine": ort, "engine_version": "1.22.0"}, ()),
        ("a build of the newest version", {"engine": ort, "engine_version": "1.22.0+cpu"}, ()),
        ("an engine that is too old", {"engine": ort, "engine_version": "1.16.3"}, ("engine_too_old",)),
        ("versions of engines are not compared as text", {"engine": ort, "engine_version": "1.9"}, ("engine_too_old",)),
        ("a version without a number is old", {"engine": ort, "engine_version": "nightly"}, ("engine_too_old",)),
        ("an engine that is too new", {"engine": ort, "engine_version": "1.22.1"}, ("engine_too_new",)),
        ("a next major version", {"engine": ort, "engine_version": "2.0"}, ("engine_too_new",)),
        ("an engine of 5,000 digits", {"engine": ort, "engine_version": "1" * 5000}, ("engine_too_new",)),
        ("an engine of 5,000 zeros", {"engine": ort, "engine_version": "0" * 5000}, ("engine_too_old",)),
        ("another engine", {"engine": "mnn", "engine_version": "1.20.0"}, ("engine_other",)),
        ("another engine, of whatever version", {"engine": "mnn", "engine_version": "0.1"}, ("engine_other",)),
        ("another engine, of an unknown version", {"engine": "mnn"}, ("engine_other",)),
        ("names of engines are compared with their case", {"engine": "ONNXRuntime"}, ("engine_other",)),
        ("an unknown version is not checked", {"engine": ort}, ()),
        ("an unknown engine of a version that is too old", {"engine_version": "1.16"}, ("engine_too_old",)),
        ("nothing is known of the engine", {}, ()),
        ("the engine comes before the disk", {"engine": "mnn", "free_disk_bytes": 0}, ("engine_other",)),
        ("an old engine comes before the memory", {"engine_version": "1", "available_memory_bytes": 0},
         ("engine_too_old",)),
    ):  # fmt: skip
        other = {key: facts[key] for key in ("engine", "engine_version") if key in facts}
        # The second model and the floor are for any engine, so that only the first one is judged.
        suits = {"name": other.get("engine", ort), "min": "0", "max_tested": "0", "forward_ok": True}
        small = model("b", 0, **suits) | {"needs": {"disk_bytes": 0, "peak_memory_bytes": 0}}
        gets = "small" if codes else "large"
        yield Scenario(name=name, gets=gets, codes=codes, patch=[[["models", "small"], small]], facts=android(**facts))
    for value, code in ((True, ""), (False, "engine_too_new"), (1, "engine_too_new"), ("true", "engine_too_new"),
                        (None, "engine_too_new")):  # fmt: skip
        models = model("b", 10, max_tested="9")
        patch = [[["models", "large", "engine", "forward_ok"], value], [["models", "small"], models]]
        yield Scenario(
            name=f"a newer engine if forward_ok is {value!r}", gets="small" if code else "large",
            codes=(code,) if code else (), patch=patch, facts=android(engine_version="2.5"),
        )  # fmt: skip


def _proofs() -> Iterator[Scenario]:
    units = ["npu", "gpu", "cpu"]
    for name, proofs, gets, unit, proven, codes in (
        ("no proof yet: the first unit", [], "large", "npu", False, ()),
        ("passed on the first unit", [proof("c", "npu", "passed")], "large", "npu", True, ()),
        ("passed on the second unit only: the first is tried", [proof("c", "gpu", "passed")], "large", "npu", False,
         ()),
        ("wrong on the first unit", [proof("c", "npu", "wrong")], "large", "gpu", False, ()),
        ("crashed on the first, passed on the second", [proof("c", "npu", "crashed"), proof("c", "gpu", "passed")],
         "large", "gpu", True, ()),
        ("out of memory on two", [proof("c", "npu", "out_of_memory"), proof("c", "gpu", "out_of_memory")], "large",
         "cpu", False, ()),
        ("refused on the first", [proof("c", "npu", "refused")], "large", "gpu", False, ()),
        ("started once and not back yet", [proof("c", "npu", "started", 1)], "large", "npu", False, ()),
        ("started twice and never back", [proof("c", "npu", "started", 2)], "large", "gpu", False, ()),
        ("started often and never back", [proof("c", "npu", "started", LARGEST)], "large", "gpu", False, ()),
        ("started no time", [proof("c", "npu", "started", 0)], "large", "npu", False, ()),
        ("starts written with a fraction", [proof("c", "npu", "started", 2.0)], "large", "gpu", False, ()),
        ("passed at the third start", [proof("c", "npu", "passed", 3)], "large", "npu", True, ()),
        ("failed on all units", [proof("c", unit, "wrong") for unit in units], "small", "npu", False,
         ("proof_failed",)),
        ("failed on all, each in its way", [proof("c", "cpu", "crashed"), proof("c", "gpu", "started", 2), proof("c",
         "npu", "refused")], "small", "npu", False, ("proof_failed",)),
        ("both models failed on all units", [proof(letter, unit, "wrong") for letter in "bc" for unit in units],
         "tiny", "npu", False, ("proof_failed", "proof_failed")),
        ("every model failed on all units", [proof(letter, unit, "crashed") for letter in "abc" for unit in units],
         "none", "", False, ("proof_failed",) * 3),
        ("the last record of a key counts: failed", [proof("c", "npu", "passed"), proof("c", "npu", "wrong")],
         "large", "gpu", False, ()),
        ("the last record of a key counts: passed", [proof("c", "npu", "wrong"), proof("c", "npu", "passed")],
         "large", "npu", True, ()),
        ("the last record of a key counts: started",
         [proof("c", "npu", "started", 2), proof("c", "npu", "started", 1)], "large", "npu", False, ()),
        ("the proof of an older engine", [proof("c", "npu", "wrong", engine_version="1.19.0")], "large", "npu", False,
         ()),
        ("an older engine passed", [proof("c", "npu", "passed", engine_version="1.19.0")], "large", "npu", False, ()),
        ("versions in proofs are compared as text", [proof("c", "npu", "wrong", engine_version="1.20")], "large",
         "npu", False, ()),
        ("the proof of another engine", [proof("c", "npu", "wrong", engine="mnn")], "large", "npu", False, ()),
        ("the proof of an older system", [proof("c", "npu", "wrong", os_version="13")], "large", "npu", False, ()),
        ("the proof of an unknown system", [proof("c", "npu", "wrong", os_version=None)], "large", "npu", False, ()),
        ("the proof of an unknown engine", [proof("c", "npu", "passed", engine=None)], "large", "npu", False, ()),
        ("a record of another key after it", [proof("c", "npu", "wrong"), proof("c", "npu", "passed",
         os_version="13")], "large", "gpu", False, ()),
        ("the proof of another model", [proof("b", "npu", "wrong")], "large", "npu", False, ()),
        ("the proof of these files and another", [proof("ca", "npu", "wrong")], "large", "npu", False, ()),
        ("a unit that the engine lacks", [proof("c", "tpu", "wrong")], "large", "npu", False, ()),
        ("units are compared with their case", [proof("c", "NPU", "wrong")], "large", "npu", False, ()),
    ):  # fmt: skip
        yield Scenario(
            name=name, gets=gets, codes=codes, facts={**PROOF_FACTS, "compute_units": units}, state={"proofs": proofs},
            unit=unit, proven=proven,
        )  # fmt: skip
    failed = {"proofs": [proof("c", "cpu", "crashed")]}
    yield Scenario(
        name="the default unit failed", gets="small", codes=("proof_failed",), facts=PROOF_FACTS, state=failed
    )
    yield Scenario(
        name="a unit twice in the list", gets="large", unit="cpu", state={"proofs": [proof("c", "gpu", "wrong")]},
        facts={**PROOF_FACTS, "compute_units": ["gpu", "gpu", "cpu"]},
    )  # fmt: skip
    yield Scenario(
        name="the disk comes before the proof", gets="tiny", codes=("disk", "disk"), state=failed,
        facts={**PROOF_FACTS, "free_disk_bytes": 0},
    )  # fmt: skip
    unknown = proof("c", "cpu", "wrong", engine=None, engine_version=None, os_version=None)
    for name, record in (
        ("nothing is known of engine and system, as at the proof", unknown),
        ("engine and system that are no texts are unknown",
         unknown | {"engine": 5, "engine_version": [], "os_version": 14}),
        ("engine and system that are absent are unknown",
         {k: unknown[k] for k in ("files", "compute_unit", "result", "starts")}),
    ):  # fmt: skip
        yield Scenario(name=name, gets="small", codes=("proof_failed",), state={"proofs": [record]})
    for name, order, codes in (("in order", "de", ("proof_failed",)), ("in another order", "ed", ())):
        yield Scenario(
            name=f"the files of a proof {name}", gets="small" if codes else "graph_and_weights", codes=codes,
            manifest="shared", facts=PROOF_FACTS, state={"proofs": [proof(order, "cpu", "wrong")]},
        )  # fmt: skip


def _unreadable_proofs() -> Iterator[Scenario]:
    failed = proof("c", "cpu", "wrong")
    for name, record in (
        ("a number", 5),
        ("null", None),
        ("a list", [failed]),
        ("an empty object", {}),
        ("without files", {**failed, "files": None}),
        ("with a file that is a number", {**failed, "files": [5]}),
        ("with an empty file", {**failed, "files": [""]}),
        ("with files as a text", {**failed, "files": sha("c")}),
        ("without a unit", {**failed, "compute_unit": None}),
        ("with a unit that is a number", {**failed, "compute_unit": 5}),
        ("with a result of later", {**failed, "result": "throttled"}),
        ("with a result in capitals", {**failed, "result": "WRONG"}),
        ("with the result toString", {**failed, "result": "toString"}),
        ("with a result that is null", {**failed, "result": None}),
        ("with starts that are null", {**failed, "starts": None}),
        ("with starts that are negative", {**failed, "starts": -1}),
        ("with starts that are a text", {**failed, "starts": "1"}),
        ("with starts that are true", {**failed, "starts": True}),
        ("with half a start", {**failed, "starts": 1.5}),
    ):
        passed = proof("c", "cpu", "passed")
        yield Scenario(
            name=f"ignored: a proof that is {name}" if not name.startswith("with") else f"ignored: a proof {name}",
            gets="large", proven=True, facts=PROOF_FACTS, state={"proofs": [passed, record]},
        )  # fmt: skip
    later = {**failed, "temperature": 40, "__proto__": {"result": "passed"}}
    yield Scenario(
        name="a proof with fields of later", gets="small", codes=("proof_failed",), facts=PROOF_FACTS,
        state={"proofs": [later]},
    )  # fmt: skip
    for name, state in (
        ("null", None),
        ("a list", []),
        ("a text", "state"),
        ("lists of other types", {"installed": "c", "blacklist": {"sha256": sha("c")}, "proofs": 5}),
        ("lists that are null", {"installed": None, "blacklist": None, "proofs": None}),
        ("lists in the prototype", {"__proto__": {"blacklist": [{"sha256": sha("c")}]}}),
        ("fields of later", {"state_version": 1, "slot": "a", "release": 3, "battery": {"low": True}}),
    ):
        yield Scenario(name=f"a state that is or has {name}", gets="large", state=state)


def _installed() -> Iterator[Scenario]:
    large, small = sha("c"), sha("b")
    preferred = ("installed_preferred",)
    for name, installed, gets, codes, is_installed in (
        ("the second model is installed: no download", [small], "small", preferred, True),
        ("the first model is installed", [large], "large", (), True),
        ("both are installed: the first", [small, large], "large", (), True),
        ("a model of another tier is installed", [sha("a")], "large", (), False),
        ("installed entries that are no texts are ignored", [5, None, [small], {}, True], "large", (), False),
        ("an entry of another type beside a digest", [5, small], "small", preferred, True),
        ("a digest in capitals is not installed", ["B" * 64], "large", (), False),
        ("the installed file __proto__", ["__proto__", "constructor"], "large", (), False),
    ):
        state = {"installed": installed}
        yield Scenario(name=name, gets=gets, codes=codes, installed=is_installed, state=state)
    three = [[["models", "middle"], model("f", 5000)], [["tiers", 1, "models"], ["large", "middle", "small"]]]
    yield Scenario(
        name="two models are passed over for one that is installed", gets="small", codes=preferred * 2, installed=True,
        patch=three, state={"installed": [small]},
    )  # fmt: skip
    yield Scenario(
        name="the model after the installed one is not considered", gets="middle", codes=preferred, installed=True,
        patch=three, state={"installed": [sha("f")]},
    )  # fmt: skip
    yield Scenario(
        name="faults come before preferences", gets="small", codes=("memory", "installed_preferred"), installed=True,
        patch=three, facts=android(available_memory_bytes=50_000), state={"installed": [small]},
    )  # fmt: skip
    yield Scenario(
        name="an installed model that failed is not preferred", gets="large", codes=("proof_failed",),
        facts=PROOF_FACTS, state={"installed": [small], "proofs": [proof("b", "cpu", "wrong")]},
    )  # fmt: skip
    yield Scenario(
        name="an installed model of a higher rank comes first all the same", gets="large", installed=True,
        patch=[[["tiers", 1, "models"], ["large"]], [["tiers", 0, "models"], ["tiny", "small"]]],
        state={"installed": [sha("a"), small, large]},
    )  # fmt: skip
    yield Scenario(
        name="an installed model of a lower tier does not win", gets="large", state={"installed": [small]},
        patch=[[["tiers"], [tier("floor", "any", 0, [], "tiny"), tier("low", "android", 1, [{}], "small"),
                            tier("high", "android", 2, [{}], "large")]]],
    )  # fmt: skip
    yield Scenario(
        name="the floor prefers the installed model, too", gets="small", codes=("platform", *preferred), installed=True,
        facts={"platform": "ios"}, patch=[[["tiers", 0, "models"], ["tiny", "small"]]], state={"installed": [small]},
    )  # fmt: skip
    one_of_two = {"installed": [sha("d")]}
    yield Scenario(
        name="one of two files is not the model", gets="graph_and_weights", manifest="shared", state=one_of_two
    )
    yield Scenario(
        name="installed and proven", gets="large", installed=True, proven=True, facts=PROOF_FACTS,
        state={"installed": [large], "proofs": [proof("c", "cpu", "passed")]},
    )  # fmt: skip


def _blacklisted() -> Iterator[Scenario]:
    large, now = sha("c"), 1_800_000_000
    stopped = ("blacklisted",)
    for name, entries, codes in (
        ("for ever", [{"sha256": large}], stopped),
        ("until null, which is for ever", [{"sha256": large, "until": None}], stopped),
        ("until the next second", [{"sha256": large, "until": now + 1}], stopped),
        ("until now, which is over", [{"sha256": large, "until": now}], ()),
        ("until a second ago", [{"sha256": large, "until": now - 1}], ()),
        ("until 1970", [{"sha256": large, "until": 0}], ()),
        ("until the largest second", [{"sha256": large, "until": LARGEST}], stopped),
        ("until a second with a fraction of zero", [{"sha256": large, "until": now + 1.0}], stopped),
        ("twice, once over", [{"sha256": large, "until": 1}, {"sha256": large}], stopped),
        ("for another file", [{"sha256": sha("f")}], ()),
        ("in capitals, which is another file", [{"sha256": "C" * 64}], ()),
        ("with a reason", [{"sha256": large, "reason": "slow"}], stopped),
        ("by an entry with a time that is a text: ignored", [{"sha256": large, "until": "later"}], ()),
        ("by an entry with a negative time: ignored", [{"sha256": large, "until": -1}], ()),
        ("by an entry with a time of half a second: ignored", [{"sha256": large, "until": now + 1.5}], ()),
        ("by an entry with a time that is true: ignored", [{"sha256": large, "until": True}], ()),
        ("by an entry without a digest: ignored", [{"until": now + 1}], ()),
        ("by an entry with a number as digest: ignored", [{"sha256": 5}], ()),
        ("by a digest alone: ignored", [large], ()),
        ("by null: ignored", [None], ()),
    ):
        yield Scenario(
            name=f"blacklisted {name}", gets="small" if codes else "large", codes=codes, state={"blacklist": entries}
        )
    yield Scenario(
        name="one blacklisted file stops a model of two", gets="small", codes=stopped, manifest="shared",
        state={"blacklist": [{"sha256": sha("e")}]},
    )  # fmt: skip
    yield Scenario(
        name="a blacklisted model is not used although installed", gets="small", codes=stopped,
        state={"blacklist": [{"sha256": large}], "installed": [large]},
    )  # fmt: skip
    yield Scenario(
        name="the floor is blacklisted, too", gets="none", codes=("blacklisted",) * 3,
        state={"blacklist": [{"sha256": sha(letter)} for letter in "abc"]},
    )  # fmt: skip
    yield Scenario(
        name="the blacklist comes before the engine", gets="tiny", codes=("blacklisted", "engine_other"),
        patch=[[["models", "tiny", "engine", "name"], "mnn"]],
        facts=android(engine="mnn", engine_version="1.20"), state={"blacklist": [{"sha256": large}]},
    )  # fmt: skip
