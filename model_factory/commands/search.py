"""`factory search`: search the trained supernet for devices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from factory_base.terminal import print_json, print_line
from model_factory.commands.comparison import CompareOption, given_samplers, shown_comparisons
from model_factory.commands.options import ConfigOption, JsonOption, QuietOption, RunOption, chosen_run
from model_factory.commands.tables import latency_text, print_table

if TYPE_CHECKING:
    from device_profiles.budgets import Budgets
    from device_profiles.engine import Precision
    from model_factory.console import Console
    from model_factory.run import Run
    from model_factory.stages.search import Searched, SearchOutcome
    from search.target import Candidate, TargetResult


def search(
    device: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PROFILE",
            help="A profile: a file, a name in profiles/ beside the config, or a shipped name such as midrange. "
            "Several devices are searched together.",
            show_default=False,
        ),
    ] = None,
    all_targets: Annotated[bool, typer.Option("--all", help="Search for all targets of the config.")] = False,
    budget: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=LIMIT",
            help="A budget in place of the device's own, such as latency=6ms; may be repeated.",
            show_default=False,
        ),
    ] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PRECISION",
            help="A precision of files to choose in place of those of the config: int8, fp16, fp32 or int8_weights; "
            "may be repeated.",
            show_default=False,
        ),
    ] = None,
    compare: CompareOption = None,
    workers: Annotated[
        int, typer.Option(metavar="N", min=1, max=256, help="Processes on this machine that score subnets.")
    ] = 1,
    join: Annotated[
        bool,
        typer.Option(
            "--join", help="Score subnets for a search that is running with the same `search.storage`, until it ends."
        ),
    ] = False,
    run: RunOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Search the trained supernet for devices. Prints the Pareto front and the pick of each."""
    from factory_base.errors import ConfigError
    from model_factory import build as pipeline
    from model_factory.console import Console

    if join:
        if device or all_targets or budget or precision or compare or workers != 1 or as_json:
            raise ConfigError("--join scores what the search that it joins asks for; give it only --run or --config")
        _join(chosen_run(run, config), Console(quiet))
        return
    if bool(device) == all_targets:
        raise ConfigError("name devices with --device, or search for all targets of the config with --all")
    chosen = chosen_run(run, config)
    precisions = given_precisions(precision) if precision else None
    samplers = given_samplers(compare, chosen.config.search.sampler)
    searched = pipeline.search(
        chosen, Console(quiet), device or (), given_budgets(budget or ()), precisions, samplers, workers
    )
    shown = [(outcome, write_search_plot(outcome, chosen)) for outcome in searched.outcomes]
    compared = shown_comparisons(searched.comparisons, chosen)
    if as_json:
        values = [search_json(searched, outcome, plot) | compared.json(outcome) for outcome, plot in shown]
        print_json(values[0] if len(values) == 1 else {"devices": values})
        return
    for outcome, plot in shown:
        print_search(searched, outcome, plot)
        compared.print(outcome)


def _join(run: Run, console: Console) -> None:
    """Score for a search that is running, and print how much. Raises as `build.join` does."""
    from factory_base.wording import counted
    from model_factory import build as pipeline

    done = pipeline.join(run, console)
    print_line(f"{counted(done, 'evaluation')} for the search, which has ended")


def given_budgets(items: Sequence[str]) -> Budgets:
    """The budgets of `--budget KEY=LIMIT` options.

    Raises:
        ConfigError: An item is not of this form, a key is given twice or unknown, or a limit is wrong.
    """
    from device_profiles.budgets import Budgets
    from factory_base.documents import parse_document
    from factory_base.errors import ConfigError

    values: dict[str, str] = {}
    for item in items:
        key, equals, limit = (part.strip() for part in item.partition("="))
        if not (key and equals and limit):
            raise ConfigError(f"--budget {item}: is not KEY=LIMIT, such as latency=6ms")
        if key in values:
            raise ConfigError(f"--budget {item}: {key} is given twice")
        values[key] = limit
    return parse_document(values, Budgets, "--budget")


def given_precisions(names: Sequence[str]) -> tuple[Precision, ...]:
    """The precisions of `--precision` options. Raises `ConfigError` if one is unknown or given twice."""
    from factory_base.documents import nearest
    from factory_base.errors import ConfigError
    from search.variant import PRECISIONS

    for name in names:
        if name not in PRECISIONS:
            raise ConfigError(f"--precision {name}: is not known; {nearest(name, PRECISIONS)}")
        if names.count(name) > 1:
            raise ConfigError(f"--precision {name}: is given twice")
    return tuple(precision for name in names for precision in PRECISIONS if precision == name)


