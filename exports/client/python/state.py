"""What a client remembers between launches: the record in `state.json`, which README.md of the clients defines."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Any

from .records import BlacklistEntry, ClientState, ProofRecord, ProofResult
from .store import Slot
from .strict_json import MAX_DEPTH, parse_json
from .values import integer

STATE_VERSION = 1
MAX_STATE_BYTES = 1 << 20
"""A policy of 256 KiB takes a third more, on lines of its own; 64 proofs and two slots take a fortieth of this."""
MAX_PROOFS = 64
"""Proofs that are remembered: a family of a dozen models on a few compute units, before and after an update."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """The whole record.

    Attributes:
        slot: The active slot.
        release: The release in it; 0 if there is none.
        installed: The digests of the complete, verified files in the slots.
        blacklist: The files that the app does not want.
        proofs: The latest proofs, the last one at the end; one for each key.
        policy: The last usable policy, as parsed JSON.
    """

    slot: Slot | None = None
    release: int = 0
    installed: frozenset[str] = frozenset()
    blacklist: tuple[BlacklistEntry, ...] = ()
    proofs: tuple[ProofRecord, ...] = ()
    policy: Any = None

    def for_resolver(self) -> ClientState:
        """The part that the resolver reads."""
        return ClientState(installed=self.installed, blacklist=self.blacklist, proofs=self.proofs)

    def started(self, proof: ProofRecord) -> ProofRecord:
        """The proof as it starts: it counts how often it was started without an end before."""
        before = [found.starts for found in self.proofs if _same_key(found, proof) and found.result == "started"]
        return replace(proof, result="started", starts=max(before, default=0) + 1)

    def with_proof(self, proof: ProofRecord, result: ProofResult) -> State:
        """The state with this result in place of an earlier one."""
        others = [found for found in self.proofs if not _same_key(found, proof)]
        return replace(self, proofs=(*others, replace(proof, result=result))[-MAX_PROOFS:])

    def encode(self) -> bytes:
        """The content of `state.json`."""
        blacklist = [asdict(entry) for entry in self.blacklist]
        value = {
            "state_version": STATE_VERSION,
            "slot": self.slot,
            "release": self.release,
            "installed": sorted(self.installed),
            "blacklist": [{key: item for key, item in entry.items() if item is not None} for entry in blacklist],
            "proofs": [asdict(proof) for proof in self.proofs],
            "policy": self.policy,
        }
        return json.dumps(value, indent=1).encode()


def decode_state(data: bytes) -> State:
    """The state in `state.json`; entries that are not understood are left out.

    Raises:
        ValueError: It is damaged or of another version.
    """
    value = parse_json(data, "state.json", depth=MAX_DEPTH + 1)  # it holds a policy, which may be as deep as any
    if not isinstance(value, dict) or value.get("state_version") != STATE_VERSION:
        raise ValueError(f"state.json is not of version {STATE_VERSION}")
    known, slot = ClientState.from_json(value), value.get("slot")
    return State(
        slot=slot if slot in ("a", "b") else None,
        release=integer(value.get("release")) or 0,
        installed=known.installed,
        blacklist=known.blacklist,
        proofs=known.proofs,
        policy=value.get("policy"),
    )


def _same_key(one: ProofRecord, other: ProofRecord) -> bool:
    return replace(one, result=other.result, starts=other.starts) == other
