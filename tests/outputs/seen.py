"""Frames and detections for outputs."""

from __future__ import annotations

from time import monotonic

import numpy as np

from ssd_edge.detections import Detections
from ssd_edge.stream.frames import Frame
from ssd_edge.tracking.events import Counts, Event
from ssd_edge.tracking.plan import Line, Zone
from ssd_edge.tracking.watch import Watched

LABELS = ("bolt", 'nut "M3"')
ZONE = Zone("press", ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0)), min_time=1.5)
LINE = Line("gate 1", ((0.5, 0.0), (0.5, 1.0)))
EMPTY: Counts = {
    "press": {"inside": {}, "entered": {}, "left": {}, "dwelt": {}},
    "gate 1": {"to left": {}, "to right": {}},
}


def frame(index: int = 0, size: tuple[int, int] = (48, 64)) -> Frame:
    return Frame(np.full((*size, 3), 90, np.uint8), index, monotonic(), index / 25)


def detections(*labels: int, left: float = 1.0) -> Detections:
    boxes = np.float32([[left, 2, left + 20, 30]] * len(labels)).reshape(-1, 4)
    return Detections(boxes, np.full(len(labels), 0.9, np.float32), np.int64(labels).reshape(-1))


def watched(*labels: int, ids: tuple[int, ...] = (), events: tuple[Event, ...] = (), counts: Counts = EMPTY) -> Watched:
    found = detections(*labels)
    return Watched(
        found.boxes,
        found.scores,
        found.labels,
        ids=np.int64(ids or range(len(labels))).reshape(-1),
        events=events,
        counts=counts,
        places=(ZONE, LINE),
    )
