"""What the manifest says about devices: tiers with their selectors, and the floors of platforms."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from exports.family.record_fields import Count, Id, Positive, Ppm, Record, Version


class Soc(Record):
    """A system on a chip. An empty `model` stands for all models of the maker."""

    maker: str
    model: str = ""


class Device(Record):
    """A device by its maker and model, as the operating system names them. An empty `model` stands for all models."""

    maker: str
    model: str = ""


class Probe(Record):
    """A measurement that the app makes on the device itself: which one, and the least score."""

    id: Id
    score: Positive


class Selector(Record):
    """A condition on device facts; all given keys must hold. RAM classes are in MiB, see `resolver.ram_class_mib`.

    Attributes:
        platforms: The accepted platforms.
        ram_class_min: The smallest class of RAM, inclusive.
        ram_class_max: The largest class of RAM, exclusive.
        cores_min: The smallest number of processor cores.
        os_min: The oldest version of the operating system; on Android the API level.
        soc_include: The accepted systems on a chip.
        soc_exclude: The excluded systems on a chip.
        device_include: The accepted devices.
        device_exclude: The excluded devices.
        features_all: What the device must have; the app and the author agree on the names.
        features_none: What the device must not have.
        probe_min: The least score of a measurement by the app.
        strict: Whether the excluding keys also exclude devices of which the fact is unknown.
    """

    model_config = ConfigDict(extra="allow")

    platforms: tuple[Id, ...] | None = None
    ram_class_min: Positive | None = None
    ram_class_max: Positive | None = None
    cores_min: Positive | None = None
    os_min: Version | None = None
    soc_include: tuple[Soc, ...] | None = None
    soc_exclude: tuple[Soc, ...] | None = None
    device_include: tuple[Device, ...] | None = None
    device_exclude: tuple[Device, ...] | None = None
    features_all: tuple[Id, ...] | None = None
    features_none: tuple[Id, ...] | None = None
    probe_min: Probe | None = None
    strict: bool | None = None


class Churn(Record):
    """How the predictions of a tier's first model differ from those of a lower tier's, as shares of all test images.

    Attributes:
        against: The id of the lower tier.
        changed_ppm: The share for which the two models give different answers: for classes different classes.
        gained_ppm: The share for which this tier's model is better: for classes right where the lower one is wrong.
        lost_ppm: The share for which this tier's model is worse.
    """

    against: Id
    changed_ppm: Ppm
    gained_ppm: Ppm
    lost_ppm: Ppm


class Tier(Record):
    """A rank within a platform. A device gets it if any selector of `match` holds; models are in order of preference.

    Rank 0 is the floor, without selectors and for any platform; it is for all remaining devices. `churn` is that
    against the next lower tier of the platform; the lowest tier and the floor have none.
    """

    id: Id
    platform: Id
    rank: Count
    match: Annotated[tuple[Selector, ...], Field(max_length=8)]  # bounds the work of an app at launch
    models: Annotated[tuple[Id, ...], Field(min_length=1)]
    churn: Churn | None = None


class PlatformFloor(Record):
    """What the devices of a platform get that match no tier. Platforms without one get the tier of rank 0.

    Attributes:
        platform: The platform.
        action: `model`: one of `models`; `cloud`: a server computes; `off`: nothing runs.
        models: The models in order of preference; empty unless the action is `model`.
    """

    platform: Id
    action: Literal["model", "cloud", "off"]
    models: tuple[Id, ...] = ()
