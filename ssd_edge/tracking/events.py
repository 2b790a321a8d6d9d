"""What happened to an object, and what has been counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["entered", "left", "dwelt", "crossed"]
Direction = Literal["left", "right"]
Counts = Mapping[str, Mapping[str, Mapping[str, int]]]
"""Numbers of objects by zone or line, by what is counted, and by class."""


@dataclass(frozen=True)
class Event:
    """Something that one object did.

    Attributes:
        kind: what it did: ``entered`` or ``left`` a zone, ``dwelt`` there for its minimum time, ``crossed`` a line.
        place: name of the zone or line.
        id: the object.
        label: index of its class.
        time: seconds, as its frame's.
        seconds: how long it has been inside, or was; None for a line, and when it enters.
        to: side of the line to which it went, as one looks from the line's first point to the second; None for a zone.
    """

    kind: Kind
    place: str
    id: int
    label: int
    time: float
    seconds: float | None = None
    to: Direction | None = None

    def to_json(self, labels: Sequence[str]) -> dict[str, Any]:
        """Convert to plain values for ``json.dumps``; what is None is left out."""
        plain = {
            "event": self.kind,
            "place": self.place,
            "id": self.id,
            "label": labels[self.label],
            "seconds": None if self.seconds is None else round(self.seconds, 3),
            "to": self.to,
        }
        return {name: value for name, value in plain.items() if value is not None}


@dataclass(frozen=True)
class LateEvent:
    """An event of an earlier frame that an output lacks, told with a later one.

    Attributes:
        event: what happened.
        index, position, captured: those of its ``Frame``.
        attempts: how often an output failed to tell it.
    """

    event: Event
    index: int
    position: float | None
    captured: float
    attempts: int = 0


class Tally:
    """Numbers of one place, by what is counted and by label."""

    def __init__(self, *kinds: str) -> None:
        self._counts: dict[str, Counter[int]] = {kind: Counter() for kind in kinds}

    def add(self, kind: str, label: int, number: int = 1) -> None:
        """Count."""
        self._counts[kind][label] += number

    def by_name(self, labels: Sequence[str]) -> dict[str, dict[str, int]]:
        """Return the numbers by what is counted and by class; classes of which there is none are left out."""
        return {
            kind: {labels[label]: number for label, number in sorted(counter.items()) if number}
            for kind, counter in self._counts.items()
        }
