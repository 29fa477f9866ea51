"""The family stage: write samples, evaluation and, last, the manifest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pydantic import TypeAdapter

from exports.family.family import write_family
from exports.family.manifest import read_manifest
from exports.family.records import Manifest
from exports.family.specs import FamilySpec, ModelSpec, family_spec, model_spec, tier_spec
from factory_base.documents import shaping_values
from factory_base.files import digest_of
from factory_base.intervals import is_at_chance
from model_factory import __version__
from model_factory.run import Run
from model_factory.stages.cached import Stage
from model_factory.stages.export import Exported, FileFacts
from model_factory.stages.materials import Materials
from model_factory.stages.search import SearchOutcome, outcome_inputs
from model_factory.stages.train import Trained

_VERSION = 2


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
        return write_family(run.family_folder, _family_spec(run, materials, outcomes, exported)).family_id

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
        },
        codec=TypeAdapter(str),
    )
    stage.cached(
        write, lambda _: sorted(p for p in run.family_folder.rglob("*") if p.is_file() and p.suffix != ".html")
    )
    return read_manifest(run.family_folder)


def chance_notes(
    run: Run, manifest: Manifest, outcomes: Sequence[SearchOutcome], exported: Sequence[Exported]
) -> tuple[str, ...]:
    """A note for each model whose accuracy on the test images could as well be that of guessing.

    Args:
        run: The run.
        manifest: The manifest of the family, whose files are those of the build.
        outcomes: The outcome of the search for each target.
        exported: The exported model of each outcome, in the same order.
    """
    import numpy as np

    labels = np.load(run.family_folder / manifest.evaluation.labels.name, allow_pickle=False)
    chance = float(np.bincount(labels).max()) / len(labels)
    targets: dict[str, list[str]] = {}
    for outcome, e in zip(outcomes, exported, strict=True):
        targets.setdefault(e.artifact.model_id, []).append(outcome.found.profile.name)
    facts = {e.artifact.model_id: e.facts for e in exported}
    return tuple(
        _chance_note(", ".join(names), facts[model_id], chance)
        for model_id, names in targets.items()
        if is_at_chance(facts[model_id].correct, facts[model_id].images, chance)
    )


def _chance_note(targets: str, facts: FileFacts, chance: float) -> str:
    return (
        f"the model of {targets} labels {facts.correct:,} of {facts.images:,} test images correctly "
        f"({facts.correct / facts.images:.1%}), which does not differ from always answering the most frequent class "
        f"({chance:.1%}); before you ship it, train longer, check the labels, or test on more images"
    )


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
        release=run.config.release,
        tool_version=__version__,
    )


def _model_specs(
    materials: Materials, outcomes: Sequence[SearchOutcome], exported: Sequence[Exported]
) -> tuple[ModelSpec, ...]:
    """A spec for each distinct model, with the largest peak memory on its targets and the latencies on all targets."""
    from device_profiles.cost_models.device_costs import DeviceCosts

    specs = {}
    for e in exported:
        users = [o for o, other in zip(outcomes, exported, strict=True) if other.artifact == e.artifact]
        everywhere = [(o.found.profile, DeviceCosts(materials.workloads, o.found).of([e.subnet])[0]) for o in outcomes]
        spec = model_spec(e.artifact, e.evaluation(), e.subnet, e.facts.parameters, everywhere)
        specs[e.artifact.model_id] = replace(
            spec,
            finetuned_sha256=e.finetuned.sha256 if e.finetuned and e.finetuned.kept else None,
            peak_memory_bytes=max(user.result.pick.costs.peak_memory_bytes for user in users),
        )
    return tuple(specs.values())
