"""The stages after the pick: export each chosen subnet once, then write the family."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device_profiles.profile import Selectors
from exports.engines import get_engine
from exports.family.artifact import Artifact, Evaluation, evaluate_artifact, export_artifact
from exports.family.family import FamilySpec, ModelSpec, TierSpec, write_family
from exports.family.manifest import read_manifest
from exports.family.npy import npy_bytes
from exports.family.parity import Parity
from exports.family.records import Manifest, Perf, Provenance, Selector, Soc
from factory_base.errors import BudgetError
from factory_base.files import digest_of, write_bytes
from factory_base.quantities import format_bytes
from model_factory import __version__
from model_factory.stages.cached import stage_key
from model_factory.stages.finetune import Finetuned, finetuned_supernet
from model_factory.stages.fingerprint import model_code
from model_factory.stages.stages import SearchOutcome, Trained, Workbench, calibration_stage, subnet_to_json
from supernet.data.config import HANDLING
from supernet.space import SubnetConfig

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_EXPORT_VERSION = 3
_FAMILY_VERSION = 1
_SAMPLES = 8
_PARITY_IMAGES = 128
_PPM = 1_000_000
_MIB = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A subnet as a file, with the accuracy of that file on the test split, and what fine-tuning did to it before."""

    subnet: SubnetConfig
    artifact: Artifact
    evaluation: Evaluation
    parameters: int
    finetuned: Finetuned | None


def export_stage(
    bench: Workbench, trained: Trained, subnet: SubnetConfig, finetuned: Finetuned | None = None
) -> Exported:
    """Export `subnet`, check its parity, and measure the file's accuracy on the test split.

    Args:
        bench: of the run.
        trained: the supernet.
        subnet: with the supernet's weights, or its own where `finetuned` keeps them.
        finetuned: what `finetune_stage` found of it.

    Raises:
        EngineError, ParityError, DiskError: as `exports` says.
    """
    run = bench.run
    inputs = {
        "checkpoint": trained.checkpoint_sha256,
        "data": trained.data_sha256,
        **model_code(run.config.model, run.config_folder),
        "calibration_images": run.config.search.calibration_images,
        "calibration_tolerance": run.config.search.calibration_tolerance,
        "seed": run.config.seed,
        "threads": run.config.threads,
        "export": run.config.export.model_dump(mode="json"),
        "subnet": subnet_to_json(subnet),
        **({"finetuned": finetuned.sha256} if finetuned and finetuned.kept else {}),
    }
    stage = f"export-{subnet.id}"
    key = stage_key(stage, _EXPORT_VERSION, ("torch", "onnx", "onnxscript", "onnxruntime", "numpy"), inputs)
    predictions_file = run.folder / "predictions" / f"{subnet.id}.npy"
    cached = run.cache.load(stage, key)
    if cached is not None:
        return _exported_from_json(cached, subnet, predictions_file, finetuned)
    exported = _export(bench, trained, subnet, finetuned)
    write_bytes(predictions_file, npy_bytes(exported.evaluation.predictions))
    files = [run.family_folder / exported.artifact.path, predictions_file]
    run.cache.save(stage, key, _exported_to_json(exported), files)
    return exported


def _export(bench: Workbench, trained: Trained, subnet: SubnetConfig, finetuned: Finetuned | None) -> Exported:
    run, materials = bench.run, bench.materials(len(trained.class_names))
    threads = run.config.threads
    engine = get_engine("onnxruntime", opset=run.config.export.opset, dynamic_batch=run.config.export.dynamic_batch)
    calibration = calibration_stage(bench, trained)
    own = finetuned_supernet(bench, subnet) if finetuned and finetuned.kept else None
    with bench.console.stage(f"export {subnet.id}") as progress:
        module = materials.calibrated(subnet, calibration.images, own)
        shape = materials.model_space.input_shape(subnet)
        images = materials.inputs(materials.splits.heldout, subnet)[:_PARITY_IMAGES]
        artifact = export_artifact(module, shape, run.family_folder, engine, images, threads)
        test = materials.splits.test
        evaluation = evaluate_artifact(
            artifact, run.family_folder, engine, materials.inputs(test, subnet), test.labels, threads, progress
        )
    parameters = sum(parameter.numel() for parameter in module.parameters())
    return Exported(subnet=subnet, artifact=artifact, evaluation=evaluation, parameters=parameters, finetuned=finetuned)


def check_file_budget(outcome: SearchOutcome, exported: Exported) -> None:
    """The search estimates file sizes from above; here the real file is held against the budget.

    Raises:
        BudgetError: the file is larger than allowed.
    """
    size = exported.artifact.bytes
    limit = next((limit for limit in outcome.budgets.limits() if limit.budget == "file_size"), None)
    if limit is not None and size > limit.value:
        raise BudgetError(
            f"target {outcome.found.profile.name!r}: the exported file has {format_bytes(size)}, but its budget is "
            f"{limit.describe()}; lower the budget by the difference so that a smaller subnet is picked"
        )


def family_stage(
    bench: Workbench, trained: Trained, outcomes: Sequence[SearchOutcome], exported: Sequence[Exported]
) -> Manifest:
    """Write samples, evaluation and manifest; `exported[i]` is the model of `outcomes[i]`. Raises `DiskError`."""
    run = bench.run
    inputs = {
        "name": run.config.name,
        "release": run.config.release,
        "tool": __version__,
        "data": trained.data_sha256,
        "checkpoint": trained.checkpoint_sha256,
        "outcomes": [_outcome_inputs(outcome) for outcome in outcomes],
        "files": [e.artifact.sha256 for e in exported],
        "config": _config_sha256(bench),
    }
    key = stage_key("family", _FAMILY_VERSION, (), inputs)
    if run.cache.load("family", key) is not None:
        return read_manifest(run.family_folder)
    spec = _family_spec(bench, trained, outcomes, exported)
    manifest = write_family(run.family_folder, spec)
    files = sorted(path for path in run.family_folder.rglob("*") if path.is_file() and path.suffix != ".html")
    run.cache.save("family", key, manifest.family_id, files)
    return manifest


