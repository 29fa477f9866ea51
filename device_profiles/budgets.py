"""Budgets: upper limits on the costs of one inference on a device. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import (
    Field,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from factory_base.documents import Document
from factory_base.errors import ConfigError
from factory_base.quantities import (
    EXAMPLES,
    DurationUs,
    EnergyUj,
    FrameRate,
    Kind,
    MacsCount,
    Share,
    SizeBytes,
    exact_bytes,
    exact_frame_rate,
    exact_share,
    format_bytes,
    format_duration,
    format_energy,
    format_macs,
    kind_of,
)

if TYPE_CHECKING:
    from device_profiles.costs import Costs

BudgetName = Literal["latency", "peak_memory", "file_size", "macs", "energy"]

_FORMATS: dict[BudgetName, Callable[[float], str]] = {
    "latency": format_duration,
    "peak_memory": format_bytes,
    "file_size": format_bytes,
    "macs": format_macs,
    "energy": format_energy,
}
_FORMS: dict[BudgetName, tuple[str, ...]] = {
    "latency": ("latency_us", "frames_per_s", "frame_share"),
    "peak_memory": ("peak_memory_bytes", "memory"),
    "file_size": ("file_bytes", "download_bytes"),
    "macs": ("macs",),
    "energy": ("energy_uj",),
}
"""The fields of each budget: first the limit itself, then the fields that it can be derived from."""

_ALWAYS_WRITTEN = {"latency", "latency_us", "peak_memory", "peak_memory_bytes", "file_size", "file_bytes"}
"""Keys of limits, by alias and by name, that are written even if the limit is not set."""

_KINDS: dict[str, Kind] = {
    "frames_per_s": "frame rate",
    "frame_share": "share",
    "latency_us": "duration",
    "peak_memory_bytes": "size",
    "download_bytes": "size",
    "file_bytes": "size",
    "macs": "number of MACs",
    "energy_uj": "quantity of energy",
}
_KEYS: dict[Kind, str] = {
    "duration": "latency",
    "size": "peak_memory, file_size or download",
    "frame rate": "frame_rate",
    "share": "frame_share or memory.app_share",
    "number of MACs": "macs",
    "quantity of energy": "energy",
}
"""The keys under which a quantity of each kind belongs."""

_LEAST_CONFIDENCE, _MOST_CONFIDENCE = 0.5, 0.999
"""Below one half the bound would lie below the prediction itself. Above 99.9 % the bound rests on the far tail of a
normal distribution, which no profile has enough measurements to vouch for."""

_MEMORY_EXAMPLE = "a section such as memory: {ram: 3 GiB, system_reserve: 1.2 GiB, app_share: 10 %}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One budget that is set.

    Attributes:
        value: The limit, in microseconds, bytes, MACs or microjoules.
        origin: What the limit is derived from, such as `30 fps`; "" if the limit itself was given.
        confidence: The probability with which the limit must be kept; None if only the prediction counts.
    """

    budget: BudgetName
    value: int
    origin: str
    confidence: float | None = None

    def describe(self) -> str:
        """One phrase for people: `latency <= 33.3 ms (30 fps)`, `latency <= 8 ms with 90 %`."""
        limit = f"{budget_words(self.budget)} <= {_with_origin(_FORMATS[self.budget](self.value), self.origin)}"
        return limit if self.confidence is None else f"{limit} with {exact_share(self.confidence)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Excess:
    """One budget that is exceeded.

    Attributes:
        value: What the subnet needs, in microseconds, bytes, MACs or microjoules.
        limit: The limit, in the same unit.
        ratio: value / limit, above 1.
        origin: What the limit is derived from, as in `Limit`.
        confidence: If set, `value` is the upper bound on what the subnet needs at this probability.
    """

    budget: BudgetName
    value: float
    limit: float
    ratio: float
    origin: str = ""
    confidence: float | None = None

    def describe(self) -> str:
        """One phrase for people: `latency 9.1 ms exceeds 8 ms`, `latency 40 ms exceeds 33.3 ms (30 fps)`.

        With a confidence: `latency 9.1 ms (with 90 %) exceeds 8 ms`.
        """
        write = _FORMATS[self.budget]
        value, limit = write(self.value), write(self.limit)
        if value == limit:
            value = f"{value} (by {(self.ratio - 1) * 100:.2g} %)"
        if self.confidence is not None:
            value = f"{value} (with {exact_share(self.confidence)})"
        return f"{budget_words(self.budget)} {value} exceeds {_with_origin(limit, self.origin)}"


