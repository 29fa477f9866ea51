"""The shared layout: one weights file for all picks of a precision, or those of a band, in place of separate files."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter

from device_profiles.engine import Precision
from exports.exporter import Exporter
from exports.exporters import get_exporter
from exports.family.artifact import MODELS, Artifact, evaluate_artifact, model_file
from exports.isolation.process import IsolatedProcess, IsolatedSession
from exports.onnx.conversion import Conversion
from exports.onnx.quantising.accuracy import paired_drop
from factory_base.documents import shaping_values
from factory_base.errors import ConfigError, ParityError
from factory_base.files import write_bytes
from factory_base.wording import counted
from model_factory.console import Console
from model_factory.run import Run
from model_factory.stages.cached import Stage
from model_factory.stages.calibrate import evaluation_inputs
from model_factory.stages.export import (
    Exported,
    FileFacts,
    check_file_budget,
    own_supernet,
    prediction_files,
    write_predictions,
)
from model_factory.stages.files import HELDOUT_SECONDS, check_images, outputs_of, parity_images
from model_factory.stages.fingerprint import space_libraries
from model_factory.stages.materials import Materials
from model_factory.stages.search import SearchOutcome
from model_factory.stages.train import Trained

if TYPE_CHECKING:
    from torch import nn

    from exports.onnx.shared_weights import SharedTier

_VERSION = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """The picks that share a weights file: those of a band in one precision.

    Attributes:
        run: The run.
        materials: Its supernet and images.
        trained: The trained supernet.
        calibration_images: Number of training images on which subnets are recalibrated.
        number: The number of the group, from 0.
        picks: The outcome of each target of the group and the separate file of its pick; a pick stands there once.
    """

    run: Run
    materials: Materials
    trained: Trained
    calibration_images: int
    number: int
    picks: tuple[tuple[SearchOutcome, Exported], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedFacts:
    """The files of one pick in the shared layout.

    Attributes:
        facts: The graph and the weights, and their accuracy. Its conversion states the drop of the graph, not that of
            the separate file.
        own: The shapes of weights that the graph does not share.
        computed: The names of parameters among them that a learned rule computes.
    """

    facts: FileFacts
    own: tuple[tuple[int, ...], ...]
    computed: tuple[str, ...]


def shared_stage(
    run: Run,
    materials: Materials,
    console: Console,
    trained: Trained,
    calibration_images: int,
    outcomes: Sequence[SearchOutcome],
    exported: Sequence[Exported],
) -> list[Exported]:
    """The exported picks in the layout of the config: as they are, or as graphs over shared weights.

    Every graph is proven and evaluated like a separate file before any of them is put into the family's folder.

    Args:
        run: The run.
        materials: Its supernet and images.
        console: Shows progress.
        trained: The trained supernet.
        calibration_images: Number of training images on which subnets are recalibrated.
        outcomes: The outcome of the search for each target.
        exported: The separate file of each pick, in the same order.

    Raises:
        EngineError, ParityError: A graph cannot be made, or does not compute what its network computes.
        BudgetError: A graph with its weights exceeds the file budget of a target.
        DiskError: A file cannot be written.
    """
    if run.config.export.layout == "separate":
        return list(exported)
    result = list(exported)
    for number, targets in enumerate(_groups(run, outcomes, exported)):
        picks = {exported[target].predictions: (outcomes[target], exported[target]) for target in targets}
        group = _Group(
            run=run, materials=materials, trained=trained, calibration_images=calibration_images, number=number,
            picks=tuple(picks.values()),
        )  # fmt: skip
        found = _group_stage(group, console)
        for target in targets:
            name = exported[target].predictions.stem
            facts = found[name].facts
            check_file_budget(outcomes[target], facts.artifact)
            result[target] = replace(exported[target], facts=facts, predictions=_predictions(group, name))
    return result


def check_bands(run: Run, targets: Sequence[str]) -> None:
    """Check the bands of the config.

    Raises:
        ConfigError: The layout has no bands, or a band names a device that is no target or is in another band.
    """
    named = [name for band in run.config.export.bands for name in band]
    if named and run.config.export.layout == "separate":
        raise ConfigError(f"{run.origin}: export.bands needs `layout: shared`; add that, or remove the bands")
    for name in named:
        if name not in targets:
            raise ConfigError(f"{run.origin}: export.bands names {name!r}, which is no target: {', '.join(targets)}")
        if named.count(name) > 1:
            raise ConfigError(f"{run.origin}: export.bands names {name!r} twice; name each target once")


def _groups(run: Run, outcomes: Sequence[SearchOutcome], exported: Sequence[Exported]) -> list[list[int]]:
    """The targets of each weights file: those of a band whose picks have one precision, which alone share weights.

    Targets that no band names are the last band.
    """
    names = [outcome.found.profile.name for outcome in outcomes]
    named = {name for band in run.config.export.bands for name in band}
    bands = [[names.index(name) for name in band] for band in run.config.export.bands]
    bands.append([number for number, name in enumerate(names) if name not in named])
    groups: dict[tuple[int, Precision], list[int]] = {}
    for place, band in enumerate(bands):
        for number in band:
            groups.setdefault((place, exported[number].precision), []).append(number)
    return list(groups.values())


def _group_stage(group: _Group, console: Console) -> dict[str, SharedFacts]:
    run = group.run
    stage = Stage(
        run=run,
        name=f"shared-{group.number}",
        version=_VERSION,
        inputs={
            **evaluation_inputs(run, group.trained),
            "export": shaping_values(run.config.export),
            "files": {exported.predictions.stem: exported.artifact.sha256 for _, exported in group.picks},
        },
        libraries=("torch", "onnx", "onnxscript", "onnxruntime", "numpy", *space_libraries(run.config.model)),
        codec=TypeAdapter(dict[str, SharedFacts]),
    )
    found = stage.cached(lambda: _made(group, console), lambda facts: _files(group, facts))
    for name, shared in found.items():
        if shared.own:
            learned = f"; a learned rule computes {', '.join(shared.computed)}" if shared.computed else ""
            console.say(
                f"{name}: its graph holds {counted(len(shared.own), 'weight')} of its own, because fine-tuning, "
                f"equalisation or the precision made them other than parts of the supernet's{learned}"
            )
    return found


def _files(group: _Group, found: dict[str, SharedFacts]) -> list[Path]:
    files = {file.path for shared in found.values() for file in shared.facts.artifact.files}
    predicted = (path for name in found for path in prediction_files(_predictions(group, name)))
    return [*(group.run.exported / path for path in sorted(files)), *predicted]


def _predictions(group: _Group, name: str) -> Path:
    return group.run.predictions(f"{name}-shared-{group.number}")


def _made(group: _Group, console: Console) -> dict[str, SharedFacts]:
    from exports.onnx.shared_weights import share_weights, supernet_values

    exporter = get_exporter("onnxruntime", **group.run.config.export.engine_options())
    with console.stage(f"share weights of {len(group.picks)} models"), tempfile.TemporaryDirectory() as folder:
        waiting = Path(folder) / MODELS
        waiting.mkdir()
        modules = {exported.predictions.stem: _module(group, exported) for _, exported in group.picks}
        tiers = [
            _tier(group, exported, modules[exported.predictions.stem], Path(folder)) for _, exported in group.picks
        ]
        values, scale = supernet_values(group.materials.supernet), group.materials.input_scale
        shared = share_weights(tiers, values, waiting, scale)
        found = {}
        for (outcome, exported), tier in zip(group.picks, tiers, strict=True):
            name = exported.predictions.stem
            graph = shared.graphs[name]
            conversion = _conversion(group, exported, tier.source, graph.path)
            facts = _proven(group, exporter, outcome, exported, modules[name], graph.path, shared.weights)
            facts = replace(facts, artifact=replace(facts.artifact, conversion=conversion))
            found[name] = SharedFacts(facts=facts, own=graph.own, computed=graph.computed)
        for path in waiting.iterdir():
            write_bytes(group.run.exported / MODELS / path.name, path.read_bytes())
    return found


def _module(group: _Group, exported: Exported) -> nn.Module:
    finetuned, materials = exported.finetuned, group.materials
    own = own_supernet(group.run, materials, finetuned) if finetuned and finetuned.kept else None
    return materials.file_module(materials.calibrated(exported.subnet, group.calibration_images, own))


def _tier(group: _Group, exported: Exported, module: nn.Module, folder: Path) -> SharedTier:
    """A pick as its separate file, with the float32 file that it was converted from."""
    from exports.onnx.onnx_file import export_onnx
    from exports.onnx.shared_weights import SharedTier, tier_plans

    name, source = exported.predictions.stem, None
    if exported.precision != "fp32":
        source = folder / f"{name}.onnx"
        shape, input_type = group.materials.file_input_shape(exported.subnet), group.materials.file_input_type
        export_onnx(module, shape, source, **group.run.config.export.engine_options(), input_type=input_type)
    path = group.run.exported / exported.artifact.path
    return SharedTier(name=name, path=path, plans=tier_plans(group.materials.supernet, exported.subnet), source=source)


def _conversion(group: _Group, exported: Exported, source: Path | None, graph: Path) -> Conversion:
    """How the separate file came about, but with the drop of the graph, whose weights are rounded in another way."""
    made = exported.artifact.conversion
    if made.chosen is None or source is None:
        return made
    check, artifact = check_images(group.materials, exported.subnet), exported.artifact
    threads = group.run.config.threads
    with IsolatedProcess() as process:
        sessions = (
            IsolatedSession(process, artifact.engine, path, threads, classes=artifact.classes, seconds=HELDOUT_SECONDS)
            for path in (source, graph)
        )
        reference, found = (check.scores(outputs_of(session, check.inputs)) for session in sessions)
    attempts = list(made.attempts)
    attempts[made.chosen] = replace(attempts[made.chosen], drop=paired_drop(reference, found))
    return replace(made, attempts=tuple(attempts))


def _proven(
    group: _Group,
    exporter: Exporter,
    outcome: SearchOutcome,
    exported: Exported,
    module: nn.Module,
    graph: Path,
    weights: Path,
) -> FileFacts:
    """Prove a graph and evaluate it on the test images, as the export stage does with a separate file."""
    materials, threads = group.materials, group.run.config.threads
    images = parity_images(materials, exported.subnet, outcome.result.pick.costs.macs)
    try:
        proof = exporter.prove(module, graph, exported.precision, images, threads, task=materials.task)
    except ParityError as error:
        raise ParityError(
            f"{exported.predictions.stem} with shared weights: {error}; set `export.layout` to separate, or leave "
            f"{exported.precision} out of the `precisions` of target {outcome.found.profile.name!r}"
        ) from error
    files = model_file(graph, "graph"), model_file(weights)
    artifact: Artifact = replace(
        exported.artifact, model_id=f"m{files[0].sha256[:12]}", files=files, format_version=proof.opset, proof=proof
    )
    test = materials.splits.test
    evaluation = evaluate_artifact(
        artifact,
        graph.parent.parent,
        materials.inputs(test, exported.subnet),
        test.labels,
        threads,
        task=materials.task,
    )
    write_predictions(_predictions(group, exported.predictions.stem), evaluation)
    return replace(exported.facts, artifact=artifact, correct=evaluation.correct, images=evaluation.images)
