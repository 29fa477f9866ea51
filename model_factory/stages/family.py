"""The family stage: write samples, evaluation and, last, the manifest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter

from device_profiles.profile import DeviceProfile, FoundProfile
from exports.family.artifact import MODELS, Artifact, Evaluation, ModelFile
from exports.family.author_checks import author_warnings
from exports.family.diff import input_notes
from exports.family.family import check_family, write_family
from exports.family.manifest import read_manifest, read_manifest_value
from exports.family.parity import Parity
from exports.family.proof import HostRun, Proof
from exports.family.records import LABELS_FEATURE, Manifest, Perf, PlatformFloor, Provenance
from exports.family.specs import FamilySpec, ModelSpec, Publish, family_spec, model_spec, spec_from_splits, tier_spec
from exports.onnx.conversion import Attempt, Conversion, Drop
from factory_base.documents import shaping_values
from factory_base.errors import ManifestError
from factory_base.files import digest_of
from model_factory import __version__
from model_factory.console import Console
from model_factory.run import Run
from model_factory.stages.cached import Stage
from model_factory.stages.export import Exported
from model_factory.stages.materials import Materials
from model_factory.stages.releases import number_notes
from model_factory.stages.search import SearchOutcome, outcome_inputs
from model_factory.stages.train import Trained

_VERSION = 5
_INVENTED = 10**12
"""A number of the invented models of `check_family_limits`, with more digits than those of real ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenFamily:
    """The family on disk.

    Attributes:
        manifest: The manifest as written.
        notes: What people should know before they publish it.
    """

    manifest: Manifest
    notes: tuple[str, ...]


def family_stage(
    run: Run,
    materials: Materials,
    trained: Trained,
    outcomes: Sequence[SearchOutcome],
    exported: Sequence[Exported],
) -> WrittenFamily:
    """Write samples, evaluation and manifest.

    Args:
        run: The run.
        materials: Its images and workloads.
        trained: The trained supernet.
        outcomes: The outcome of the search for each target.
        exported: The exported model of each outcome, in the same order.

    Raises:
        DiskError: A file cannot be written.
    """
    earlier = _earlier(run)

    def write() -> str:
        spec = _family_spec(run, materials, outcomes, exported)
        return write_family(run.family_folder, spec, source=run.exported, evaluations=run.evaluations).family_id

    stage = Stage(
        run=run,
        name="family",
        version=_VERSION,
        inputs={
            "name": run.config.name,
            "release": run.config.release,
            "tool": __version__,
            "data": trained.data_sha256,
            "checkpoint": trained.checkpoint_sha256,
            "outcomes": [outcome_inputs(outcome) for outcome in outcomes],
            "files": [e.artifact.sha256 for e in exported],
            "config": digest_of(shaping_values(run.config)),
            "publish": run.config.publish.model_dump(),
            "floors": dict(run.config.floors),
        },
        codec=TypeAdapter(str),
    )
    stage.cached(write, lambda _: _outputs(run))
    manifest = read_manifest(run.family_folder)
    changes = (*(input_notes(earlier, manifest) if earlier else ()), *number_notes(run, earlier, manifest))
    warnings = author_warnings(read_manifest_value(run.family_folder))
    notes = (*publishing_notes(_publish(run)), *changes, *_label_notes(manifest), *warnings)
    return WrittenFamily(manifest=manifest, notes=notes)


def _outputs(run: Run) -> list[Path]:
    """The files of the family and the evaluations that are kept."""
    folders = (run.family_folder, run.evaluations)
    return sorted(p for folder in folders for p in folder.rglob("*") if p.is_file() and p.suffix != ".html")


