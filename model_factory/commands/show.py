"""`factory show`: what a model file holds, layer by layer, and what memory it needs; or all models of a family."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from factory_base.terminal import ascii_only, print_json, print_line
from factory_base.wording import counted
from model_factory.commands.options import JsonOption
from model_factory.commands.tables import print_table

if TYPE_CHECKING:
    from exports.family.family_summary import FamilySummary
    from exports.onnx.graph_summary import GraphSummary, TensorInfo

_BAR: Final = 20
"""Characters of the longest bar: at 100 columns it stands beside the layers of our own files, at 80 below them."""


def show(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="An ONNX file, or a family: its folder or its manifest.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw the memory timeline of the file as .png or .svg.", show_default=False),
    ] = None,
    reduced_build: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the operators and types of all its files as the configuration of a reduced ONNX Runtime build.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print what a model file holds, or a family as a table."""
    if model.is_dir() or model.suffix == ".json":
        _show_family(model, output, as_json)
    else:
        _show_file(model, output, as_json)
    if reduced_build is not None:
        _write_reduced_build(model, reduced_build, as_json)


def _show_file(model: Path, output: Path | None, as_json: bool) -> None:
    from exports.onnx.graph_summary import summarise
    from factory_base.errors import EngineError

    if model.suffix == ".bin":
        raise EngineError(f"{model.name}: holds the weights of several models; give one of the .onnx files beside it")
    summary = summarise(model)
    if output is not None:
        _draw(summary, output)
    if as_json:
        print_json(file_json(summary))
    else:
        print_file(summary)
        if output is not None:
            print_line(f"memory timeline: {output}")


def _show_family(model: Path, output: Path | None, as_json: bool) -> None:
    from exports.family.family_summary import summarise_family
    from factory_base.errors import ConfigError

    if output is not None:
        raise ConfigError(f"{model}: a memory timeline is that of one file; give a file in its folder models/")
    summary = summarise_family(model)
    if as_json:
        print_json(family_json(summary, model))
    else:
        print_family(summary)


def _write_reduced_build(model: Path, path: Path, as_json: bool) -> None:
    from exports.family.family_summary import onnx_files
    from exports.onnx.reduced_build import reduced_build_config
    from factory_base.files import write_text

    files = onnx_files(model) if model.is_dir() or model.suffix == ".json" else (model,)
    write_text(path, reduced_build_config(files))
    if not as_json:
        print_line(f"configuration of a reduced build of ONNX Runtime: {path}")


def _draw(summary: GraphSummary, path: Path) -> None:
    from factory_base.errors import EngineError
    from model_factory.report.memory_plot import plot_memory

    if summary.timeline is None:
        raise EngineError(f"{summary.file}: its shapes depend on data, so its memory cannot be planned")
    plot_memory(summary.timeline, summary.file, path)


def print_file(summary: GraphSummary) -> None:
    """Print a file: the totals, then a row for each layer with the memory that is live while it runs."""
    from factory_base.quantities import format_bytes, format_macs

    for line in _facts(summary):
        print_line(line)
    print_line()
    named = all(layer.name.startswith(f"{layer.operator}_") for layer in summary.layers)
    live = _live(summary)
    most = max(live.values(), default=0)
    rows = []
    for layer in summary.layers:
        held = live.get(layer.output)
        macs, weights = (format_macs(layer.macs) if layer.macs else "", layer.weight_bytes)
        rows.append(
            (
                layer.name, *(() if named else (layer.operator,)), _shape(layer.shape), macs,
                format_bytes(weights) if weights else "", layer.precision,
                "" if held is None else format_bytes(held), "" if held is None else _bar(held, most),
            )
        )  # fmt: skip
    header = ("layer", *(() if named else ("operator",)), "output", "MACs", "weights", "precision", "live", "memory")
    print_table(header, rows)


def print_family(summary: FamilySummary) -> None:
    """Print a row for each model of a family, and the union of the operators."""
    from factory_base.quantities import format_bytes, format_macs

    print_line(f"{summary.family_id}, release {summary.release}: {counted(len(summary.models), 'model')}")
    print_line()
    rows = [
        (
            model.model_id, ", ".join(model.tiers), model.precision, format_bytes(model.bytes),
            f"{model.weight_share:.1%}" if model.weight_share is not None else "", format_macs(model.macs),
            str(model.layers or ""), format_bytes(model.arena_bytes) if model.arena_bytes is not None else "",
        )
        for model in summary.models
    ]  # fmt: skip
    print_table(("model", "tiers", "precision", "files", "weights", "MACs", "layers", "arena"), rows)
    print_line()
    print_table(("model", "metric", "on the test set (95 % interval)", *_figures(summary)), _quality_rows(summary))
    print_line()
    print_line(f"operators: {', '.join(summary.operators)}")


