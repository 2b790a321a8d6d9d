"""Source that gives the frames of a recording again."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from time import monotonic

from ssd_edge.replay.container import Placed, Section
from ssd_edge.replay.pictures import decoded
from ssd_edge.replay.reading import Run
from ssd_edge.replay.schema import Shot
from ssd_edge.stream.frames import Frame, Source


class RecordedSource(Source):
    """The frames of one recorded run, as fast as they are read or at their own times.

    Args:
        run: the run.
        realtime: whether each frame comes as long after the first as it did.

    Attributes:
        given: frames that were read and not yet taken from here, each with its section, in order.
    """

    def __init__(self, run: Run, realtime: bool = False) -> None:
        super().__init__()
        self.name, self.fps = run.head.camera, run.head.fps
        self.given: deque[tuple[Section, Placed]] = deque()
        self._shots: Iterator[tuple[Section, Placed]] = run.shots()
        self._realtime = realtime
        self._first: tuple[float, float] | None = None

    def read(self) -> Frame | None:
        """Read and decode the next frame.

        Raises:
            RecordingError: it cannot be read or decoded.
        """
        found = None if self._stopping.is_set() else next(self._shots, None)
        if found is None or (self._realtime and not self._is_due(found[1].shot)):
            return None
        began, shot = monotonic(), found[1].shot
        pixels = decoded(shot.picture)
        self.given.append(found)
        # Trackers take the frame's position for its time, or, where there is none, when it was captured.
        position = shot.captured if shot.position is None else shot.position
        now = monotonic()
        return Frame(pixels, shot.index, now, position, shot.file, took=now - began)

    def _is_due(self, shot: Shot) -> bool:
        now = monotonic()
        self._first = self._first or (now, shot.captured)
        return not self._stopping.wait(max(0.0, self._first[0] + shot.captured - self._first[1] - now))
