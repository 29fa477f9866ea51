"""What a report shows, as plain values. Imports nothing heavy."""

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
        rank: the highest is tried first; 0 is the floor, which takes whatever is left.
        subnet_summary: the subnet in a few words for people.
        accuracy: of the exported file on the test split, 0 to 1.
        accuracy_low: lower end of its 95 % interval.
        accuracy_high: upper end of its 95 % interval.
        latency_us: None where the tier stands for no device, as the floor does.
        latency_basis: `measured`, `few_shot`, `modelled` or `assumed`; "" without a latency.
        latency_budget_us: None where latency has no budget; likewise the other budgets.
        macs: of one inference.
        parity_max_abs: largest difference of an output between the file in its engine and PyTorch.
        budget_origins: what a budget is derived from, such as `30 fps`, by its name; only of those that are.
        arena: how the activations of the file are planned, for people, or "".
        load_us: from file to session; None where nobody measured it.
        energy_uj: of one inference; None where the device has no figures for it.
        energy_basis: `modelled` or `assumed`; "" without an energy.
        uses: where the time goes, where the device's peak was measured.
        note: one sentence, or "".
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
    energy_uj: float | None = None
    energy_basis: str = ""
    uses: tuple[KernelUse, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontPoint:
    """One scored subnet on one device.

    Attributes:
        accuracy: on the held-out split, 0 to 1.
        on_front: on the Pareto front of accuracy against latency.
        picked: the one that is exported.
        feasible: inside all budgets.
        label: names it to people.
    """

    latency_us: float
    accuracy: float
    on_front: bool
    picked: bool
    feasible: bool
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFront:
    """Every subnet scored for one device. `latency_basis` as in `TierRow`."""

    device: str
    latency_basis: str
    points: tuple[FrontPoint, ...]
    latency_budget_us: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingCurve:
    """How training went.

    Attributes:
        steps: where `loss` was noted; as long as it.
        largest_accuracy: (step, accuracy on the held-out split) of the largest subnet.
        smallest_accuracy: likewise of the smallest.
        phase_boundary: the step at which the sandwich rule began; None without such a change.
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
        labels_count: classes of the task.
        curve: None where no training was recorded.
        measured: sentences on what was measured, and where.
        modelled: sentences on what was not.
        warnings: sentences on what the reader must know before using the family.
        versions: of the libraries that shape the result, by name.
        stage_seconds: wall-clock time by stage of the build.
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
