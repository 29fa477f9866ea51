"""`factory build`: the whole loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from factory_base.terminal import print_json, print_line
from model_factory.commands.options import (
    ConfigOption,
    JsonOption,
    MaxHoursOption,
    MaxMemoryOption,
    QuietOption,
    RetrainOption,
    RunOption,
    chosen_run,
    limits,
    on_mismatch,
)
from model_factory.commands.tables import latency_text, print_table

if TYPE_CHECKING:
    from exports.family.records import ClassQuality, Manifest
    from model_factory.build import Built
    from model_factory.report.data import QualityRow
    from model_factory.run import Run
    from supernet.tasks.calibration_error import Calibration
    from supernet.tasks.estimates import Estimate

_LABEL_WIDTH = 20
"""Characters of the name of a class, so that the table fits into 80 columns."""
_CLASS_HEADINGS = ("tier", "balanced accuracy", "macro-F1", "calibration error")
_LABEL_HEADINGS = ("tier", "all labels right", "macro-F1", "average precision", "calibration error")
_VALUE_HEADINGS = ("tier", "value", "mean abs. error", "RMS error", "of the median", "of the mean")
"""The last two are the errors of the best constant answers."""


def build(
    run: RunOption = None,
    config: ConfigOption = None,
    max_hours: MaxHoursOption = None,
    max_memory_gib: MaxMemoryOption = None,
    retrain: RetrainOption = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train, search, export and report; run again only what changed.

    With a `finetune` section in the config, the picks are trained a little further before they are exported.
    """
    from model_factory import build as pipeline
    from model_factory.console import Console

    chosen = chosen_run(run, config)
    built = pipeline.build(
        chosen, Console(quiet), limits=limits(max_hours, max_memory_gib), on_mismatch=on_mismatch(retrain)
    )
    if as_json:
        print_json(family_json(built, chosen))
    else:
        print_family(built, chosen)


def print_family(built: Built, run: Run) -> None:
    """Print the tiers of a finished family, the paths of its files, and the budgets that were derived."""
    from exports.family.judge import metric_text
    from exports.family.labels import family_labels
    from factory_base.quantities import format_bytes

    rows = []
    for outcome, e in zip(built.outcomes, built.exported, strict=True):
        costs, quality = outcome.result.pick.costs, built.manifest.models[e.artifact.model_id].quality
        rows.append(
            (
                outcome.found.profile.name,
                outcome.result.pick.precision,
                f"{latency_text(costs)} ({outcome.profile.latency_provenance})",
                format_bytes(costs.peak_memory_bytes),
                format_bytes(e.artifact.bytes),
                f"{costs.macs / 1e6:.2f}",
                f"{quality.value_ppm / 1e6:.2%} ({quality.low_ppm / 1e6:.1%} to {quality.high_ppm / 1e6:.1%})",
                e.artifact.model_id,
            )
        )
    test = f"test {metric_text(next(iter(built.manifest.models.values())).quality.metric)}"
    print_table(("tier", "precision", "device latency", "peak memory", "file", "MMACs", test, "model"), rows)
    names = family_labels(run.family_folder, built.manifest)
    changes = ("now right", "now wrong") if built.manifest.task.decoding is None else ("better", "worse")
    print_line()
    print_table(
        ("tier", "worst class", "next lower tier", "differ", *changes), _consistency_rows(built.manifest, names)
    )
    print_line()
    print_table(*_quality_table(built, names))
    print_line(f"family   {run.manifest}")
    print_line(f"report   {run.report}")
    print_line(f"errors   {run.errors}")
    print_line(f"time     {built.seconds:.1f} s")
    for outcome in built.outcomes:
        derived = [limit.describe() for limit in outcome.budgets.limits() if limit.origin]
        if derived:
            print_line(f"budgets  {outcome.found.profile.name}: {', '.join(derived)}")
    for note in built.notes:
        print_line(f"note     {note}")


