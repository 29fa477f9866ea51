"""What all plots share: colours for light and dark pages, fonts, and SVG without date and metadata."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from matplotlib import rc_context, rcdefaults, rcParams
from matplotlib.figure import Figure

from model_factory.report.plain import clean


@dataclass(frozen=True, slots=True, kw_only=True)
class Palette:
    """The colours of a plot."""

    ink: str
    muted: str
    line: str
    accent: str
    pick: str
    budget: str


ON_WHITE: Final = Palette(
    ink="#1b1f24", muted="#8a94a0", line="#d9dee3", accent="#1f5fbf", pick="#c2410c", budget="#6b4fa0"
)
ON_BLACK: Final = Palette(
    ink="#e4e8ec", muted="#97a2ad", line="#353d46", accent="#79aef5", pick="#f59a5b", budget="#b9a3ea"
)
"""The colours of dark pages, as in the report."""
# Placeholders that `svg_of` replaces with CSS variables, so that the plots in a page follow it from light to dark.
VARIABLES: Final = Palette(
    ink="#010203", muted="#010204", line="#010205", accent="#010206", pick="#010207", budget="#010208"
)


@contextmanager
def style(palette: Palette) -> Iterator[None]:
    """In the block, figures have the colours and fonts of all plots, whatever a matplotlibrc says."""
    settings: Any = {
        "axes.edgecolor": palette.line, "axes.labelcolor": palette.ink, "axes.labelsize": 8, "axes.titlesize": 9,
        "axes.grid": True, "axes.axisbelow": True, "axes.spines.top": False, "axes.spines.right": False,
        "axes.unicode_minus": False, "grid.color": palette.line, "grid.linewidth": 0.6,
        "xtick.color": palette.line, "ytick.color": palette.line, "xtick.labelcolor": palette.ink,
        "ytick.labelcolor": palette.ink, "xtick.labelsize": 8, "ytick.labelsize": 8, "legend.fontsize": 8,
        "font.family": "sans-serif", "text.parse_math": False, "svg.fonttype": "none", "svg.hashsalt": "factory",
    }  # fmt: skip
    with rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)  # the browser has the fonts
        rcdefaults()  # a matplotlibrc of the user must not change a report
        rcParams.update({**settings, "text.color": palette.ink})
        yield


def svg_of(figure: Figure, prefix: str, title: str) -> str:
    """The figure as one element, with prefixed ids, CSS variables for colours, and neither date nor metadata."""
    stream = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(stream, format="svg", transparent=True, metadata=nothing)
    text = stream.getvalue()
    text = text[text.index("<svg") :].rstrip()
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}-", text)
    for name in Palette.__slots__:
        text = text.replace(getattr(VARIABLES, name), f"var(--{name})")
    label = clean(title).translate({ord(c): f"&#{ord(c)};" for c in "&<>\"'"})
    return text.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)


def standalone_svg(figure: Figure, title: str) -> str:
    """The figure as a file of its own, which is light or dark like the page or program that shows it."""
    light, dark = (
        "".join(f"--{name}:{getattr(palette, name)};" for name in Palette.__slots__) for palette in (ON_WHITE, ON_BLACK)
    )
    rules = f"<style>:root{{{light}}}@media (prefers-color-scheme:dark){{:root{{{dark}background:#14171a}}}}</style>"
    before, opening, after = svg_of(figure, "plot", title).partition(">")
    return f"{before}{opening}{rules}{after}\n"
