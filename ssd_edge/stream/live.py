"""Source of a camera or stream that may come and go, over whatever library connects to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from ssd_edge.errors import SourceError
from ssd_edge.pixels import Pixels
from ssd_edge.stream.encoded import Encoded
from ssd_edge.stream.frames import Frame, Source
from ssd_edge.stream.supervision import Supervision

_SAY_EVERY = 10.0  # seconds between two lines on damaged pictures


class Taken(NamedTuple):
    """A frame as a connection gives it: its pixels, the time of its arrival, and the seconds of decoding it.

    ``captured`` is when the first packet or the driver's buffer arrived, not when the decoder let go of the frame.
    ``position`` is its place in a recording, in seconds, if that is known; ``encoded`` is as in ``Frame``.
    """

    pixels: Pixels
    captured: float
    took: float
    position: float | None = None
    encoded: Encoded | None = None


class Connection(Protocol):
    """An open camera or stream.

    Attributes:
        fps: frames per second; None if unknown.
        live: whether frames come at their own time; otherwise it is a recording, which has an end.
        unreadable: number of frames that came damaged, or lean on such; they are left out.
        ended: why there are no more frames, as a part of a sentence; empty if that is not known.
    """

    fps: float | None
    live: bool
    unreadable: int
    ended: str

    @property
    def way(self) -> str:
        """Return what reads it, for people; known once a frame came."""

    def take(self, stopping: Callable[[], bool]) -> Taken | None:
        """Wait for the next frame; None if there will be none, or once ``stopping`` is true.

        Raises:
            SourceError: the frames are of a kind that cannot be used.
        """

    def release(self) -> None:
        """Close it; may be called twice."""


class LiveSource(Source):
    """A camera or network stream; when it gives no more frames, it is opened again, at growing intervals, for ever.

    Only frames that are new pass: what a decoder or a network held through a stall is left out and counted.

    Args:
        name: name for people.
        connect: opens the camera or stream.
        lost: error sentence for when it gives no frame at all.
        supervision: its state; made here if not given.

    Raises:
        SourceError: the source gives no frame at all.
    """

    def __init__(
        self,
        name: str,
        connect: Callable[[], Connection],
        lost: str,
        supervision: Supervision | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.supervision = self._state = supervision or Supervision(name)
        self._clock = self._state.clock
        self._connect = connect
        self._skipped_before = 0  # in earlier connections
        self._said, self._say_after = 0, -_SAY_EVERY
        self._connection = connect()
        self.live = self._connection.live
        try:
            self._pending = self._take()
            if self._pending is None:
                raise SourceError(lost)
        except SourceError:
            self._connection.release()
            raise
        self.fps, self.live, self.way = self._connection.fps, self._connection.live, self._connection.way
        self._opened, self._start = self._pending.captured, self._pending.position
        self._index = 0

    def read(self) -> Frame | None:
        """Wait for the next frame, and reconnect as often as necessary; None at a recording's end or after a stop."""
        taken, self._pending = self._pending or self._take(), None
        if taken is None and self.live:
            taken = self._reconnect()
        if taken is None:
            return None
        index, self._index = self._index, self._index + 1
        position = taken.captured - self._opened
        if not self.live and taken.position is not None and self._start is not None:
            position = taken.position - self._start
        return Frame(taken.pixels, index, taken.captured, position, took=taken.took, encoded=taken.encoded)

    def _take(self) -> Taken | None:
        """Take the next frame that is new: one that was held for as long as a stall lasts is not."""
        began = self._clock()
        while not self._stopping.is_set():
            taken = self._connection.take(self._stopping.is_set)
            self._count_damaged()
            if taken is None or not self.live:
                return taken
            if self._clock() - taken.captured <= self._state.patience:
                self._state.frame(taken.captured)
                return taken
            self._state.measure(taken.captured)
            self.too_old += 1
            if self._clock() - began > _SAY_EVERY:
                self._connection.ended = "it sends only old frames"
                return None
        return None

    def _count_damaged(self) -> None:
        self.skipped = self._skipped_before + self._connection.unreadable
        if self._connection.unreadable and not self.trouble:
            self.trouble = f"{self.name} sends frames that cannot be decoded"
        if self.live and self.skipped > self._said and self._clock() >= self._say_after:
            number = self.skipped - self._said
            self._state.say(f"{number} damaged frame{'s' * (number != 1)} left out")
            self._said, self._say_after = self.skipped, self._clock() + _SAY_EVERY

    def _reconnect(self) -> Taken | None:
        reason = self._connection.ended or "it gives no more frames"
        while not self._stopping.is_set():
            self._connection.release()
            self._skipped_before = self.skipped
            # Before the first attempt too, or a camera that hangs up after each frame is called without a pause.
            if self._stopping.wait(self._state.lost(reason)):
                break
            self._state.connect()
            try:
                self._connection = self._connect()
            except SourceError:
                reason = "it is not back yet"
                continue
            try:
                taken = self._take()
            except SourceError as error:  # it is back, with frames that cannot be used
                self.trouble = reason = str(error)
                self.skipped += 1
                continue
            if taken is not None:
                self.reconnects += 1
                return taken
            reason = self._connection.ended or "it gives no frames"
        return None

    def close(self) -> None:
        """Release the camera."""
        super().close()
        self._connection.release()
