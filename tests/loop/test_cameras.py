"""Several cameras in one loop: turns, changes while it runs, and cameras that end or fail."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from ssd_edge.detector import Detector
from ssd_edge.errors import ModelError, SinkError, SourceError
from ssd_edge.loop.camera import Camera
from ssd_edge.loop.run import CameraLoop
from ssd_edge.loop.shown import above
from ssd_edge.loop.stats import RunReport
from ssd_edge.outputs.images import Images
from ssd_edge.outputs.sink import Sink, StopLoop
from ssd_edge.pixels import Image
from ssd_edge.stream.buffers import EVERY
from ssd_edge.stream.frames import Frame
from tests.cameras import Kept, Ticking
from tests.helpers import small_spec

MakeDetector = Callable[..., Detector]
SECONDS = 60  # after which a test has failed, however slow the machine is


class Unplugged(Ticking):
    """Fails after its last frame."""

    def read(self) -> Frame | None:
        frame = super().read()
        if frame is None and not self._stopping.is_set():
            raise SourceError(f"{self.name} gives no frames")
        return frame


class Reaching(Kept):
    """Sets an event at its frame number ``at``."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at, self.reached = at, threading.Event()

    def write(self, frame, detections) -> None:  # type: ignore[no-untyped-def]
        super().write(frame, detections)
        if len(self.indices) >= self.at:
            self.reached.set()


@contextmanager
def running(loop: CameraLoop, **limits: object) -> Iterator[list[RunReport | BaseException]]:
    """Run a loop in another thread; at the end it is stopped, and its report or error is in the list."""
    ended: list[RunReport | BaseException] = []

    def run() -> None:
        try:
            ended.append(loop.run(**limits))  # type: ignore[arg-type]
        except BaseException as error:
            ended.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield ended
    finally:
        loop.stop()
        thread.join(SECONDS)
        assert not thread.is_alive()


def test_each_camera_has_its_own_outputs_and_report(make_detector: MakeDetector) -> None:
    sinks = {name: Kept() for name in ("door", "gate", "hall")}
    with CameraLoop(make_detector(0.001, 2)) as loop:
        for number, (name, kept) in enumerate(sinks.items()):
            loop.add(Camera(name, Ticking(5 + number, live=False), [kept], buffer=EVERY))
        report = loop.run()
    assert {name: kept.indices for name, kept in sinks.items()} == {
        "door": list(range(5)),
        "gate": list(range(6)),
        "hall": list(range(7)),
    }
    assert {name: one.processed for name, one in report.cameras.items()} == {"door": 5, "gate": 6, "hall": 7}
    assert [one.camera for one in report.cameras.values()] == list(sinks)
    assert all(kept.closed for kept in sinks.values())
    assert report.submissions == 18
    assert set(report.to_json()["shares"]) == set(sinks)


def test_cameras_that_have_more_than_enough_take_turns(make_detector: MakeDetector) -> None:
    """A fake engine that is always busy: each camera's frame is taken after at most one of each other camera."""
    with CameraLoop(make_detector(0.002, 2)) as loop:
        for name in "abcd":
            loop.add(Camera(name, Ticking(100_000, live=False), buffer=EVERY))
        report = loop.run(max_frames=200)
    processed = [one.processed for one in report.cameras.values()]
    assert sum(processed) == 200
    assert max(processed) - min(processed) <= 8  # the threads that read may start late
    assert all(one.turns_waited <= 3 for one in report.cameras.values())


def test_a_fast_camera_does_not_starve_a_slow_one(make_detector: MakeDetector) -> None:
    """The fast one has a frame at any time; the slow one's wait for no more than the frame under way."""
    kept = Reaching(5)
    with CameraLoop(make_detector(0.005)) as loop:
        loop.add(Camera("fast", Ticking(10_000_000, live=False), buffer=EVERY))
        loop.add(Camera("slow", Ticking(1000, 0.1), [kept]))
        with running(loop) as ended:
            assert kept.reached.wait(SECONDS)
    report = ended[0]
    assert isinstance(report, RunReport)
    assert kept.indices == list(range(len(kept.indices)))
    assert report.cameras["slow"].turns_waited <= 1
    assert report.cameras["fast"].processed > report.cameras["slow"].processed


def test_two_cameras_of_one_name_are_refused(make_detector: MakeDetector) -> None:
    second = Ticking(3)
    with CameraLoop(make_detector()) as loop:
        loop.add(Camera("door", Ticking(3)))
        with pytest.raises(SourceError, match="two cameras are named door"):
            loop.add(Camera("door", second))
        assert second.closed
        assert list(loop.run().cameras) == ["door"]
    with pytest.raises(SourceError, match="after the loop had ended"):
        loop.add(Camera("gate", Ticking(3)))


