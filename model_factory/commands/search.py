"""`factory search`: search the trained supernet for one device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from factory_base.terminal import print_json, print_line
from model_factory.commands.options import ConfigOption, JsonOption, QuietOption, RunOption, chosen_run
from model_factory.commands.tables import latency_text, print_table

if TYPE_CHECKING:
    from model_factory.run import Run
    from model_factory.stages.search import SearchOutcome
    from search.target import Candidate


def search(
    device: Annotated[
        str,
        typer.Option(
            metavar="PROFILE",
            help="A profile: a file, a name in profiles/ beside the config, or a shipped name such as midrange.",
        ),
    ],
    run: RunOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Search the trained supernet for one device. Prints the Pareto front and the pick."""
    from model_factory import build as pipeline
    from model_factory.console import Console

    chosen = chosen_run(run, config)
    outcome = pipeline.search(chosen, Console(quiet), device)
    plot = write_search_plot(outcome, chosen)
    if as_json:
        print_json(search_json(outcome, plot))
    else:
        print_search(outcome, plot)


def print_search(outcome: SearchOutcome, plot: Path) -> None:
    """Print the Pareto front of one device and the pick."""
    from factory_base.quantities import format_bytes, format_duration, format_energy

    profile, pick = outcome.found.profile, outcome.result.pick
    print_line(f"device {profile.name} ({outcome.found.origin}), latency {profile.latency_provenance}")
    used = outcome.budgets.slack(pick.costs)
    limits = [f"{limit.describe()}, {used[limit.budget]:.0%} used" for limit in outcome.budgets.limits()]
    print_line("budgets: " + ("; ".join(limits) or "none"))
    if (kept := _kept(outcome)) is not None:
        print_line(
            f"the pick keeps its latency budget with a probability of {kept:.1%}, given the errors in the profile"
        )
    basis = profile.energy_provenance
    energy_column = [] if basis is None else [f"energy ({basis})"]
    load_column = [] if pick.costs.load_us is None else ["load"]
    sizes = ("peak memory", "file", "MMACs")
    columns = ("", "subnet", "latency", *load_column, *sizes, *energy_column, "held-out accuracy", "budgets")
    rows = [
        (
            "pick" if candidate == pick else "",
            candidate.subnet.id,
            latency_text(candidate.costs),
            *([] if candidate.costs.load_us is None else [format_duration(candidate.costs.load_us)]),
            format_bytes(candidate.costs.peak_memory_bytes),
            format_bytes(candidate.costs.file_bytes),
            f"{candidate.costs.macs / 1e6:.2f}",
            *([] if candidate.costs.energy_uj is None else [format_energy(candidate.costs.energy_uj)]),
            f"{candidate.accuracy:.2%}",
            candidate.excesses[0].describe() if candidate.excesses else "kept",
        )
        for candidate in _shown(outcome)
    ]
    print_table(columns, rows, keys=2)
    if note := _table_note(outcome):
        print_line(f"note: {note}")
    print_line(f"subnets scored for this device alone: {outcome.result.new_trials}; plot: {plot}")


def search_json(outcome: SearchOutcome, plot: Path) -> dict[str, Any]:
    """What `print_search` shows, as a value for JSON."""
    return {
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


def write_search_plot(outcome: SearchOutcome, run: Run) -> Path:
    """Plot the front in a file in the run folder. Raises `DiskError`."""
    from model_factory.report.plots import plot_front
    from model_factory.stages.report import device_front

    path = run.front_plot(outcome.found.profile.name)
    plot_front(device_front(outcome), path)
    return path


def _shown(outcome: SearchOutcome) -> Sequence[Candidate]:
    front = outcome.result.front
    pick = outcome.result.pick
    both = front if pick in front else (*front, pick)
    return sorted(both, key=lambda candidate: candidate.costs.latency_us)


def _table_note(outcome: SearchOutcome) -> str:
    """A warning if the latency table was measured with another version of the engine than the installed one; or ""."""
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
        f"the latency table was measured with {table.engine} {table.engine_version}, but {installed} is installed; if "
        "the device has that version, too, measure it again with `factory profile`"
    )


def _kept(outcome: SearchOutcome) -> float | None:
    """The probability that the pick keeps its latency budget; None without a budget or a known standard deviation."""
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