def print_search(searched: Searched, outcome: SearchOutcome, plot: Path) -> None:
    """Print the Pareto front of one device and the pick."""
    from factory_base.quantities import format_bytes, format_duration, format_energy

    profile, pick = outcome.profile, outcome.result.pick
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
    columns = (
        "",
        "subnet",
        "precision",
        "latency",
        *load_column,
        *sizes,
        *energy_column,
        f"held-out {searched.words.name}",
        "images",
        "budgets",
    )
    rows = [
        (
            "pick" if candidate == pick else "",
            candidate.subnet.id,
            candidate.precision,
            latency_text(candidate.costs),
            *([] if candidate.costs.load_us is None else [format_duration(candidate.costs.load_us)]),
            format_bytes(candidate.costs.peak_memory_bytes),
            format_bytes(candidate.costs.file_bytes),
            f"{candidate.costs.macs / 1e6:.2f}",
            *([] if candidate.costs.energy_uj is None else [format_energy(candidate.costs.energy_uj)]),
            f"{candidate.accuracy:.2%}",
            f"{candidate.images:,}",
            candidate.excesses[0].describe() if candidate.excesses else "kept",
        )
        for candidate in _shown(outcome)
    ]
    print_table(columns, rows, keys=2)
    if note := _table_note(outcome):
        print_line(f"note: {note}")
    for line in _finding_lines(searched, outcome):
        print_line(line)
    print_line(f"plot: {plot}")


def search_json(searched: Searched, outcome: SearchOutcome, plot: Path) -> dict[str, Any]:
    """What `print_search` shows, as a value for JSON."""
    return {
        "device": outcome.found.profile.name,
        "origin": outcome.found.origin,
        "latency_provenance": outcome.profile.latency_provenance,
        "energy_provenance": outcome.profile.energy_provenance,
        "budgets": outcome.budgets.model_dump(mode="json"),
        "pick": _candidate_json(outcome.result.pick),
        "kept_probability": _kept(outcome),
        "front": [_candidate_json(candidate) for candidate in outcome.result.front],
        "finalists": [
            {
                **_candidate_json(finalist.candidate),
                "predicted_accuracy": finalist.predicted,
                "predicted_std": finalist.predicted_std,
            }
            for finalist in outcome.result.finalists
        ],
        "expected_pick": outcome.result.expected.subnet.id,
        "expected_precision": outcome.result.expected.precision,
        "proof": asdict(outcome.result.proof),
        "predictor_errors": asdict(searched.result.errors) if searched.result.errors else None,
        "precision_offsets": [asdict(offset) for offset in searched.result.offsets],
        "notes": list(outcome.result.notes),
        "scored": len(outcome.result.candidates),
        "snapshot": searched.start,
        "plot": str(plot),
    }


def _finding_lines(searched: Searched, outcome: SearchOutcome) -> list[str]:
    """How the pick was found: its distance to the optimum, what the finals changed, and how good the predictor is."""
    result, proof = outcome.result, outcome.result.proof
    lines = [
        f"solver: {proof.status}; no subnet inside the budgets is predicted to be more than "
        f"{max(proof.bound - proof.pick, 0.0) * 100:.2f} points more accurate than the pick"
        if proof.bound is not None
        else "solver: not used, for the config names the subnet"
        if proof.status == "given"
        else f"solver: {proof.status}; how far the pick is from the optimum is not known"
    ]
    if line := higher_scores(result):
        lines.append(f"pick: {line}")
    if len(result.finalists) > 1:
        same = result.expected == result.pick.variant
        lines.append(
            f"finals: {len(result.finalists)} subnets compared on up to {result.pick.images:,} held-out images, "
            + ("which confirmed the pick" if same else f"which changed the pick from {result.expected.describe()}")
        )
    if errors := searched.result.errors:
        lines.append(f"predictor: {errors.describe()}")
    return [*lines, *searched.offset_lines(), *(f"note: {note}" for note in result.notes)]


def higher_scores(result: TargetResult) -> str:
    """Why subnets of the table that scored higher than the pick were not picked; "" if there are none."""
    from factory_base.wording import counted

    pick = result.pick
    higher = [c for c in result.front if not c.excesses and c.accuracy > pick.accuracy]
    fewer = sum(c.images < pick.images for c in higher)
    reasons = [f"{fewer} on fewer images, which says less"] if fewer else []
    if fewer < len(higher):
        reasons.append(f"{len(higher) - fewer} by less than a quarter of a standard error")
    return f"{counted(len(higher), 'subnet')} inside the budgets scored higher: {', '.join(reasons)}" if higher else ""


def write_search_plot(outcome: SearchOutcome, run: Run) -> Path:
    """Plot the front in a file in the run folder. Raises `DiskError`."""
    from model_factory.report.plots import plot_front
    from model_factory.stages.report import device_front
    from search.metric_words import metric_words

    path = run.front_plot(outcome.found.profile.name)
    plot_front(device_front(outcome, metric_words(run.config.steering).name), path)
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

    table = outcome.found.for_files_in(outcome.result.pick.precision).table
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
        "precision": candidate.precision,
        "heldout_accuracy": candidate.accuracy,
        "heldout_images": candidate.images,
        **asdict(candidate.costs),
        "excesses": [excess.describe() for excess in candidate.excesses],
    }
