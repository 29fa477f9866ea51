"""The confusion matrix of a model as an `<svg>` element that follows a page from light to dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import escape

from model_factory.report.plain import clean
from supernet.tasks.class_measures import ClassMeasures, Confusion

MOST_CLASSES: Final = 100
"""With more classes, no name beside the matrix could be read at the width of a page."""
_NUMBERED: Final = 20
"""Up to this number of classes, the cells are large enough for the numbers of images."""
_WIDTH: Final = 950.0
"""The width of the cells of many classes: beside their names they are as wide as the page."""
_SHADES: Final = 8
"""Shades of the cells of many classes, each of which is one path: a cell takes 15 bytes instead of 60."""
_PALEST, _DARKEST = 0.06, 0.62
"""Opacity of a cell with hardly any image, and of one with all images of its class, on which text stays legible."""
_SHRUNK: Final = 0.75
"""How far the picture shrinks on a narrow screen before it scrolls: then its names have 8 pixels."""
_LETTERS: Final = 14
"""Characters of a name beside the matrix."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sizes:
    """Lengths in the units of the picture: the side of a cell, the font, and the room for names."""

    cell: float
    font: float
    room: float


def confusion_svg(measures: ClassMeasures, names: Sequence[str]) -> str:
    """A square of cells, a row per class of the images and a column per predicted class.

    A cell is the darker, the larger the share of its row's images it holds: blue if they are right, orange if not.
    The darkness of wrong cells grows with the square root, because their shares are small.

    Args:
        measures: The measures of a model of at most `MOST_CLASSES` classes.
        names: The names of the classes.
    """
    count = len(measures.classes)
    sizes = _sizes(count, max(len(clean(name, _LETTERS)) for name in names))
    side, top = sizes.cell * count, sizes.room + 1.6 * sizes.font
    width, height = top + side + 2, top + side + 2
    parts = [
        f'<svg role="img" aria-label="Confusion matrix" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
        f'height="{height:g}" font-size="{sizes.font:g}" style="min-width:{_SHRUNK * width:.0f}px">',
        f'<text x="{top + side / 2:g}" y="{sizes.font:g}" text-anchor="middle" fill="var(--muted)">predicted</text>',
        f'<text transform="translate({sizes.font:g} {top + side / 2:g}) rotate(-90)" text-anchor="middle" '
        'fill="var(--muted)">label</text>',
        f'<g transform="translate({top:g} {top:g})">',
        *_names(names, sizes),
        *(_numbered(measures, names, sizes) if count <= _NUMBERED else _shaded(measures, sizes)),
        f'<rect width="{side:g}" height="{side:g}" fill="none" stroke="var(--line)"/>',
        "</g></svg>",
    ]
    return "".join(parts)


def _sizes(count: int, letters: int) -> _Sizes:
    """The sizes for a number of classes, whose longest name has so many letters."""
    cell = 30.0 if count <= _NUMBERED else min(18.0, _WIDTH / count)
    font = min(11.0, 0.8 * cell)
    return _Sizes(cell=cell, font=font, room=0.6 * font * letters + 6)  # a letter is about 0.6 as wide as high


def _names(names: Sequence[str], sizes: _Sizes) -> list[str]:
    found = []
    for index, name in enumerate(names):
        middle, text = (index + 0.5) * sizes.cell, escape(clean(name, _LETTERS))
        title = f"<title>{escape(clean(name, 200))}</title>"
        found.append(
            f'<text x="-4" y="{middle + sizes.font * 0.35:g}" text-anchor="end" fill="var(--ink)">{text}{title}</text>'
            f'<text transform="translate({middle + sizes.font * 0.35:g} -4) rotate(-90)" fill="var(--ink)">{text}'
            f"{title}</text>"
        )
    return found


def _numbered(measures: ClassMeasures, names: Sequence[str], sizes: _Sizes) -> list[str]:
    """A square, a number and a sentence that appears under the pointer for each cell that is not empty."""
    found = []
    for cell in measures.confusions:
        x, y = cell.predicted * sizes.cell, cell.label * sizes.cell
        support = measures.classes[cell.label].support
        label, predicted = (escape(clean(names[index], 60)) for index in (cell.label, cell.predicted))
        small = f' font-size="{sizes.font * 0.8:g}"' if cell.examples > 9999 else ""
        found.append(
            f"<g><title>{cell.examples:,} of {support:,} images of {label} predicted as {predicted}</title>"
            f'<rect x="{x:g}" y="{y:g}" width="{sizes.cell:g}" height="{sizes.cell:g}" '
            f'fill="var(--{"accent" if cell.label == cell.predicted else "pick"})" '
            f'fill-opacity="{_opacity(_tone(cell, support)):.2f}"/>'
            f'<text x="{x + sizes.cell / 2:g}" y="{y + sizes.cell / 2 + sizes.font * 0.35:g}" text-anchor="middle" '
            f'fill="var(--ink)"{small}>{cell.examples}</text></g>'
        )
    return found


def _shaded(measures: ClassMeasures, sizes: _Sizes) -> list[str]:
    """One path for all cells of the same colour and nearly the same share."""
    paths: dict[tuple[str, int], list[str]] = {}
    for cell in measures.confusions:
        tone = _tone(cell, measures.classes[cell.label].support)
        colour = "accent" if cell.label == cell.predicted else "pick"
        square = f"M{cell.predicted} {cell.label}h1v1h-1z"
        paths.setdefault((colour, min(_SHADES - 1, int(tone * _SHADES))), []).append(square)
    return [
        f'<path transform="scale({sizes.cell:g})" fill="var(--{colour})" '
        f'fill-opacity="{min(1.0, 1.6 * _opacity((shade + 0.5) / _SHADES)):.2f}" d="{"".join(squares)}"/>'
        for (colour, shade), squares in sorted(paths.items())
    ]


def _tone(cell: Confusion, support: int) -> float:
    share = cell.examples / support
    return share if cell.label == cell.predicted else math.sqrt(share)


def _opacity(tone: float) -> float:
    return _PALEST + (_DARKEST - _PALEST) * tone
