"""The contents of a report as plain values. This module imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from device_profiles.budgets import BudgetName
    from device_profiles.cost_models.utilisation import KernelUse


@dataclass(frozen=True, slots=True, kw_only=True)
class TierRow:
    """One tier of the manifest and the model it selects.

    Attributes:
        tier: Name of the tier.
        platform: Platform of the tier, or `any`.
        rank: Place in the order in which tiers are tried, the highest first; 0 is the floor, for all other devices.
        model_id: Name of the model in the manifest.
        subnet_summary: The subnet in a few words.
        accuracy: Accuracy of the exported file on the test images, 0 to 1.
        accuracy_low: Lower end of the 95 % interval of the accuracy.
        accuracy_high: Upper end of the 95 % interval of the accuracy.
        latency_us: Latency on the tier's device; None if the tier is not for one device, as the floor is not.
        latency_basis: Provenance of the latency: `measured`, `few_shot`, `modelled` or `assumed`; "" without a latency.
        latency_budget_us: Latency budget; None if there is none.
        peak_memory_bytes: Peak memory of one inference.
        peak_memory_budget_bytes: Budget of the peak memory; None if there is none.
        file_bytes: Size of the exported file.
        file_budget_bytes: Budget of the file size; None if there is none.
        macs: MACs of one inference.
        macs_budget: Budget of the MACs; None if there is none.
        parity_max_abs: Largest absolute difference of an output between the file in its engine and PyTorch.
        budget_origins: What each derived budget was derived from, such as `30 fps`, by the name of the budget.
        arena: How well the activations of the file are planned, for people; "" if that is not known.
        load_us: Time from the file to a session that is ready to run; None if it was not measured.
        energy_uj: Energy of one inference; None if the profile states none.
        energy_budget_uj: Budget of the energy; None if there is none.
        energy_basis: Provenance of the energy: `modelled` or `assumed`; "" without an energy.
        uses: Time and share of the peak for each kind of kernel; empty if the device's peak was not measured.
        note: One sentence on the tier, or "".
    """

    tier: str
    platform: str
    rank: int
    model_id: str
    subnet_summary: str
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    latency_us: float | None
    latency_basis: str
    latency_budget_us: float | None
    peak_memory_bytes: int
    peak_memory_budget_bytes: int | None
    file_bytes: int
    file_budget_bytes: int | None
    macs: int
    parity_max_abs: float
    budget_origins: Mapping[BudgetName, str] = field(default_factory=dict)
    arena: str = ""
    load_us: float | None = None
    macs_budget: int | None = None
    energy_uj: float | None = None
    energy_budget_uj: int | None = None
    energy_basis: str = ""
    uses: tuple[KernelUse, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontPoint:
    """One scored subnet on one device.

    Attributes:
        latency_us: Predicted latency.
        accuracy: Accuracy on the held-out images, 0 to 1.
        on_front: Whether it is on the Pareto front of accuracy against latency.
        picked: Whether it is the pick, which is exported.
        feasible: Whether it keeps all budgets.
        label: Its name for people.
    """

    latency_us: float
    accuracy: float
    on_front: bool
    picked: bool
    feasible: bool
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFront:
    """Every subnet that was scored for one device.

    Attributes:
        device: Name of the device's profile.
        latency_basis: Provenance of the latencies: `measured`, `few_shot`, `modelled` or `assumed`.
        points: The subnets.
        latency_budget_us: Latency budget; None if there is none.
    """

    device: str
    latency_basis: str
    points: tuple[FrontPoint, ...]
    latency_budget_us: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingCurve:
    """The course of a training run.

    Attributes:
        steps: Steps at which the loss was recorded.
        loss: Training loss at each of `steps`.
        largest_accuracy: Pairs of a step and the held-out accuracy of the largest subnet, 0 to 1.
        smallest_accuracy: Pairs of a step and the held-out accuracy of the smallest subnet, 0 to 1.
        phase_boundary: The step at which the sandwich rule began; None if it applied from the first step.
    """

    steps: tuple[int, ...]
    loss: tuple[float, ...]
    largest_accuracy: tuple[tuple[int, float], ...]
    smallest_accuracy: tuple[tuple[int, float], ...]
    phase_boundary: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportData:
    """Everything in a report.

    Attributes:
        family_id: Name of the family.
        release: Number of the release.
        dataset_name: Name of the data set for people.
        train_count: Number of training images.
        heldout_count: Number of held-out images.
        test_count: Number of test images.
        labels_count: Number of classes.
        curve: Course of the training run; None if it was not recorded.
        fronts: The scored subnets of each target.
        tiers: All tiers of the manifest.
        measured: Sentences on what was measured, and on which machine.
        modelled: Sentences on what was modelled or assumed.
        warnings: Sentences on what a reader must know before using the family.
        versions: Versions of the libraries that shape the result, by name.
        stage_seconds: Durations of the long stages, by name.
        supernet_digest: SHA-256 of the checkpoint.
    """

    family_id: str
    release: int
    dataset_name: str
    train_count: int
    heldout_count: int
    test_count: int
    labels_count: int
    curve: TrainingCurve | None
    fronts: tuple[DeviceFront, ...]
    tiers: tuple[TierRow, ...]
    measured: tuple[str, ...]
    modelled: tuple[str, ...]
    warnings: tuple[str, ...]
    versions: Mapping[str, str] = field(default_factory=dict)
    stage_seconds: Mapping[str, float] = field(default_factory=dict)
    supernet_digest: str
