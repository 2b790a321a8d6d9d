"""Follow which objects are in a zone and which cross a line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import hypot

import numpy as np

from ssd_edge.tracking.events import Direction, Event, Kind, Tally
from ssd_edge.tracking.geometry import Point, cross, depth, turn
from ssd_edge.tracking.plan import Anchor, Line, Zone
from ssd_edge.tracking.tracker import Track

Size = tuple[int, int]
"""(height, width) of the frame, in pixels."""


@dataclass
class _Visit:
    label: int
    began: float
    seen: float
    has_dwelt: bool = False


class WatchedZone:
    """A zone, with the objects in it.

    An object is inside from the frame in which its anchor is, until its anchor is outside by more than ``margin``, or
    the object is forgotten: then it left when it was last seen.
    """

    def __init__(self, zone: Zone, margin: float) -> None:
        self.zone, self.name, self.margin = zone, zone.name, margin
        self.tally = Tally("inside", "entered", "left", *(() if zone.min_time is None else ("dwelt",)))
        self._inside: dict[int, _Visit] = {}

    def update(self, tracks: Sequence[Track], known: set[int], time: float, size: Size) -> Iterator[Event]:
        """Take in the objects that are seen in a frame, and the ids of all that are not forgotten."""
        polygon = np.array(in_pixels(self.zone.points, size), np.float32)
        for track in tracks:
            if self.zone.labels is not None and track.label not in self.zone.labels:
                continue
            how_deep = depth(polygon, anchor_of(track, self.zone.anchor))
            if track.id in self._inside:
                if how_deep < -self.margin * size[0]:
                    yield self._leave(track.id, time, time)
                else:
                    yield from self._stay(track.id, time)
            elif how_deep >= 0:
                self._inside[track.id] = _Visit(track.label, time, time)
                yield self._event("entered", track.id, track.label, time)
                yield from self._stay(track.id, time)
        for number in [number for number in self._inside if number not in known]:
            yield self._leave(number, time, self._inside[number].seen)

    @property
    def place(self) -> Zone:
        """What is watched."""
        return self.zone

    def _stay(self, number: int, time: float) -> Iterator[Event]:
        visit = self._inside[number]
        visit.seen = time
        so_far = time - visit.began
        if self.zone.min_time is not None and so_far >= self.zone.min_time and not visit.has_dwelt:
            visit.has_dwelt = True
            yield self._event("dwelt", number, visit.label, time, so_far)

    def _leave(self, number: int, time: float, until: float) -> Event:
        visit = self._inside.pop(number)
        self.tally.add("inside", visit.label, -1)
        return self._event("left", number, visit.label, time, until - visit.began)

    def _event(self, kind: Kind, number: int, label: int, time: float, seconds: float | None = None) -> Event:
        self.tally.add(kind, label)
        if kind == "entered":
            self.tally.add("inside", label)
        return Event(kind, self.zone.name, number, label, time, seconds)


class WatchedLine:
    """A line, with the side of it on which each object was last seen more than ``margin`` away."""

    def __init__(self, line: Line, margin: float) -> None:
        self.line, self.name, self.margin = line, line.name, margin
        self.tally = Tally("to left", "to right")
        self._last: dict[int, tuple[bool, Point]] = {}  # whether on the right, and where

    def update(self, tracks: Sequence[Track], known: set[int], time: float, size: Size) -> Iterator[Event]:
        """See ``WatchedZone.update``."""
        start, end = in_pixels(self.line.points, size)
        length = hypot(end[0] - start[0], end[1] - start[1])
        for track in tracks:
            if self.line.labels is not None and track.label not in self.line.labels:
                continue
            point = anchor_of(track, self.line.anchor)
            away = turn(start, end, point) / length
            if abs(away) <= self.margin * size[0]:
                continue
            was_right, before = self._last.get(track.id, (away > 0, point))
            if was_right != (away > 0) and cross(start, end, before, point):
                to: Direction = "right" if away > 0 else "left"
                self.tally.add(f"to {to}", track.label)
                yield Event("crossed", self.line.name, track.id, track.label, time, to=to)
            self._last[track.id] = (away > 0, point)
        for number in [number for number in self._last if number not in known]:
            del self._last[number]

    @property
    def place(self) -> Line:
        """What is watched."""
        return self.line


def anchor_of(track: Track, anchor: Anchor) -> Point:
    """Return the point of a box that stands for it: in the middle of its bottom or top edge, or of the box."""
    left, top, right, bottom = track.box.tolist()
    y = {"bottom": bottom, "centre": (top + bottom) / 2, "top": top}[anchor]
    return (left + right) / 2, y


def in_pixels(points: Iterable[Point], size: Size) -> list[Point]:
    """Scale points in fractions of the frame to pixels."""
    return [(x * size[1], y * size[0]) for x, y in points]
