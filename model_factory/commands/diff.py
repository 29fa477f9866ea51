"""`factory diff`: check whether a family is worse than an earlier one."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from factory_base.terminal import print_json, print_line
from model_factory.commands.options import JsonOption
from model_factory.commands.tables import print_table

if TYPE_CHECKING:
    from exports.family.diff import FamilyDiff, TierChange, ValueChange


def diff(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="The earlier family: its folder or its manifest.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="The family to check: its folder or its manifest.")],
    max_accuracy_drop: Annotated[
        float,
        typer.Option(metavar="F", help="Accepted drop in accuracy: 0.005 is half a percentage point.", min=0, max=1),
    ] = 0.0,
    max_class_drop: Annotated[
        float,
        typer.Option(metavar="F", help="Accepted drop in accuracy on any one class, beyond chance.", min=0, max=1),
    ] = 0.02,
    max_conversion_drop: Annotated[
        float,
        typer.Option(metavar="F", help="Accepted drop in accuracy by a conversion such as to int8.", min=0, max=1),
    ] = 0.003,
    max_latency_increase: Annotated[
        float, typer.Option(metavar="F", help="Accepted increase in latency: 0.05 is 5 %.", min=0)
    ] = 0.05,
    max_memory_increase: Annotated[
        float, typer.Option(metavar="F", help="Accepted increase in peak memory: 0.05 is 5 %.", min=0)
    ] = 0.05,
    max_bytes_increase: Annotated[
        float, typer.Option(metavar="F", help="Accepted increase in file size: 0.05 is 5 %.", min=0)
    ] = 0.05,
    evaluation: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR",
            help="A folder of test labels and predictions that families do not publish, runs/NAME/evaluation; those in "
            "runs/ beside each dist/ are found by themselves.",
            exists=True, file_okay=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Compare two families tier by tier. Exit code 0: nothing got worse; 1: a tier did; 2: they cannot be compared."""
    from exports.family.diff import Limits, diff_families

    limits = Limits(
        max_accuracy_drop=max_accuracy_drop,
        max_class_drop=max_class_drop,
        max_conversion_drop=max_conversion_drop,
        max_latency_increase=max_latency_increase,
        max_memory_increase=max_memory_increase,
        max_bytes_increase=max_bytes_increase,
    )
    outcome = diff_families(old, new, limits, tuple(evaluation or ()))
    if as_json:
        print_json(diff_json(outcome))
    else:
        print_diff(outcome)
    raise typer.Exit(outcome.exit_code)


def print_diff(diff: FamilyDiff) -> None:
    """Print the changes of every tier, then what got worse."""
    header = ("tier", "platform", "status", "model", "accuracy (95 % interval)")
    rows = [
        (
            change.tier,
            change.platform,
            "WORSE" if change.worse else change.status,
            _models(change),
            _accuracy(change),
        )
        for change in diff.tiers
    ]
    print_table(header, rows, keys=2)
    costs = [(change.tier, *_cost(value)) for change in diff.tiers for value in change.values if value.old != value.new]
    if costs:
        print_line()
        print_table(("tier", "cost", "old", "new", "change"), costs, keys=2)
    figures = [
        (change.tier, one.name.replace("_", " "), f"{one.old:.2%}", f"{one.new:.2%}", f"{one.new - one.old:+.2%}")
        for change in diff.tiers
        for one in change.measures
        if one.old != one.new
    ]
    if figures:
        print_line()
        print_table(("tier", "figure", "old", "new", "change"), figures, keys=2)
    for change in diff.tiers:
        for note in change.notes:
            print_line(f"note: {change.tier}: {note}")
    for note in diff.notes:
        print_line(f"note: {note}")
    for line in diff.worse:
        print_line(f"worse: {line}")
    if not diff.worse:
        print_line("nothing got worse")


def diff_json(diff: FamilyDiff) -> dict[str, Any]:
    """What `print_diff` shows, as a value for JSON."""
    return {**asdict(diff), "exit_code": diff.exit_code}


def _models(change: TierChange) -> str:
    if change.old_model == change.new_model:
        return change.new_model
    return f"{change.old_model or '-'} > {change.new_model or '-'}"


def _accuracy(change: TierChange) -> str:
    if change.accuracy is None:
        return ""
    a = change.accuracy
    return f"{a.mean:+.2%} ({a.low:+.2%} to {a.high:+.2%})"


def _cost(value: ValueChange) -> tuple[str, str, str, str]:
    change = f"{value.new / value.old - 1:+.1%}" if value.old else ""
    return value.label, value.shown(value.old), value.shown(value.new), change
