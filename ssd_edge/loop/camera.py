"""A camera of the loop: what a user gives, and its state while it runs."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from time import monotonic

from ssd_edge.detector import Result
from ssd_edge.errors import SinkError, SsdEdgeError
from ssd_edge.loop.shown import Shown, above
from ssd_edge.loop.stats import LoopReport, LoopStats
from ssd_edge.outputs.background import Background
from ssd_edge.outputs.sink import Sink
from ssd_edge.stream.buffers import NEWEST, BufferPolicy
from ssd_edge.stream.capture import Capture
from ssd_edge.stream.frames import Frame, Source

_BEAT = 0.25
"""Seconds between looks at a camera, and its window's keys, while no frame of it comes."""


@dataclass(frozen=True, eq=False)
class Camera:
    """One camera, and what becomes of its frames.

    Attributes:
        name: name for people, which no other camera of the loop has.
        source: an open source, which is read in a thread of its own.
        sinks: outputs that each get every frame with a result, in order.
        shown: chooses what is counted and given to the sinks; by default, detections with a score of at least 0.5.
        buffer: which frames wait, and which are dropped.
        max_age: seconds after which a camera's frame is too old to be processed; see ``Capture``.
    """

    name: str
    source: Source
    sinks: Sequence[Sink] = ()
    shown: Shown = field(default_factory=lambda: above(0.5))
    buffer: BufferPolicy = NEWEST
    max_age: float | None = None

    def check(self) -> None:
        """Raise SinkError if an output would overwrite the source."""
        for sink in self.sinks:
            if self.source.path and sink.path and sink.path.resolve() == self.source.path.resolve():
                raise SinkError(f"{sink.path} is the source that is being read: write the results elsewhere")

    def close(self) -> None:
        """Close source and outputs of a camera that no loop has taken."""
        with ExitStack() as stack:
            for part in (self.source, *self.sinks):
                stack.enter_context(part)


class OpenCamera:
    """A camera while it runs: its thread that reads, its counters, and its place in the turns.

    Args:
        camera: the camera, whose source and sinks are closed with this object.
        changed: guards the counts, and is notified when a frame comes or the camera ends.
        one_in: see ``Capture``.

    Attributes:
        error: the sentence on what ended it; empty if nothing did.
        removed: whether the user wants no more of it.
        done: whether the loop takes no more of it, since it has ended.
        closed: set once source and outputs are closed.
        served: number of the loop's turn in which its last frame was taken.
        waited: number of other cameras' frames taken while its present one waits.
    """

    def __init__(self, camera: Camera, changed: threading.Condition, one_in: int = 1) -> None:
        self.name, self._camera, self._changed = camera.name, camera, changed
        self.error, self.removed, self.done = "", False, False
        self.served = self.waited = self._most_waited = 0
        self.stats = LoopStats()
        with ExitStack() as stack:
            stack.enter_context(camera.source)
            for sink in camera.sinks:
                stack.push(sink)
            camera.check()
            self._own = [sink for sink in camera.sinks if sink.loop_thread]
            self._outputs = [self._started(stack, sink) for sink in camera.sinks]
            self.capture = stack.enter_context(Capture(camera.source, camera.buffer, camera.max_age, changed, one_in))
            self._resources = stack.pop_all()
        self.closed, self._looked = threading.Event(), monotonic()

    @staticmethod
    def _started(stack: ExitStack, sink: Sink) -> Sink:
        return stack.enter_context(Background(sink)) if sink.heavy else sink

    @property
    def is_over(self) -> bool:
        """Whether no more of its frames are to be taken."""
        return self.removed or self.capture.ended

    def take(self, turn: int) -> Frame | None:
        """Take its next frame, as the loop's turn of this number; None if there is none."""
        frame = self.capture.take(0) if self.capture.ready else None
        if frame is not None:
            self.served, self._most_waited, self.waited = turn, max(self._most_waited, self.waited), 0
        return frame

    def show(self, frame: Frame, result: Result) -> None:
        """Count a result, and give it to the outputs.

        Raises:
            SinkError: an output could not be written.
            StopLoop: the user wants to end the loop.
        """
        self._looked = monotonic()
        detections = self._camera.shown(frame, result.detections)
        with self._changed:
            self.stats.add_result(frame.captured, detections, result.times)
        for sink in self._outputs:
            sink.write(frame, result.detections if sink.every else detections)
        self.stats.add_shown(frame.captured)

    def look(self) -> None:
        """Do regular work while no frame comes; raises as ``show``."""
        now = monotonic()
        if now - self._looked < _BEAT:
            return
        self._looked = now
        if self._camera.source.supervision is not None:
            self._camera.source.supervision.look()
        for sink in self._outputs:
            sink.idle()

    def failure(self) -> Exception | None:
        """Return what ended the source early, if anything; to be asked once, when it is over."""
        try:
            self.capture.take(0)
        except Exception as error:
            self.error = str(error)
            return error
        return None

    def stop(self) -> None:
        """Have the source stop reading, without waiting for it."""
        self._camera.source.stop()

    def close_windows(self) -> None:
        """Close what only the loop's thread may close."""
        for sink in self._own:
            sink.close()

    def close(self) -> None:
        """Close source and outputs; may be called twice.

        Raises:
            SinkError: the rest of an output could not be written.
        """
        try:
            self._resources.close()
        except SsdEdgeError as error:
            self.error = self.error or str(error)
            raise
        finally:
            self.closed.set()

    def report(self, interrupted: bool = False) -> LoopReport:
        """Report what has been counted so far; any thread may ask."""
        report = self.stats.report(self.name, self.capture, self.closed.is_set(), self._outputs)
        most = max(self._most_waited, self.waited)
        return replace(report, turns_waited=most, error=self.error, interrupted=interrupted)