def check_family_limits(run: Run, materials: Materials, console: Console, targets: Sequence[FoundProfile]) -> None:
    """Check before the training that the family which it is for can be written.

    How many targets will share a model is not known yet: what fails even if all do is an error, what fails only if none
    do is a note.

    Args:
        run: The run.
        materials: Its images and model space.
        console: Shows the note.
        targets: The profiles of the targets.

    Raises:
        ManifestError: The class names, a profile or the number of targets break a limit of the manifest.
    """
    check_family(_invented_spec(run, materials, targets, models=1))
    if len(targets) > 1:
        try:
            check_family(_invented_spec(run, materials, targets, models=len(targets)))
        except ManifestError as error:
            console.say(f"note: if each target gets a model of its own, the build fails at its end: {error}")


def _invented_spec(run: Run, materials: Materials, targets: Sequence[FoundProfile], models: int) -> FamilySpec:
    perf = [_invented_perf(found.profile) for found in targets]
    names = [f"m{index:012}" for index in range(models)]
    digest = "0" * 64
    return spec_from_splits(
        run.config.name,
        materials.splits,
        [_invented_model(run, materials, name, perf) for name in names],
        [tier_spec(found.profile, names[index % models]) for index, found in enumerate(targets)],
        Provenance(supernet_sha256=digest, config_sha256=digest, dataset_sha256=digest, tool_version=__version__),
        judge=materials.judge,
        release=run.config.release,
        publish=_publish(run),
        fitting=run.config.data.fitting,
    )


def _invented_model(run: Run, materials: Materials, name: str, perf: Sequence[Perf]) -> ModelSpec:
    """A model with the largest subnet's values and numbers as long as those of real models."""
    largest, labels = materials.model_space.space.largest, materials.splits.test.labels
    file = ModelFile(role="weights", path=Path(MODELS) / f"{'0' * 16}.onnx", bytes=_INVENTED, sha256="0" * 64)
    artifact = Artifact(
        model_id=name, files=(file,), engine="onnxruntime", engine_version="1.99.99", format_version=20,
        input_shape=materials.file_input_shape(largest), input_type=materials.file_input_type,
        classes=len(materials.splits.class_names), proof=_invented_proof(run.config.threads),
        conversion=_invented_conversion(),
    )  # fmt: skip
    return ModelSpec(
        artifact=artifact,
        evaluation=Evaluation(
            predictions=labels.astype(np.uint16) if labels.ndim == 1 else labels, correct=None, images=len(labels)
        ),
        subnet_values=largest.to_dict(),
        macs=_INVENTED,
        parameters=_INVENTED,
        peak_memory_bytes=_INVENTED,
        needs_basis="modelled",
        perf=tuple(perf),
        finetuned_sha256="0" * 64 if run.config.finetune else None,
    )


def _invented_proof(threads: int) -> Proof:
    parity = Parity(
        max_abs_difference=1e-3, logit_range=1.0, disagreements=99, near_ties=99, images=2000, logit_spread=1.0,
        sqnr_db=100.0,
    )  # fmt: skip
    host = HostRun(
        machine="x" * 48, threads=threads, engine_version="1.99.99", latency_p50_us=_INVENTED, latency_p95_us=_INVENTED,
        runs=2000, load_us=_INVENTED, peak_memory_bytes=_INVENTED,
    )  # fmt: skip
    return Proof(
        precision="int8_weights", parity=parity, host=host, classes=1, opset=20,
        operators=tuple(f"{index:016}" for index in range(20)), versions_tried=("1.99.99",),
    )  # fmt: skip


def _invented_conversion() -> Conversion:
    layers = tuple(f"{index:024}" for index in range(8))
    drop = Drop(points=-9.9999, low=-9.9999, high=-9.9999, images=10_000)
    attempt = Attempt(ranges="percentile", equalised=False, float_layers=layers, finetuned=False, drop=drop)
    return Conversion(precision="int8_weights", attempts=(attempt,) * 5, chosen=0)


def _invented_perf(profile: DeviceProfile) -> Perf:
    return Perf(
        device=profile.name,
        threads=profile.threads,
        compute_unit=profile.compute_unit,
        latency_us=_INVENTED,
        basis=profile.latency_provenance,
        machine=profile.costs.machine,
    )


