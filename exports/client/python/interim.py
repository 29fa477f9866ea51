"""The resolver of the contract over the present one, until the present one has policy, state and compute units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from . import resolver
from .resolver import Reason, UnusableManifestError

__all__ = ["ClientState", "DeviceFacts", "Resolution", "UnusableManifestError", "UnusablePolicyError", "resolve"]


class UnusablePolicyError(ValueError):
    """The policy is not usable."""


@dataclass(frozen=True, kw_only=True)
class DeviceFacts(resolver.DeviceFacts):
    """Facts with compute units."""

    compute_units: tuple[str, ...] = ("cpu",)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> DeviceFacts:
        """Facts from JSON."""
        known = {field.name for field in fields(cls)}
        found = {key: item for key, item in value.items() if key in known and item is not None}
        return cls(**{"platform": ""} | found | {"compute_units": tuple(found.get("compute_units", ["cpu"]))})


@dataclass(frozen=True, kw_only=True)
class ClientState:
    """The state as JSON."""

    value: Mapping[str, Any] | None = None

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ClientState:
        """The state from JSON."""
        return cls(value=value)


@dataclass(frozen=True, kw_only=True)
class Resolution:
    """The result."""

    action: str
    tier: str
    rank: int
    model: str | None
    compute_unit: str | None
    installed: bool
    proven: bool
    reasons: tuple[Reason, ...]


def resolve(manifest: Any, policy: Any, facts: DeviceFacts, state: ClientState, now: int) -> Resolution:
    """Resolve with policy and state."""
    revoked: set[str] = set()
    if policy is not None:
        if not isinstance(policy, dict) or str(policy.get("policy_version")).split(".")[0] != "1":
            raise UnusablePolicyError("the policy is not of version 1")
        revoked = {entry["sha256"] for entry in policy.get("revoked", [])}
    resolver.resolve(manifest, facts)
    value = state.value or {}
    black = {e["sha256"] for e in value.get("blacklist", []) if "until" not in e or now < e["until"]}
    installed = set(value.get("installed", []))
    models = dict(manifest["models"])
    extra: list[Reason] = []
    while True:
        found = resolver.resolve(manifest | {"models": models}, facts)
        if found.model is None:
            return Resolution(
                action="none", tier=found.tier, rank=found.rank, model=None, compute_unit=None, installed=False,
                proven=False, reasons=(*extra, *found.reasons),
            )  # fmt: skip
        digests = [file["sha256"] for file in models[found.model]["files"]]
        code, unit, proven = "", None, False
        if revoked & set(digests):
            code = "revoked"
        elif black & set(digests):
            code = "blacklisted"
        else:
            unit, proven = _unit(value, digests, facts)
            code = "" if unit else "proof_failed"
        if not code:
            return Resolution(
                action="model", tier=found.tier, rank=found.rank, model=found.model, compute_unit=unit,
                installed=set(digests) <= installed, proven=proven, reasons=(*extra, *found.reasons),
            )  # fmt: skip
        extra.append(Reason(tier=found.tier, model=found.model, code=code, text=f"it is passed over: {code}"))
        del models[found.model]


def _unit(value: Mapping[str, Any], digests: list[str], facts: DeviceFacts) -> tuple[str | None, bool]:
    for unit in facts.compute_units:
        key = (digests, unit, facts.engine, facts.engine_version, facts.os_version)
        names = ("files", "compute_unit", "engine", "engine_version", "os_version")
        proofs = [
            p
            for p in value.get("proofs", [])
            if tuple(p[name] for name in names) == key
            or (tuple(list(p["files"]) if n == "files" else p[n] for n in names) == key)
        ]
        result = proofs[-1]["result"] if proofs else ""
        if result == "passed":
            return unit, True
        if not result or (result == "started" and proofs[-1]["starts"] < 2):
            return unit, False
    return None, False
