"""Points, lines and polygons in pixels of the frame; y grows downwards."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

Point = tuple[float, float]
Exact = tuple[Fraction, Fraction]
Number = TypeVar("Number", float, Fraction)
Points = npt.NDArray[np.float32]
"""(N, 2) x, y."""


def depth(polygon: Points, point: Point) -> float:
    """Return the distance of a point from a polygon's edge: above 0 inside, below 0 outside."""
    return float(cv2.pointPolygonTest(polygon, point, True))


def turn(start: tuple[Number, Number], end: tuple[Number, Number], point: tuple[Number, Number]) -> Number:
    """Return twice the area of a triangle: above 0 if ``point`` is on the right as one walks from start to end."""
    return (end[0] - start[0]) * (point[1] - start[1]) - (end[1] - start[1]) * (point[0] - start[0])


def cross(start: Point, end: Point, other_start: Point, other_end: Point) -> bool:
    """Tell whether two segments share a point; computed exactly."""
    if any(
        max(start[k], end[k]) < min(other_start[k], other_end[k])
        or max(other_start[k], other_end[k]) < min(start[k], end[k])
        for k in (0, 1)
    ):
        return False
    a, b, c, d = (_exact(point) for point in (start, end, other_start, other_end))
    threes = ((a, b, c), (a, b, d), (c, d, a), (c, d, b))
    turns = [_sign(turn(first, second, third)) for first, second, third in threes]
    if turns[0] * turns[1] < 0 and turns[2] * turns[3] < 0:
        return True
    return any(not sign and _between(*three) for sign, three in zip(turns, threes, strict=True))


def fault_of(polygon: Sequence[Point]) -> str:
    """Say what makes a polygon no polygon, as the end of a sentence; empty if nothing does."""
    count = len(polygon)
    if count < 3:
        return f"has {count} point{'s' * (count != 1)}, but needs at least 3"
    edges = [(polygon[index], polygon[(index + 1) % count]) for index in range(count)]
    for index, (start, end) in enumerate(edges):
        if start == end:
            return f"has the same point {_shown(start)} twice in a row"
        before, here, after = _exact(start), _exact(end), _exact(edges[(index + 1) % count][1])
        if not turn(before, here, after) and not _between(before, after, here):
            return f"turns back on itself at {_shown(end)}"
    for first in range(count):
        for second in range(first + 2, count):
            if (second + 1) % count != first and cross(*edges[first], *edges[second]):
                return f"crosses itself: side {first + 1} meets side {second + 1}"
    return ""


def _exact(point: Point) -> Exact:
    return Fraction(point[0]), Fraction(point[1])


def _sign(value: Fraction) -> int:
    return (value > 0) - (value < 0)


def _between(start: Exact, end: Exact, point: Exact) -> bool:
    """Tell whether a point on the line through start and end lies between them."""
    return all(min(start[k], end[k]) <= point[k] <= max(start[k], end[k]) for k in (0, 1))


def _shown(point: Point) -> str:
    return f"[{point[0]:g}, {point[1]:g}]"
