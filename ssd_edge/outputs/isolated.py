"""Keep an output from stopping the loop: its own thread, a bounded queue, and a new attempt after an error."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

from ssd_edge.detections import Detections
from ssd_edge.errors import SinkError, SsdEdgeError
from ssd_edge.outputs.carried import Carried, Item
from ssd_edge.outputs.journal import Journal
from ssd_edge.outputs.sink import DiskFullError, OutputReport, Sink, StopLoop
from ssd_edge.pixels import size_of
from ssd_edge.stream.backoff import BackOff
from ssd_edge.stream.frames import Frame

DROPPED = {
    "slow": "the output did not keep up, so its queue was full",
    "failed": "it was lost by an error, or came while the output could not be written",
    "late": "it was still queued when the run ended and the output did not",
}
"""Reasons for which an output lacks a frame."""

AHEAD, AHEAD_BYTES = 30, 64 << 20
"""Most frames in an output's queue, and most bytes of them; two frames are taken, however large they are."""

CLOSING = 5.0
"""Seconds that an output has to write what is queued at the end of a run."""

_BEAT = 0.25  # seconds between calls of the output's ``idle``


class Isolated(Sink):
    """Sink that writes to another in a thread of its own, and never makes the loop wait or end.

    A frame that finds the queue full is dropped and counted; its events are told with the next one that is not. After
    an error the sink is closed, and opened again with growing delays until it can be written. Each change of its state
    is told in one line.

    Args:
        open: opens the sink; called here, and by the thread after an error. It must not overwrite what was written.
        name: the output's name for people, such as ``video``.
        say: takes the lines; called by any thread.
        ahead: most frames in the queue.
        patient: whether an output that cannot be opened yet is waited for.
        clock: monotonic seconds.

    Raises:
        SinkError: the sink cannot be opened, unless ``patient``. A full disk is none: the output waits for room.
    """

    def __init__(
        self,
        open: Callable[[], Sink],  # noqa: A002 - what it does
        name: str,
        say: Callable[[str], None],
        *,
        ahead: int = AHEAD,
        patient: bool = False,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.name, self._open, self._clock = name, open, clock
        self._carried = Carried()
        self._journal = Journal(name, say, clock, self._carried)
        self._ahead = ahead
        self._items: deque[Item] = deque()
        self._bytes = 0
        self._writing: Item | None = None
        self._back_off, self._due = BackOff(), 0.0
        self._stop: StopLoop | None = None
        self._ending = False
        self._changed = threading.Condition()
        self._sink: Sink | None = None
        self.tells_events = True  # until it is known
        try:
            self._sink = open()
            self._take_on(self._sink)
        except SinkError as error:
            if not patient and not isinstance(error, DiskFullError):
                raise
            self._fail(error)
        self._thread: threading.Thread | None = threading.Thread(target=self._run, name=f"sink {name}", daemon=True)
        self._thread.start()

    def write(self, frame: Frame, detections: Detections) -> None:
        """Queue a frame, or count it as dropped; raises nothing but ``StopLoop`` of an earlier frame."""
        self.idle()
        with self._changed:
            size = _size(frame)
            count = self._queued
            if self._sink is None:
                self._drop(frame, detections, "failed")
            elif count >= self._ahead or (count >= 2 and self._bytes + size > AHEAD_BYTES):
                self._drop(frame, detections, "slow")
            else:
                self._items.append((frame, self._carried.hand_on(detections)))
                self._bytes += size
                self._changed.notify_all()

    def idle(self) -> None:
        """Raise ``StopLoop`` if the output wants to end the loop."""
        stop, self._stop = self._stop, None
        if stop is not None:
            raise stop

    def report(self) -> OutputReport:
        """See ``Sink``."""
        with self._changed:
            state = "waiting" if self._sink is None else "slow" if self._journal.slow else "writing"
            return self._journal.report("closed" if self._thread is None else state, self._queued)

    def close(self) -> None:
        """Wait until the queued frames are written, but not for ever; what is lost is told."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        thread.join(CLOSING)
        with self._changed:
            if thread.is_alive():
                lost = self._queued
                self._carried.lose(self._unwritten() if self.tells_events else ())
                self._items.clear()
                self._journal.late(lost, CLOSING)
            else:
                self._carried.lose()
                self._journal.ended()

    @property
    def _queued(self) -> int:
        return len(self._items) + (self._writing is not None)

    def _unwritten(self) -> list[Item]:
        return [*([] if self._writing is None else [self._writing]), *self._items]

    def _take_on(self, sink: Sink) -> None:
        """Write to a sink that was opened."""
        self._sink, self.path, self.every, self.tells_events = sink, sink.path, sink.every, sink.tells_events
        if not self.tells_events:
            self._carried.forget()

    def _drop(self, frame: Frame, detections: Detections, reason: str) -> None:
        self._journal.dropped(reason)
        if self.tells_events:
            self._carried.keep(frame, detections)
            self._journal.look_for_lost_events()

    def _run(self) -> None:
        while not self._over():
            if self._sink is None:
                self._try_again()
                continue
            item = self._take()
            try:
                if item is None:
                    self._sink.idle()
                else:
                    self._sink.write(*item)
                    self._done(item)
                    self._wrote(*item)
                self.path = self._sink.path
            except StopLoop as stop:
                self._stop = stop
                self._done(item)
            except Exception as error:  # a fault of an output must not end the run, whatever it is
                self._fail(error)
        self._end()

    def _over(self) -> bool:
        with self._changed:
            return self._ending and (self._sink is None or not self._items)

    def _take(self) -> Item | None:
        """Take the next frame; None if there is none for a quarter of a second."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._ending, _BEAT)
            if not self._items:
                return None
            frame, detections = self._items.popleft()
            # The last that waits: who knows when another comes.
            self._writing = item = frame, detections if self._items else self._carried.hand_on(detections)
            return item

    def _done(self, item: Item | None) -> None:
        with self._changed:
            self._writing, self._bytes = None, self._bytes - (_size(item[0]) if item else 0)

    def _wrote(self, frame: Frame, detections: Detections) -> None:
        with self._changed:
            self._carried.tell(detections)
            if self._journal.wrote(frame):
                self._back_off.reset()

    def _fail(self, error: Exception) -> None:
        """Give the sink up, with the frames that wait for it."""
        with self._changed:
            sink, self._sink = self._sink, None
            delay = self._back_off.delay()
            self._due = self._clock() + delay
            self._journal.failed(_sentence(error), delay)
            for _ in range(self._queued):
                self._journal.dropped("failed")
            if self.tells_events:
                self._carried.take_back(self._writing, self._items)
                self._journal.look_for_lost_events()
            self._items.clear()
            self._bytes, self._writing = 0, None
        if sink is not None:
            with suppress(Exception):  # it has failed already
                sink.close()

    def _try_again(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._ending, min(_BEAT, max(0.0, self._due - self._clock())))
            if self._ending or self._clock() < self._due:
                return
        try:
            sink = self._open()
        except Exception as error:
            self._fail(error)
            return
        with self._changed:
            self._take_on(sink)
            self._journal.reopened += 1

    def _end(self) -> None:
        sink = self._sink
        try:
            if sink is not None:
                sink.close()
        except Exception as error:  # the frames are counted as written: which of them are lost, nobody knows
            self._journal.lost_end(_sentence(error))


def _size(frame: Frame) -> int:
    height, width = size_of(frame.pixels)
    return 3 * height * width


def _sentence(error: Exception) -> str:
    return str(error) if isinstance(error, SsdEdgeError) else f"{type(error).__name__}: {error}"
