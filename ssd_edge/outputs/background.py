"""Write to an output in a thread of its own, without losing a frame: the loop waits, and an error ends it."""

from __future__ import annotations

import queue
import threading
from time import monotonic

from ssd_edge.detections import Detections
from ssd_edge.outputs.sink import OutputReport, Sink
from ssd_edge.stream.durations import Durations
from ssd_edge.stream.frames import Frame


class Background(Sink):
    """Sink that writes to another sink in a thread of its own, at most ``ahead`` frames behind.

    Args:
        sink: the other sink, which nobody else may use until ``close``.
        ahead: number of frames that may be queued; then ``write`` waits.
    """

    def __init__(self, sink: Sink, ahead: int = 4) -> None:
        self.path, self.name, self.every = sink.path, sink.name, sink.every
        self._age = Durations()
        self._sink = sink
        self._queue: queue.Queue[tuple[Frame, Detections] | None] = queue.Queue(ahead)
        self._error: BaseException | None = None
        self._raised = False
        self._thread: threading.Thread | None = threading.Thread(target=self._run, name="sink", daemon=True)
        self._thread.start()

    def write(self, frame: Frame, detections: Detections) -> None:
        """Queue a frame; an error raised here belongs to an earlier frame."""
        self._raise()
        self._queue.put((frame, detections))

    def idle(self) -> None:
        """Raise an error of an earlier frame, if any."""
        self._raise()

    def report(self) -> OutputReport:
        """See ``Sink``."""
        state = "writing" if self._thread else "closed"
        error = "" if self._error is None else str(self._error)
        return OutputReport(
            self.name, state, self._age.count, {}, 0, error, self._queue.qsize(), self._age.percentiles()
        )

    def close(self) -> None:
        """Wait until all frames are written."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._queue.put(None)
            thread.join()
            with self._sink:
                self._raise()

    def _run(self) -> None:
        # After an error the queue must still be emptied, since a full queue would block ``write`` for ever.
        while (item := self._queue.get()) is not None:
            if self._error is None:
                try:
                    self._sink.write(*item)
                    self._age.add(monotonic() - item[0].captured)
                except BaseException as error:  # raised again in the loop's thread
                    self._error = error

    def _raise(self) -> None:
        if self._error is not None and not self._raised:
            self._raised = True
            raise self._error
