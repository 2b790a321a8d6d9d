"""Source of a camera or stream that may come and go, over whatever library connects to it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import NamedTuple, Protocol

from ssd_edge.errors import SourceError
from ssd_edge.pixels import Pixels
from ssd_edge.stream.frames import Frame, Source

_FIRST_DELAY, _LAST_DELAY = 0.5, 10.0  # seconds between attempts to reconnect


class Taken(NamedTuple):
    """A frame as a connection gives it: its pixels, the time of its arrival, and the seconds of decoding it.

    ``position`` is its place in a recording, in seconds, if that is known.
    """

    pixels: Pixels
    captured: float
    took: float
    position: float | None = None


class Connection(Protocol):
    """An open camera or stream.

    Attributes:
        fps: frames per second; None if unknown.
        live: whether frames come at their own time; otherwise it is a recording, which has an end.
        unreadable: number of frames that came and could not be decoded; they are left out.
    """

    fps: float | None
    live: bool
    unreadable: int

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
    """A camera or network stream; when it gives no more frames, it is opened again, at growing intervals.

    Args:
        name: name for people.
        connect: opens the camera or stream.
        lost: error sentence for when it gives no frames.
        patience: seconds without a frame after which to give up; None for never, since a camera may come back any time.

    Raises:
        SourceError: the source gives no frame at all.
    """

    def __init__(self, name: str, connect: Callable[[], Connection], lost: str, patience: float | None = None) -> None:
        super().__init__()
        self.name = name
        self._connect, self._lost, self._patience = connect, lost, patience
        self._skipped_before = 0  # in earlier connections
        self._connection = connect()
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
        """Wait for the next frame, and reconnect as often as necessary; None at a recording's end.

        Raises:
            SourceError: there was no frame for ``patience`` seconds.
        """
        taken, self._pending = self._pending or self._take(), None
        if taken is None and self.live:
            taken = self._reconnect()
        if taken is None:
            return None
        index, self._index = self._index, self._index + 1
        position = taken.captured - self._opened
        if not self.live and taken.position is not None and self._start is not None:
            position = taken.position - self._start
        return Frame(taken.pixels, index, taken.captured, position, took=taken.took)

    def _take(self) -> Taken | None:
        taken = None if self._stopping.is_set() else self._connection.take(self._stopping.is_set)
        self.skipped = self._skipped_before + self._connection.unreadable
        if self._connection.unreadable and not self.trouble:
            self.trouble = f"{self.name} sends frames that cannot be decoded"
        return taken

    def _reconnect(self) -> Taken | None:
        silent_since, delay, unusable = monotonic(), _FIRST_DELAY, ""
        while not self._stopping.is_set():
            if self._patience is not None and monotonic() - silent_since > self._patience:
                raise SourceError(
                    f"{self._lost}; it came back with frames of another kind: {unusable}" if unusable else self._lost
                )
            self._connection.release()
            self._skipped_before = self.skipped
            with suppress(SourceError):  # it is not back yet
                self._connection = self._connect()
                try:
                    taken = self._take()
                except SourceError as error:  # it is back, with frames that cannot be used
                    taken, unusable = None, str(error)
                    self.skipped, self.trouble = self.skipped + 1, unusable
                if taken is not None:
                    self.reconnects += 1
                    return taken
            self._stopping.wait(delay)
            delay = min(2 * delay, _LAST_DELAY)
        return None

    def close(self) -> None:
        """Release the camera."""
        super().close()
        self._connection.release()
