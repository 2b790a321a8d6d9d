"""Draw curves as a picture: a few panels side by side, each with lines over one axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from ssd_edge.errors import ModelError
from ssd_edge.files import written_whole

COLOURS = ("#1f6fb4", "#d1495b", "#2e8b57", "#e08e0b", "#6a4c93", "#0f8b8d", "#8c564b", "#555555")
"""Colours of the lines of a panel, in order; they repeat after the last."""

_WIDTH, _HEIGHT = 460, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 16, 34, 40
_SCALE = 3
"""Everything is drawn at three times the size, then reduced, so that lines are smooth."""


@dataclass(frozen=True)
class Line:
    """One curve.

    Attributes:
        name: what the legend calls it.
        points: (x, y) with rising x.
    """

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Panel:
    """One chart.

    Attributes:
        title: what is drawn upwards.
        across: what is drawn to the right.
        lines: the curves.
    """

    title: str
    across: str
    lines: Sequence[Line]


def draw(panels: Sequence[Panel], path: Path) -> None:
    """Write a PNG with panels side by side, and below each its legend.

    Args:
        panels: at least one; a panel without points says so.
        path: the file; replaced if it exists.

    Raises:
        ModelError: it cannot be written.
    """
    rows = max(len(panel.lines) for panel in panels)
    width, height = _WIDTH * len(panels), _HEIGHT + 18 * rows + 10
    picture = Image.new("RGB", (width * _SCALE, height * _SCALE), "white")
    for number, panel in enumerate(panels):
        _draw_panel(_Pen(picture, number * _WIDTH), panel)
    try:
        with written_whole(path) as partial:
            picture.resize((width, height), Image.Resampling.LANCZOS).save(partial, "PNG")
    except OSError as error:
        raise ModelError(f"cannot write {path}: {error.strerror or error}") from None


class _Pen:
    """Draws enlarged, to the right of an offset."""

    def __init__(self, picture: Image.Image, offset: int) -> None:
        self._draw = ImageDraw.Draw(picture)
        self._offset = offset

    def _at(self, x: float, y: float) -> tuple[float, float]:
        return (x + self._offset) * _SCALE, y * _SCALE

    def line(self, points: Sequence[tuple[float, float]], colour: str, wide: float = 1) -> None:
        if len(points) == 1:
            x, y = self._at(*points[0])
            self._draw.ellipse((x - 7, y - 7, x + 7, y + 7), fill=colour)
        else:
            self._draw.line([self._at(*point) for point in points], colour, round(wide * _SCALE), "curve")

    def text(self, x: float, y: float, words: str, anchor: str = "lm", size: int = 12) -> None:
        font = ImageFont.load_default(size * _SCALE)
        self._draw.text(self._at(x, y), words, fill="#333333", font=font, anchor=anchor)


def _draw_panel(pen: _Pen, panel: Panel) -> None:
    drawn = [[point for point in line.points if all(map(math.isfinite, point))] for line in panel.lines]
    points = [point for line in drawn for point in line]
    pen.text(_LEFT, 16, panel.title, size=14)
    right, base = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    if not points:
        pen.text((_LEFT + right) / 2, (_TOP + base) / 2, "no value", "mm")
    else:
        across, up = (ticks(*_range([point[axis] for point in points])) for axis in (0, 1))
        xs, ys = _Scale(across, _LEFT, right), _Scale(up, base, _TOP)
        for y in up:
            pen.line([(_LEFT, ys(y)), (right, ys(y))], "#e4e4e4")
            pen.text(_LEFT - 6, ys(y), f"{y:g}", "rm", 11)
        for x in across:
            pen.line([(xs(x), base), (xs(x), base + 4)], "#999999")
            pen.text(xs(x), base + 12, f"{x:g}", "mm", 11)
        pen.text((_LEFT + right) / 2, base + 29, panel.across, "mm", 11)
        for number, line in enumerate(drawn):
            if line:
                pen.line([(xs(x), ys(y)) for x, y in line], COLOURS[number % len(COLOURS)], 1.6)
    for number, named in enumerate(panel.lines):
        y = _HEIGHT + 8 + 18 * number
        pen.line([(_LEFT, y), (_LEFT + 22, y)], COLOURS[number % len(COLOURS)], 2)
        pen.text(_LEFT + 30, y, named.name)


class _Scale:
    """Maps values to pixels, the first tick to ``start`` and the last to ``end``."""

    def __init__(self, marks: Sequence[float], start: float, end: float) -> None:
        self._low, self._high, self._start, self._end = marks[0], marks[-1], start, end

    def __call__(self, value: float) -> float:
        return self._start + (value - self._low) / (self._high - self._low) * (self._end - self._start)


def _range(values: Sequence[float]) -> tuple[float, float]:
    """Return the least and the greatest value, one of them 0 if all values are above or below it by much."""
    low, high = min(values), max(values)
    return (0.0 if 0 < low < high / 2 else low), high


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Return rising round numbers that reach from below ``low`` to above ``high``, some ``about`` of them."""
    if high <= low:
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{number * step:.12g}") for number in range(first, max(last, first + 1) + 1)]
