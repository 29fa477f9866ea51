"""Selects the model for a device: one pure function, without I/O, clock or randomness.

It needs only the standard library and the modules beside it. Tiers, models and selectors that it does not understand
are passed over, so an old app gets a lower tier, never a heavier one: only a manifest without a usable floor raises.
`README.md` of the clients states the rules, which are the same in every language; `vectors/resolver.json` has cases.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from .records import Action, ClientState, DeviceFacts, ProofRecord, Reason, Resolution
from .selector_rules import SHOWN, Fault, plain_selector, selector_fault
from .values import integer, is_list, is_version, version_key

SUPPORTED_MAJOR: Final = 1
SUPPORTED_CRITICAL: frozenset[str] = frozenset({"image_form", "labels_file", "outputs", "pixel_input", "token_input"})
"""The critical features of version 1: an app that does not support one must not use the manifest, so remove those that
yours does not. `image_form`: the models take gray images, or images that are not square. `labels_file`: the names of
the classes are not in the manifest but in the file `task.labels_file`. `outputs`: the models return something other
than one logit per class, which `task.outputs` states. `pixel_input`: the models take pixels. `token_input`: they take
the tokens of a text."""


class UnusableManifestError(ValueError):
    """This resolver cannot use the manifest; an app should keep the last good one."""


class UnusablePolicyError(ValueError):
    """This resolver cannot use the policy; an app should keep the last good one."""


def resolve(manifest: Any, policy: Any, facts: DeviceFacts, state: ClientState, now: int) -> Resolution:
    """The best model for a device: tiers by descending rank, models in the order of the list, then the floor.

    A model is passed over if the policy revokes one of its files, the state blacklists one, its engine range does not
    include the app's engine, what is to be stored plus 10 % exceeds the free disk space, its peak memory exceeds the
    available memory, or its proof failed on every compute unit. Among the models of a tier, one that is installed comes
    before others. The floor ignores disk and memory, because some model must run; its reason mentions them.

    >>> from exports import ClientState, DeviceFacts, resolve
    >>> def model(mib):
    ...     file = {"name": f"{mib}.onnx", "bytes": mib << 20, "sha256": f"{mib:064x}"}
    ...     engine = {"name": "onnxruntime", "min": "1.17.0", "max_tested": "1.22.0"}
    ...     needs = {"disk_bytes": mib << 20, "peak_memory_bytes": 4 * mib << 20}
    ...     return {"files": [file], "engine": engine, "needs": needs}
    >>> large = {"ram_class_min": 4096}
    >>> phones = {"id": "phones", "platform": "android", "rank": 1, "match": [large], "models": ["large"]}
    >>> floor = {"id": "floor", "platform": "any", "rank": 0, "match": [], "models": ["small"]}
    >>> models = {"large": model(16), "small": model(2)}
    >>> manifest = {"manifest_version": "1.5", "critical": [], "tiers": [floor, phones], "models": models}
    >>> def found(ram_bytes):
    ...     facts = DeviceFacts(platform="android", ram_bytes=ram_bytes)
    ...     return resolve(manifest, None, facts, ClientState(), now=0)
    >>> found(3_800_000_000).model
    'large'
    >>> found(1_900_000_000).model, found(1_900_000_000).reasons[0].text
    ('small', 'the device does not meet ram_class_min 4096 MiB')

    Args:
        manifest: The parsed JSON of a `manifest.json`.
        policy: The parsed JSON of a policy, which can only revoke files; None without one.
        facts: The facts about the device.
        state: What the client knows of this device.
        now: Seconds since 1970.

    Raises:
        UnusableManifestError: The manifest has another major version or an unknown critical feature, has no usable
            floor, or is not a manifest. Anything else that the resolver does not understand is passed over.
        UnusablePolicyError: The policy has another major version or an unknown critical feature, or is not a policy.
    """
    tiers, models, floors = _usable(manifest)
    work = _Resolver(
        models=models, floors=floors, revoked=revoked_files(policy), facts=facts.plausible(), state=state,
        blacklist=frozenset(e.sha256 for e in state.blacklist if e.until is None or now < e.until), reasons=[],
    )  # fmt: skip
    return work.resolve(tiers)


def revoked_files(policy: Any) -> frozenset[str]:
    """The digests that a policy revokes; none without a policy. Raises `UnusablePolicyError`."""
    if policy is None:
        return frozenset()
    version = policy.get("policy_version") if isinstance(policy, Mapping) else None
    if not isinstance(version, str):
        raise UnusablePolicyError("this is not a policy: it has no policy_version")
    if version.split(".")[0] != str(SUPPORTED_MAJOR):
        raise UnusablePolicyError(f"the policy version {version[:SHOWN]!r} is not {SUPPORTED_MAJOR}.x")
    fault = _critical_fault(policy, "policy", frozenset())
    if fault:
        raise UnusablePolicyError(fault)
    entries = policy.get("revoked", [])
    digests = [e.get("sha256") if isinstance(e, Mapping) else None for e in entries] if is_list(entries) else [None]
    if not all(isinstance(digest, str) for digest in digests):
        raise UnusablePolicyError("the policy's list of revoked files is unreadable")
    return frozenset(str(digest) for digest in digests)


def _usable(manifest: Any) -> tuple[list[Any], Mapping[str, Any], list[Any]]:
    """Tiers, models and floors of a manifest of a supported version. Raises `UnusableManifestError`."""
    version = manifest.get("manifest_version") if isinstance(manifest, Mapping) else None
    if not isinstance(version, str):
        raise UnusableManifestError("this is not a manifest: it has no manifest_version")
    if version.split(".")[0] != str(SUPPORTED_MAJOR):
        raise UnusableManifestError(
            f"the manifest version {version[:SHOWN]!r} is not {SUPPORTED_MAJOR}.x; update the app"
        )
    fault = _critical_fault(manifest, "manifest", SUPPORTED_CRITICAL)
    if fault:
        raise UnusableManifestError(fault)
    tiers, models, floors = manifest.get("tiers"), manifest.get("models"), manifest.get("floors")
    if not is_list(tiers) or not isinstance(models, Mapping):
        raise UnusableManifestError("this is not a manifest: it has no tiers or no models")
    return list(tiers), models, list(floors) if is_list(floors) else []


def _critical_fault(file: Mapping[str, Any], name: str, supported: frozenset[str]) -> str:
    """Why the list of critical features cannot be met; "" if it can."""
    critical = file.get("critical", [])
    if not is_list(critical):
        return f"the {name}'s list of critical features is unreadable; update the app"
    unknown = sorted(
        {feature if isinstance(feature, str) and feature else f"({type(feature).__name__})" for feature in critical}
        - supported
    )
    return f"the {name} needs the unknown features {', '.join(unknown)[:SHOWN]}; update the app" if unknown else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tier:
    """A tier whose form is that of version 1. Its selectors are judged one by one."""

    id: str
    platform: str
    rank: int
    match: list[Any]
    models: list[Any]

    @classmethod
    def of(cls, value: Any) -> _Tier | None:
        if not isinstance(value, Mapping):
            return None
        name, platform, rank = value.get("id"), value.get("platform"), integer(value.get("rank"))
        match, models = value.get("match"), value.get("models")
        if not isinstance(name, str) or not isinstance(platform, str) or rank is None:
            return None
        if not is_list(match) or not is_list(models):
            return None
        return cls(id=name, platform=platform, rank=rank, match=list(match), models=list(models))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Model:
    """What the resolver reads of a model: the digest and the bytes of each file, the engine range, and the needs."""

    files: tuple[str, ...]
    sizes: tuple[int, ...]
    engine: str
    min: str
    max_tested: str
    forward_ok: bool
    disk_bytes: int
    memory_bytes: int

    @classmethod
    def of(cls, value: Any) -> _Model | None:
        """None if the form is not that of version 1."""
        files, engine, needs = (
            [value.get(name) for name in ("files", "engine", "needs")] if isinstance(value, Mapping) else [None] * 3
        )
        if not is_list(files) or not isinstance(engine, Mapping) or not isinstance(needs, Mapping):
            return None
        pairs = [(f.get("sha256"), integer(f.get("bytes"))) if isinstance(f, Mapping) else (None, None) for f in files]
        name, oldest, newest = (engine.get(key) for key in ("name", "min", "max_tested"))
        disk, memory = integer(needs.get("disk_bytes")), integer(needs.get("peak_memory_bytes"))
        if not pairs or not all(isinstance(digest, str) and size is not None for digest, size in pairs):
            return None
        if not isinstance(name, str) or not is_version(oldest) or not is_version(newest):
            return None
        if disk is None or memory is None:
            return None
        return cls(
            files=tuple(str(digest) for digest, _ in pairs), sizes=tuple(size or 0 for _, size in pairs), engine=name,
            min=oldest, max_tested=newest, forward_ok=engine.get("forward_ok") is True, disk_bytes=disk,
            memory_bytes=memory,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    """A model that may run, and the first compute unit on which it has not failed."""

    name: str
    model: _Model
    unit: str
    installed: bool
    proven: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Resolver:
    """One call of `resolve`; `reasons` grows. Methods stand in the order in which they are called."""

    models: Mapping[str, Any]
    floors: list[Any]
    revoked: frozenset[str]
    facts: DeviceFacts
    state: ClientState
    blacklist: frozenset[str]
    reasons: list[Reason]

    def resolve(self, values: list[Any]) -> Resolution:
        tiers = [(value, _Tier.of(value)) for value in values]
        for value, tier in tiers:
            if tier is None:
                name = value.get("id") if isinstance(value, Mapping) else None
                self._note(name if isinstance(name, str) else "", "tier_unknown", "its form is unknown to this app")
        known = [tier for _, tier in tiers if tier is not None]
        floor = next((tier for tier in known if tier.rank == 0), None)
        if floor is None:
            raise UnusableManifestError("this is not a manifest: it has no floor (a tier of rank 0)")
        # At the same rank, a tier for the device's platform comes before one for any platform.
        ranked = sorted((t for t in known if t.rank > 0), key=lambda tier: (-tier.rank, tier.platform == "any"))
        for tier in ranked:
            met = self._met(tier)
            found = None if met is None else self._best(tier.id, tier.models, self.facts)
            if found is not None:
                return self._chosen(tier, found, "chosen", f"rank {tier.rank}: {met}")
        return self._platform_floor(floor) or self._floor(floor)

    def _note(self, tier: str, code: str, text: str, model: str = "") -> None:
        self.reasons.append(Reason(tier=tier, model=model, code=code, text=text))

    def _met(self, tier: _Tier) -> str | None:
        """What the device meets, for people; None, with the reason noted, if it does not get the tier."""
        if tier.platform != "any" and not self.facts.is_on(tier.platform):
            text = f"it is for {tier.platform}, the device is {self.facts.platform or 'of an unknown platform'}"
            self._note(tier.id, "platform", text)
            return None
        faults = []
        for selector in tier.match:
            fault = selector_fault(selector, self.facts)
            if fault is None:
                return f"the device meets {plain_selector(selector)}"
            faults.append(fault)
        fault = faults[0] if faults else Fault(code="selector_unmet", text="it has no selector")
        self._note(tier.id, fault.code, fault.text)
        return None

    def _platform_floor(self, floor: _Tier) -> Resolution | None:
        """The first floor for the device's platform whose form is understood; None if there is none."""
        for entry in self.floors:
            if not isinstance(entry, Mapping) or not self.facts.is_on(entry.get("platform")):
                continue
            action, models = entry.get("action"), entry.get("models")
            if action in ("cloud", "off"):
                self._note(floor.id, "floor", f"the floor of {self.facts.platform} is {action}")
                return self._without_model(floor, action)
            if action == "model" and is_list(models):
                return self._floor(replace(floor, models=list(models)))
        return None

    def _floor(self, floor: _Tier) -> Resolution:
        unlimited = replace(self.facts, free_disk_bytes=None, available_memory_bytes=None)
        found = self._best(floor.id, floor.models, unlimited)
        if found is None:
            self._note(floor.id, "nothing_runs", "no model runs in this app on this device")
            return self._without_model(floor, "none")
        tight = self._needs_fault(found.model, self.facts)
        note = f", although {tight.text}" if tight else ""
        return self._chosen(floor, found, "floor", f"the floor is for every device that gets no tier above it{note}")

    def _without_model(self, floor: _Tier, action: Action) -> Resolution:
        return Resolution(
            action=action, tier=floor.id, rank=0, model=None, compute_unit=None, installed=False, proven=False,
            reasons=tuple(self.reasons),
        )  # fmt: skip

    def _chosen(self, tier: _Tier, found: _Candidate, code: str, text: str) -> Resolution:
        self._note(tier.id, code, text, found.name)
        return Resolution(
            action="model", tier=tier.id, rank=tier.rank, model=found.name, compute_unit=found.unit,
            installed=found.installed, proven=found.proven, reasons=tuple(self.reasons),
        )  # fmt: skip

    def _best(self, tier: str, names: list[Any], facts: DeviceFacts) -> _Candidate | None:
        """The first model without a fault that is installed, else the first without a fault."""
        able: list[_Candidate] = []
        for name in names:
            found = self._candidate(name, facts)
            if isinstance(found, Fault):
                self._note(tier, found.code, found.text, name if isinstance(name, str) else "")
                continue
            able.append(found)
            if found.installed:
                for other in able[:-1]:
                    text = f"{found.name} of the same tier is installed already"
                    self._note(tier, "installed_preferred", text, other.name)
                return found
        return able[0] if able else None

    def _candidate(self, name: Any, facts: DeviceFacts) -> _Candidate | Fault:
        value = self.models.get(name) if isinstance(name, str) else None
        if value is None:
            return Fault(code="model_missing", text="the manifest does not describe it")
        model = _Model.of(value)
        if model is None:
            return Fault(code="model_unknown", text="its form is unknown to this app")
        fault = self._stopped(model) or self._engine_fault(model) or self._needs_fault(model, facts)
        if fault is not None:
            return fault
        for unit in facts.compute_units:
            proof = self._proof(model, unit)
            if proof is None or not proof.failed:
                proven = proof is not None and proof.result == "passed"
                installed = self.state.installed.issuperset(model.files)
                return _Candidate(name=str(name), model=model, unit=unit, installed=installed, proven=proven)
        return Fault(code="proof_failed", text=f"it failed on this device on {', '.join(facts.compute_units)}")

    def _stopped(self, model: _Model) -> Fault | None:
        if not self.revoked.isdisjoint(model.files):
            return Fault(code="revoked", text="the policy revokes it")
        if not self.blacklist.isdisjoint(model.files):
            return Fault(code="blacklisted", text="the app has blacklisted it on this device")
        return None

    def _engine_fault(self, model: _Model) -> Fault | None:
        name, version = model.engine, self.facts.engine_version
        if self.facts.engine is not None and self.facts.engine != name:
            return Fault(code="engine_other", text=f"it is for the engine {name}, the app has {self.facts.engine}")
        if version is None:
            return None
        if version_key(version) < version_key(model.min):
            return Fault(code="engine_too_old", text=f"it needs {name} {model.min}, the app has {version[:SHOWN]}")
        if version_key(version) > version_key(model.max_tested) and not model.forward_ok:
            text = f"it was tested up to {name} {model.max_tested}, the app has {version[:SHOWN]}"
            return Fault(code="engine_too_new", text=text)
        return None

    def _needs_fault(self, model: _Model, facts: DeviceFacts) -> Fault | None:
        pairs = zip(model.files, model.sizes, strict=True)
        disk = max(0, model.disk_bytes - sum(size for digest, size in pairs if digest in self.state.installed))
        free, available = facts.free_disk_bytes, facts.available_memory_bytes
        # 10 % to spare, in integers: file systems take more than the bytes of a file, and a full disk breaks other
        # things.
        if free is not None and disk > 0 and disk * 11 > free * 10:
            return Fault(code="disk", text=f"it needs {disk} bytes of disk and 10 % to spare, {free} are free")
        if available is not None and model.memory_bytes > available:
            text = f"it needs {model.memory_bytes} bytes of memory, {available} are available"
            return Fault(code="memory", text=text)
        return None

    def _proof(self, model: _Model, unit: str) -> ProofRecord | None:
        """The last proof of the model on a compute unit with this engine and this system."""
        key = (model.files, unit, self.facts.engine, self.facts.engine_version, self.facts.os_version)
        found = None
        for proof in self.state.proofs:
            if (proof.files, proof.compute_unit, proof.engine, proof.engine_version, proof.os_version) == key:
                found = proof
        return found
