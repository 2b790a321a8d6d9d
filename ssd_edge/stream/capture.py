"""Read a source in a thread of its own, so that the loop finds the next frame ready."""

from __future__ import annotations

import threading
from collections import Counter, deque
from contextlib import AbstractContextManager
from time import monotonic

from ssd_edge.stream.buffers import EVERY, NEWEST, BufferPolicy
from ssd_edge.stream.durations import Durations
from ssd_edge.stream.frames import Frame, Pacer, Source
from ssd_edge.stream.liveness import Liveness


class Capture(AbstractContextManager["Capture"]):
    """Reader of a source in a thread of its own, with a buffer of frames that wait to be taken.

    By default only the newest frame waits, so that frames are never late, however slow the model is. Where frames are
    dropped, a recording is played at its own frame rate, like a camera. Still pictures have no frame rate, so they are
    never dropped.

    Args:
        source: source that nobody else may read until ``close``.
        policy: which frames wait, and which are dropped.
        max_age: seconds after which a camera's frame is too old to be taken; None for no limit.
        changed: guards the counts, and is notified of each change; several captures may share one.
        one_in: of so many frames of a camera one is kept, and the others are left out to relieve the machine.

    Attributes:
        captured: number of frames that the source gave.
        left_out: number of these that nobody can take any more, by reason, see ``ledger.REASONS``.
        took: seconds of decoding or drawing each frame.
        liveness: looks for frozen and black frames of a camera.
        one_in: see above; any thread may change it.
    """

    def __init__(
        self,
        source: Source,
        policy: BufferPolicy = NEWEST,
        max_age: float | None = None,
        changed: threading.Condition | None = None,
        one_in: int = 1,
    ) -> None:
        self.source = source
        self.policy = EVERY if not source.live and source.fps is None else policy
        self.changed = changed or threading.Condition()
        self.captured = 0
        self.left_out: Counter[str] = Counter()
        self.liveness = Liveness(source.supervision.say if source.supervision else lambda line: None)
        self._max_age = max_age if source.live else None
        self.took = Durations()
        self.one_in = one_in
        self._frames: deque[Frame] = deque()
        self._error: BaseException | None = None
        self._done = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"capture {source.name}", daemon=True)
        self._thread.start()

    @property
    def ended(self) -> bool:
        """Whether there will be no more frames."""
        with self.changed:
            return self._done and not self._frames

    @property
    def ready(self) -> bool:
        """Whether a frame can be taken now."""
        with self.changed:
            self._leave_out_old()
            return bool(self._frames)

    def take(self, timeout: float) -> Frame | None:
        """Take the next frame; None if there was none within ``timeout`` seconds, or at the end.

        Raises:
            SourceError: the source failed; frames that were read before are returned first.
        """
        with self.changed:
            self.changed.wait_for(lambda: self._frames or self._done, timeout)
            self._leave_out_old()
            if self._frames:
                frame = self._frames.popleft()
                self.changed.notify_all()
                return frame
            error, self._error = self._error, None
        if error is not None:
            raise error
        return None

    def close(self) -> None:
        """Stop reading and wait for the thread; the source is left open. May be called twice."""
        self._stopping.set()
        self.source.stop()
        with self.changed:
            self.changed.notify_all()
        self._thread.join()

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _leave_out_old(self) -> None:
        while self._max_age is not None and self._frames and monotonic() - self._frames[0].captured > self._max_age:
            self._leave_out("too_old")

    def _leave_out(self, reason: str) -> None:
        self._frames.popleft()
        self.left_out[reason] += 1
        self.changed.notify_all()

    def _run(self) -> None:
        try:
            self._read_all()
        except BaseException as error:  # raised again in ``take``
            self._error = error
        finally:
            with self.changed:
                self._done = True
                self.changed.notify_all()

    def _read_all(self) -> None:
        paced = self.policy.dropped_as and not self.source.live
        pacer = Pacer(self.source.fps) if paced and self.source.fps else None
        while pacer is None or pacer.wait(self._stopping):
            frame = self.source.read()
            if frame is None or self._stopping.is_set():
                return
            if self.source.live:
                self.liveness.look(frame.pixels)
            with self.changed:
                self.captured += 1
                self.took.add(frame.took)
                if self.source.live and self.captured % self.one_in:
                    self.left_out["relief"] += 1
                    continue
                self._make_room()
                self._frames.append(frame)
                self.changed.notify_all()

    def _make_room(self) -> None:
        """Drop the oldest frames, or wait until there is room; when the capture is closed, there always is."""
        length, reason = self.policy.length, self.policy.dropped_as
        if not reason:
            self.changed.wait_for(lambda: len(self._frames) < length or self._stopping.is_set())
            return
        while len(self._frames) >= length:
            self._leave_out(reason)
