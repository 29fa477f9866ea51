"""Plots: accuracy against latency per device, and training curves. SVG for the report, PNG for the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from factory_base.files import atomic_path
from factory_base.quantities import format_duration
from factory_base.wording import capitalised
from model_factory.report.data import DeviceFront, FrontPoint, TrainingCurve
from model_factory.report.plain import clean
from model_factory.report.plot_style import ON_WHITE, VARIABLES, Palette, style, svg_of

_MAX_LOSS_POINTS = 400
"""Points of a loss curve: about one for each pixel that the plot is wide. Longer curves are averaged."""
_FAR = 3.0
"""A budget beyond this multiple of the largest latency is noted at the edge, since a line would squeeze the points."""


def front_svg(front: DeviceFront, accuracy_limits: tuple[float, float], prefix: str) -> str:
    """An `<svg>` element of accuracy against latency on one device.

    Args:
        front: The scored subnets of the device.
        accuracy_limits: Limits of the vertical axis, which all devices of a report share.
        prefix: Prefix of all ids, so that the ids of several plots in one page differ.
    """
    with style(VARIABLES):
        figure = Figure(figsize=(3.9, 2.9), layout="constrained")
        _draw_front(figure.add_subplot(), front, accuracy_limits, VARIABLES)
        return svg_of(figure, prefix, f"{capitalised(front.metric)} against latency on {front.device}")


def plot_front(front: DeviceFront, path: Path) -> None:
    """Write `front` as a PNG file, atomically. Raises `DiskError`."""
    with style(ON_WHITE), atomic_path(path) as temporary:
        figure = Figure(figsize=(7.2, 4.8), layout="constrained", dpi=120)
        axes = figure.add_subplot()
        _draw_front(axes, front, accuracy_limits([front]), ON_WHITE)
        if front.points:
            figure.legend(loc="outside lower center", ncols=5, frameon=False)
        figure.savefig(temporary, format="png", metadata={"Software": None})


def loss_svg(curve: TrainingCurve, prefix: str) -> str:
    """An `<svg>` element of the training loss by step; `prefix` as in `front_svg`."""
    with style(VARIABLES):
        figure = Figure(figsize=(3.9, 2.5), layout="constrained")
        axes = figure.add_subplot()
        steps, loss = _thinned(curve.steps), _thinned(curve.loss)
        axes.plot(steps, loss, color=VARIABLES.accent, linewidth=1.3, marker="." if len(steps) == 1 else "")
        _label_steps(axes, "training loss", curve)
        return svg_of(figure, prefix, "Training loss by step")


def accuracy_svg(curve: TrainingCurve, prefix: str) -> str:
    """An `<svg>` element of the held-out accuracy of the largest and smallest subnet; `prefix` as in `front_svg`."""
    with style(VARIABLES):
        figure = Figure(figsize=(3.9, 2.5), layout="constrained")
        axes = figure.add_subplot()
        for points, colour, marker in (
            (curve.largest_accuracy, VARIABLES.accent, "o"),
            (curve.smallest_accuracy, VARIABLES.pick, "s"),
        ):
            axes.plot([s for s, _ in points], [a for _, a in points], color=colour, marker=marker, markersize=3.5)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        _label_steps(axes, f"held-out {curve.metric}", curve)
        return svg_of(figure, prefix, f"Held-out {curve.metric} of the largest and the smallest subnet by step")


def accuracy_limits(fronts: Sequence[DeviceFront]) -> tuple[float, float]:
    """Limits of the accuracy axis that include every point of `fronts`, with a margin."""
    values = [point.accuracy for front in fronts for point in front.points]
    low, high = min(values, default=0.0), max(values, default=1.0)
    margin = max(0.05 * (high - low), 0.005)
    return low - margin, high + margin


def _draw_front(axes: Axes, front: DeviceFront, limits: tuple[float, float], palette: Palette) -> None:
    scale, unit = _latency_unit(front)
    shown = sorted(front.points, key=lambda point: (point.latency_us, point.accuracy))
    _scatter(
        axes,
        [p for p in shown if not p.feasible],
        scale,
        "over budget",
        marker="x",
        s=11,
        color=palette.muted,
        alpha=0.6,
    )
    inside = [p for p in shown if p.feasible and not p.picked]
    _scatter(axes, inside, scale, "within budgets", marker="o", s=12, color=palette.accent, alpha=0.55, linewidths=0)
    best = [p for p in shown if p.on_front]
    if best:
        xy = [p.latency_us / scale for p in best], [p.accuracy for p in best]
        axes.plot(*xy, color=palette.accent, linewidth=1.1, drawstyle="steps-post", label="Pareto front", zorder=1)
    _draw_budget(axes, front, scale, palette)
    picked = [p for p in shown if p.picked]
    _scatter(axes, picked, scale, "pick", marker="D", s=46, color=palette.pick, zorder=3)
    axes.set_ylim(*limits)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
    axes.set_xlabel(f"latency, {clean(front.latency_basis)} ({unit})")
    axes.set_ylabel(f"held-out {front.metric}")
    axes.set_title(clean(front.device), loc="left", color=palette.ink, fontweight="bold")


def _draw_budget(axes: Axes, front: DeviceFront, scale: float, palette: Palette) -> None:
    """Draw the latency budget as a line or, if it is far to the right, as a note at the edge."""
    budget = front.latency_budget_us
    if budget is None:
        return
    if budget <= _FAR * max((point.latency_us for point in front.points), default=budget):
        axes.axvline(budget / scale, color=palette.budget, linestyle="--", linewidth=1, label="budget")
    else:
        text = f"budget {format_duration(budget)} \N{RIGHTWARDS ARROW}"
        axes.annotate(text, (0.99, 0.03), xycoords="axes fraction", ha="right", color=palette.budget, fontsize=8)


def _scatter(
    axes: Axes, points: Sequence[FrontPoint], scale: float, label: str, *, marker: str, s: float, color: str,
    alpha: float = 1.0, linewidths: float = 1.0, zorder: float = 2,
) -> None:  # fmt: skip
    if points:
        axes.scatter(
            [point.latency_us / scale for point in points], [point.accuracy for point in points], label=label,
            marker=marker, s=s, color=color, alpha=alpha, linewidths=linewidths, zorder=zorder, clip_on=False,
        )  # fmt: skip


def _latency_unit(front: DeviceFront) -> tuple[float, str]:
    points = [point.latency_us for point in front.points]
    largest = max(points or [front.latency_budget_us or 0.0])
    unit = format_duration(largest).split()[-1]
    return {"us": 1.0, "ms": 1e3, "s": 1e6}[unit], unit


def _label_steps(axes: Axes, name: str, curve: TrainingCurve) -> None:
    axes.set_xlabel("step")
    axes.set_ylabel(name)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10], integer=True))
    if curve.phase_boundary is not None:
        axes.axvline(curve.phase_boundary, color=VARIABLES.budget, linestyle="--", linewidth=1)


def _thinned(values: Sequence[float]) -> list[float]:
    """Means of consecutive groups, at most `_MAX_LOSS_POINTS` of them."""
    size = -(-len(values) // _MAX_LOSS_POINTS) or 1
    groups = [values[start : start + size] for start in range(0, len(values), size)]
    return [sum(group) / len(group) for group in groups]
