"""The value of a fleet over the number of models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from factory_base.files import atomic_path
from model_factory.report.plain import clean
from model_factory.report.plot_style import ON_WHITE, style

if TYPE_CHECKING:
    from search.fleet.found import FleetFound


def plot_curve(fleet: str, found: FleetFound, metric: str, path: Path) -> None:
    """Write the curve as a PNG file, atomically. Raises `DiskError`."""
    with style(ON_WHITE), atomic_path(path) as temporary:
        figure = Figure(figsize=(7.2, 4.8), layout="constrained", dpi=120)
        axes = figure.add_subplot()
        most = [point.most for point in found.curve]
        bounded = [point for point in found.curve if point.status != "optimal"]
        axes.axhline(
            found.ceiling, color=ON_WHITE.budget, linestyle="--", linewidth=1.2, label="every class its own best"
        )
        axes.plot(
            most, [p.value for p in found.curve], color=ON_WHITE.accent, marker="o", markersize=5, label="best plan"
        )
        if bounded:
            axes.scatter(
                [point.most for point in bounded], [point.bound for point in bounded], color=ON_WHITE.muted, marker="_",
                s=80, label="no plan is above",
            )  # fmt: skip
        paying = next((point for point in found.curve if point.most == found.suggested), None)
        if paying is not None:
            axes.plot(
                [paying.most], [paying.value], color=ON_WHITE.pick, marker="o", markersize=9, linestyle="",
                label="the last model that pays",
            )  # fmt: skip
        axes.set_xlim(0.5, max(most) + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
        axes.set_xlabel("models")
        axes.set_ylabel(f"mean held-out {metric} over installs")
        axes.set_title(clean(f"fleet {fleet}"), loc="left", color=ON_WHITE.ink, fontweight="bold")
        axes.legend(loc="lower right", frameon=False)
        figure.savefig(temporary, format="png", metadata={"Software": None})