def _figures(summary: FamilySummary) -> list[str]:
    """The further figures that any model has, in words."""
    return [name.replace("_", " ") for name in _figure_names(summary)]


def _figure_names(summary: FamilySummary) -> list[str]:
    return sorted({name for model in summary.models for name in model.measures})


def _quality_rows(summary: FamilySummary) -> list[tuple[str, ...]]:
    return [
        (
            model.model_id,
            model.metric.replace("_", " "),
            f"{model.value:.2%} ({model.low:.1%} to {model.high:.1%}) of {model.images:,}",
            *(f"{model.measures[name]:.1%}" if name in model.measures else "" for name in _figure_names(summary)),
        )
        for model in summary.models
    ]


def family_json(summary: FamilySummary, path: Path) -> dict[str, Any]:
    """What `print_family` shows as a value for JSON, with all measures of models whose evaluation is found.

    Args:
        summary: The family.
        path: Its folder or its manifest. The evaluation is in it, or in the run folder beside it.

    Raises:
        ManifestError: A file of the evaluation is damaged.
    """
    from exports.family.evaluations import default_stores, evaluation_of
    from exports.family.labels import family_labels
    from exports.family.manifest import manifest_path, read_manifest
    from supernet.tasks.measures import predicted_measures
    from supernet.tasks.measures_json import measures_json

    manifest, folder = read_manifest(path), manifest_path(path).parent
    found, names = evaluation_of(folder, manifest, default_stores(folder)), family_labels(folder, manifest)
    values = asdict(summary)
    for model in values["models"]:
        name = model["model_id"]
        model["evaluation"] = None
        if found is not None:
            measures = predicted_measures(
                found.predictions[name], found.labels, len(names), found.confidences.get(name)
            )
            model["evaluation"] = measures_json(measures, names)
    return values


def file_json(summary: GraphSummary) -> dict[str, Any]:
    """What `print_file` shows, as a value for JSON."""
    live = _live(summary)
    layers = [{**asdict(layer), "live_bytes": live.get(layer.output)} for layer in summary.layers]
    timeline = summary.timeline
    return {
        **asdict(summary),
        "layers": layers,
        "macs": summary.macs,
        "precision": summary.precision,
        "weight_share": summary.weight_share,
        "timeline": asdict(timeline) if timeline is not None else None,
    }


def _facts(summary: GraphSummary) -> list[str]:
    from factory_base.quantities import format_bytes, format_macs
    from factory_base.wording import counted

    beside = "".join(f", and {format_bytes(size)} in {name}" for name, size in summary.external_bytes.items())
    operators = ", ".join(f"{name} {count}" for name, count in summary.operators.items())
    own = format_bytes(summary.weight_bytes)
    rest = f"({own}), the rest is the graph"
    if beside:
        rest = f"of this model ({own}), the rest is its graph and weights of other models"
    return [
        f"{summary.file}: {format_bytes(summary.file_bytes)}{beside}; {summary.weight_share:.1%} are weights {rest}",
        f"input {', '.join(map(_tensor, summary.inputs))}; output {', '.join(map(_tensor, summary.outputs))}; "
        f"opset {summary.opset}",
        f"{format_macs(summary.macs)} MACs in {counted(len(summary.layers), 'layer')}, {summary.precision}",
        f"memory: {_memory(summary)}",
        f"operators: {operators}",
    ]


def _memory(summary: GraphSummary) -> str:
    from factory_base.quantities import format_bytes

    timeline = summary.timeline
    if timeline is None:
        return "unknown, because shapes depend on data"
    optimal = "optimal" if timeline.arena_bytes == timeline.bound_bytes else "not proven optimal"
    live = timeline.live_bytes()
    peak = f", most at {timeline.names[live.index(max(live))]}" if live else ""
    return f"arena {format_bytes(timeline.arena_bytes)}, {optimal}{peak}; the input is the caller's"


def _live(summary: GraphSummary) -> dict[str, int]:
    """The live bytes of each step, by the value that it writes."""
    timeline = summary.timeline
    return {} if timeline is None else dict(zip(timeline.steps, timeline.live_bytes(), strict=True))


def _bar(value: int, most: int) -> str:
    length = round(_BAR * value / most) if most else 0
    return ("#" if ascii_only(sys.stdout) else "█") * max(length, 1 if value else 0)


def _shape(shape: tuple[int | str, ...]) -> str:
    return "x".join(map(str, shape))


def _tensor(info: TensorInfo) -> str:
    return f"{info.name} {info.element_type} {_shape(info.shape)}"
