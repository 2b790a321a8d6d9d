"""Read what to watch from a YAML file; see docs/tracking.md for its form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from pathlib import Path
from typing import Any

import msgspec

from ssd_edge.errors import WatchError
from ssd_edge.parsing import as_text, parse_size, shown
from ssd_edge.tracking.geometry import Point, fault_of
from ssd_edge.tracking.plan import Anchor, Line, Plan, Zone
from ssd_edge.tracking.tracker import Settings
from ssd_edge.yaml_files import Lines, converted, did_you_mean, line_of, parse_settings, read_text, where

KIND = "watch file"


class _Place(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    points: list[tuple[float, float]]
    classes: list[str] | None = None
    anchor: Anchor = "bottom"


class _Zone(_Place, forbid_unknown_fields=True):
    min_time: float | None = None


class _Line(_Place, forbid_unknown_fields=True):
    pass


class _Tracking(msgspec.Struct, forbid_unknown_fields=True):
    low: float = Settings.low
    lost: float = Settings.lost


class WatchFile(msgspec.Struct, forbid_unknown_fields=True):
    """A watch file: types are right, everything else is not checked yet.

    Attributes:
        frame: the size in whose pixels points are written, as WIDTHxHEIGHT; None if they are fractions.
        classes: the classes to watch, each with the score that begins an object, or None for its usual one; None for
            all classes.
        tracking: ``low`` and ``lost`` of ``Settings``.
        zones: the zones.
        lines: the lines.
        margin: see ``Plan``.
    """

    frame: str | None = None
    classes: dict[str, float | None] | None = None
    tracking: _Tracking = msgspec.field(default_factory=_Tracking)
    zones: list[_Zone] = []
    lines: list[_Line] = []
    margin: float = Plan.margin


class WatchReader:
    """Reader of one watch file: everything is checked at once, but for the classes, which a model has.

    Args:
        path: the file.
        content: what it holds; read from it by default. Another file may have it as a part.
        lines: line of each value of ``content``.

    Raises:
        WatchError: it cannot be read, has an unknown key, or a value of another type, or a place that cannot be.
    """

    def __init__(self, path: Path, content: Mapping[str, Any] | None = None, lines: Lines | None = None) -> None:
        self._source = str(path)
        if content is None:
            content, lines = parse_settings(read_text(path, KIND, WatchError), self._source, KIND, WatchError)
        self.content, self._lines = content, lines or {}
        self._file = converted(content, WatchFile, self._source, self._lines, WatchError)
        self._size = self._frame_size()
        self._check_numbers()
        self._check_places()

    def plan(self, labels: Sequence[str], scores: Sequence[float]) -> Plan:
        """Make a plan for a model.

        Args:
            labels: class names, as in the model's spec.
            scores: the score that begins an object of each, where the file names none.

        Raises:
            WatchError: the file names a class that the model does not have, or that it does not watch.
        """
        file, begin = self._file, list(scores)
        given = file.classes or {}
        watched = frozenset(self._index(name, labels, f"classes.{name}") for name in given)
        for name, score in given.items():
            begin[labels.index(name)] = begin[labels.index(name)] if score is None else score
        names = [label for index, label in enumerate(labels) if file.classes is None or index in watched]
        return Plan(
            Settings(tuple(begin), file.tracking.low, file.tracking.lost),
            None if file.classes is None else watched,
            tuple(
                Zone(one.name, self._scaled(one), self._classes(one, at, labels, names), one.anchor, one.min_time)
                for at, one in _numbered("zones", file.zones)
            ),
            tuple(
                Line(one.name, self._scaled(one)[:2], self._classes(one, at, labels, names), one.anchor)  # type: ignore[arg-type]
                for at, one in _numbered("lines", file.lines)
            ),
            file.margin,
            self._size,
        )

    def _error(self, place: str, problem: str) -> WatchError:
        return WatchError(f"{where(self._source, line_of(place, self._lines))}{problem}")

    def _frame_size(self) -> tuple[int, int] | None:
        try:
            return None if self._file.frame is None else parse_size(self._file.frame)
        except ValueError as error:
            raise self._error("frame", f"frame: {error}") from None

    def _check_numbers(self) -> None:
        file = self._file
        shares = {"tracking.low": file.tracking.low, "margin": file.margin}
        shares |= {f"classes.{name}": score for name, score in (file.classes or {}).items() if score is not None}
        for place, value in shares.items():
            if not 0 <= value <= 1:
                raise self._error(place, f"{place} must lie between 0 and 1, but is {value:g}")
        seconds = {"tracking.lost": file.tracking.lost}
        seconds |= {f"{at}.min_time": one.min_time for at, one in _numbered("zones", file.zones) if one.min_time}
        for place, value in seconds.items():
            if not 0 <= value < inf:
                raise self._error(place, f"{place} must be 0 seconds or more, but is {value:g}")

    def _check_places(self) -> None:
        names: dict[str, str] = {}
        for kind, ones in (("zone", self._file.zones), ("line", self._file.lines)):
            for at, one in _numbered(f"{kind}s", ones):
                if one.name in names:
                    raise self._error(f"{at}.name", f"{names[one.name]} {shown(one.name)} has that name already")
                names[one.name] = f"another {kind}"
                fault = self._outside(one.points)
                fault = fault or (fault_of(one.points) if kind == "zone" else _fault_of_line(one.points))
                if fault:
                    raise self._error(f"{at}.points", f"the {kind} {shown(one.name)} {fault}")

    def _outside(self, points: Sequence[Point]) -> str:
        height, width = self._size or (1, 1)
        frame = as_text(self._size) if self._size else "0 … 1, as fractions; for pixels, set frame"
        for x, y in points:
            if not (0 <= x <= width and 0 <= y <= height):
                return f"has the point [{x:g}, {y:g}] outside the frame ({frame})"
        return ""

    def _scaled(self, one: _Place) -> tuple[Point, ...]:
        height, width = self._size or (1, 1)
        return tuple((x / width, y / height) for x, y in one.points)

    def _classes(self, one: _Place, at: str, labels: Sequence[str], watched: Sequence[str]) -> frozenset[int] | None:
        if one.classes is None:
            return None
        for number, name in enumerate(one.classes):
            self._index(name, labels, f"{at}.classes[{number}]")
            if name not in watched:
                raise self._error(
                    f"{at}.classes[{number}]", f"{shown(one.name)} counts {shown(name)}, which is not among the classes"
                )
        return frozenset(labels.index(name) for name in one.classes)

    def _index(self, name: str, labels: Sequence[str], place: str) -> int:
        if name not in labels:
            raise self._error(place, f"the model has no class {shown(name)}; {did_you_mean(name, labels)}")
        return labels.index(name)


def _numbered(key: str, ones: Sequence[_Zone] | Sequence[_Line]) -> list[tuple[str, Any]]:
    return [(f"{key}[{index}]", one) for index, one in enumerate(ones)]


def _fault_of_line(points: Sequence[Point]) -> str:
    if len(points) != 2:
        return f"has {len(points)} point{'s' * (len(points) != 1)}, but needs 2"
    return "has the same point twice" if points[0] == points[1] else ""
