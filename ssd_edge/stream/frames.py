"""``Source``, the interface of all sources, and ``Frame``, the value that they give."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from time import monotonic

from ssd_edge.pixels import Image, Pixels, to_bgr
from ssd_edge.stream.encoded import Encoded
from ssd_edge.stream.supervision import Supervision


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of a source.

    Attributes:
        pixels: the frame as its source gave it; it is shared, so nobody may write to it.
        index: 0, 1, 2, …, counted by the source; a gap means dropped frames.
        captured: time of arrival, in seconds of ``time.monotonic``.
        position: seconds since the start of the recording, or since the camera was opened; None for still pictures.
        file: name of the picture's file, for a folder or a single picture.
        took: seconds spent decoding or drawing, without waiting for the camera.
        encoded: the compressed picture that the pixels were decoded from, if it needs no other.
    """

    pixels: Pixels
    index: int
    captured: float
    position: float | None = None
    file: str | None = None
    took: float = 0.0
    encoded: Encoded | None = None

    @cached_property
    def image(self) -> Image:
        """The frame in (height, width, 3) uint8 BGR, converted once, for people to see; nobody may write to it."""
        return to_bgr(self.pixels)


class Source(AbstractContextManager["Source"]):
    """A source of frames. Only one thread may call ``read``; any thread may call ``stop``.

    Attributes:
        name: name for people.
        way: what reads it, for people, such as "PyAV"; empty for pictures and drawn frames.
        live: whether frames come at their own time and are lost if nobody reads them.
        fps: frames per second; None if unknown or meaningless.
        path: the file or folder that is read, if there is one.
        skipped: number of pictures, or of a camera's frames, left out because they could not be decoded.
        trouble: the sentence on the last of a camera's frames left out; empty if there was none.
        lost: number of frames of a recording that could not be decoded.
        reconnects: number of times that a lost camera or stream was opened again.
        too_old: number of a camera's frames left out because something on the way had held them.
        supervision: state and outages of a camera or stream; None for other sources.
    """

    name: str = ""
    way: str = ""
    live: bool = False
    fps: float | None = None
    path: Path | None = None
    skipped: int = 0
    trouble: str = ""
    lost: int = 0
    reconnects: int = 0
    too_old: int = 0
    supervision: Supervision | None = None

    def __init__(self) -> None:
        self._stopping = threading.Event()

    @abstractmethod
    def read(self) -> Frame | None:
        """Wait for the next frame; None at the end, or after ``stop``.

        Raises:
            SourceError: there will unexpectedly be no more frames.
        """

    def listen(self, tell: Callable[[str], None]) -> None:
        """Have a line told whenever a camera is lost, stalls, comes back, freezes or turns black; by any thread."""
        if self.supervision is not None:
            self.supervision.tell = tell

    def stop(self) -> None:
        """Make a waiting ``read`` return early; call ``close`` only after it has returned."""
        self._stopping.set()

    def close(self) -> None:
        """Release the device or file; may be called twice."""
        self.stop()

    def __exit__(self, *exception: object) -> None:
        self.close()


class Pacer:
    """Timer with a fixed period: each ``wait`` returns one period after the last; delays are not caught up."""

    def __init__(self, fps: float) -> None:
        self._period = 1 / fps
        self._due: float | None = None

    def wait(self, stopping: threading.Event) -> bool:
        """Wait for the next period; return False if ``stopping`` was set before."""
        now = monotonic()
        due = now if self._due is None else self._due
        self._due = max(due, now - self._period) + self._period
        return not stopping.wait(max(0.0, due - now))
