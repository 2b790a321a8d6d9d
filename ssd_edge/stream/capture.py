"""Read a source in a thread of its own, so that the loop finds the next frame ready."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import AbstractContextManager
from time import monotonic

from ssd_edge.stream.durations import Durations
from ssd_edge.stream.frames import Frame, Pacer, Source
from ssd_edge.stream.liveness import Liveness

_AHEAD = 2  # frames read ahead if none may be lost


class Capture(AbstractContextManager["Capture"]):
    """Reader of a source in a thread of its own.

    By default only the newest frame is kept, and older ones that nobody took are counted as dropped, so that frames are
    never late, however slow the model is. A recording is then played at its own frame rate, like a camera. With
    ``every_frame``, two frames are read ahead, then the source waits, so that no frame is lost. Still pictures have no
    frame rate, so they are never dropped.

    Args:
        source: source that nobody else may read until ``close``.
        every_frame: whether to lose no frame.
        max_age: seconds after which a camera's frame is too old to be taken; None for no limit.

    Attributes:
        too_old: number of frames left out for their age.
        liveness: looks for frozen and black frames of a camera.
    """

    def __init__(self, source: Source, every_frame: bool = False, max_age: float | None = None) -> None:
        self.source = source
        self.every_frame = every_frame or (not source.live and source.fps is None)
        self.captured = 0
        self.dropped = self.too_old = 0
        self.liveness = Liveness(source.supervision.say if source.supervision else lambda line: None)
        self._max_age = max_age if source.live else None
        self.took = Durations()
        self._frames: deque[Frame] = deque()
        self._error: BaseException | None = None
        self._done = False
        self._stopping = threading.Event()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=f"capture {source.name}", daemon=True)
        self._thread.start()

    @property
    def ended(self) -> bool:
        """Whether there will be no more frames."""
        with self._changed:
            return self._done and not self._frames

    def take(self, timeout: float) -> Frame | None:
        """Take the next frame; None if there was none within ``timeout`` seconds, or at the end.

        Raises:
            SourceError: the source failed; frames that were read before are returned first.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._frames or self._done, timeout)
            self._leave_out_old()
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

    def _leave_out_old(self) -> None:
        while self._max_age is not None and self._frames and monotonic() - self._frames[0].captured > self._max_age:
            self._frames.popleft()
            self.too_old += 1
            self._changed.notify_all()

    def _run(self) -> None:
        try:
            self._read_all()
        except BaseException as error:  # raised again in ``take``
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
            if self.source.live:
                self.liveness.look(frame.pixels)
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