def _earlier(run: Run) -> Manifest | None:
    """The manifest of the family that is about to be replaced; None if there is none, or none that can be read."""
    try:
        return read_manifest(run.family_folder)
    except ManifestError:
        return None


def _label_notes(manifest: Manifest) -> tuple[str, ...]:
    file = manifest.task.labels_file
    if file is None:
        return ()
    return (
        f"the names of the {manifest.task.output_count:,} classes do not fit into the manifest and are in "
        f"{file.name}; apps that do not know the critical feature {LABELS_FEATURE!r} keep their earlier family",
    )


def publishing_notes(spec: Publish) -> tuple[str, ...]:
    """What of the user's data a family publishes, one line each."""
    images = (
        "the family publishes some of your test images, in samples/, for apps to check models with; "
        "`publish: {samples: tensors}` in the config takes invented inputs instead",
    )
    evaluation = ("the family publishes the labels of all test images and each model's predictions, in evaluation/",)
    return (*(images if spec.samples == "images" else ()), *(evaluation if spec.evaluation else ()))


def _family_spec(
    run: Run,
    materials: Materials,
    outcomes: Sequence[SearchOutcome],
    exported: Sequence[Exported],
) -> FamilySpec:
    pairs = zip(outcomes, exported, strict=True)
    return family_spec(
        run.config.name,
        materials.splits,
        _model_specs(materials, outcomes, exported),
        [tier_spec(outcome.found.profile, e.artifact.model_id) for outcome, e in pairs],
        checkpoint=run.checkpoint,
        config=shaping_values(run.config),
        judge=materials.judge,
        release=run.config.release,
        tool_version=__version__,
        floors=_floors(run, outcomes, exported),
        publish=_publish(run),
        fitting=run.config.data.fitting,
    )


def _publish(run: Run) -> Publish:
    return Publish(samples=run.config.publish.samples, evaluation=run.config.publish.evaluation)


def _floors(run: Run, outcomes: Sequence[SearchOutcome], exported: Sequence[Exported]) -> tuple[PlatformFloor, ...]:
    """The floor of each platform that the config names: the model of a target, or none."""
    models = {o.found.profile.name: e.artifact.model_id for o, e in zip(outcomes, exported, strict=True)}
    devices = {target.device: o.found.profile.name for target, o in zip(run.config.targets, outcomes, strict=True)}
    floors = []
    for platform, floor in run.config.floors.items():
        if floor in ("cloud", "off"):
            floors.append(PlatformFloor(platform=platform, action="cloud" if floor == "cloud" else "off"))
        else:
            floors.append(PlatformFloor(platform=platform, action="model", models=(models[devices[floor]],)))
    return tuple(floors)


def _model_specs(
    materials: Materials, outcomes: Sequence[SearchOutcome], exported: Sequence[Exported]
) -> tuple[ModelSpec, ...]:
    """A spec for each distinct model, with the largest peak memory on its targets and the latencies on all targets.

    Targets whose profile has no costs for files in the precision of a model are left out there.
    """
    from device_profiles.cost_models.device_costs import DeviceCosts

    specs = {}
    for e in exported:
        users = [o for o, other in zip(outcomes, exported, strict=True) if other.artifact == e.artifact]
        able = [o.found for o in outcomes if e.precision in o.found.profile.precisions]
        devices = [DeviceCosts(materials.workloads, found, e.precision) for found in able]
        everywhere = [(device.profile, device.of([e.subnet])[0]) for device in devices]
        spec = model_spec(e.artifact, e.evaluation(), e.subnet, e.facts.parameters, everywhere)
        specs[e.artifact.model_id] = replace(
            spec,
            finetuned_sha256=e.finetuned.sha256 if e.finetuned and e.finetuned.kept else None,
            peak_memory_bytes=max(user.result.pick.costs.peak_memory_bytes for user in users),
        )
    return tuple(specs.values())
