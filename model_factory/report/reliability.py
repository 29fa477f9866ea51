"""The reliability diagram of a model as an `<svg>` element that follows a page from light to dark."""

from __future__ import annotations

from typing import Final

from supernet.tasks.calibration_error import Calibration

_SIDE: Final = 220.0
_BELOW: Final = 44.0
"""Sides of the diagram, and the height of the numbers of images below it, in the units of the picture."""
_LEFT, _TOP, _GAP = 44.0, 8.0, 8.0


def reliability_svg(found: Calibration) -> str:
    """Bars of the share that is right by the confidence, the line where they should end, and how many images each has.

    Blue is what a bin is both right about and sure of, orange the gap between the two (Guo et al., 2017).
    """
    width, height = _LEFT + _SIDE + 8, _TOP + _SIDE + _GAP + _BELOW + 36
    most = max(one.examples for one in found.bins)
    parts = [
        f'<svg role="img" aria-label="Reliability diagram" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
        f'height="{height:g}" font-size="11">',
        *_grid(),
    ]
    for one in found.bins:
        x, wide = _LEFT + one.low * _SIDE + 0.5, (one.high - one.low) * _SIDE - 1
        low, high = sorted((one.accuracy, one.confidence))
        tall = _BELOW * one.examples / most
        parts.append(
            f"<g><title>{one.examples:,} images at a confidence of {one.low:.0%} to {one.high:.0%}: mean "
            f"{one.confidence:.1%}, right {one.accuracy:.1%}</title>"
            f'<rect x="{x:.1f}" y="{_y(low):.1f}" width="{wide:.1f}" height="{low * _SIDE:.1f}" '
            'fill="var(--accent)" fill-opacity="0.55"/>'
            f'<rect x="{x:.1f}" y="{_y(high):.1f}" width="{wide:.1f}" height="{(high - low) * _SIDE:.1f}" '
            'fill="var(--pick)" fill-opacity="0.6"/>'
            f'<rect x="{x:.1f}" y="{_TOP + _SIDE + _GAP + _BELOW - tall:.1f}" width="{wide:.1f}" height="{tall:.1f}" '
            'fill="var(--muted)"/></g>'
        )
    parts.append(
        f'<path d="M{_LEFT:g} {_y(0):g}L{_LEFT + _SIDE:g} {_y(1):g}" stroke="var(--ink)" stroke-dasharray="4 3"/></svg>'
    )
    return "".join(parts)


def _y(value: float) -> float:
    return _TOP + (1 - value) * _SIDE


def _grid() -> list[str]:
    """The frame, its lines and the words beside it."""
    base = _TOP + _SIDE + _GAP + _BELOW
    heights = [*(_y(part) for part in (0, 0.25, 0.5, 0.75, 1)), base]
    lines = "".join(f"M{_LEFT:g} {height:g}h{_SIDE:g}" for height in heights)
    found = [f'<path d="{lines}" stroke="var(--line)" fill="none"/>']
    for part in (0, 0.5, 1):
        anchor = {0: "start", 0.5: "middle", 1: "end"}[part]
        found.append(
            f'<text x="{_LEFT - 5:g}" y="{_y(part) + 4:g}" text-anchor="end" fill="var(--ink)">{part:.0%}</text>'
            f'<text x="{_LEFT + part * _SIDE:g}" y="{base + 14:g}" text-anchor="{anchor}" fill="var(--ink)">{part:.0%}'
            "</text>"
        )
    return [
        *found,
        f'<text transform="translate(10 {_TOP + _SIDE / 2:g}) rotate(-90)" text-anchor="middle" fill="var(--muted)">'
        "right</text>",
        f'<text transform="translate(10 {base - _BELOW / 2:g}) rotate(-90)" text-anchor="middle" fill="var(--muted)">'
        "images</text>",
        f'<text x="{_LEFT + _SIDE / 2:g}" y="{base + 30:g}" text-anchor="middle" fill="var(--muted)">confidence</text>',
    ]