def test_a_camera_that_would_be_overwritten_is_refused_and_closed(make_detector: MakeDetector, tmp_path) -> None:  # type: ignore[no-untyped-def]
    source = Ticking(3)
    source.path = tmp_path
    with CameraLoop(make_detector()) as loop:
        with pytest.raises(SinkError, match="write the results elsewhere"):
            loop.add(Camera("door", source, [Images(str(tmp_path), ("bolt", "nut"))]))
        assert source.closed
        loop.add(Camera("door", Ticking(3)))
        assert loop.run().cameras["door"].error == ""


def test_cameras_are_added_and_removed_while_the_loop_runs(make_detector: MakeDetector) -> None:
    first, second = Reaching(3), Reaching(3)
    gone = Ticking(100_000, 0.001)
    with CameraLoop(make_detector(0.001, 2)) as loop:
        with pytest.raises(SourceError, match="there is no camera door: there are none"):
            loop.remove("door")
        loop.add(Camera("door", gone, [first]))
        with running(loop) as ended:
            assert first.reached.wait(SECONDS)
            loop.remove("door")  # the last one: the loop waits for another
            loop.add(Camera("door", Ticking(100_000, 0.001), [second]))  # its name is free at once
            assert second.reached.wait(SECONDS)
            assert loop.report().cameras["door"].processed >= 2
    assert isinstance(ended[0], RunReport)
    assert gone.closed
    assert first.closed
    assert first.indices == sorted(set(first.indices))
    assert second.indices == sorted(set(second.indices))


def test_a_camera_that_fails_ends_alone(make_detector: MakeDetector) -> None:
    lines: list[str] = []
    kept, other, failing = Kept(), Kept(), Unplugged(4, live=False)
    failing.name = "camera 0"
    with CameraLoop(make_detector(0.002), lines.append) as loop:
        loop.add(Camera("door", failing, [kept], buffer=EVERY))
        loop.add(Camera("gate", Ticking(40, live=False), [other], buffer=EVERY))
        report = loop.run()
    assert lines == ["camera door has ended: camera 0 gives no frames"]
    assert kept.indices == list(range(4))
    assert other.indices == list(range(40))
    assert failing.closed
    assert kept.closed
    assert report.cameras["door"].error == "camera 0 gives no frames"
    assert report.cameras["gate"].error == ""


def test_the_last_camera_that_fails_ends_the_run(make_detector: MakeDetector) -> None:
    lines: list[str] = []
    with CameraLoop(make_detector(0.001), lines.append) as loop:
        loop.add(Camera("door", Unplugged(2, live=False), buffer=EVERY))
        loop.add(Camera("gate", Unplugged(30, live=False), buffer=EVERY))
        with pytest.raises(SourceError, match="ticking gives no frames"):
            loop.run()
    assert lines == ["camera door has ended: ticking gives no frames"]
    assert loop.report().cameras["gate"].processed == 30


def test_an_output_that_fails_as_its_camera_ends_is_said(make_detector: MakeDetector) -> None:
    class Full(Sink):
        def write(self, frame, detections) -> None:  # type: ignore[no-untyped-def]
            pass

        def close(self) -> None:
            raise SinkError("the disk is full")

    lines: list[str] = []
    with CameraLoop(make_detector(0.001), lines.append) as loop:
        loop.add(Camera("door", Ticking(2, live=False), [Full()], buffer=EVERY))
        loop.add(Camera("gate", Ticking(60, live=False), buffer=EVERY))
        report = loop.run()
    assert lines == ["camera door: the disk is full"]
    assert report.cameras["door"].error == "the disk is full"


def test_a_closed_window_ends_the_loop(make_detector: MakeDetector) -> None:
    class Closed(Sink):
        def write(self, frame, detections) -> None:  # type: ignore[no-untyped-def]
            raise StopLoop

    other = Ticking(100_000, 0.001)
    with CameraLoop(make_detector()) as loop:
        loop.add(Camera("door", Ticking(100_000, live=False), [Closed()]))
        loop.add(Camera("gate", other))
        report = loop.run()
    assert other.closed
    assert report.cameras["door"].processed == 1


class Marked:
    """Detector that writes down its frames, and is told when it is idle."""

    def __init__(self, detector: Detector) -> None:
        self.inner, self.spec, self.depth, self.max_batch = detector, detector.spec, detector.depth, 1
        self.submitted = self.finished = 0
        self.idle_after: int | None = None

    def submit_batch(self, frames: list[Image]) -> Callable[[], object]:
        self.submitted += 1
        finish = self.inner.submit_batch(frames)

        def wait() -> object:
            self.finished += 1
            return finish()

        return wait

    def idle(self, old: object) -> None:
        assert old is self
        assert self.idle_after is None
        assert self.submitted == self.finished
        self.idle_after = self.finished