def family_json(built: Built, run: Run) -> dict[str, Any]:
    """What `print_family` shows, and all measures of each model, as a value for JSON."""
    from exports.family.labels import family_labels
    from supernet.tasks.measures_json import measures_json

    names = family_labels(run.family_folder, built.manifest)
    tiers = {tier.id: tier for tier in built.manifest.tiers}
    return {
        "family": str(run.manifest),
        "report": str(run.report),
        "errors": str(run.errors),
        "seconds": built.seconds,
        "tiers": [
            {
                "tier": outcome.found.profile.name,
                "model": e.artifact.model_id,
                "precision": outcome.result.pick.precision,
                "file_bytes": e.artifact.bytes,
                "latency_provenance": outcome.profile.latency_provenance,
                **asdict(outcome.result.pick.costs),
                "churn": churn.model_dump() if (churn := tiers[outcome.found.profile.name].churn) else None,
            }
            for outcome, e in zip(built.outcomes, built.exported, strict=True)
        ],
        "models": {row.model_id: measures_json(row.measures, names) for row in built.quality},
        "notes": list(built.notes),
    }


def _quality_table(built: Built, names: Sequence[str]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """What each target's model is worth, beside the metric of the family: the headings and the rows."""
    rows = [(tier, cells) for row in built.quality for tier in row.targets for cells in _quality_cells(row, names)]
    headings = {"class": _CLASS_HEADINGS, "classes": _LABEL_HEADINGS, "values": _VALUE_HEADINGS}
    kind = built.quality[0].measures.kind if built.quality else "class"
    return headings[kind], [(tier, *cells) for tier, cells in rows]


def _quality_cells(row: QualityRow, names: Sequence[str]) -> list[tuple[str, ...]]:
    """The rows of one model without its tier: one, or one for each value of a regression."""
    from supernet.tasks.measures import ClassMeasures, LabelMeasures

    measures = row.measures
    if isinstance(measures, ClassMeasures):
        error = _calibration(measures.calibration)
        return [(_estimate(measures.balanced_accuracy), f"{measures.macro_f1:.2%}", error)]
    if isinstance(measures, LabelMeasures):
        precision = measures.mean_average_precision
        average = "-" if precision is None else f"{precision:.2%}"
        return [
            (_estimate(measures.exact_match), f"{measures.macro_f1:.2%}", average, _calibration(measures.calibration))
        ]
    return [
        (name, f"{one.mae.value:.4g}", f"{one.rmse.value:.4g}", f"{one.baseline_mae:.4g}", f"{one.baseline_rmse:.4g}")
        for name, one in zip(names, measures.values, strict=True)
    ]


def _estimate(found: Estimate) -> str:
    return f"{found.value:.2%} ({found.low:.1%} to {found.high:.1%})"


def _calibration(found: Calibration | None) -> str:
    return f"{found.error:.1%} (chance {found.noise:.1%})" if found else "-"


def _consistency_rows(manifest: Manifest, labels: Sequence[str]) -> list[tuple[str, ...]]:
    """For each tier but the floor its worst class, and how its predictions differ from those of the next lower tier."""
    rows = []
    for tier in manifest.tiers:
        classes, churn = manifest.models[tier.models[0]].quality.classes, tier.churn
        if tier.rank:
            worst = _worst_class(classes, labels) if classes is not None else "-"
            shares = (churn.changed_ppm, churn.gained_ppm, churn.lost_ppm) if churn else (None, None, None)
            rows.append((tier.id, worst, churn.against if churn else "-", *map(_share, shares)))
    return rows


def _worst_class(classes: ClassQuality, labels: Sequence[str]) -> str:
    from supernet.tasks.class_measures import FEWEST

    label = labels[classes.worst.index]
    short = label if len(label) <= _LABEL_WIDTH else f"{label[:_LABEL_WIDTH]}..."
    few = " (few)" if classes.worst.images < FEWEST else ""
    return f"{short}: {_share(classes.worst.value_ppm)} of {classes.worst.images:,}{few}"


def _share(ppm: int | None) -> str:
    return "-" if ppm is None else f"{ppm / 1e6:.1%}"
