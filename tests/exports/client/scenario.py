"""What a scenario of the resolver's vectors is, and the manifests that scenarios change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

GIB = 1 << 30
LARGEST = 2**53 - 1
"""The largest integer that counts as one."""
Patch = Sequence[Sequence[Any]]
"""Each either `[path, value]` to set, or `[path]` to delete."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A situation, and what a person expects of it.

    Attributes:
        name: A sentence or phrase, unique.
        gets: The model that the device gets; or an action without a model; or `error manifest`, `error policy`.
        codes: The code of every reason but the last, which is that of the result, in order.
        manifest: The name of the manifest that `patch` changes.
        unit: The compute unit of the model.
        installed: Whether the model is installed.
        proven: Whether it has passed its proof.
    """

    name: str
    gets: str
    codes: tuple[str, ...] = ()
    manifest: str = "one"
    patch: Patch = ()
    policy: Any = None
    facts: Any = field(default_factory=lambda: {"platform": "android"})
    state: Any = field(default_factory=dict)
    now: int = 1_800_000_000
    unit: str = "cpu"
    installed: bool = False
    proven: bool = False


def sha(letter: str) -> str:
    """A digest that is easy to tell from others."""
    return letter * 64


def model(letter: str, size: int, **engine: Any) -> dict[str, Any]:
    """A model of one file with the digest `sha(letter)`; it needs ten times its size of memory."""
    return {
        "files": [{"name": f"models/{letter}.onnx", "bytes": size, "sha256": sha(letter), "role": "model"}],
        "engine": {"name": "onnxruntime", "format_version": 20, "min": "1.17.0", "max_tested": "1.22.0"} | engine,
        "needs": {"disk_bytes": size, "peak_memory_bytes": 10 * size, "basis": "modelled"},
    }


def tier(name: str, platform: str, rank: int, match: Sequence[Any], *models: str) -> dict[str, Any]:
    """A tier."""
    return {"id": name, "platform": platform, "rank": rank, "match": list(match), "models": list(models)}


def manifest(*tiers: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """A manifest with the models `tiny`, `small` and `large`, and a floor."""
    return {
        "manifest_version": "1.5",
        "critical": [],
        "tiers": [tier("floor", "any", 0, [], "tiny"), *tiers],
        "models": {"tiny": model("a", 100), "small": model("b", 1000), "large": model("c", 9000)},
    } | more


MANIFESTS: Mapping[str, Any] = {
    # One tier for every phone with Android; most scenarios change its selector, or one of its models.
    "one": manifest(tier("only", "android", 1, [{}], "large", "small")),
    "ranks": manifest(
        tier("entry", "android", 1, [{"ram_class_min": 1024}], "tiny"),
        tier("middle", "android", 2, [{"ram_class_min": 3072}], "small"),
        tier("top", "android", 3, [{"ram_class_min": 6144}], "large", "small"),
        tier("iphone", "ios", 1, [{"os_min": "15"}], "small"),
        tier("page", "web", 1, [{"features_all": ["wasm_simd"], "probe_min": {"id": "mac_1", "score": 500}}], "small"),
        tier("desktop", "any", 1, [{"cores_min": 8}], "large"),
    ),
    "floors": manifest(
        tier("only", "android", 1, [{"cores_min": 4}], "large"),
        floors=[
            {"platform": "ios", "action": "cloud"},
            {"platform": "web", "action": "off"},
            {"platform": "linux", "action": "model", "models": ["small", "tiny"]},
            {"platform": "android", "action": "model", "models": ["tiny", "small"]},
        ],
    ),
    # Two files in one model, one of which another model has, too.
    "shared": {
        **manifest(tier("only", "android", 1, [{}], "graph_and_weights", "small")),
        "models": {
            "tiny": model("a", 100),
            "small": model("b", 1000),
            "graph_and_weights": {
                "files": [
                    {"name": "models/d.onnx", "bytes": 500, "sha256": sha("d"), "role": "model"},
                    {"name": "models/e.bin", "bytes": 5000, "sha256": sha("e"), "role": "weights"},
                ],
                "engine": {"name": "onnxruntime", "format_version": 20, "min": "1.17.0", "max_tested": "1.22.0"},
                "needs": {"disk_bytes": 5500, "peak_memory_bytes": 60_000, "basis": "modelled"},
            },
        },
    },
}


def with_selector(*selectors: Any) -> Patch:
    """The manifest `one` with other selectors."""
    return [[["tiers", 1, "match"], list(selectors)]]


def android(**facts: Any) -> dict[str, Any]:
    """The facts of a phone with Android."""
    return {"platform": "android"} | facts


def proof(letters: str, unit: str, result: Any, starts: Any = 1, **more: Any) -> dict[str, Any]:
    """The record of a proof on ONNX Runtime 1.20.0 and version 14 of the operating system."""
    versions = {"engine": "onnxruntime", "engine_version": "1.20.0", "os_version": "14"}
    files = [sha(letter) for letter in letters]
    return {"files": files, "compute_unit": unit, **versions, "result": result, "starts": starts} | more


PROOF_FACTS = {"platform": "android", "engine": "onnxruntime", "engine_version": "1.20.0", "os_version": "14"}
"""The facts to which the records of `proof` belong."""


def patched(value: Any, patch: Patch) -> Any:
    """A copy of parsed JSON with the changes of a patch."""
    import copy

    changed = copy.deepcopy(value)
    for path, *new in patch:
        inside = changed
        for key in path[:-1]:
            inside = inside[key]
        if new:
            inside[path[-1]] = copy.deepcopy(new[0])
        else:
            del inside[path[-1]]
    return changed
