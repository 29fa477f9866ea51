"""`factory search --compare`: other samplers beside the run's own search. This module imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from factory_base.terminal import print_line
from model_factory.commands.tables import print_table

if TYPE_CHECKING:
    from model_factory.run import Run
    from model_factory.stages.search import SearchOutcome
    from search.comparison import Comparison, Contender

CompareOption = Annotated[
    str | None,
    typer.Option(
        metavar="SAMPLERS",
        help="Compare the search with other samplers at equal numbers of evaluations, for each device alone: names "
        "with commas between them, such as random,nsga2,tpe. No pick depends on it.",
        show_default=False,
    ),
]


def given_samplers(names: str | None, own: str) -> tuple[str, ...]:
    """The samplers of `--compare`; none without the option.

    Args:
        names: The names, with commas between them.
        own: The sampler of the config, which is always compared.

    Raises:
        ConfigError: A name is missing, unknown, given twice, or that of the run's own sampler.
    """
    from factory_base.documents import nearest
    from factory_base.errors import ConfigError
    from search.samplers import SAMPLERS

    if names is None:
        return ()
    found = tuple(name.strip() for name in names.split(","))
    for name in found:
        if not name:
            raise ConfigError(f"--compare {names!r}: a name is missing; write samplers such as random,nsga2,tpe")
        if name not in SAMPLERS:
            raise ConfigError(f"--compare {name}: there is no such sampler; {nearest(name, SAMPLERS)}")
        if found.count(name) > 1:
            raise ConfigError(f"--compare {name}: is given twice")
        if name == own:
            others = ", ".join(other for other in SAMPLERS if other != own)
            raise ConfigError(f"--compare {name}: is the run's own sampler, which is always compared; known: {others}")
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownComparisons:
    """Comparisons with their plots.

    Attributes:
        by_device: The comparison and the file of its plot, by the name of the device.
    """

    by_device: Mapping[str, tuple[Comparison, Path]]

    def json(self, outcome: SearchOutcome) -> dict[str, Any]:
        """What is added to the JSON of a device; nothing if no samplers were compared on it."""
        found = self.by_device.get(outcome.found.profile.name)
        return {"comparison": comparison_json(*found)} if found else {}

    def print(self, outcome: SearchOutcome) -> None:
        """Print the comparison on a device, if there is one."""
        found = self.by_device.get(outcome.found.profile.name)
        if found:
            print_comparison(*found)


def shown_comparisons(comparisons: Sequence[Comparison], run: Run) -> ShownComparisons:
    """Plot comparisons in files in the run folder. Raises `DiskError`."""
    if not comparisons:
        return ShownComparisons(by_device={})
    from model_factory.report.comparison_plot import plot_comparison

    shown = {found.device: (found, run.comparison_plot(found.device)) for found in comparisons}
    for found, path in shown.values():
        plot_comparison(found, path)
    return ShownComparisons(by_device=shown)


def print_comparison(comparison: Comparison, plot: Path) -> None:
    """Print a row for each sampler, and what the figures mean."""
    from model_factory.report.comparison import comparison_rows, how_compared

    columns = ("sampler", "evaluations", "hypervolume", f"pick, {comparison.metric}", "against own", "latency")
    rows = [
        (
            row.sampler,
            row.evaluations,
            row.hypervolume,
            row.accuracy,
            row.difference,
            row.latency,
            row.new,
            row.proposing,
            row.scoring,
        )
        for row in comparison_rows(comparison)
    ]
    print_line()
    print_line(f"samplers on {comparison.device}, {comparison.own.sampler} being the run's own:")
    print_table((*columns, "new scores", "proposing", "scoring"), rows)
    for line in how_compared(comparison):
        print_line(line)
    for contender in comparison.contenders:
        print_line(f"{contender.sampler}: {contender.settings}")
        for note in contender.notes:
            print_line(f"note: {note}")
    print_line(f"plot: {plot}; `factory report` adds it to report.html if the config has this target and these budgets")


def comparison_json(comparison: Comparison, plot: Path) -> dict[str, Any]:
    """What `print_comparison` shows, as a value for JSON."""
    own = comparison.own
    return {
        "own": own.sampler,
        "precision": own.precision,
        "evaluations": own.allowed,
        "images": own.images,
        "metric": comparison.metric,
        "reference": asdict(own.reference),
        "samplers": [_contender_json(comparison, contender) for contender in comparison.contenders],
        "plot": str(plot),
    }


def _contender_json(comparison: Comparison, contender: Contender) -> dict[str, Any]:
    pick, against = contender.pick, comparison.against_own(contender)
    return {
        "sampler": contender.sampler,
        "settings": contender.settings,
        "evaluations": contender.evaluations,
        "inside_budgets": contender.inside,
        "new_scores": contender.new,
        "hypervolume": contender.hypervolume,
        "pick": None
        if pick is None
        else {
            "subnet_id": pick.scored.subnet.id,
            "subnet": pick.scored.subnet.to_dict(),
            "heldout_accuracy": pick.scored.accuracy,
            "heldout_images": pick.scored.images,
            **asdict(pick.costs),
        },
        "against_own": None if against is None else {"difference": against[0], "standard_error": against[1]},
        "front": [asdict(place) for place in contender.front],
        "proposing_s": contender.proposing_s,
        "scoring_s": contender.scoring_s,
        "notes": list(contender.notes),
    }
