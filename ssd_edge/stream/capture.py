"""A thread that reads a source, so that the loop never waits for a frame it could have had."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import AbstractContextManager

from ssd_edge.stream.frames import Frame, Pacer, Source
from ssd_edge.stream.stats import Histogram

_AHEAD = 2  # frames read ahead where none may be lost


class Capture(AbstractContextManager["Capture"]):
    """Reads a source in a thread of its own.

    By default only the newest frame is kept, and older ones that nobody took are counted as dropped: what is
    shown is never late, however slow the model. A recording is then played at its own frame rate, as a camera
    would give it. With ``every_frame`` two frames are read ahead, and the source waits: nothing is lost.
    Still pictures have no rate, so of them every one is given.

    Args:
        source: read by this alone until ``close``.
        every_frame: lose none.
    """

    def __init__(self, source: Source, every_frame: bool = False) -> None:
        self.source = source
        self.every_frame = every_frame or (not source.live and source.fps is None)
        self.captured = 0
        self.dropped = 0
        self.took = Histogram()
        self._frames: deque[Frame] = deque()
        self._error: BaseException | None = None
        self._done = False
        self._stopping = threading.Event()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=f"capture {source.name}", daemon=True)
        self._thread.start()

    @property
    def ended(self) -> bool:
        """Whether no frame will come any more."""
        with self._changed:
            return self._done and not self._frames

    def take(self, timeout: float) -> Frame | None:
        """The next frame; None if none came within ``timeout`` seconds, or at the end.

        Raises:
            SourceError: the source failed; frames read before that are given first.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._frames or self._done, timeout)
            if self._frames:
                frame = self._frames.popleft()
                self._changed.notify_all()
                return frame
            error, self._error = self._error, None
        if error is not None:
            raise error
        return None

    def close(self) -> None:
        """Stop reading and wait for the thread; the source is left open. May be called twice."""
        self._stopping.set()
        self.source.stop()
        with self._changed:
            self._changed.notify_all()
        self._thread.join()

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _run(self) -> None:
        try:
            self._read_all()
        except BaseException as error:  # whatever it is, it belongs to whoever takes the frames
            self._error = error
        finally:
            with self._changed:
                self._done = True
                self._changed.notify_all()

    def _read_all(self) -> None:
        paced = not self.every_frame and not self.source.live
        pacer = Pacer(self.source.fps) if paced and self.source.fps else None
        while pacer is None or pacer.wait(self._stopping):
            frame = self.source.read()
            if frame is None or self._stopping.is_set():
                return
            with self._changed:
                self.captured += 1
                self.took.add(frame.took)
                if self.every_frame:
                    self._changed.wait_for(lambda: len(self._frames) < _AHEAD or self._stopping.is_set())
                else:
                    self.dropped += len(self._frames)
                    self._frames.clear()
                self._frames.append(frame)
                self._changed.notify_all()
