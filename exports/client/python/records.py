"""What the resolver takes and returns: facts about the device, the client's own record, and the result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final, Literal, cast, get_args

from .values import integer, is_list, text, texts

Action = Literal["model", "cloud", "off", "none"]
ProofResult = Literal["started", "passed", "wrong", "crashed", "out_of_memory", "refused"]
MAX_STARTS: Final = 2
"""The start of a proof that counts as a crash if it never came back: the first may have been ended by a person."""
_CPU: Final = ("cpu",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """The device's score in a small benchmark, which a selector names by its id."""

    id: str
    score: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFacts:
    """Facts that an app can observe. None means that the device does not report the fact.

    A value that cannot be true, such as a negative size or an empty name, counts as not reported.

    Attributes:
        platform: The platform of the app's build: `android`, `ios`, `web`, `linux`, ...; "" matches only `any`.
        ram_bytes: The total RAM that the kernel reports, which is a little less than the size printed on the box.
        cores: The number of processor cores.
        os_version: Dotted numbers; on Android the API level.
        soc_maker: The maker of the system on a chip, as the platform spells it; compared without the case of A to Z.
        soc_model: Its model, compared likewise.
        device_maker: The maker of the device, compared likewise.
        device_model: Its model, compared likewise; on Apple's devices the machine id.
        features: Tokens of what the device can do: `webgpu`, `wasm_threads`, ...
        probe: The device's score in the family's probe.
        free_disk_bytes: The free disk space for models. Not checked if None.
        available_memory_bytes: The memory that the app may allocate now. Not checked if None.
        engine: The name of the inference engine in the app. Not checked if None.
        engine_version: Its version, dotted numbers. Not checked if None.
        compute_units: What the engine can run on, in order of preference.
    """

    platform: str
    ram_bytes: int | None = None
    cores: int | None = None
    os_version: str | None = None
    soc_maker: str | None = None
    soc_model: str | None = None
    device_maker: str | None = None
    device_model: str | None = None
    features: tuple[str, ...] | None = None
    probe: Probe | None = None
    free_disk_bytes: int | None = None
    available_memory_bytes: int | None = None
    engine: str | None = None
    engine_version: str | None = None
    compute_units: tuple[str, ...] = _CPU

    @classmethod
    def from_json(cls, value: Any) -> DeviceFacts:
        """The facts in a JSON object; unknown keys are ignored."""
        names = {field.name for field in fields(cls)}
        found = {key: item for key, item in value.items() if key in names} if isinstance(value, Mapping) else {}
        probe = found.get("probe")
        if isinstance(probe, Mapping):
            found["probe"] = Probe(id=probe.get("id", ""), score=probe.get("score", 0))
        return cls(**{"platform": "", **found}).plausible()

    def is_on(self, platform: Any) -> bool:
        """Whether the device is known to be of this platform."""
        return self.platform != "" and platform == self.platform

    def plausible(self) -> DeviceFacts:
        """These facts with every value that cannot be true taken as not reported."""
        return replace(
            self,
            platform=text(self.platform) or "",
            ram_bytes=integer(self.ram_bytes, 1),
            cores=integer(self.cores, 1),
            os_version=text(self.os_version),
            soc_maker=text(self.soc_maker),
            soc_model=text(self.soc_model),
            device_maker=text(self.device_maker),
            device_model=text(self.device_model),
            features=texts(self.features),
            probe=_plausible_probe(self.probe),
            free_disk_bytes=integer(self.free_disk_bytes),
            available_memory_bytes=integer(self.available_memory_bytes),
            engine=text(self.engine),
            engine_version=text(self.engine_version),
            compute_units=texts(self.compute_units) or _CPU,
        )


def _plausible_probe(probe: Any) -> Probe | None:
    name, score = (text(probe.id), integer(probe.score, 1)) if isinstance(probe, Probe) else (None, None)
    return None if name is None or score is None else Probe(id=name, score=score)