class MemoryShare(Document):
    """The share of the RAM left by the system that the app gives to the model."""

    ram_bytes: SizeBytes = Field(alias="ram")
    """The RAM of the device."""
    system_reserve_bytes: SizeBytes = Field(alias="system_reserve")
    """The part of it that the system and other apps keep."""
    app_share: Share
    """The share of the rest that the model may take."""

    @model_validator(mode="before")
    @classmethod
    def _is_a_section(cls, value: Any) -> Any:
        if not isinstance(value, Mapping | MemoryShare):
            raise ValueError(f"{value!r} is not {_MEMORY_EXAMPLE}; for a limit write peak_memory")
        return value

    @model_validator(mode="after")
    def _leaves_something(self) -> MemoryShare:
        if self.limit_bytes < 1:
            left = self.ram_bytes - self.system_reserve_bytes
            raise ValueError(
                f"ram {exact_bytes(self.ram_bytes)} - system_reserve {exact_bytes(self.system_reserve_bytes)} = "
                f"{'-' if left < 0 else ''}{format_bytes(abs(left))}, and app_share {exact_share(self.app_share)} of "
                "that leaves nothing for the model; lower system_reserve"
            )
        return self

    @property
    def limit_bytes(self) -> int:
        """(ram - system reserve) x share, rounded down."""
        return int((self.ram_bytes - self.system_reserve_bytes) * self.app_share)

    def describe(self) -> str:
        """One phrase for people: `10 % of 3 GiB less 1.2 GiB`."""
        ram, reserve = exact_bytes(self.ram_bytes), exact_bytes(self.system_reserve_bytes)
        return f"{exact_share(self.app_share)} of {ram} less {reserve}"


