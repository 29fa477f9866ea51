"""What a client remembers between launches: the record in `state.json`, which README.md of the clients defines."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, TypeGuard, get_args

from .store import Slot
from .strict_json import MAX_INTEGER, parse_json

STATE_VERSION = 1
MAX_STATE_BYTES = 1 << 18
"""64 proofs and two slots take a tenth of this."""
MAX_PROOFS = 64
"""Proofs that are remembered: a family of a dozen models on a few compute units, before and after an update."""

Result = Literal["started", "passed", "wrong", "crashed", "out_of_memory", "refused"]
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofKey:
    """What a proof is valid for; after an update of the engine or the system, a model is proven again.

    Attributes:
        files: The digests of the model's files, in the order of the manifest.
        compute_unit: Where the engine ran it.
        engine: The name of the engine.
        engine_version: Its version; None if unknown.
        os_version: The version of the operating system; None if unknown.
    """

    files: tuple[str, ...]
    compute_unit: str
    engine: str | None
    engine_version: str | None
    os_version: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofRecord:
    """How the proof of a model ended; `starts` is how often it was started, at last without an end."""

    key: ProofKey
    result: Result
    starts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """The whole record.

    Attributes:
        slot: The active slot.
        release: The release in it; 0 if there is none.
        installed: The digests of the complete, verified files in the slots.
        blacklist: The entries of the app, as they are in the file.
        proofs: The latest proofs, the last one at the end.
        policy: The last usable policy, as parsed JSON.
    """

    slot: Slot | None = None
    release: int = 0
    installed: tuple[str, ...] = ()
    blacklist: tuple[Mapping[str, Any], ...] = ()
    proofs: tuple[ProofRecord, ...] = ()
    policy: Any = None

    def starts(self, key: ProofKey) -> int:
        """How often the proof was started without an end."""
        found = [proof for proof in self.proofs if proof.key == key]
        return found[-1].starts if found and found[-1].result == "started" else 0

    def with_proof(self, key: ProofKey, result: Result, starts: int) -> State:
        """The state with this result in place of an earlier one."""
        others = [proof for proof in self.proofs if proof.key != key]
        made = ProofRecord(key=key, result=result, starts=starts)
        return replace(self, proofs=(*others, made)[-MAX_PROOFS:])

    def to_json(self) -> dict[str, Any]:
        """The value for `state.json`."""
        return {
            "state_version": STATE_VERSION,
            "slot": self.slot,
            "release": self.release,
            "installed": sorted(set(self.installed)),
            "blacklist": list(self.blacklist),
            "proofs": [asdict(p.key) | {"result": p.result, "starts": p.starts} for p in self.proofs],
            "policy": self.policy,
        }

    def encode(self) -> bytes:
        """The content of `state.json`."""
        return json.dumps(self.to_json(), indent=1).encode()


def decode_state(data: bytes) -> State:
    """The state in `state.json`; entries that are not understood are left out.

    Raises:
        ValueError: It is damaged or of another version.
    """
    value = parse_json(data, "state.json")
    if not isinstance(value, dict) or value.get("state_version") != STATE_VERSION:
        raise ValueError(f"state.json is not of version {STATE_VERSION}")
    slot, release = value.get("slot"), value.get("release", 0)
    return State(
        slot=slot if slot in ("a", "b") else None,
        release=release if _is_count(release) else 0,
        installed=tuple(digest for digest in _entries(value, "installed") if _is_digest(digest)),
        blacklist=tuple(e for e in _entries(value, "blacklist") if isinstance(e, dict) and _is_digest(e.get("sha256"))),
        proofs=tuple(proof for entry in _entries(value, "proofs") if (proof := _proof(entry)) is not None),
        policy=value.get("policy"),
    )


def _proof(entry: Any) -> ProofRecord | None:
    if not isinstance(entry, dict):
        return None
    files, unit, starts, result = (entry.get(name) for name in ("files", "compute_unit", "starts", "result"))
    texts = [entry.get(name) for name in ("engine", "engine_version", "os_version")]
    understood = (
        isinstance(files, list)
        and all(_is_digest(digest) for digest in files)
        and isinstance(unit, str)
        and all(text is None or isinstance(text, str) for text in texts)
        and result in get_args(Result)
        and _is_count(starts)
    )
    if not understood:
        return None
    engine, engine_version, os_version = texts
    key = ProofKey(
        files=tuple(files or ()), compute_unit=str(unit), engine=engine, engine_version=engine_version,
        os_version=os_version,
    )  # fmt: skip
    return ProofRecord(key=key, result=result, starts=starts)  # type: ignore[arg-type]


def _entries(value: dict[str, Any], name: str) -> list[Any]:
    found = value.get(name)
    return found if isinstance(found, list) else []


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and _SHA256.fullmatch(value) is not None


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_INTEGER
