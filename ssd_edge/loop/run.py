"""The camera loop: capture → detect → show, with inference on the next frames while one is shown.

with CameraLoop(detector) as loop:
    loop.add(Camera("door", open_source("rtsp://…"), [JsonLines("door.jsonl", labels)]))
    loop.add(Camera("gate", open_source("0")))
    report = loop.run()
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, ExitStack
from time import monotonic
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ssd_edge.detector import Detector, Reader
from ssd_edge.errors import ModelError, SourceError, SsdEdgeError
from ssd_edge.loop.camera import Camera, OpenCamera
from ssd_edge.loop.in_flight import InFlight
from ssd_edge.loop.shown import Shown, above
from ssd_edge.loop.stats import LoopReport, RunReport
from ssd_edge.loop.turns import Taken, Turns
from ssd_edge.outputs.sink import Sink, StopLoop
from ssd_edge.stream.buffers import NEWEST, BufferPolicy
from ssd_edge.stream.frames import Source

_BEAT = 0.25  # seconds between checks of the windows' keys while no frame comes
_PROGRESS_EVERY = 1.0


class _Limits(NamedTuple):
    """When to take no more frames: their number, and a time of ``time.monotonic``."""

    frames: int | None
    stop_at: float | None


class CameraLoop(Reader, AbstractContextManager["CameraLoop"]):
    """One detector that serves several cameras, and reads their sources' frames whichever detector that is.

    ``run`` works in the thread that calls it; all other methods may be called by any thread, also from a signal
    handler, before and while it does. They only ask: none of them waits for the loop.

    Args:
        detector: detects the objects for all cameras; it must give scores down to the lowest that any of them reads.
        say: takes one line about a camera or its outputs that failed while others go on; by any thread.
        lasting: whether it goes on without a camera when the last one has ended or failed; ``stop`` ends it.
    """

    def __init__(
        self, detector: Detector, say: Callable[[str], None] = lambda line: None, *, lasting: bool = False
    ) -> None:
        self._detector, self._say, self._lasting = detector, say, lasting
        self._changed = threading.Condition()  # guards what is below, and is notified of each change of it
        self._cameras: dict[str, OpenCamera] = {}  # all that were not removed, also those that are done
        self._leaving: list[OpenCamera] = []  # removed, with frames in the engine
        self._replaced: list[tuple[Detector, Callable[[Detector], None]]] = []
        self._in_flight, self._turns = InFlight(), Turns()
        self._closers: list[threading.Thread] = []
        self._stopping = self._closed = self._interrupted = False
        self._one_in = 1
        self._taken, self._exchanges, self._began, self._told = 0, 0, monotonic(), monotonic()

    @property
    def detector(self) -> Detector:
        """The detector that gets the next frame."""
        return self._detector

    @property
    def reads(self) -> Collection[str]:  # type: ignore[override]
        """See ``Reader``."""
        return self._detector.reads

    def memory(self, nbytes: int) -> npt.NDArray[np.uint8]:
        """See ``Reader``."""
        return self._detector.memory(nbytes)

    def add(self, camera: Camera) -> None:
        """Start reading a camera; source and outputs are closed by the loop from here on, also if it is refused.

        Raises:
            SourceError: another camera has its name, or the loop has ended.
            SinkError: an output would overwrite the source.
        """
        with self._changed:
            if self._closed or camera.name in self._cameras:
                camera.close()
                twice = f"two cameras are named {camera.name}: give each a name of its own, as in NAME=ADDRESS"
                raise SourceError(f"camera {camera.name} came after the loop had ended" if self._closed else twice)
            self._cameras[camera.name] = OpenCamera(camera, self._changed, self._one_in)
            self._changed.notify_all()

    def remove(self, name: str) -> threading.Event:
        """Take no more frames of a camera; those in the engine are still shown, then it is closed.

        Its name is free at once. After the last camera is removed, the loop waits for another.

        Returns:
            An event that is set once its source and outputs are closed.

        Raises:
            SourceError: there is no camera of that name.
        """
        with self._changed:
            if name not in self._cameras:
                raise SourceError(f"there is no camera {name}: there are {', '.join(self._cameras) or 'none'}")
            camera = self._cameras.pop(name)
            if not camera.done:
                camera.removed = True
                self._leaving.append(camera)
            self._changed.notify_all()
            return camera.closed

    def exchange(self, detector: Detector, when_idle: Callable[[Detector], None] = lambda old: None) -> None:
        """Have another detector take over with the next frame; frames in the old one are finished there.

        Args:
            detector: has the same labels as the old one.
            when_idle: called by the loop's thread with the old detector once it has no more work, so that it can be
                closed; at the loop's end at the latest, unless it has taken over again.

        Raises:
            ModelError: the labels differ.
        """
        with self._changed:
            if detector.spec.labels != self._detector.spec.labels:
                raise ModelError("the new engine has other labels than the one that runs: start another run with it")
            replaced = [*self._replaced, (self._detector, when_idle)]
            self._replaced = [one for one in replaced if one[0] is not detector]
            self._detector, self._exchanges = detector, self._exchanges + 1
            self._changed.notify_all()

    def keep_one_in(self, number: int) -> None:
        """Process one of so many frames of each live camera from now on; the others are counted in its ledger."""
        with self._changed:
            self._one_in = number
            for camera in self._cameras.values():
                camera.capture.one_in = number

    def stop(self) -> None:
        """End the run after the frames that the engine works on."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def report(self) -> RunReport:
        """Report what has been counted so far, for each camera that was not removed."""
        with self._changed:
            cameras = list(self._cameras.values())
        return RunReport(
            cameras={camera.name: camera.report(self._interrupted) for camera in cameras},
            seconds=monotonic() - self._began,
            submissions=self._in_flight.submissions,
            exchanges=self._exchanges,
            interrupted=self._interrupted,
        )

    def run(
        self,
        *,
        max_frames: int | None = None,
        duration: float | None = None,
        on_report: Callable[[RunReport], None] | None = None,
    ) -> RunReport:
        """Detect objects until all cameras end, a limit is reached, a window is closed, ``stop``, or Ctrl-C.

        Cameras and outputs are closed in every case, and recordings stay readable. A camera that fails ends alone while
        others run; the last one ends the run with its error.

        Args:
            max_frames, duration: number of results of all cameras together, and seconds, after which to end.
            on_report: called about once a second with a report so far.

        Raises:
            SourceError: the last camera failed.
            SinkError: an output could not be written.
            BackendError: the engine failed.
        """
        self._began = monotonic()
        limits = _Limits(max_frames, None if duration is None else self._began + duration)
        with self:
            try:
                self._work(limits, on_report)
            except StopLoop:
                pass
            except KeyboardInterrupt:
                self._interrupted = True
        return self.report()

    def close(self) -> None:
        """Close all cameras and their outputs; may be called twice.

        Raises:
            SinkError: the rest of an output could not be written.
        """
        with self._changed:
            self._closed = True
            cameras = [*self._cameras.values(), *self._leaving]
        with ExitStack() as stack:
            for camera in cameras:
                stack.callback(camera.close)
                camera.stop()  # all at once, since a source may take a while to end
            for thread in self._closers:
                stack.callback(thread.join)
            stack.callback(self._hand_back)
            stack.callback(self._in_flight.drain)

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _work(self, limits: _Limits, on_report: Callable[[RunReport], None] | None) -> None:
        while not self._look_after():
            detector, batch, done = self._take(limits)
            if batch:
                self._in_flight.submit(detector, batch)
            elif self._in_flight:
                for taken, result in self._in_flight.finish():
                    taken.camera.show(taken.frame, result)
            elif done:
                break
            if on_report and monotonic() - self._told >= _PROGRESS_EVERY:
                self._told = monotonic()
                on_report(self.report())

    def _take(self, limits: _Limits) -> tuple[Detector, list[Taken], bool]:
        """Wait for frames while there is room for them, but only until the oldest result is expected to be ready.

        So a finished result does not wait for a slow camera, and a fast camera keeps the engine busy.

        Returns:
            The detector and its next frames, if any; and whether there will be none any more.
        """
        with self._changed:
            detector, in_flight = self._detector, self._in_flight
            wait = _BEAT if limits.stop_at is None else min(_BEAT, limits.stop_at - monotonic())
            if limits.frames == self._taken or wait <= 0 or self._stopping:
                return detector, [], True
            if len(in_flight) >= detector.depth or (in_flight and all(one.is_over for one in self._running())):
                return detector, [], False
            self._changed.wait_for(self._has_news, in_flight.patience() if in_flight else wait)
            detector = self._detector
            most = detector.max_batch if limits.frames is None else min(detector.max_batch, limits.frames - self._taken)
            batch = [] if self._stopping else self._turns.take(self._running(), most)
            self._taken += len(batch)
            return detector, batch, False

    def _running(self) -> list[OpenCamera]:
        return [camera for camera in self._cameras.values() if not camera.done]

    def _has_news(self) -> bool:
        """Whether there is a frame to take, or something else to do."""
        news = any(camera.capture.ready or camera.is_over for camera in self._running())
        return news or self._stopping or bool(self._leaving)

    def _look_after(self) -> bool:
        """Do what is due between two frames; return whether the last camera has ended by itself."""
        with self._changed:
            running = self._running()
            over = [camera for camera in (*running, *self._leaving) if camera.is_over]
        for camera in over:
            if not self._in_flight.has_frames_of(camera) and self._retire(camera):
                return True
        for camera in running:
            if not camera.done:
                camera.look()
        self._hand_back()
        return False

    def _retire(self, camera: OpenCamera) -> bool:
        """Close a camera that is over, unless it is the last: that ends the run, by its error if it failed."""
        error = camera.failure()
        with self._changed:
            camera.done = True
            if camera.removed:
                self._leaving.remove(camera)
            elif not self._running() and not self._lasting:
                if error is not None:
                    raise error
                return True
        if error is not None:
            self._say(f"camera {camera.name} has ended: {error}")
        camera.close_windows()
        # A source may take seconds to close, and the other cameras must not wait for that.
        closer = threading.Thread(target=self._close_alone, args=(camera,), name=f"closing {camera.name}", daemon=True)
        self._closers = [thread for thread in self._closers if thread.is_alive()] + [closer]
        closer.start()
        return False

    def _close_alone(self, camera: OpenCamera) -> None:
        try:
            camera.close()
        except SsdEdgeError as error:
            self._say(f"camera {camera.name}: {error}")

    def _hand_back(self) -> None:
        """Give back replaced detectors that have no more work."""
        with self._changed:
            idle = [pair for pair in self._replaced if not self._in_flight.uses(pair[0])]
            self._replaced = [pair for pair in self._replaced if pair not in idle]
        for detector, when_idle in idle:
            when_idle(detector)


def run_loop(
    detector: Detector,
    source: Source,
    sinks: Sequence[Sink] = (),
    *,
    buffer: BufferPolicy = NEWEST,
    max_frames: int | None = None,
    duration: float | None = None,
    shown: Shown | None = None,
    max_age: float | None = None,
    on_report: Callable[[LoopReport], None] | None = None,
) -> LoopReport:
    """Run the loop for one camera, see ``Camera`` and ``CameraLoop.run``."""
    name = source.name

    def tell(report: RunReport) -> None:
        if on_report is not None:
            on_report(report.cameras[name])

    with CameraLoop(detector) as loop:
        loop.add(Camera(name, source, sinks, shown or above(0.5), buffer, max_age))
        report = loop.run(max_frames=max_frames, duration=duration, on_report=tell if on_report else None)
    return report.cameras[name]