@dataclass(frozen=True, slots=True, kw_only=True)
class BlacklistEntry:
    """A file that must not be used: until the second `until` since 1970, or for ever if that is None."""

    sha256: str
    until: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofRecord:
    """What happened when a model was tried on one compute unit of this device.

    Attributes:
        files: The digests of the model's files, in the order of the manifest.
        compute_unit: The compute unit.
        engine: The name of the engine.
        engine_version: Its version; None if it was unknown.
        os_version: The version of the operating system; None if it was unknown.
        result: `started` if it has not come back yet.
        starts: How often the proof was started.
    """

    files: tuple[str, ...]
    compute_unit: str
    engine: str | None
    engine_version: str | None
    os_version: str | None
    result: ProofResult
    starts: int

    @property
    def failed(self) -> bool:
        """Whether the compute unit must not be tried again."""
        return self.result != "passed" and (self.result != "started" or self.starts >= MAX_STARTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientState:
    """What the resolver reads of the client's own record.

    Attributes:
        installed: The digests of complete, verified files.
        blacklist: The files that must not be used.
        proofs: The proofs on this device; of several with the same key the last counts.
    """

    installed: frozenset[str] = frozenset()
    blacklist: tuple[BlacklistEntry, ...] = ()
    proofs: tuple[ProofRecord, ...] = ()

    @classmethod
    def from_json(cls, value: Any) -> ClientState:
        """The state in a JSON object; entries that are not understood are ignored."""
        if not isinstance(value, Mapping):
            return cls()
        blacklist = [_blacklist_entry(entry) for entry in _entries(value, "blacklist")]
        proofs = [_proof_record(entry) for entry in _entries(value, "proofs")]
        return cls(
            installed=frozenset(item for item in _entries(value, "installed") if isinstance(item, str)),
            blacklist=tuple(entry for entry in blacklist if entry is not None),
            proofs=tuple(proof for proof in proofs if proof is not None),
        )


def _entries(value: Mapping[str, Any], name: str) -> list[Any]:
    found = value.get(name)
    return list(found) if is_list(found) else []


def _blacklist_entry(entry: Any) -> BlacklistEntry | None:
    sha256, until = (entry.get("sha256"), entry.get("until")) if isinstance(entry, Mapping) else (None, None)
    if not isinstance(sha256, str) or (until is not None and integer(until) is None):
        return None
    return BlacklistEntry(sha256=sha256, until=integer(until))


def _proof_record(entry: Any) -> ProofRecord | None:
    if not isinstance(entry, Mapping):
        return None
    files, unit, result = texts(entry.get("files")), entry.get("compute_unit"), entry.get("result")
    starts = integer(entry.get("starts"))
    if files is None or not isinstance(unit, str) or result not in get_args(ProofResult) or starts is None:
        return None
    engine, engine_version, os_version = (
        entry.get(name) if isinstance(entry.get(name), str) else None
        for name in ("engine", "engine_version", "os_version")
    )
    return ProofRecord(
        files=files, compute_unit=unit, engine=engine, engine_version=engine_version, os_version=os_version,
        result=cast(ProofResult, result), starts=starts,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why a candidate was passed over or, with the codes `chosen` and `floor`, selected.

    Attributes:
        tier: The id of the tier.
        model: The id of the model; "" if the whole tier was passed over.
        code: A part of the contract: `platform`, `selector_unmet`, `selector_unknown`, `selector_key_unknown` (the
            resolver does not understand a key or its value), `tier_unknown`, `model_unknown` (it does not understand
            the tier or the model), `model_missing`, `revoked`, `blacklisted`, `engine_other`, `engine_too_old`,
            `engine_too_new`, `disk`, `memory`, `proof_failed`, `installed_preferred` (another model of the tier is
            installed already), `chosen`, `floor`, `nothing_runs`.
        text: One line for users.
    """

    tier: str
    model: str
    code: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """The result of `resolve`.

    Attributes:
        action: What the app does: `model` runs one, `cloud` asks a server, `off` goes without; `none` if not even the
            floor's models run.
        tier: The id of the tier.
        rank: Its rank within the platform; 0 is the floor.
        model: The id of the model; None unless the action is `model`.
        compute_unit: What the model runs on; None without a model.
        installed: Whether all files of the model are on the device.
        proven: Whether the model has passed its proof on the compute unit with this engine and system.
        reasons: A reason for every candidate that was considered, in order; the last is for the result.
    """

    action: Action
    tier: str
    rank: int
    model: str | None
    compute_unit: str | None
    installed: bool
    proven: bool
    reasons: tuple[Reason, ...]