def _outcome_inputs(outcome: SearchOutcome) -> dict[str, Any]:
    return {
        "profile": outcome.found.digest,
        "budgets": outcome.budgets.model_dump(mode="json"),
        "costs": asdict(outcome.result.pick.costs),
        "subnet": outcome.result.pick.subnet.id,
    }


def _config_sha256(bench: Workbench) -> str:
    """Of what shapes the family; where studies and images are stored and how often states are saved does not."""
    handling = {"search": {"storage"}, "training": {"save_every"}, "data": set(HANDLING)}
    return digest_of(bench.run.config.model_dump(mode="json", exclude=handling))


def _family_spec(
    bench: Workbench, trained: Trained, outcomes: Sequence[SearchOutcome], exported: Sequence[Exported]
) -> FamilySpec:
    splits = bench.materials(len(trained.class_names)).splits
    return FamilySpec(
        family_id=bench.run.config.name,
        release=bench.run.config.release,
        labels=trained.class_names,
        mean_ppm=tuple(round(value * _PPM) for value in trained.mean),
        std_ppm=tuple(round(value * _PPM) for value in trained.std),
        sample_images=splits.test.images[_sample_rows(splits.test.labels)].transpose(0, 2, 3, 1),
        test_labels=splits.test.labels,
        test_set_sha256=trained.test_sha256,
        models=_model_specs(bench, outcomes, exported),
        tiers=tuple(
            TierSpec(
                id=outcome.found.profile.name,
                platform=outcome.found.profile.selectors.platform,
                selectors=(_selector(outcome.found.profile.selectors),),
                model_id=e.artifact.model_id,
            )
            for outcome, e in zip(outcomes, exported, strict=True)
        ),
        provenance=Provenance(
            supernet_sha256=trained.checkpoint_sha256,
            config_sha256=_config_sha256(bench),
            dataset_sha256=trained.data_sha256,
            tool_version=__version__,
        ),
    )


def _model_specs(
    bench: Workbench, outcomes: Sequence[SearchOutcome], exported: Sequence[Exported]
) -> tuple[ModelSpec, ...]:
    """One per distinct model. Its memory is the largest that a tier using it needs; its latencies cover all targets."""
    from device_profiles.cost_models.device_costs import DeviceCosts

    workloads = bench.materials().workloads
    specs = {}
    for e in exported:
        users = [o for o, other in zip(outcomes, exported, strict=True) if other.artifact == e.artifact]
        perf = []
        for outcome in outcomes:
            profile = outcome.found.profile
            (costs,) = DeviceCosts(workloads, outcome.found).of([e.subnet])
            perf.append(
                Perf(
                    device=profile.name,
                    threads=profile.threads,
                    compute_unit=profile.compute_unit,
                    latency_us=max(1, round(costs.latency_us)),
                    basis=profile.latency_provenance,
                    machine=profile.costs.machine,
                )
            )
        specs[e.artifact.model_id] = ModelSpec(
            artifact=e.artifact,
            evaluation=e.evaluation,
            subnet_values=e.subnet.to_dict(),
            finetuned_sha256=e.finetuned.sha256 if e.finetuned and e.finetuned.kept else None,
            macs=users[0].result.pick.costs.macs,
            parameters=e.parameters,
            peak_memory_bytes=max(user.result.pick.costs.peak_memory_bytes for user in users),
            needs_basis="modelled",
            perf=tuple(perf),
        )
    return tuple(specs.values())


def _sample_rows(labels: NDArray[np.int64]) -> list[int]:
    """Rows of samples that show as many classes as possible."""
    rows: list[int] = []
    for kind in sorted(set(labels.tolist())):
        rows.append(int((labels == kind).argmax()))
    rest = (row for row in range(len(labels)) if row not in rows)
    return sorted([*rows, *rest][:_SAMPLES])


def _selector(selectors: Selectors) -> Selector:
    return Selector(
        platforms=(selectors.platform,),
        ram_class_min=selectors.ram_class_min // _MIB if selectors.ram_class_min else None,
        ram_class_max=selectors.ram_class_max // _MIB if selectors.ram_class_max else None,
        cores_min=selectors.cores_min,
        os_min=selectors.os_min,
        soc_include=tuple(Soc(maker=soc.maker, model=soc.model) for soc in selectors.soc_include) or None,
        soc_exclude=tuple(Soc(maker=soc.maker, model=soc.model) for soc in selectors.soc_exclude) or None,
    )


def _exported_to_json(exported: Exported) -> dict[str, Any]:
    artifact = asdict(exported.artifact) | {"path": str(exported.artifact.path)}
    return {"artifact": artifact, "parameters": exported.parameters, "correct": exported.evaluation.correct}


def _exported_from_json(
    value: dict[str, Any], subnet: SubnetConfig, predictions_file: Path, finetuned: Finetuned | None
) -> Exported:
    import numpy as np

    fields = value["artifact"]
    artifact = Artifact(
        **fields
        | {
            "path": Path(fields["path"]),
            "input_shape": tuple(fields["input_shape"]),
            "parity": Parity(**fields["parity"]),
        }
    )
    predictions = np.load(predictions_file, allow_pickle=False)
    evaluation = Evaluation(predictions=predictions, correct=value["correct"], images=len(predictions))
    return Exported(
        subnet=subnet,
        artifact=artifact,
        evaluation=evaluation,
        parameters=value["parameters"],
        finetuned=finetuned,
    )
