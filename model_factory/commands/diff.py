"""`factory diff`: check whether a family is worse than an earlier one."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from factory_base.foreign import printable
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
    max_latency_increase: Annotated[
        float, typer.Option(metavar="F", help="Accepted increase in latency: 0.05 is 5 %.", min=0)
    ] = 0.05,
    max_memory_increase: Annotated[
        float, typer.Option(metavar="F", help="Accepted increase in peak memory: 0.05 is 5 %.", min=0)
    ] = 0.05,
    max_bytes_increase: Annotated[
        float, typer.Option(metavar="F", help="Accepted increase in file size: 0.05 is 5 %.", min=0)
    ] = 0.05,
    as_json: JsonOption = False,
) -> None:
    """Compare two families tier by tier. Exit code 0: nothing got worse; 1: a tier did; 2: they cannot be compared."""
    from exports.family.diff import Limits, diff_families

    limits = Limits(
        max_accuracy_drop=max_accuracy_drop,
        max_latency_increase=max_latency_increase,
        max_memory_increase=max_memory_increase,
        max_bytes_increase=max_bytes_increase,
    )
    outcome = diff_families(old, new, limits)
    if as_json:
        typer.echo(diff_json(outcome))
    else:
        print_diff(outcome)
    raise typer.Exit(outcome.exit_code)


def print_diff(diff: FamilyDiff) -> None:
    """Print the changes of every tier, then what got worse."""
    header = ("tier", "platform", "", "model", "accuracy (95 % interval)", "costs")
    rows = [
        (
            change.tier,
            change.platform,
            "WORSE" if change.worse else change.status,
            _models(change),
            _accuracy(change),
            "\n".join(_value(v) for v in change.values if v.old != v.new),
        )
        for change in diff.tiers
    ]
    print_table(header, rows)
    for change in diff.tiers:
        for note in change.notes:
            print(printable(f"note: {change.tier}: {note}"))
    for note in diff.notes:
        print(printable(f"note: {note}"))
    for line in diff.worse:
        print(printable(f"worse: {line}"))
    if not diff.worse:
        print("nothing got worse")


def diff_json(diff: FamilyDiff) -> str:
    """What `print_diff` shows, as JSON."""
    return json.dumps({**asdict(diff), "exit_code": diff.exit_code}, indent=2)


def _models(change: TierChange) -> str:
    if change.old_model == change.new_model:
        return change.new_model
    return f"{change.old_model or '-'} > {change.new_model or '-'}"


def _accuracy(change: TierChange) -> str:
    if change.accuracy is None:
        return ""
    a = change.accuracy
    return f"{a.mean:+.2%} ({a.low:+.2%} to {a.high:+.2%})"


def _value(change: ValueChange) -> str:
    relative = f" ({change.new / change.old - 1:+.1%})" if change.old else ""
    return f"{change.label} {change.shown(change.old)} > {change.shown(change.new)}{relative}"
