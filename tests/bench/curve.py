"""Curves on logarithmic axes, as an SVG that any browser shows."""

import math
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

WIDTH, HEIGHT, MARGIN = 760, 460, 70
COLOURS = ("#0b6e99", "#b5482a", "#3c7a3f", "#6b4fa0")

Points = Sequence[tuple[float, float]]


def draw(title: str, axis: str, curves: Mapping[str, Points]) -> str:
    """All values must be above 0."""
    points = [point for curve in curves.values() for point in curve]
    horizontal = _Axis([x for x, _ in points], MARGIN, WIDTH - 190)
    vertical = _Axis([y for _, y in points], HEIGHT - MARGIN, MARGIN)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(MARGIN, 30, title, size=16),
        _text((MARGIN + WIDTH - 190) / 2, HEIGHT - 20, axis, anchor="middle"),
    ]
    for decade in horizontal.decades():
        x = horizontal.at(decade)
        parts.append(_line(x, MARGIN, x, HEIGHT - MARGIN))
        parts.append(_text(x, HEIGHT - MARGIN + 18, f"{decade:,g}", anchor="middle"))
    for decade in vertical.decades():
        y = vertical.at(decade)
        parts.append(_line(MARGIN, y, WIDTH - 190, y))
        parts.append(_text(MARGIN - 8, y + 4, f"{decade:,g}", anchor="end"))
    for (name, curve), colour in zip(curves.items(), COLOURS, strict=False):
        where = [(horizontal.at(x), vertical.at(y)) for x, y in curve]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in where)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in where]
        parts.append(
            _text(where[-1][0] + 10, where[-1][1] + 4, f"{name}: {curve[-1][1]:,.3g}", colour=colour)
        )
    return "\n".join([*parts, "</svg>", ""])


class _Axis:
    def __init__(self, values: Sequence[float], begin: float, end: float) -> None:
        self._low = math.floor(math.log10(min(values)) + 1e-9)
        self._high = max(self._low + 1, math.ceil(math.log10(max(values)) - 1e-9))
        self._begin, self._end = begin, end

    def decades(self) -> list[float]:
        return [10.0**power for power in range(self._low, self._high + 1)]

    def at(self, value: float) -> float:
        part = (math.log10(value) - self._low) / (self._high - self._low)
        return self._begin + part * (self._end - self._begin)


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#ddd"/>'


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", size: int = 12, colour: str = "#333"
) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{colour}"'
    return f"<text {place}>{escape(text)}</text>"
