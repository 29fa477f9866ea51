"""The models of a family side by side: what their files hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from exports.family.manifest import manifest_path, read_manifest
from exports.family.records import PPM, Manifest, Model
from exports.onnx.graph_summary import GraphSummary, summarise
from factory_base.errors import ManifestError

_ENDING: Final = ".onnx"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSummary:
    """A model of a family. Attributes that are read from an ONNX file are None for the files of other engines.

    Attributes:
        model_id: Its id in the manifest.
        tiers: The tiers that it is for.
        engine: The engine that runs it.
        bytes: The size of all its files.
        macs: The MACs of one inference, by the manifest.
        precision: The precision of its layers.
        weight_share: What part of its files is constants.
        layers: The number of operators on activations.
        arena_bytes: The memory of its activations.
        metric: What its quality on the test set is measured by.
        value: Its quality, of which 1 is the best.
        low: The lower end of the 95 % interval of the quality.
        high: The upper end.
        images: The number of test examples.
        measures: Further figures of the same evaluation by name, as far as the manifest has them.
    """

    model_id: str
    tiers: tuple[str, ...]
    engine: str
    bytes: int
    macs: int
    precision: str
    weight_share: float | None
    layers: int | None
    arena_bytes: int | None
    metric: str
    value: float
    low: float
    high: float
    images: int
    measures: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilySummary:
    """A family.

    Attributes:
        family_id: Its id.
        release: Its release number.
        models: Its models, the one with the fewest MACs first.
        operators: The union of the operators of its ONNX files, in alphabetical order.
    """

    family_id: str
    release: int
    models: tuple[ModelSummary, ...]
    operators: tuple[str, ...]


def summarise_family(path: Path) -> FamilySummary:
    """Read the family whose folder or manifest is `path`. No model is run.

    Raises:
        ManifestError: The manifest cannot be read, or a file of a model is missing.
        EngineError: A file is damaged.
    """
    manifest = read_manifest(path)
    folder = manifest_path(path).parent
    graphs = {name: _graph(folder, model) for name, model in manifest.models.items()}
    models = [_model(name, manifest, graph) for name, graph in graphs.items()]
    return FamilySummary(
        family_id=manifest.family_id,
        release=manifest.release,
        models=tuple(sorted(models, key=lambda model: (model.macs, model.model_id))),
        operators=tuple(sorted({name for graph in graphs.values() if graph is not None for name in graph.operators})),
    )


def onnx_files(path: Path) -> tuple[Path, ...]:
    """The ONNX files of the family whose folder or manifest is `path`. Raises `ManifestError`."""
    manifest = read_manifest(path)
    folder = manifest_path(path).parent
    found = (_onnx_file(folder, model) for model in manifest.models.values())
    return tuple(dict.fromkeys(file for file in found if file is not None))


def _onnx_file(folder: Path, model: Model) -> Path | None:
    for file in model.files:
        target = folder / file.name
        if target.suffix == _ENDING:
            if not target.is_file():
                raise ManifestError(f"{file.name}: is missing; run `factory verify` on the family")
            return target
    return None


def _graph(folder: Path, model: Model) -> GraphSummary | None:
    file = _onnx_file(folder, model)
    return summarise(file) if file is not None else None


def _model(name: str, manifest: Manifest, graph: GraphSummary | None) -> ModelSummary:
    model, quality = manifest.models[name], manifest.models[name].quality
    timeline = graph.timeline if graph is not None else None
    return ModelSummary(
        model_id=name,
        tiers=tuple(tier.id for tier in manifest.tiers if name in tier.models and tier.rank),
        engine=model.engine.name,
        bytes=sum(file.bytes for file in model.files),
        macs=model.subnet.macs,
        precision=graph.precision if graph is not None else "",
        weight_share=graph.weight_share if graph is not None else None,
        layers=len(graph.layers) if graph is not None else None,
        arena_bytes=timeline.arena_bytes if timeline is not None else None,
        metric=quality.metric,
        value=quality.value_ppm / PPM,
        low=quality.low_ppm / PPM,
        high=quality.high_ppm / PPM,
        images=quality.images,
        measures={name: value / PPM for name, value in (quality.measures or {}).items()},
    )
