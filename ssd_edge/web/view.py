"""What the page knows of one camera: a sink that keeps the newest frame."""

from __future__ import annotations

from collections import deque
from time import monotonic
from typing import Any, Literal, NamedTuple

import numpy as np

from ssd_edge.detections import Detections
from ssd_edge.outputs.sink import Sink
from ssd_edge.stream.frames import Frame, Source
from ssd_edge.tracking.watch import Watched
from ssd_edge.web.tuning import LOWEST_SCORE, Tuning

Condition = Literal["starting", "live", "lost", "ended"]

_WINDOW = 10.0  # seconds of which the page tells the latency
_KEPT_LATENCIES = 600
_KEPT_EVENTS = 30


class Shot(NamedTuple):
    """A frame with what was found in it; ``found`` has also what is too faint to count, down to ``LOWEST_SCORE``."""

    number: int
    frame: Frame
    counted: Detections
    found: Detections


class View(Sink):
    """The page's side of a camera. To write costs the loop some microseconds, whoever looks.

    Args:
        name: the camera's name, which the page shows.
        source: the camera's source, of which only the state is shown; None while it is being opened.
        tuning: what counts, and is watched.
    """

    def __init__(self, name: str, source: Source | None, tuning: Tuning) -> None:
        self.name, self.tuning = name, tuning
        self.newest: Shot | None = None
        self._source, self._closed, self._lost, self._number = source, False, False, 0
        self._found = Detections.empty()
        self._latencies: deque[tuple[float, float]] = deque(maxlen=_KEPT_LATENCIES)
        self._events: deque[dict[str, Any]] = deque(maxlen=_KEPT_EVENTS)
        self._event_number = 0

    def shown(self, frame: Frame, detections: Detections) -> Detections:
        """See ``Shown``: by the tuning."""
        self._found = detections.above(LOWEST_SCORE)
        return self.tuning(frame, detections)

    def write(self, frame: Frame, detections: Detections) -> None:
        """Keep a frame."""
        now = monotonic()
        self._number += 1
        self.newest = Shot(self._number, frame, detections, self._found)
        self._latencies.append((now, now - frame.captured))
        if isinstance(detections, Watched):
            for event in detections.events:
                self._event_number += 1
                self._events.append({"number": self._event_number, **event.to_json(self.tuning.labels)})

    def close(self) -> None:
        """Note that the camera has ended."""
        self._closed = True

    def lose(self) -> None:
        """Note that the camera has failed or cannot be opened, and is tried again; another view shows it then."""
        self._lost = True

    def condition(self) -> Condition:
        """Tell how the camera is now; any thread may ask."""
        supervision = None if self._source is None else self._source.supervision
        if self._lost:
            return "lost"
        if self._closed:
            return "ended"
        if supervision is None:
            return "live" if self.newest else "starting"
        supervision.look()
        if supervision.state == "streaming":
            return "live" if self.newest else "starting"
        return "lost" if self.newest or supervision.state != "connecting" else "starting"

    def age(self) -> float | None:
        """Seconds since the newest frame was captured; None before the first."""
        return None if self.newest is None else monotonic() - self.newest.frame.captured

    def latency(self) -> tuple[float, float] | None:
        """Seconds from capture to result that 50 and 99 % of the last ten seconds' frames did not exceed."""
        since = monotonic() - _WINDOW
        recent = [seconds for at, seconds in list(self._latencies) if at >= since]
        if not recent:
            return None
        middle, most = np.percentile(recent, (50, 99))
        return float(middle), float(most)

    def events(self) -> list[dict[str, Any]]:
        """Return the last events, numbered; the newest last."""
        return list(self._events)
