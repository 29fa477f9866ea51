"""The memory timeline of a model file: which activation lies where in the arena, and when."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from exports.onnx.graph_memory import Activation, Timeline
from factory_base.errors import ConfigError
from factory_base.files import atomic_path, write_text
from factory_base.quantities import format_bytes
from model_factory.report.plain import clean
from model_factory.report.plot_style import ON_WHITE, VARIABLES, Palette, standalone_svg, style

_FORMATS: Final = (".png", ".svg")
_WIDTH_PER_STEP, _NARROWEST, _WIDEST = 0.14, 6.4, 14.0
"""Inches: a step is wide enough for its upright name, and no picture is wider than a screen."""
_MOST_NAMES: Final = 90
"""Steps whose names fit below the widest picture; of more steps, only every n-th is named."""
_OPACITY: Final = 0.55
"""Of the rectangles, so that sizes in them can be read."""
_NAMED_SHARE: Final = 0.05
"""Activations of at least this part of the arena carry their size."""


def plot_memory(timeline: Timeline, title: str, path: Path) -> None:
    """Write the picture, atomically, as PNG on white, or as SVG that follows the page from light to dark.

    Args:
        timeline: What lies in the arena at each step.
        title: The name of the model.
        path: The file to write, `.png` or `.svg`.

    Raises:
        ConfigError: The file has another ending.
        DiskError: It cannot be written.
    """
    if path.suffix.lower() not in _FORMATS:
        raise ConfigError(f"{path.name}: a picture is written as {' or '.join(_FORMATS)}; choose one of these endings")
    if path.suffix.lower() == ".svg":
        with style(VARIABLES):
            figure = _figure(timeline, title, VARIABLES)
            write_text(path, standalone_svg(figure, f"Memory of {title}"))
        return
    with style(ON_WHITE), atomic_path(path) as temporary:
        figure = _figure(timeline, title, ON_WHITE)
        figure.savefig(temporary, format="png", metadata={"Software": None})


def _figure(timeline: Timeline, title: str, palette: Palette) -> Figure:
    names = timeline.names
    width = min(max(_WIDTH_PER_STEP * len(names) + 1.2, _NARROWEST), _WIDEST)
    figure = Figure(figsize=(width, 4.2), layout="constrained", dpi=120)
    axes = figure.add_subplot()
    unit, size = _unit(timeline.arena_bytes)
    peaks = _peak_steps(timeline)
    for activation in timeline.activations:
        _draw(axes, activation, timeline, size, palette, bool(peaks.intersection(_steps(activation))))
    axes.axhline(timeline.arena_bytes / size, color=palette.budget, linestyle="--", linewidth=1, label="arena")
    axes.set_xlim(0.4, len(names) + 0.6)
    axes.set_ylim(0, max(timeline.arena_bytes, 1) / size * 1.06)
    axes.set_ylabel(f"place in the arena ({unit})")
    every = -(-len(names) // _MOST_NAMES) or 1
    shown = range(1, len(names) + 1, every)
    axes.set_xticks(list(shown), [clean(names[step - 1]) for step in shown], rotation=90, fontsize=6)
    axes.grid(visible=False, axis="x")
    axes.set_title(f"{clean(title)}: arena {format_bytes(timeline.arena_bytes)}", loc="left", fontweight="bold")
    for colour, label in ((palette.pick, "live at the peak"), (palette.accent, "live at other steps")):
        axes.add_patch(Rectangle((0, 0), 0, 0, facecolor=colour, alpha=_OPACITY, label=label))
    figure.legend(loc="outside upper right", ncols=3, frameon=False)
    return figure


def _draw(axes: Axes, activation: Activation, timeline: Timeline, size: float, palette: Palette, at_peak: bool) -> None:
    steps = _steps(activation)
    bottom, height = activation.offset / size, activation.buffer.size_bytes / size
    colour = palette.pick if at_peak else palette.accent
    axes.add_patch(
        Rectangle(
            (steps[0] - 0.5, bottom), len(steps), height, facecolor=colour, edgecolor=palette.ink, alpha=_OPACITY,
            linewidth=0.4,
        )
    )  # fmt: skip
    if activation.buffer.size_bytes >= _NAMED_SHARE * timeline.arena_bytes:
        text = format_bytes(activation.buffer.size_bytes)
        place = steps[0] - 0.5 + len(steps) / 2, bottom + height / 2
        upright = len(steps) < 3  # a size is about as wide as three steps
        axes.annotate(
            text, place, ha="center", va="center", fontsize=5.5, color=palette.ink, rotation=90 if upright else 0
        )


def _steps(activation: Activation) -> range:
    return range(activation.buffer.first, activation.buffer.last + 1)


def _peak_steps(timeline: Timeline) -> set[int]:
    live = timeline.live_bytes()
    return {step for step, size in enumerate(live, 1) if size == max(live)}


def _unit(size: int) -> tuple[str, float]:
    unit = format_bytes(max(size, 1)).split()[-1]
    return unit, {"B": 1.0, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30}[unit]
