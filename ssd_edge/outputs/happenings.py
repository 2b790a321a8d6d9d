"""What is worth a clip: events of objects that are followed, or a class that comes into view."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ssd_edge.detections import Detections
from ssd_edge.tracking.events import LateEvent
from ssd_edge.tracking.watch import Watched

KINDS = ("entered", "dwelt", "crossed")
"""The events of zones and lines that are worth a clip; one who left has been in it before."""

GONE = 2.0
"""Seconds without a detection after which a class comes into view anew."""


class Happening(NamedTuple):
    """What happened: a name such as ``entered-gate``, its fields for ``json.dumps``, and its frame if it is late."""

    name: str
    fields: dict[str, Any]
    late: LateEvent | None = None


class Happenings:
    """Finds what happened in each frame.

    Where places are watched, these are their events. Otherwise it is a class that is seen and was not for two seconds.

    Args:
        labels: class names, as in the model's spec.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = labels
        self._seen: dict[int, float] = {}

    def of(self, detections: Detections, time: float) -> list[Happening]:
        """Return what happened in a frame at ``time`` seconds; frames come in order, or begin anew."""
        if isinstance(detections, Watched) and detections.places:
            told = [*((late.event, late) for late in detections.late), *((event, None) for event in detections.events)]
            return [
                Happening(f"{event.kind}-{event.place}", event.to_json(self._labels), late)
                for event, late in told
                if event.kind in KINDS
            ]
        found = []
        for label in dict.fromkeys(detections.labels.tolist()):
            if not 0 <= time - self._seen.get(label, time + 1) < GONE:
                score = round(float(detections.scores[detections.labels == label].max()), 4)
                name = self._labels[label]
                found.append(Happening(f"seen-{name}", {"event": "seen", "label": name, "score": score}))
            self._seen[label] = time
        return found
