from __future__ import annotations

import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssd_edge.tracking.geometry import Point, cross, depth, fault_of, turn

COORDINATE = st.integers(0, 12).map(float)
POINT = st.tuples(COORDINATE, COORDINATE)
POLYGON = st.lists(POINT, min_size=3, max_size=7)


def crossings(polygon: list[Point], point: Point) -> bool | None:
    """Tell whether a point is inside by counting the sides left of it, in fractions; None if it is on a side."""
    x, y = map(Fraction, point)
    inside = False
    for index, (x1, y1) in enumerate(polygon):
        x2, y2 = polygon[(index + 1) % len(polygon)]
        area = (Fraction(x2) - Fraction(x1)) * (y - Fraction(y1)) - (Fraction(y2) - Fraction(y1)) * (x - Fraction(x1))
        if area == 0 and min(x1, x2) <= x <= max(x1, x2) and min(y1, y2) <= y <= max(y1, y2):
            return None
        if (y1 > y) != (y2 > y):
            inside ^= x < x1 + (y - Fraction(y1)) * (Fraction(x2) - Fraction(x1)) / (Fraction(y2) - Fraction(y1))
    return inside


def distance(polygon: list[Point], point: Point) -> float:
    nearest = []
    for index, start in enumerate(polygon):
        a, b, p = np.array(start), np.array(polygon[(index + 1) % len(polygon)]), np.array(point)
        along = np.clip(np.dot(p - a, b - a) / max(1e-12, np.dot(b - a, b - a)), 0, 1)
        nearest.append(float(np.linalg.norm(a + along * (b - a) - p)))
    return min(nearest)


@given(POLYGON, POINT)
def test_depth_equals_counting_the_sides(polygon: list[Point], point: Point) -> None:
    if fault_of(polygon):
        return
    found, inside = depth(np.array(polygon, np.float32), point), crossings(polygon, point)
    assert abs(found) == pytest.approx(distance(polygon, point), abs=1e-5)  # float32, numbers up to 12
    if inside is None:
        assert found == 0
    else:
        assert (found > 0) == inside


@given(POINT, POINT, POINT, POINT)
def test_segments_cross_where_a_common_point_can_be_solved_for(a: Point, b: Point, c: Point, d: Point) -> None:
    """The reference solves a + t (b − a) = c + u (d − c) in fractions, apart from parallel ones."""
    ax, ay, bx, by, cx, cy, dx, dy = (Fraction(value) for point in (a, b, c, d) for value in point)
    divisor = (bx - ax) * (dy - cy) - (by - ay) * (dx - cx)
    if divisor:
        t = ((cx - ax) * (dy - cy) - (cy - ay) * (dx - cx)) / divisor
        u = ((cx - ax) * (by - ay) - (cy - ay) * (bx - ax)) / divisor
        assert cross(a, b, c, d) == (0 <= t <= 1 and 0 <= u <= 1)
    assert cross(a, b, c, d) == cross(c, d, a, b) == cross(b, a, d, c)


def test_segments_on_one_line() -> None:
    assert cross((0, 0), (4, 4), (2, 2), (9, 9))
    assert not cross((0, 0), (2, 2), (3, 3), (9, 9))
    assert cross((0, 0), (2, 2), (2, 2), (9, 9))


def test_right_is_below_for_one_who_walks_to_the_right() -> None:
    assert turn((0.0, 0.0), (1.0, 0.0), (0.5, 1.0)) > 0
    assert turn((0.0, 0.0), (1.0, 0.0), (0.5, -1.0)) < 0


@pytest.mark.parametrize(
    ("polygon", "sentence"),
    [
        ([], "has 0 points, but needs at least 3"),
        ([(0, 0), (1, 1)], "has 2 points, but needs at least 3"),
        ([(0, 0), (1, 1), (1, 0), (0, 1)], "crosses itself: side 1 meets side 3"),
        ([(0, 0), (1, 0), (1, 0), (0, 1)], r"has the same point \[1, 0\] twice in a row"),
        ([(0, 0), (1, 0), (2, 0)], r"turns back on itself at \[2, 0\]"),
        ([(0, 0), (4, 0), (4, 4), (2, 0), (0, 4)], "crosses itself: side 1 meets side 3"),
        ([(0, 0), (2, 0), (2, 2), (2, 1), (0, 1)], r"turns back on itself at \[2, 2\]"),
    ],
)
def test_what_is_no_polygon(polygon: list[Point], sentence: str) -> None:
    assert re.fullmatch(sentence, fault_of(polygon))


@pytest.mark.parametrize(
    "polygon", [[(0, 0), (1, 0), (0, 1)], [(0, 0), (1, 0), (2, 0), (2, 2), (0, 2)], [(0, 0), (2, 2), (4, 0), (2, 4)]]
)
def test_what_is_one(polygon: list[Point]) -> None:
    assert fault_of(polygon) == fault_of(polygon[::-1]) == ""
