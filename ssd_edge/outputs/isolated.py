"""Keep an output from stopping the loop: its own thread, a bounded queue, and a new attempt after an error."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

from ssd_edge.detections import Detections
from ssd_edge.errors import SinkError, SsdEdgeError
from ssd_edge.outputs.sink import DiskFullError, OutputReport, Sink, StopLoop
from ssd_edge.pixels import size_of
from ssd_edge.stream.backoff import BackOff
from ssd_edge.stream.durations import Durations
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

_STEADY = 1.0  # seconds of writing after which an outage is over; less is part of it
_KEEPS_UP = 10.0  # seconds without a frame dropped after which an output counts as fast enough again
_BEAT = 0.25  # seconds between calls of the output's ``idle``

Item = tuple[Frame, Detections]


class Isolated(Sink):
    """Sink that writes to another in a thread of its own, and never makes the loop wait or end.

    A frame that finds the queue full is dropped and counted. After an error the sink is closed, and opened again with
    growing delays until it can be written. Each change of its state is told in one line.

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
        self._journal = _Journal(name, say, clock)
        self._ahead = ahead
        self._items: deque[Item] = deque()
        self._bytes = self._busy = 0
        self._back_off, self._due = BackOff(), 0.0
        self._stop: StopLoop | None = None
        self._ending = False
        self._changed = threading.Condition()
        self._sink: Sink | None = None
        try:
            self._sink = open()
            self.path, self.every = self._sink.path, self._sink.every
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
            count = len(self._items) + self._busy
            if self._sink is None:
                self._journal.dropped("failed")
            elif count >= self._ahead or (count >= 2 and self._bytes + size > AHEAD_BYTES):
                self._journal.dropped("slow")
            else:
                self._items.append((frame, detections))
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
            queued = len(self._items) + self._busy
            return self._journal.report("closed" if self._thread is None else state, queued)

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
                lost = len(self._items) + self._busy
                self._items.clear()
                self._journal.late(lost, CLOSING)
            else:
                self._journal.ended()

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
                    self._wrote(item[0])
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
            self._busy = 1
            return self._items.popleft()

    def _done(self, item: Item | None) -> None:
        with self._changed:
            self._busy, self._bytes = 0, self._bytes - (_size(item[0]) if item else 0)

    def _wrote(self, frame: Frame) -> None:
        with self._changed:
            if self._journal.wrote(frame):
                self._back_off.reset()

    def _fail(self, error: Exception) -> None:
        """Give the sink up, with the frames that wait for it."""
        with self._changed:
            sink, self._sink = self._sink, None
            delay = self._back_off.delay()
            self._due = self._clock() + delay
            self._journal.failed(_sentence(error), delay)
            for _ in range(len(self._items) + self._busy):
                self._journal.dropped("failed")
            self._items.clear()
            self._bytes = self._busy = 0
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
            self._sink, self.every = sink, sink.every
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


class _Journal:
    """What happened to an output: counted, and told where it changed."""

    def __init__(self, name: str, say: Callable[[str], None], clock: Callable[[], float]) -> None:
        self._name, self._tell, self._clock = name, say, clock
        self._written = self.reopened = 0
        self._dropped: Counter[str] = Counter()
        self._age = Durations()
        self._last_error = ""
        self._outage: _Outage | None = None
        self._slow_since: float | None = None  # the last frame dropped for it
        self._slow_before = 0

    @property
    def slow(self) -> bool:
        """Whether frames are being dropped since the output does not keep up."""
        return self._slow_since is not None

    def report(self, state: str, queued: int) -> OutputReport:
        """See ``OutputReport``."""
        return OutputReport(
            self._name,
            state,
            self._written,
            dict(self._dropped),
            self.reopened,
            self._last_error,
            queued,
            self._age.percentiles(),
        )

    def dropped(self, reason: str) -> None:
        """Count a frame; the first one of a time in which the output is too slow is told."""
        self._dropped[reason] += 1
        if reason == "slow":
            if self._slow_since is None:
                self._slow_before = self._dropped["slow"] - 1
                self._say("does not keep up; frames are dropped")
            self._slow_since = self._clock()

    def wrote(self, frame: Frame) -> bool:
        """Count a frame; return whether this ends an outage."""
        now = self._clock()
        self._written += 1
        self._age.add(now - frame.captured)
        if self._slow_since is not None and now - self._slow_since >= _KEEPS_UP:
            self._slow_since = None
            self._say(f"keeps up again, {_frames(self._dropped['slow'] - self._slow_before)} dropped")
        if self._outage is None:
            return False
        if self._outage.over is None:
            self._outage.over, self._outage.lost = now, self._dropped["failed"] - self._outage.before
        if now - self._outage.over < _STEADY:
            return False
        self._tell_end(self._outage)
        return True

    def failed(self, sentence: str, delay: float) -> None:
        """Note an error; the first of an outage is told, and each that differs from the one before."""
        if self._outage is None:
            self._outage = _Outage(self._clock(), max(0, self._dropped["failed"]))
        self._outage.over, self._slow_since = None, None
        if sentence != self._outage.told:
            self._outage.told = sentence
            self._say(f"{sentence}; trying again in {delay:.1f} s")
        self._last_error = sentence

    def ended(self) -> None:
        """Tell of an outage that the end of the run cut short."""
        if self._outage is not None and self._outage.over is not None:
            self._tell_end(self._outage)
        elif self._outage is not None:
            lost = self._dropped["failed"] - self._outage.before
            self._say(f"could not be written until the end, {_frames(lost)} dropped")

    def late(self, lost: int, seconds: float) -> None:
        """Note that the output did not end in time."""
        self._dropped["late"] += lost
        self._say(f"did not end within {seconds:.0f} s, {_frames(lost)} lost")

    def lost_end(self, sentence: str) -> None:
        """Note that the end could not be written."""
        self._last_error = sentence
        self._say(sentence)

    def _tell_end(self, outage: _Outage) -> None:
        self._outage = None
        self._say(f"writes again after {(outage.over or 0) - outage.began:.0f} s, {_frames(outage.lost)} dropped")

    def _say(self, what: str) -> None:
        self._tell(f"output {self._name}: {what}")


class _Outage:
    """A time in which an output cannot be written: its begin, frames dropped before it, and the line told."""

    def __init__(self, began: float, before: int) -> None:
        self.began, self.before, self.told = began, before, ""
        self.over: float | None = None  # when a frame was written again
        self.lost = 0


def _frames(number: int) -> str:
    return f"{number} frame{'s' * (number != 1)}"
