"""The contents of a report as plain values. This module imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from device_profiles.budgets import BudgetName
    from device_profiles.cost_models.utilisation import KernelUse
    from search.comparison import Comparison
    from search.target import Proof
    from supernet.tasks.measures import Measures


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstClass:
    """The class of lowest test accuracy of one model.

    Attributes:
        label: Name of the class.
        accuracy: Accuracy on the test images of the class, 0 to 1.
        images: Number of these images.
        has_few_images: Whether they are too few for more than a rough figure.
    """

    label: str
    accuracy: float
    images: int
    has_few_images: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ChurnRow:
    """How the predictions of a tier differ from those of the next lower tier of its platform, as shares of test images.

    Attributes:
        against: Name of the lower tier.
        changed: Share for which the two predict different classes.
        gained: Share for which only the higher tier is right.
        lost: Share for which only the lower tier is right.
        same_model: Whether both tiers have the same model.
    """

    against: str
    changed: float
    gained: float
    lost: float
    same_model: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityRow:
    """What one model is worth on the test images.

    Attributes:
        model_id: Name of the model in the manifest.
        targets: The targets that it was made for.
        measures: Its measures.
    """

    model_id: str
    targets: tuple[str, ...]
    measures: Measures


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofRow:
    """What was measured of one model's file before it was published.

    Attributes:
        model_id: Name of the model in the manifest.
        precision: Precision of the file.
        conversion: How the file came about, in a few words; "" if nothing was to be chosen.
        drop: What the conversion cost, in percentage points with its interval; "" if it was not measured.
        max_share: Largest difference of a logit to PyTorch, as a share of the logit range.
        sqnr_db: Signal-to-quantisation-noise ratio in decibels; None if there is no difference.
        disagreements: Number of images with another top-1 class than in PyTorch.
        images: Number of images that were compared.
        latency_p50_us: Median latency on the machine that made the family.
        latency_p95_us: 95th percentile of the latency there.
        runs: Number of timed runs.
        load_us: Time from the file to a session that is ready to run.
        peak_memory_bytes: Memory that a process needs for loading and running the file; None if it is not known.
        machine: Name of that machine, with the number of threads and the engine.
        operators: Names of the operators in the file.
    """

    model_id: str
    precision: str
    conversion: str
    drop: str
    max_share: float
    sqnr_db: float | None
    disagreements: int
    images: int
    latency_p50_us: float
    latency_p95_us: float
    runs: int
    load_us: float
    peak_memory_bytes: int | None
    machine: str
    operators: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TierRow:
    """One tier of the manifest and the model it selects.

    Attributes:
        tier: Name of the tier.
        platform: Platform of the tier, or `any`.
        rank: Place in the order in which tiers are tried, the highest first; 0 is the floor, for all other devices.
        model_id: Name of the model in the manifest.
        subnet_summary: The subnet in a few words.
        precision: The precision of the file.
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
        budget_origins: What each derived budget was derived from, such as `30 fps`, by the name of the budget.
        arena: How well the activations of the file are planned, for people; "" if that is not known.
        load_us: Time from the file to a session that is ready to run; None if it was not measured.
        energy_uj: Energy of one inference; None if the profile states none.
        energy_budget_uj: Budget of the energy; None if there is none.
        energy_basis: Provenance of the energy: `modelled` or `assumed`; "" without an energy.
        uses: Time and share of the peak for each kind of kernel; empty if the device's peak was not measured.
        note: One sentence on the tier, or "".
        worst_class: The class of lowest accuracy; None if it is not known.
        lowest_decile: The accuracy that one class in ten does not exceed, 0 to 1; None if it is not known.
        churn: The difference to the next lower tier of the platform; None for the lowest.
    """

    tier: str
    platform: str
    rank: int
    model_id: str
    subnet_summary: str
    precision: str
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
    budget_origins: Mapping[BudgetName, str] = field(default_factory=dict)
    arena: str = ""
    load_us: float | None = None
    macs_budget: int | None = None
    energy_uj: float | None = None
    energy_budget_uj: int | None = None
    energy_basis: str = ""
    uses: tuple[KernelUse, ...] = ()
    note: str = ""
    worst_class: WorstClass | None = None
    lowest_decile: float | None = None
    churn: ChurnRow | None = None


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
class FinalistRow:
    """A subnet that was scored on all held-out images before the pick of one device.

    Attributes:
        subnet_id: The id of the subnet.
        precision: The precision of its file.
        predicted_accuracy: Held-out accuracy that was predicted before this measurement, 0 to 1.
        predicted_std: Standard deviation of the prediction, in the same unit.
        measured_accuracy: Accuracy on the held-out images, 0 to 1.
        measured_images: Number of these images.
        latency_us: Predicted latency.
        picked: Whether it is the pick.
        would_be_picked_by_prediction: Whether the predictions alone would have picked it.
    """

    subnet_id: str
    precision: str
    predicted_accuracy: float
    predicted_std: float
    measured_accuracy: float
    measured_images: int
    latency_us: float
    picked: bool
    would_be_picked_by_prediction: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFront:
    """Every subnet that was scored for one device.

    Attributes:
        device: Name of the device's profile.
        latency_basis: Provenance of the latencies: `measured`, `few_shot`, `modelled` or `assumed`.
        points: The subnets.
        latency_budget_us: Latency budget; None if there is none.
        metric: What the subnets are compared by, for people.
        finalists: The subnets between which measurement decided, best first; empty if there were none.
        proof: What the solver proved; None if no solver ran.
    """

    device: str
    latency_basis: str
    points: tuple[FrontPoint, ...]
    latency_budget_us: float | None
    metric: str = "accuracy"
    finalists: tuple[FinalistRow, ...] = ()
    proof: Proof | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingCurve:
    """The course of a training run.

    Attributes:
        steps: Steps at which the loss was recorded; none if the initial weights were not trained further.
        loss: Training loss at each of `steps`.
        largest_accuracy: Pairs of a step and the held-out accuracy of the largest subnet, 0 to 1.
        smallest_accuracy: Pairs of a step and the held-out accuracy of the smallest subnet, 0 to 1.
        phase_boundary: The step at which the sandwich rule began; None if it applied from the first step.
        metric: What the checks measured, for people.
    """

    steps: tuple[int, ...]
    loss: tuple[float, ...]
    largest_accuracy: tuple[tuple[int, float], ...]
    smallest_accuracy: tuple[tuple[int, float], ...]
    phase_boundary: int | None
    metric: str = "accuracy"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportData:
    """Everything in a report.

    Attributes:
        family_id: Name of the family.
        release: Number of the release.
        dataset_name: Name of the data set for people.
        train_count: Number of training images.
        train_use: What they fit, for people.
        metric: What the family states of each model, for people.
        example: What an example is: an image or a text.
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
        quality: What each model is worth on the test images.
        class_names: Names of the classes.
        proofs: What was measured of each model's file.
        comparisons: The comparisons of samplers that were made.
    """

    family_id: str
    release: int
    dataset_name: str
    train_count: int
    train_use: str
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
    quality: tuple[QualityRow, ...] = ()
    metric: str = "accuracy"
    example: str = "image"
    class_names: tuple[str, ...] = ()
    proofs: tuple[ProofRow, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
