"""What the commands print: tables for people, JSON for machines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table

from factory_base.quantities import format_bytes, format_duration, format_energy

if TYPE_CHECKING:
    from device_profiles.costs import Costs
    from exports.family.diff import FamilyDiff, TierChange
    from exports.family.verify import VerifyReport
    from model_factory.build import Built
    from model_factory.jobs.measuring import Modelled, Profiled
    from model_factory.jobs.onboarding import NewDevice, Suggestion
    from model_factory.run import Run
    from model_factory.stages.stages import SearchOutcome
    from search.target import Candidate

_MIN_WIDTH = 100


def print_family(built: Built, run: Run) -> None:
    """The tiers of a finished family, where its files lie, and the budgets that were derived."""
    table = _table("tier", "device latency", "peak memory", "file", "MMACs", "test accuracy", "model")
    for outcome, e in zip(built.outcomes, built.exported, strict=True):
        costs = outcome.result.pick.costs
        low, high = e.evaluation.interval()
        table.add_row(
            outcome.found.profile.name,
            f"{_latency(costs)} ({outcome.found.profile.latency_provenance})",
            format_bytes(costs.peak_memory_bytes),
            format_bytes(e.artifact.bytes),
            f"{costs.macs / 1e6:.2f}",
            f"{e.evaluation.accuracy:.2%} ({low:.1%} to {high:.1%})",
            e.artifact.model_id,
        )
    _print(table)
    print(f"family   {run.family_folder / 'manifest.json'}\nreport   {run.report}\ntime     {built.seconds:.1f} s")
    for outcome in built.outcomes:
        derived = [limit.describe() for limit in outcome.budgets.limits() if limit.origin]
        if derived:
            print(f"budgets  {outcome.found.profile.name}: {', '.join(derived)}")
    for note in built.notes:
        print(f"note     {note}")


def print_search(outcome: SearchOutcome, plot: Path) -> None:
    """The Pareto front of one device and the pick."""
    profile, pick = outcome.found.profile, outcome.result.pick
    print(f"device {profile.name} ({outcome.found.origin}), latency {profile.latency_provenance}")
    used = outcome.budgets.slack(pick.costs)
    limits = [f"{limit.describe()}, {used[limit.budget]:.0%} used" for limit in outcome.budgets.limits()]
    print("budgets: " + ("; ".join(limits) or "none"))
    if (kept := _kept(outcome)) is not None:
        print(f"the pick keeps its latency with a probability of {kept:.1%}, as far as the profile knows its errors")
    basis = profile.energy_provenance
    energy_column = [] if basis is None else [f"energy ({basis})"]
    load_column = [] if pick.costs.load_us is None else ["load"]
    sizes = ("peak memory", "file", "MMACs")
    columns = ("", "subnet", "latency", *load_column, *sizes, *energy_column, "held-out accuracy", "budgets")
    table = _table(*columns)
    for candidate in _shown(outcome):
        table.add_row(
            "pick" if candidate == pick else "",
            candidate.subnet.id,
            _latency(candidate.costs),
            *([] if candidate.costs.load_us is None else [format_duration(candidate.costs.load_us)]),
            format_bytes(candidate.costs.peak_memory_bytes),
            format_bytes(candidate.costs.file_bytes),
            f"{candidate.costs.macs / 1e6:.2f}",
            *([] if candidate.costs.energy_uj is None else [format_energy(candidate.costs.energy_uj)]),
            f"{candidate.accuracy:.2%}",
            candidate.excesses[0].describe() if candidate.excesses else "kept",
        )
    _print(table)
    if note := _table_note(outcome):
        print(f"note: {note}")
    print(f"scored for this device alone: {outcome.result.new_trials}; plot: {plot}")


def search_json(outcome: SearchOutcome, plot: Path) -> str:
    """What `print_search` shows, as JSON."""
    value = {
        "device": outcome.found.profile.name,
        "origin": outcome.found.origin,
        "latency_provenance": outcome.found.profile.latency_provenance,
        "energy_provenance": outcome.found.profile.energy_provenance,
        "budgets": outcome.budgets.model_dump(mode="json"),
        "pick": _candidate_json(outcome.result.pick),
        "kept_probability": _kept(outcome),
        "front": [_candidate_json(candidate) for candidate in outcome.result.front],
        "scored": len(outcome.result.candidates),
        "new_trials": outcome.result.new_trials,
        "plot": str(plot),
    }
    return json.dumps(value, indent=2)


def print_profiled(profiled: Profiled) -> None:
    """What was measured, how far to trust it, and what to do with it."""
    costs, table = profiled.profile.costs, profiled.table
    print(f"machine        {costs.machine}")
    if table is not None and table.errors is not None:
        timed = sum(part.measured for part in table.parts)
        print(f"latency table  {timed} parts timed, {table.part_count - timed} interpolated")
        errors = table.errors
        print(
            f"predictions    of {errors.networks} held-out networks: mean error {errors.mape:.1%}, "
            f"{errors.within_5:.0%} within 5 %, {errors.within_10:.0%} within 10 %, rank correlation "
            f"{errors.spearman:.3f}"
        )
    else:
        print(
            f"predictions    of held-out networks: mean error {costs.prediction_error:.1%}; no table: the model space"
        )
        print("               declares no chain of parts")
    print(f"repeatability  {costs.repeatability_p95:.1%} between odd and even rounds (95th percentile of networks)")
    if costs.spread is not None:
        print(
            f"single runs    95th percentile {costs.spread.p95_over_p50:.2f} times the median; without a pause for "
            f"{costs.spread.sustained_seconds:g} s {costs.spread.sustained_over_p50:.2f} times the latency stated"
        )
    if costs.peak is not None:
        print(f"peak           {costs.peak.gmacs_per_s:g} GMAC/s, {costs.peak.gbytes_per_s:g} GB/s copied")
    print(f"{profiled.path}: written; use it with `factory search --device {profiled.path}`, or name it in the targets")


def print_onboarded(device: NewDevice) -> None:
    """What was made of a few measured networks, how far to trust it, and what to do with it."""
    table, costs = device.table, device.profile.costs
    measured = f"{table.fitted_networks} networks" + (f", {costs.rows} rows" if costs.rows else "")
    print(f"measured       {measured}")
    if costs.latency_std is not None:
        print(f"prior          {costs.latency_std.source.partition('prior of ')[2]}")
    if table.errors is not None:
        print(
            f"predictions    each measured network from the others: mean error {table.errors.mape:.1%}, "
            f"{table.errors.within_10:.0%} within 10 %"
        )
    for note in device.notes:
        print(f"note           {note}")
    confidence = device.profile.budgets.confidence
    if confidence is not None:
        print(f"budgets        latencies are to be kept with a probability of {confidence:.0%}")
    print(f"{device.path}: written; use it with `factory search --device {device.path}`, or name it in the targets")


def print_suggestion(suggestion: Suggestion) -> None:
    """The networks to measure, and where to write their latencies."""
    folder = suggestion.sheet.parent
    print(f"networks to measure: {', '.join(subnet.id for subnet in suggestion.networks)}")
    print(f"their files lie in {folder}; time each at batch 1 on the device, then")
    print(f"fill in {suggestion.sheet} and run `factory onboard {suggestion.sheet}`")


def print_modelled(modelled: Modelled) -> None:
    """What a modelled profile rests on, how far to trust it, and what to do with it."""
    from device_profiles.modelling.roofline import explained

    for line in explained(modelled.sheet):
        print(line)
    profile = modelled.profile
    std = profile.costs.latency_std
    doubt = "" if std is None else f", one standard deviation is {std.value:.0%} of a latency"
    print(f"latency        {profile.latency_provenance}{doubt}")
    print(f"energy         {profile.energy_provenance or 'unknown'}")
    print(f"{modelled.path}: written; use it with `factory search --device {modelled.path}`, or name it in the targets")


def write_search_plot(outcome: SearchOutcome, run: Run) -> Path:
    """Leave the front as a picture in the run folder. Raises `DiskError`."""
    from model_factory.report.plots import plot_front
    from model_factory.stages.report import device_front

    path = run.folder / "plots" / f"{outcome.found.profile.name}.png"
    plot_front(device_front(outcome), path)
    return path


def print_checks(report: VerifyReport) -> None:
    """Every check of a family; faults last, then the verdict."""
    for check in sorted(report.checks, key=lambda check: not check.ok):
        print(f"{'ok   ' if check.ok else 'FAULT'}  {check.name}: {check.detail}")
    faults = sum(not check.ok for check in report.checks)
    print(f"{len(report.checks)} checks, " + (f"{faults} faults" if faults else "all passed"))


def verify_json(report: VerifyReport) -> str:
    """What `print_checks` shows, as JSON."""
    return json.dumps({"ok": report.ok, "checks": [asdict(check) for check in report.checks]}, indent=2)


def print_diff(diff: FamilyDiff) -> None:
    """The change of every tier, then what got worse."""
    table = _table("tier", "platform", "", "model", "accuracy (95 % interval)", "costs")
    for change in diff.tiers:
        table.add_row(
            change.tier,
            change.platform,
            "WORSE" if change.worse else change.status,
            _models(change),
            _accuracy(change),
            "\n".join(_value(v.name, v.old, v.new) for v in change.values if v.old != v.new),
        )
    _print(table)
    for change in diff.tiers:
        for note in change.notes:
            print(f"note: {change.tier}: {note}")
    for line in diff.worse:
        print(f"worse: {line}")
    if not diff.worse:
        print("nothing got worse")


def diff_json(diff: FamilyDiff) -> str:
    """What `print_diff` shows, as JSON."""
    return json.dumps({**asdict(diff), "exit_code": diff.exit_code}, indent=2)


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table for people."""
    table = _table(*header)
    for row in rows:
        table.add_row(*row)
    _print(table)


