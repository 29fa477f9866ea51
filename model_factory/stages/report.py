"""The report stage: the values of a finished build as a page for people."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from device_profiles.cost_models.utilisation import KernelUse, utilisation
from device_profiles.profile import DeviceProfile
from exports.family.artifact import Artifact
from exports.family.proof import describe_attempt
from exports.family.records import ClassQuality, Manifest, Model, Tier
from exports.onnx.conversion import Conversion, Drop
from factory_base.errors import EngineError
from factory_base.files import digest_of
from factory_base.wording import counted
from model_factory.config import FactoryConfig
from model_factory.console import Console
from model_factory.report.data import (
    ChurnRow,
    DeviceFront,
    FinalistRow,
    FrontPoint,
    ProofRow,
    QualityRow,
    ReportData,
    TierRow,
    TrainingCurve,
    WorstClass,
)
from model_factory.run import Run
from model_factory.stages.cached import Stage, library_version
from model_factory.stages.export import Exported
from model_factory.stages.finetune import finetuning_lines
from model_factory.stages.fingerprint import subnet_values
from model_factory.stages.materials import Materials
from model_factory.stages.search import SearchOutcome
from model_factory.stages.train import Trained
from search.comparison import Comparison
from search.metric_words import metric_words
from search.target import Finalist, TargetResult
from supernet.space import SubnetConfig
from supernet.tasks.class_measures import FEWEST

_VERSION = 9
_LIBRARIES = ("torch", "onnx", "onnxruntime", "optuna", "numpy", "scipy")
_NO_BREAK = "\N{NON-BREAKING HYPHEN}"
_PPM = 1e6


def report_stage(
    run: Run,
    materials: Materials,
    console: Console,
    trained: Trained,
    manifest: Manifest,
    outcomes: Sequence[SearchOutcome],
    exported: Sequence[Exported],
    quality: Sequence[QualityRow],
    notes: Sequence[str],
    offsets: Sequence[str],
    comparisons: Sequence[Comparison] = (),
) -> None:
    """Write report.html beside the manifest.

    Args:
        run: The run.
        materials: Its model space.
        console: Shows progress.
        trained: The trained supernet.
        manifest: The manifest of the family.
        outcomes: The outcome of the search for each target.
        exported: The exported model of each outcome, in the same order.
        quality: What each model is worth on the test images.
        notes: What a reader must know before using the family, a sentence each.
        offsets: What each precision costs in accuracy, a sentence each.
        comparisons: The comparisons of samplers that were made.

    Raises:
        DiskError: The page cannot be written.
    """

    def write() -> bool:
        from model_factory.report.render import write_report

        with console.stage("write report"):
            data = _report_data(run, materials, trained, manifest, outcomes, exported, quality, notes, offsets)
            write_report(replace(data, comparisons=tuple(comparisons)), run.report)
        return True

    stage = Stage(
        run=run,
        name="report",
        version=_VERSION,
        inputs={
            "manifest": digest_of(manifest.model_dump(mode="json")),
            "outcomes": [_outcome_inputs(outcome) for outcome in outcomes],
            "quality": digest_of([asdict(row) for row in quality]),
            "notes": list(notes),
            "offsets": list(offsets),
            "finetuned": list(finetuning_lines(e.finetuned for e in exported)),
            **({"comparisons": [asdict(found) for found in comparisons]} if comparisons else {}),
        },
        libraries=(*_LIBRARIES, "matplotlib", "jinja2"),
        codec=TypeAdapter(bool),
    )
    stage.cached(write, lambda _: (run.report,))


def _outcome_inputs(outcome: SearchOutcome) -> dict[str, Any]:
    return {
        "profile": outcome.found.digest,
        "budgets": outcome.budgets.model_dump(mode="json"),
        "candidates": [
            [subnet_values(c.subnet), c.precision, c.accuracy, asdict(c.costs), len(c.excesses)]
            for c in outcome.result.candidates
        ],
        "finalists": [
            [f.candidate.variant.name, f.candidate.accuracy, f.candidate.images, f.predicted, f.predicted_std]
            for f in outcome.result.finalists
        ],
        "expected": outcome.result.expected.name,
        "proof": [outcome.result.proof.status, outcome.result.proof.objective, outcome.result.proof.bound],
    }


def device_front(outcome: SearchOutcome, metric: str = "accuracy") -> DeviceFront:
    """The scored subnets of one target as points of a plot; `metric` names what they are compared by."""
    front = {candidate.variant for candidate in outcome.result.front}
    points = tuple(
        FrontPoint(
            latency_us=c.costs.latency_us,
            accuracy=c.accuracy,
            on_front=c.variant in front,
            picked=c.variant == outcome.result.pick.variant,
            feasible=not c.excesses,
            label=c.variant.describe(),
        )
        for c in outcome.result.candidates
    )
    profile = outcome.profile
    return DeviceFront(
        device=profile.name,
        latency_basis=profile.latency_provenance,
        points=points,
        latency_budget_us=outcome.budgets.latency_us,
        metric=metric,
        finalists=tuple(_finalist_row(outcome.result, finalist) for finalist in outcome.result.finalists),
        proof=outcome.result.proof,
    )


def _finalist_row(result: TargetResult, finalist: Finalist) -> FinalistRow:
    candidate = finalist.candidate
    return FinalistRow(
        subnet_id=candidate.subnet.id,
        precision=candidate.precision,
        predicted_accuracy=finalist.predicted,
        predicted_std=finalist.predicted_std,
        measured_accuracy=candidate.accuracy,
        measured_images=candidate.images,
        latency_us=candidate.costs.latency_us,
        picked=candidate.variant == result.pick.variant,
        would_be_picked_by_prediction=candidate.variant == result.expected,
    )


def subnet_summary(subnet: SubnetConfig) -> str:
    """A subnet in a few words: its resolution if it has one, then the depths and widths of its stages."""
    values = subnet.to_dict()
    parts = [f"{values['resolution']} px"] if "resolution" in values else []
    for word in ("depth", "width"):
        found = [str(value) for name, value in values.items() if name.endswith(f".{word}")]
        if found:
            parts.append(f"{word} {_NO_BREAK.join(found)}")
    return ", ".join(parts) or subnet.id


def _report_data(
    run: Run,
    materials: Materials,
    trained: Trained,
    manifest: Manifest,
    outcomes: Sequence[SearchOutcome],
    exported: Sequence[Exported],
    quality: Sequence[QualityRow],
    notes: Sequence[str],
    offsets: Sequence[str],
) -> ReportData:
    by_tier = {outcome.found.profile.name: outcome for outcome in outcomes}
    models = {e.artifact.model_id: e for e in exported}
    train_count, heldout_count, test_count = trained.counts
    metric = metric_words(run.config.steering).name
    return ReportData(
        family_id=manifest.family_id,
        release=manifest.release,
        dataset_name=run.config.data.path or run.config.data.source,
        train_count=train_count,
        train_use=_train_use(run.config),
        heldout_count=heldout_count,
        test_count=test_count,
        labels_count=len(trained.class_names),
        curve=_curve(trained, metric),
        fronts=tuple(device_front(outcome, metric) for outcome in outcomes),
        metric=metric,
        example="text" if run.config.task.inputs == "tokens" else "image",
        tiers=tuple(
            _with_consistency(
                _tier_row(
                    run, materials, tier, manifest.models[tier.models[0]], models[tier.models[0]], by_tier.get(tier.id)
                ),
                manifest,
                tier,
                trained.class_names,
            )
            for tier in manifest.tiers
        ),
        measured=(*_measured(outcomes, exported), *offsets),
        modelled=_modelled(outcomes),
        warnings=tuple(notes),
        versions={name: library_version(name) for name in _LIBRARIES},
        stage_seconds=_stage_seconds(trained, exported),
        supernet_digest=trained.checkpoint_sha256,
        quality=tuple(quality),
        class_names=trained.class_names,
        proofs=tuple(_proof_row(e.artifact) for e in {e.artifact.model_id: e for e in exported}.values()),
    )


def _proof_row(artifact: Artifact) -> ProofRow:
    proof, conversion = artifact.proof, artifact.conversion
    parity, host = proof.parity, proof.host
    return ProofRow(
        model_id=artifact.model_id,
        precision=proof.precision,
        conversion=_conversion_text(conversion),
        drop=_drop_text(conversion.drop) if conversion.drop else "",
        max_share=parity.max_share,
        sqnr_db=parity.sqnr_db if math.isfinite(parity.sqnr_db) else None,
        disagreements=parity.disagreements,
        images=parity.images,
        latency_p50_us=host.latency_p50_us,
        latency_p95_us=host.latency_p95_us,
        runs=host.runs,
        load_us=host.load_us,
        peak_memory_bytes=host.peak_memory_bytes,
        machine=f"{host.machine}, {counted(host.threads, 'thread')}, {artifact.engine} {host.engine_version}",
        operators=proof.operators,
    )


def _conversion_text(conversion: Conversion) -> str:
    """What was done, and how much was tried before it."""
    if conversion.chosen is None:
        return ""
    tried = len(conversion.attempts)
    done = describe_attempt(conversion.attempts[conversion.chosen])
    return done if tried == 1 else f"{done}; best of {tried} attempts"


def _drop_text(drop: Drop) -> str:
    change, low, high = (0 - value for value in (drop.points, drop.high, drop.low))  # 0 - 0 is not written "-0"
    return f"{change:+.2f} points ({low:+.2f} to {high:+.2f}) on {counted(drop.images, 'image')}"


def _with_consistency(row: TierRow, manifest: Manifest, tier: Tier, labels: Sequence[str]) -> TierRow:
    """`row` with the worst class of its model and the churn against the next lower tier."""
    found = manifest.models[tier.models[0]].quality.classes
    return replace(
        row,
        worst_class=_worst_class(found, labels) if found else None,
        lowest_decile=found.lowest_decile_ppm / _PPM if found else None,
        churn=_churn_row(manifest, tier),
    )


def _worst_class(found: ClassQuality, labels: Sequence[str]) -> WorstClass:
    worst = found.worst
    return WorstClass(
        label=labels[worst.index],
        accuracy=worst.value_ppm / _PPM,
        images=worst.images,
        has_few_images=worst.images < FEWEST,
    )


def _churn_row(manifest: Manifest, tier: Tier) -> ChurnRow | None:
    if tier.churn is None:
        return None
    models = {t.id: t.models[0] for t in manifest.tiers}
    return ChurnRow(
        against=tier.churn.against,
        changed=tier.churn.changed_ppm / _PPM,
        gained=tier.churn.gained_ppm / _PPM,
        lost=tier.churn.lost_ppm / _PPM,
        same_model=models[tier.churn.against] == tier.models[0],
    )


def _stage_seconds(trained: Trained, exported: Sequence[Exported]) -> dict[str, float]:
    tuned = {e.subnet: e.finetuned.seconds for e in exported if e.finetuned}
    return {"training": trained.seconds, **({"fine-tuning": sum(tuned.values())} if tuned else {})}


def _train_use(config: FactoryConfig) -> str:
    """What the training images fit: at least the batch normalisation of every subnet."""
    fitted = [
        *(["weights"] if config.training.epochs else []),
        *(["normalisation"] if config.data.normalize == "data" else []),
    ]
    return " and ".join(fitted) or "batch normalisation"


def _curve(trained: Trained, metric: str) -> TrainingCurve:
    rows = trained.curve
    losses = [(row.step, row.loss) for row in rows if row.loss is not None]
    return TrainingCurve(
        steps=tuple(step for step, _ in losses),
        loss=tuple(loss for _, loss in losses),
        largest_accuracy=tuple((r.step, r.largest_accuracy) for r in rows if r.largest_accuracy is not None),
        smallest_accuracy=tuple((r.step, r.smallest_accuracy) for r in rows if r.smallest_accuracy is not None),
        phase_boundary=trained.largest_only_steps or None,
        metric=metric,
    )


def _tier_row(
    run: Run, materials: Materials, tier: Tier, model: Model, made: Exported, outcome: SearchOutcome | None
) -> TierRow:
    subnet, profile = made.subnet, outcome.profile if outcome else None
    budgets = outcome.budgets if outcome else None
    costs = outcome.result.pick.costs if outcome else None
    weights = next(file for file in model.files if file.role == "weights")
    return TierRow(
        tier=tier.id,
        platform=tier.platform,
        rank=tier.rank,
        model_id=tier.models[0],
        precision=made.precision,
        subnet_summary=subnet_summary(subnet),
        accuracy=model.quality.value_ppm / _PPM,
        accuracy_low=model.quality.low_ppm / _PPM,
        accuracy_high=model.quality.high_ppm / _PPM,
        latency_us=costs.latency_us if costs else None,
        latency_basis=profile.latency_provenance if profile else "",
        latency_budget_us=budgets.latency_us if budgets else None,
        peak_memory_bytes=costs.peak_memory_bytes if costs else model.needs.peak_memory_bytes,
        peak_memory_budget_bytes=budgets.peak_memory_bytes if budgets else None,
        file_bytes=weights.bytes,
        file_budget_bytes=budgets.file_bytes if budgets else None,
        macs=model.subnet.macs,
        macs_budget=budgets.macs if budgets else None,
        budget_origins={limit.budget: limit.origin for limit in budgets.limits() if limit.origin} if budgets else {},
        arena=_arena(run.family_folder / weights.name),
        load_us=costs.load_us if costs else None,
        energy_uj=costs.energy_uj if costs else None,
        energy_budget_uj=budgets.energy_uj if budgets else None,
        energy_basis=(profile.energy_provenance or "") if profile else "",
        uses=_uses(materials, subnet, profile),
        note="" if outcome else "for every device that no other tier takes",
    )


def _arena(path: Path) -> str:
    """How well the file's activations are planned; "" if they cannot be, because their shapes depend on the data."""
    from exports.onnx.graph_memory import plan_graph

    try:
        return plan_graph(path).describe()
    except EngineError:
        return ""


