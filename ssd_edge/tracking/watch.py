"""Follow a camera's objects through its zones and over its lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ssd_edge.detections import Detections
from ssd_edge.errors import WatchError
from ssd_edge.parsing import as_text
from ssd_edge.tracking.events import Counts, Event, LateEvent
from ssd_edge.tracking.places import Size, WatchedLine, WatchedZone
from ssd_edge.tracking.plan import Line, Plan, Zone
from ssd_edge.tracking.tracker import State, Track, Tracker


@dataclass(frozen=True, eq=False)
class Watched(Detections):
    """Detections that belong to an object that is followed, with what happened; the best score comes first.

    Attributes:
        ids: (N,) int64, the objects.
        events: what happened in this frame.
        late: what happened in earlier frames that the output to which this is given lacks; empty elsewhere.
        counts: what has been counted up to this frame.
        places: the zones and lines.
    """

    ids: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    events: tuple[Event, ...] = ()
    late: tuple[LateEvent, ...] = ()
    counts: Counts = field(default_factory=dict)
    places: tuple[Zone | Line, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ids.shape != (len(self),) or self.ids.dtype != np.int64:
            raise ValueError(f"ids must be ({len(self)},) int64, but got {self.ids.shape} {self.ids.dtype.name}")


class Watch:
    """Watches one camera.

    Args:
        plan: what to watch.
        labels: class names, as in the model's spec.
    """

    def __init__(self, plan: Plan, labels: Sequence[str]) -> None:
        self._plan, self._labels = plan, labels
        self._tracker = Tracker(plan.settings)
        self._places: list[WatchedZone | WatchedLine] = [
            *(WatchedZone(zone, plan.margin) for zone in plan.zones),
            *(WatchedLine(line, plan.margin) for line in plan.lines),
        ]

    @property
    def objects(self) -> int:
        """Number of objects seen so far."""
        return self._tracker.given

    @property
    def counts(self) -> Counts:
        """What has been counted so far."""
        return {place.name: place.tally.by_name(self._labels) for place in self._places}

    @property
    def lowest_score(self) -> float:
        """Lowest score of a detection that is of use."""
        return min(self._plan.settings.low, *self._plan.settings.begin)

    @property
    def plan(self) -> Plan:
        """What is watched."""
        return self._plan

    def take_over(self, earlier: Watch) -> None:
        """Go on with the objects of another watch of this camera, and with what it counted in places that are the same.

        The other one must not be updated afterwards.
        """
        self._tracker = earlier._tracker
        self._tracker.adjust(self._plan.settings)
        known = {(place.place, place.margin): place for place in earlier._places}
        self._places = [known.get((place.place, place.margin), place) for place in self._places]

    def sentences(self) -> list[str]:
        """Say how many objects were seen so far, and for each zone and line what has been counted."""
        said = [f"{self.objects} object{'s' * (self.objects != 1)} followed"]
        for name, kinds in self.counts.items():
            parts = [f"{number} {label} {what}" for what, ones in kinds.items() for label, number in ones.items()]
            said.append(f"{name}: {', '.join(parts) or 'nothing'}")
        return said

    def update(self, detections: Detections, time: float, size: Size) -> Watched:
        """Take in the next frame.

        Args:
            detections: all detections of the frame with a score of at least ``lowest_score``.
            time: seconds at which the frame was taken.
            size: (height, width) of the frame, in pixels.

        Raises:
            WatchError: the frame has another shape than the one in whose pixels the places were written.
        """
        _check_shape(self._plan.frame, size)
        if self._plan.labels is not None:
            wanted = np.isin(detections.labels, list(self._plan.labels))
            detections = Detections(
                detections.boxes[wanted], detections.scores[wanted], detections.labels[wanted], detections.num_cut
            )
        tracks = self._tracker.update(detections, time)
        known = {track.id for track in tracks}
        here = [track for track in tracks if track.state is State.PRESENT]
        events = tuple(event for place in self._places for event in place.update(here, known, time, size))
        return self._watched(detections, here, events)

    def _watched(self, detections: Detections, here: Sequence[Track], events: tuple[Event, ...]) -> Watched:
        in_order = sorted(here, key=lambda track: track.detection)
        which = np.array([track.detection for track in in_order], np.int64)
        return Watched(
            detections.boxes[which],
            detections.scores[which],
            detections.labels[which],
            detections.num_cut,
            ids=np.array([track.id for track in in_order], np.int64),
            events=events,
            counts=self.counts,
            places=(*self._plan.zones, *self._plan.lines),
        )


def _check_shape(written: Size | None, size: Size) -> None:
    """Refuse a frame whose sides have another ratio than those of the watch file, beyond the rounding of a pixel."""
    if written is not None and abs(written[0] * size[1] - written[1] * size[0]) > max(*written, *size):
        raise WatchError(
            f"the watch file has points in pixels of {as_text(written)}, but frames are {as_text(size)}, which has "
            "another shape: take the points from such a frame"
        )