def _shown(outcome: SearchOutcome) -> Sequence[Candidate]:
    front = outcome.result.front
    pick = outcome.result.pick
    both = front if pick in front else (*front, pick)
    return sorted(both, key=lambda candidate: candidate.costs.latency_us)


def _latency(costs: Costs) -> str:
    """With its standard deviation, where that is known."""
    text = format_duration(costs.latency_us)
    return f"{text} ±{costs.latency_std_us / costs.latency_us:.0%}" if costs.latency_std_us else text


def _table_note(outcome: SearchOutcome) -> str:
    """Where the latency table is of another version of the engine than the one installed here; else ""."""
    from exports.engines import ENGINES, get_engine
    from factory_base.errors import EngineError

    table = outcome.found.table
    if table is None or not table.engine_version or table.engine not in ENGINES:
        return ""
    try:
        installed = get_engine(table.engine).version()
    except EngineError:
        return ""
    if installed == table.engine_version:
        return ""
    return (
        f"the latency table was measured with {table.engine} {table.engine_version}, installed here is {installed}; if "
        "the device has that too, measure it again with `factory profile`"
    )


def _kept(outcome: SearchOutcome) -> float | None:
    """The probability that the pick keeps its latency budget; None without a budget or a known deviation."""
    limit = outcome.budgets.latency_us
    return None if limit is None else outcome.result.pick.costs.kept_probability(limit)


def _candidate_json(candidate: Candidate) -> dict[str, Any]:
    return {
        "subnet_id": candidate.subnet.id,
        "subnet": candidate.subnet.to_dict(),
        "heldout_accuracy": candidate.accuracy,
        **asdict(candidate.costs),
        "excesses": [excess.describe() for excess in candidate.excesses],
    }


def _models(change: TierChange) -> str:
    if change.old_model == change.new_model:
        return change.new_model
    return f"{change.old_model or '-'} > {change.new_model or '-'}"


def _accuracy(change: TierChange) -> str:
    if change.accuracy is None:
        return ""
    a = change.accuracy
    return f"{a.mean:+.2%} ({a.low:+.2%} to {a.high:+.2%})"


def _value(name: str, old: int, new: int) -> str:
    return f"{name} {old} > {new}" + (f" ({new / old - 1:+.1%})" if old else "")


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _print(table: Table) -> None:
    console = Console()
    if not console.is_terminal or console.width < _MIN_WIDTH:
        console = Console(width=max(_MIN_WIDTH, 160))
    console.print(table)