class Budgets(Document):
    """Upper limits per inference (batch 1). A budget that is not given does not limit anything.

    Files and constructors take quantities with units, under the short keys. A limit can also be derived from the
    quantity that people have in mind:

    - `frame_rate: 30 fps` limits the latency to the duration of one frame, or to the `frame_share` given beside it;
    - `memory: {ram: 3 GiB, system_reserve: 1.2 GiB, app_share: 10 %}` limits the peak memory, see `MemoryShare`;
    - `download: 5 MB` limits the size of the file on disk; compression during the download is not counted.

    `macs: 60 M` limits the MACs, which are the same on every device. `energy: 3 mJ` limits the energy, which needs a
    profile with energy costs.

    `confidence: 90 %` requires that the latency stays below its limit with that probability, given the standard
    deviation of the device's predictions if it is known. Without it only the prediction itself is compared.

    In either form the limits are read as `latency_us`, `peak_memory_bytes` and `file_bytes`. Giving one limit in both
    forms is refused.

    >>> from device_profiles import Budgets, Costs
    >>> budgets = Budgets(frame_rate="30 fps", frame_share="25 %", peak_memory="64 MiB")
    >>> budgets.latency_us
    8333
    >>> costs = Costs(latency_us=9100, peak_memory_bytes=48 * 2**20, file_bytes=5_000_000, macs=60_000_000)
    >>> [excess.describe() for excess in budgets.excesses(costs)]
    ['latency 9.1 ms exceeds 8.33 ms (25 % of a frame at 30 fps)']
    >>> budgets.slack(costs)["peak_memory"]
    0.75
    """

    frames_per_s: FrameRate | None = Field(default=None, alias="frame_rate")
    """Limits the latency to the duration of one frame."""
    frame_share: Share | None = None
    """The share of a frame that the model may take; needs `frame_rate`. By default all of it."""
    latency_us: DurationUs | None = Field(default=None, alias="latency", validate_default=True)
    """The longest that one inference may take."""
    memory: MemoryShare | None = None
    """Limits the peak memory to a share of the RAM."""
    peak_memory_bytes: SizeBytes | None = Field(default=None, alias="peak_memory", validate_default=True)
    """The most memory that one inference may take, weights included."""
    download_bytes: SizeBytes | None = Field(default=None, alias="download")
    """Limits the size of the model file on disk; compression during the download is not counted."""
    file_bytes: SizeBytes | None = Field(default=None, alias="file_size", validate_default=True)
    """The largest size of the model file."""
    macs: MacsCount | None = None
    """The most multiply-accumulate operations, which are the same on every device."""
    energy_uj: EnergyUj | None = Field(default=None, alias="energy")
    """The most energy that one inference may take; needs a profile with energy costs."""
    confidence: Share | None = None
    """Demands that the latency stays below its limit with this probability, 50 % to 99.9 %, given the uncertainty of
    the profile's predictions if that is known. Without it only the prediction itself is compared."""

    @model_validator(mode="before")
    @classmethod
    def _keeps_memory_together(cls, value: Any) -> Any:
        fields = [field.alias or name for name, field in MemoryShare.model_fields.items()]
        misplaced = [key for key in fields if isinstance(value, Mapping) and key in value]
        if misplaced:
            raise ValueError(f"{misplaced[0]} belongs in {_MEMORY_EXAMPLE}")
        return value

    @field_validator(*_KINDS, mode="before")
    @classmethod
    def _is_of_its_kind(cls, value: Any, info: ValidationInfo) -> Any:
        given, wanted = kind_of(value), _KINDS[str(info.field_name)]
        if given not in (None, wanted):
            raise ValueError(f"{value!r} is not {EXAMPLES[wanted]}; a {given} goes under {_KEYS[given]}")
        return value

    @field_validator("frame_share")
    @classmethod
    def _is_of_a_frame(cls, share: float | None, info: ValidationInfo) -> float | None:
        rate = info.data.get("frames_per_s", 1.0)  # an invalid rate is absent here and is reported on its own
        if share is not None and rate is None:
            raise ValueError(f"{exact_share(share)} needs a frame_rate in the same section; add one")
        if share is not None and _frame_us(rate, share) < 1:
            raise ValueError(f"{exact_share(share)} of a frame at {exact_frame_rate(rate)} is less than 1 us; raise it")
        return share

    @field_validator("confidence")
    @classmethod
    def _is_a_confidence(cls, share: float | None) -> float | None:
        if share is not None and not _LEAST_CONFIDENCE <= share <= _MOST_CONFIDENCE:
            low, high = exact_share(_LEAST_CONFIDENCE), exact_share(_MOST_CONFIDENCE)
            raise ValueError(
                f"{exact_share(share)} is outside the allowed range, {low} to {high}; choose one inside it"
            )
        return share

    @field_validator("latency_us")
    @classmethod
    def _or_a_frame(cls, limit: int | None, info: ValidationInfo) -> int | None:
        rate, share = info.data.get("frames_per_s"), info.data.get("frame_share") or 1.0
        return _the_one("latency", limit, "frame_rate", rate and _frame_us(rate, share))

    @field_validator("peak_memory_bytes")
    @classmethod
    def _or_a_share_of_memory(cls, limit: int | None, info: ValidationInfo) -> int | None:
        memory = info.data.get("memory")
        return _the_one("peak_memory", limit, "memory", memory and memory.limit_bytes)

    @field_validator("file_bytes")
    @classmethod
    def _or_the_download(cls, limit: int | None, info: ValidationInfo) -> int | None:
        return _the_one("file_size", limit, "download", info.data.get("download_bytes"))

    @model_serializer(mode="wrap")
    def _write(self, write: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        """By name, write every limit and its origin; by alias, as in files, only the keys that can be read again."""
        derived = {limit.budget for limit in self.limits() if limit.origin} if info.by_alias else set()
        content: dict[str, Any] = write(self)
        return {
            key: value
            for key, value in content.items()
            if key not in derived and (value is not None or key in _ALWAYS_WRITTEN)
        }

    def limits(self) -> tuple[Limit, ...]:
        """Return the limits that are set, each with its origin."""
        found = [(name, getattr(self, forms[0])) for name, forms in _FORMS.items()]
        return tuple(
            Limit(
                budget=name,
                value=value,
                origin=self._origin(name),
                confidence=self.confidence if name == "latency" else None,
            )
            for name, value in found
            if value is not None
        )

    def overridden_by(self, other: Budgets) -> Budgets:
        """Return these budgets with every limit that `other` sets replaced, in whichever form each was given."""
        replaced = [field for limit in other.limits() for field in _FORMS[limit.budget]]
        replaced += ["confidence"] if other.confidence is not None else []
        return self.model_copy(update={field: getattr(other, field) for field in replaced})

    def excesses(self, costs: Costs) -> tuple[Excess, ...]:
        """Return the budgets that `costs` exceeds, the largest ratio first. An empty result means feasible.

        Raises:
            ConfigError: There is a budget for the energy, but the energy is not known.
        """
        found = [
            Excess(
                budget=limit.budget,
                value=value,
                limit=limit.value,
                ratio=value / limit.value,
                origin=limit.origin,
                confidence=limit.confidence if costs.latency_std_us else None,
            )
            for limit, value in self._pairs(costs)
            if value > limit.value
        ]
        return tuple(sorted(found, key=lambda excess: -excess.ratio))

    def slack(self, costs: Costs) -> dict[str, float]:
        """Return the used share of every budget that is set: value / limit, at most 1 if the budget is kept.

        Raises:
            ConfigError: As for `excesses`.
        """
        return {limit.budget: value / limit.value for limit, value in self._pairs(costs)}

    def _pairs(self, costs: Costs) -> list[tuple[Limit, float]]:
        values: dict[BudgetName, float] = {
            "latency": costs.latency_bound_us(self.confidence or 0.5),
            "peak_memory": costs.peak_memory_bytes,
            "file_size": costs.file_bytes,
            "macs": costs.macs,
        }
        if self.energy_uj is not None:
            if costs.energy_uj is None:
                raise ConfigError(
                    f"the budget energy <= {format_energy(self.energy_uj)} cannot be checked: the energy of a subnet "
                    "is not known on this device"
                )
            values["energy"] = costs.energy_uj
        return [(limit, values[limit.budget]) for limit in self.limits()]

    def _origin(self, budget: BudgetName) -> str:
        if budget == "latency" and self.frames_per_s is not None:
            rate = exact_frame_rate(self.frames_per_s)
            return rate if self.frame_share is None else f"{exact_share(self.frame_share)} of a frame at {rate}"
        if budget == "peak_memory" and self.memory is not None:
            return self.memory.describe()
        if budget == "file_size" and self.download_bytes is not None:
            return f"download {exact_bytes(self.download_bytes)}"
        return ""


def _frame_us(rate: float, share: float) -> int:
    return int(1e6 * share / rate)


def _the_one(budget: BudgetName, limit: int | None, other_key: str, derived: int | None) -> int | None:
    if limit is not None and derived is not None:
        write = _FORMATS[budget]
        raise ValueError(
            f"{budget} says {write(limit)} and {other_key} says {write(derived)}; keep one of the two keys"
        )
    return limit if derived is None else derived


def budget_words(budget: str) -> str:
    """A budget's name for people: `peak memory`."""
    return "MACs" if budget == "macs" else budget.replace("_", " ")


def _with_origin(limit: str, origin: str) -> str:
    return f"{limit} ({origin})" if origin else limit
