"""Events of frames that an output lacks: kept, bounded in number, until a later frame tells them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace

from ssd_edge.detections import Detections
from ssd_edge.stream.frames import Frame
from ssd_edge.tracking.events import LateEvent
from ssd_edge.tracking.watch import Watched

MOST_EVENTS = 256
"""Most events that wait; of more, the oldest are lost and counted."""

ATTEMPTS = 3
"""Failed attempts to tell an event after which it is lost and counted: the event itself may be what is refused."""

Item = tuple[Frame, Detections]
"""A frame, and what an output is to tell of it."""


class Carried:
    """Events of one output that wait for a frame.

    Attributes:
        told: number of events that a later frame told.
        lost: number of events that no frame told.
    """

    def __init__(self) -> None:
        self.told = self.lost = 0
        self._events: deque[LateEvent] = deque()

    def __len__(self) -> int:
        return len(self._events)

    def keep(self, frame: Frame, detections: Detections) -> None:
        """Keep the events of a frame that is dropped; it is the latest so far."""
        self._events.extend(_events_of(frame, detections))
        self._bound()

    def take_back(self, failed: Item | None, queued: Iterable[Item]) -> None:
        """Keep the events of frames that came before all others, in order.

        Args:
            failed: the frame that the output was writing when it failed; it may have told some of its events.
            queued: frames that wait for it.
        """
        again = [] if failed is None else [replace(one, attempts=one.attempts + 1) for one in _events_of(*failed)]
        kept = [one for one in again if one.attempts < ATTEMPTS]
        self.lost += len(again) - len(kept)
        self._events.extendleft(reversed([*kept, *(event for item in queued for event in _events_of(*item))]))
        self._bound()

    def hand_on(self, detections: Detections) -> Detections:
        """Give all that wait to a frame's detections, if these can hold events."""
        if not self._events or not isinstance(detections, Watched):
            return detections
        late = tuple(self._events)
        self._events.clear()
        return replace(detections, late=(*detections.late, *late))

    def tell(self, detections: Detections) -> None:
        """Count the events that a frame told of those before it, once it was written."""
        self.told += len(detections.late) if isinstance(detections, Watched) else 0

    def lose(self, items: Iterable[Item] = ()) -> None:
        """Count all that wait as lost, and the events of these frames."""
        self.lost += len(self._events) + sum(1 for item in items for _ in _events_of(*item))
        self._events.clear()

    def forget(self) -> None:
        """Keep none: the output does not tell events."""
        self._events.clear()
        self.told = self.lost = 0

    def _bound(self) -> None:
        while len(self._events) > MOST_EVENTS:
            self._events.popleft()
            self.lost += 1


def _events_of(frame: Frame, detections: Detections) -> Iterator[LateEvent]:
    if isinstance(detections, Watched):
        yield from detections.late
        for event in detections.events:
            yield LateEvent(event, frame.index, frame.position, frame.captured)
