"""What a source is, and what it gives."""

from __future__ import annotations

import threading
from abc import abstractmethod
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from ssd_edge.detector import Image


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of a source.

    Attributes:
        image: (height, width, 3) uint8 BGR; shared by all who get the frame, so nobody writes to it.
        index: 0, 1, 2, …, counted by the source; a gap shows dropped frames.
        captured: when it arrived, in seconds of ``time.monotonic``.
        position: seconds since the start of the recording, or since the camera was opened; None for still pictures.
        file: name of the picture's file, for a folder or a single picture.
        took: seconds of decoding or drawing; the wait for the camera is not counted.
    """

    image: Image
    index: int
    captured: float
    position: float | None = None
    file: str | None = None
    took: float = 0.0


class Source(AbstractContextManager["Source"]):
    """Gives frames one by one. ``read`` belongs to one thread; ``stop`` may be called from any.

    Attributes:
        name: for people.
        live: whether frames come at their own time and are lost if nobody reads.
        fps: frames per second, None where unknown or without meaning.
        path: the file or folder read, if it is one.
        skipped: pictures left out because they could not be decoded.
        reconnects: how often a lost camera or stream was opened again.
    """

    name: str = ""
    live: bool = False
    fps: float | None = None
    path: Path | None = None
    skipped: int = 0
    reconnects: int = 0

    def __init__(self) -> None:
        self._stopping = threading.Event()

    @abstractmethod
    def read(self) -> Frame | None:
        """The next frame, waited for; None at the end, or after ``stop``.

        Raises:
            SourceError: there will be no more frames, and that was not to be expected.
        """

    def stop(self) -> None:
        """Make a waiting ``read`` return early; ``close`` may then be called once it has returned."""
        self._stopping.set()

    def close(self) -> None:
        """Let go of the device or file; may be called twice."""
        self.stop()

    def __exit__(self, *exception: object) -> None:
        self.close()


class Pacer:
    """Keeps a rhythm: each ``wait`` returns one period after the one before, and lost time is not caught up."""

    def __init__(self, fps: float) -> None:
        self._period = 1 / fps
        self._due: float | None = None

    def wait(self, stopping: threading.Event) -> bool:
        """Wait for the next beat; False where ``stopping`` was set first."""
        now = monotonic()
        due = now if self._due is None else self._due
        self._due = max(due, now - self._period) + self._period
        return not stopping.wait(max(0.0, due - now))
