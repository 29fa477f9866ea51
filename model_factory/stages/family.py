"""The family stage: write samples, evaluation and, last, the manifest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import TypeAdapter

from device_profiles.profile import Selectors
from exports.family.family import FamilySpec, ModelSpec, TierSpec, write_family
from exports.family.manifest import read_manifest
from exports.family.records import Manifest, Perf, Provenance, Selector, Soc
from factory_base.documents import shaping_values
from factory_base.files import digest_of
from model_factory import __version__
from model_factory.run import Run
from model_factory.stages.cached import Stage
from model_factory.stages.export import Exported
from model_factory.stages.materials import Materials
from model_factory.stages.search import SearchOutcome, outcome_inputs
from model_factory.stages.train import Trained

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_VERSION = 2
_SAMPLES = 8
"""Test images that ship with a family: enough to show most classes of a small task, in a few kilobytes."""
_PPM = 1_000_000
_MIB = 2**20


def family_stage(
    run: Run,
    materials: Materials,
    trained: Trained,
    outcomes: Sequence[SearchOutcome],
    exported: Sequence[Exported],
) -> Manifest:
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

    def write() -> str:
        return write_family(run.family_folder, _family_spec(run, materials, trained, outcomes, exported)).family_id

    config_sha256 = _config_sha256(run)
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
            "config": config_sha256,
        },
        codec=TypeAdapter(str),
    )
    stage.cached(
        write, lambda _: sorted(p for p in run.family_folder.rglob("*") if p.is_file() and p.suffix != ".html")
    )
    return read_manifest(run.family_folder)


def _config_sha256(run: Run) -> str:
    """Digest of all values in the config that shape the family."""
    return digest_of(shaping_values(run.config))


def _family_spec(
    run: Run,
    materials: Materials,
    trained: Trained,
    outcomes: Sequence[SearchOutcome],
    exported: Sequence[Exported],
) -> FamilySpec:
    splits = materials.splits
    return FamilySpec(
        family_id=run.config.name,
        release=run.config.release,
        labels=trained.class_names,
        mean_ppm=tuple(round(value * _PPM) for value in trained.mean),
        std_ppm=tuple(round(value * _PPM) for value in trained.std),
        sample_images=splits.test.images[_sample_rows(splits.test.labels)].transpose(0, 2, 3, 1),
        test_labels=splits.test.labels,
        test_set_sha256=trained.test_sha256,
        models=_model_specs(materials, outcomes, exported),
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
            config_sha256=_config_sha256(run),
            dataset_sha256=trained.data_sha256,
            tool_version=__version__,
        ),
    )


def _model_specs(
    materials: Materials, outcomes: Sequence[SearchOutcome], exported: Sequence[Exported]
) -> tuple[ModelSpec, ...]:
    """A spec for each distinct model, with the largest peak memory on its targets and the latencies on all targets."""
    from device_profiles.cost_models.device_costs import DeviceCosts

    specs = {}
    for e in exported:
        users = [o for o, other in zip(outcomes, exported, strict=True) if other.artifact == e.artifact]
        perf = []
        for outcome in outcomes:
            profile = outcome.found.profile
            (costs,) = DeviceCosts(materials.workloads, outcome.found).of([e.subnet])
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
            evaluation=e.evaluation(),
            subnet_values=e.subnet.to_dict(),
            finetuned_sha256=e.finetuned.sha256 if e.finetuned and e.finetuned.kept else None,
            macs=users[0].result.pick.costs.macs,
            parameters=e.facts.parameters,
            peak_memory_bytes=max(user.result.pick.costs.peak_memory_bytes for user in users),
            needs_basis="modelled",
            perf=tuple(perf),
        )
    return tuple(specs.values())


def _sample_rows(labels: NDArray[np.int64]) -> list[int]:
    """Rows of the test images that become samples: they show as many classes as possible."""
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