def test_another_detector_takes_over_and_no_frame_is_lost(make_detector: MakeDetector) -> None:
    detectors = [Marked(make_detector(0.002, 2)) for _ in range(3)]
    kept = Kept()
    total = 120

    class Exchanging(Kept):
        """Exchanges from within the loop's thread at frames 20 and 40."""

        def write(self, frame, detections) -> None:  # type: ignore[no-untyped-def]
            super().write(frame, detections)
            if frame.index in (20, 40):
                number = frame.index // 20
                loop.exchange(detectors[number], detectors[number - 1].idle)  # type: ignore[arg-type]

    with CameraLoop(detectors[0]) as loop:  # type: ignore[arg-type]
        loop.add(Camera("door", Ticking(total, live=False), [Exchanging()], buffer=EVERY))
        loop.add(Camera("gate", Ticking(total, live=False), [kept], buffer=EVERY))
        report = loop.run()
    assert kept.indices == list(range(total))
    assert [one.processed for one in report.cameras.values()] == [total, total]
    assert sum(detector.submitted for detector in detectors) == 2 * total
    assert all(detector.submitted > 0 for detector in detectors)
    assert [detector.idle_after is not None for detector in detectors] == [True, True, False]
    assert report.exchanges == 2


def test_a_detector_that_takes_over_again_is_not_given_back(make_detector: MakeDetector) -> None:
    first, second = make_detector(), make_detector()
    idle: list[Detector] = []
    with CameraLoop(first) as loop:
        loop.exchange(second, idle.append)
        loop.exchange(first, idle.append)
        assert loop.detector is first
        loop.add(Camera("door", Ticking(3, live=False)))
        loop.run()
    assert idle == [second]


def test_a_detector_with_other_labels_is_refused(make_detector: MakeDetector) -> None:
    other = make_detector()
    other.spec = small_spec(labels=("screw",))
    with CameraLoop(make_detector()) as loop, pytest.raises(ModelError, match="other labels"):
        loop.exchange(other)


def test_one_detector_serves_all_cameras(make_detector: MakeDetector) -> None:
    """The engine's weights are in memory once: no camera asks the engine for a detector of its own."""
    detector = make_detector(0.0, 2)
    with CameraLoop(detector) as loop:
        for name in "abcd":
            loop.add(Camera(name, Ticking(5, live=False), buffer=EVERY))
        loop.run()
    assert detector.heads.submitted == 20  # type: ignore[attr-defined]


def test_batches_are_formed_of_the_cameras_that_are_ready(make_detector: MakeDetector) -> None:
    """Three cameras always have a frame, the fourth never: batches are of up to three, and each result is its own."""
    kept = {name: Kept() for name in "abc"}
    detector = make_detector(0.002, 2, max_batch=4)
    with CameraLoop(detector) as loop:
        for name, sink in kept.items():
            loop.add(Camera(name, Ticking(100_000, live=False), [sink], buffer=EVERY))
        loop.add(Camera("silent", Ticking(100_000, 3600)))
        report = loop.run(max_frames=301)
    batches = detector.heads.batches  # type: ignore[attr-defined]
    assert sum(batches) == 301
    assert max(batches) in (3, 4)  # the silent one has a single frame, at the start
    assert batches.count(4) <= 1
    assert len(batches) < 301
    assert report.submissions == len(batches)
    for sink in kept.values():
        assert sink.indices == list(range(len(sink.indices)))
        assert all(len(detections) == 1 for detections in sink.detections)


def test_an_idle_camera_is_looked_after_while_others_give_frames(make_detector: MakeDetector) -> None:
    class Looked(Kept):
        def __init__(self) -> None:
            super().__init__()
            self.looked = threading.Event()

        def idle(self) -> None:
            self.looked.set()

    silent = Looked()
    with CameraLoop(make_detector(0.001)) as loop:
        loop.add(Camera("silent", Ticking(2, 3600), [silent]))
        loop.add(Camera("door", Ticking(100_000, 0.001)))
        with running(loop):
            assert silent.looked.wait(SECONDS)
            loop.remove("silent")
    np.testing.assert_array_equal(silent.indices, [0])


def test_a_loop_without_cameras_can_be_stopped(make_detector: MakeDetector) -> None:
    with CameraLoop(make_detector()) as loop:
        assert loop.run(duration=0).cameras == {}
    loop = CameraLoop(make_detector())
    with running(loop) as ended:
        pass
    assert isinstance(ended[0], RunReport)


def test_an_output_may_get_every_detection(make_detector: MakeDetector) -> None:
    shown, every = Kept(), Kept()
    every.every = True
    with CameraLoop(make_detector()) as loop:
        loop.add(Camera("a", Ticking(3, live=False), [shown, every], above(1.1), EVERY))
        loop.run()
    assert [len(one) for one in shown.detections] == [0, 0, 0]
    assert all(len(one) for one in every.detections)
    assert every.indices == shown.indices
