"""What to watch: classes, zones and lines, in values that are known to be right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ssd_edge.tracking.geometry import Point
from ssd_edge.tracking.tracker import Settings

Anchor = Literal["bottom", "centre", "top"]


@dataclass(frozen=True)
class Zone:
    """A part of the frame.

    Attributes:
        name: its name, which no other zone or line has.
        points: corners in fractions of the frame's width and height.
        labels: indices of the classes that count; None for all.
        anchor: the point of a box that has to be inside: in the middle of its bottom or top edge, or of the box.
        min_time: seconds inside after which an object has dwelt; None if that is not watched.
    """

    name: str
    points: tuple[Point, ...]
    labels: frozenset[int] | None = None
    anchor: Anchor = "bottom"
    min_time: float | None = None


@dataclass(frozen=True)
class Line:
    """A line across the frame, from the first point to the second; see ``Zone``."""

    name: str
    points: tuple[Point, Point]
    labels: frozenset[int] | None = None
    anchor: Anchor = "bottom"


@dataclass(frozen=True)
class Plan:
    """What to watch.

    Attributes:
        settings: how objects are followed.
        labels: indices of the classes that are watched; None for all.
        zones: the zones.
        lines: the lines.
        margin: how far beyond an edge or line a point must be to count as on the other side, when it was on this one:
            a share of the frame's height.
        frame: (height, width) in whose pixels the file has its points; None for fractions.
    """

    settings: Settings
    labels: frozenset[int] | None = None
    zones: tuple[Zone, ...] = ()
    lines: tuple[Line, ...] = ()
    margin: float = 0.01
    frame: tuple[int, int] | None = None
