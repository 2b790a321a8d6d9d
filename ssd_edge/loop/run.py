"""The camera loop: capture → detect → show, with inference on the next frames while one is shown."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, closing, suppress
from time import monotonic

from ssd_edge.detector import Detector, Result
from ssd_edge.errors import SinkError, SsdEdgeError
from ssd_edge.loop.shown import Shown, above
from ssd_edge.loop.stats import LoopReport, LoopStats
from ssd_edge.outputs.background import Background
from ssd_edge.outputs.sink import Sink, StopLoop
from ssd_edge.stream.capture import Capture
from ssd_edge.stream.frames import Frame, Source

_BEAT = 0.25  # seconds between checks of the window's keys while no frame comes
_PROGRESS_EVERY = 1.0


def run_loop(
    detector: Detector,
    source: Source,
    sinks: Sequence[Sink] = (),
    *,
    every_frame: bool = False,
    max_frames: int | None = None,
    duration: float | None = None,
    shown: Shown | None = None,
    max_age: float | None = None,
    on_report: Callable[[LoopReport], None] | None = None,
) -> LoopReport:
    """Detect objects in frames until the source ends, a limit is reached, the window is closed, or Ctrl-C is pressed.

    Source and sinks are closed in every case, and a recording stays readable.

    Args:
        detector: processes up to ``detector.depth`` frames at once; it must give scores down to the lowest that
            ``shown`` reads.
        source: an open source, which is read in a thread of its own.
        sinks: outputs that each get every frame with a result, in order.
        every_frame: whether to lose no frame of a recording; otherwise only the newest frame is used, see ``Capture``.
        max_frames, duration: number of results, and seconds, after which to end.
        shown: chooses what is counted and given to the sinks; by default, detections with a score of at least 0.5.
        max_age: seconds after which a camera's frame is too old to be processed; see ``Capture``.
        on_report: called about once a second with a report so far.

    Raises:
        SourceError: the source failed.
        SinkError: an output could not be written.
        BackendError: the engine failed.
    """
    shown = shown or above(0.5)
    stats, interrupted, last_progress = LoopStats(), False, monotonic()
    stop_at = None if duration is None else stats.began + duration
    with ExitStack() as stack:
        stack.enter_context(source)
        _refuse_to_overwrite(source, sinks)
        outputs = [stack.enter_context(Background(sink) if sink.heavy else sink) for sink in sinks]
        capture = stack.enter_context(Capture(source, every_frame, max_age))
        results = stack.enter_context(closing(detect(detector, capture, max_frames, stop_at)))
        try:
            for step in results:
                if step is None:
                    _idle(source, outputs)
                else:
                    frame, result = step
                    detections = shown(frame, result.detections)
                    stats.add_result(frame.captured, detections, result.times)
                    for sink in outputs:
                        sink.write(frame, detections)
                    stats.add_shown(frame.captured)
                if on_report and monotonic() - last_progress >= _PROGRESS_EVERY:
                    last_progress = monotonic()
                    on_report(stats.report(capture))
        except StopLoop:
            pass
        except KeyboardInterrupt:
            interrupted = True
    return stats.report(capture, interrupted)


def detect(
    detector: Detector, capture: Capture, max_frames: int | None = None, stop_at: float | None = None
) -> Generator[tuple[Frame, Result] | None, None, None]:
    """Yield frames with their results, in order, or None about every quarter of a second without a frame.

    While fewer than ``detector.depth`` inferences are running, it waits for the next frame, but only until the oldest
    result is expected to be ready. So a finished result does not wait for a slow camera, and a fast camera keeps the
    engine busy.

    Args:
        detector: detects the objects.
        capture: gives the frames.
        max_frames: largest number of frames to take.
        stop_at: time (``time.monotonic``) after which to take no frame.
    """
    pending: deque[tuple[Frame, float, Callable[[], Result]]] = deque()
    typical = 0.0  # smoothed seconds of an inference
    left = max_frames
    try:
        while True:
            now = monotonic()
            more = left != 0 and (stop_at is None or now < stop_at) and not capture.ended
            if more and len(pending) < detector.depth:
                # The 0.9 makes it fetch early: if results were always late, the delay would count as inference time.
                patience = pending[0][1] + 0.9 * typical - now if pending else _BEAT
                frame = capture.take(max(0.0, patience))
                if frame is not None:
                    left = None if left is None else left - 1
                    pending.append((frame, monotonic(), detector.submit(frame.pixels)))
                    continue
            if pending:
                frame, submitted, finish = pending.popleft()
                result = finish()
                typical += 0.2 * (monotonic() - submitted - typical)
                yield frame, result
            elif more:
                yield None
            else:
                break
        capture.take(0)  # raises the error that ended the source early, if any
    finally:
        # No old requests may be left running in an engine that is used again.
        for _, _, finish in pending:
            with suppress(SsdEdgeError):
                finish()


def _idle(source: Source, sinks: Sequence[Sink]) -> None:
    if source.supervision is not None:
        source.supervision.look()
    for sink in sinks:
        sink.idle()


def _refuse_to_overwrite(source: Source, sinks: Sequence[Sink]) -> None:
    for sink in sinks:
        if source.path and sink.path and sink.path.resolve() == source.path.resolve():
            raise SinkError(f"{sink.path} is the source that is being read: write the results elsewhere")