def _uses(materials: Materials, subnet: SubnetConfig, profile: DeviceProfile | None) -> tuple[KernelUse, ...]:
    if profile is None or profile.costs.peak is None:
        return ()
    return utilisation(materials.workloads.of(subnet), profile)


def _measured(outcomes: Sequence[SearchOutcome], exported: Sequence[Exported]) -> tuple[str, ...]:
    profiles = [outcome.profile for outcome in outcomes]
    machines = {profile.name: profile.costs.machine for profile in profiles if profile.costs.machine}
    return (
        "Test accuracy: of each exported file, in its engine, on all test images, which the search did not use.",
        "Parity: of each exported file, compared with PyTorch on held-out images.",
        "File size: of each exported file.",
        *(f"Latency on {device}: predicted from kernels timed on {machine}." for device, machine in machines.items()),
        *(f"{line[0].upper()}{line[1:]}." for line in finetuning_lines(e.finetuned for e in exported)),
    )


def _modelled(outcomes: Sequence[SearchOutcome]) -> tuple[str, ...]:
    profiles = [outcome.profile for outcome in outcomes]
    untimed = [p.name for p in profiles if p.latency_provenance in ("modelled", "assumed")]
    few_shot = [p.name for p in profiles if p.latency_provenance == "few_shot"]
    figures = "computed from published or assumed figures of such devices; none was timed"
    return (
        *([f"Latency on {', '.join(untimed)}: {figures}."] if untimed else ()),
        *(
            f"Latency on {name}: predicted from a few networks measured on it and from known devices."
            for name in few_shot
        ),
        "Peak memory: the sum of weights, planned activations and an allowance for the engine.",
        "File size in the search: computed from the subnet; the exported file is compared with the budget.",
    )
