"""What of a frame's detections is counted, shown and written."""

from __future__ import annotations

from collections.abc import Callable

from ssd_edge.detections import Detections, Scores
from ssd_edge.pixels import size_of
from ssd_edge.stream.frames import Frame
from ssd_edge.tracking.watch import Watch

Shown = Callable[[Frame, Detections], Detections]
"""Takes a frame and all its detections, in the order of the frames, and returns what is shown."""


def above(score: Scores) -> Shown:
    """Show detections of at least this score: one for all, or (L,) one for each label."""
    return lambda frame, detections: detections.above(score)


def watched(watch: Watch) -> Shown:
    """Show objects that are followed. Time is that of the recording, or of the camera."""

    def update(frame: Frame, detections: Detections) -> Detections:
        time = frame.captured if frame.position is None else frame.position
        return watch.update(detections, time, size_of(frame.pixels))

    return update
