"""The Pareto fronts of several samplers in one plot. SVG for the report, PNG for the command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from factory_base.files import atomic_path
from factory_base.quantities import format_duration
from model_factory.report.plain import clean
from model_factory.report.plot_style import ON_WHITE, VARIABLES, Palette, style, svg_of
from search.comparison import Comparison, Contender

_UNITS: Final = {"us": 1.0, "ms": 1e3, "s": 1e6}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """How the front of a sampler is drawn, with or without colours."""

    colour: str
    marker: str
    line: str


_LOOKS: Final = {
    "exact": _Look(colour="accent", marker="o", line="-"),
    "random": _Look(colour="muted", marker="x", line=":"),
    "nsga2": _Look(colour="pick", marker="s", line="--"),
    "tpe": _Look(colour="budget", marker="^", line="-."),
    "gp": _Look(colour="ink", marker="v", line="--"),
    "exhaustive": _Look(colour="ink", marker="", line=":"),
}


def comparison_svg(comparison: Comparison, prefix: str) -> str:
    """An `<svg>` element of all fronts on one device; `prefix` makes its ids differ from those of other plots."""
    with style(VARIABLES):
        figure = Figure(figsize=(5.4, 3.7), layout="constrained")
        _draw(figure, comparison, VARIABLES)
        title = f"Pareto fronts of {', '.join(c.sampler for c in comparison.contenders)} on {comparison.device}"
        return svg_of(figure, prefix, title)


def plot_comparison(comparison: Comparison, path: Path) -> None:
    """Write the fronts as a PNG file, atomically. Raises `DiskError`."""
    with style(ON_WHITE), atomic_path(path) as temporary:
        figure = Figure(figsize=(7.2, 4.8), layout="constrained", dpi=120)
        _draw(figure, comparison, ON_WHITE)
        figure.savefig(temporary, format="png", metadata={"Software": None})


def _draw(figure: Figure, comparison: Comparison, palette: Palette) -> None:
    axes = figure.add_subplot()
    reference = comparison.own.reference
    unit = format_duration(reference.latency_us).split()[-1]
    for contender in reversed(comparison.contenders):  # the own search last, above the others
        _draw_front(axes, contender, _UNITS[unit], palette, is_own=contender is comparison.own)
    edge = "budget" if reference.is_budget else "largest network"
    axes.axvline(reference.latency_us / _UNITS[unit], color=palette.line, linewidth=1.2, label=edge, zorder=1)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
    axes.set_xlabel(f"latency, {clean(comparison.latency_basis)} ({unit})")
    axes.set_ylabel(f"held-out {comparison.metric}")
    axes.set_title(clean(comparison.device), loc="left", color=palette.ink, fontweight="bold")
    figure.legend(loc="outside lower center", ncols=4, frameon=False)


def _draw_front(axes: Axes, contender: Contender, scale: float, palette: Palette, *, is_own: bool) -> None:
    """The front as steps up to the reference point, where the area that counts ends."""
    look, front = _LOOKS[contender.sampler], contender.front
    colour = getattr(palette, look.colour)
    label = f"{contender.sampler} (own)" if is_own else contender.sampler
    ends = [contender.reference.latency_us / scale] if front else []
    latencies = [place.latency_us / scale for place in front]
    accuracies = [place.accuracy for place in front]
    axes.plot(
        [*latencies, *ends],
        [*accuracies, *accuracies[-1:]],
        color=colour,
        linestyle=look.line,
        marker=look.marker,
        markersize=4,
        markevery=range(len(front)) if front else None,
        label=label,
        drawstyle="steps-post",
        linewidth=2.0 if is_own else 1.2,
        zorder=3 if is_own else 2,
    )
