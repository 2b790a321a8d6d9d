from __future__ import annotations

import json
import os
import re
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from time import monotonic

import numpy as np
import pytest

from ssd_edge.detections import Detections
from ssd_edge.detector import Detector
from ssd_edge.errors import BackendError, SinkError, SourceError
from ssd_edge.loop.run import run_loop
from ssd_edge.loop.shown import above
from ssd_edge.loop.stats import STAGES, LoopReport
from ssd_edge.outputs.images import Images
from ssd_edge.outputs.sink import Sink, StopLoop
from ssd_edge.stream.buffers import EVERY, NEWEST, BufferPolicy, drop_oldest
from ssd_edge.stream.capture import Capture
from ssd_edge.stream.durations import Durations
from ssd_edge.stream.frames import Frame
from ssd_edge.stream.supervision import Supervision
from tests.cameras import Kept, Ticking

MakeDetector = Callable[..., Detector]


@pytest.mark.slow
@pytest.mark.parametrize("depth", [1, 2])
def test_a_slow_model_drops_frames_and_never_lags(make_detector: MakeDetector, depth: int) -> None:
    kept = Kept()
    report = run_loop(make_detector(0.03, depth), Ticking(120, 0.004), [kept])
    assert report.dropped > 40
    assert report.captured == report.processed + report.dropped == 120
    assert kept.indices == sorted(kept.indices)
    # The newest frame is taken, then there are at most two inferences; with a queue, it would be half a second.
    assert np.median(kept.ages) < 0.03 * depth + 0.04
    assert report.age.p50 == pytest.approx(np.median(kept.ages), abs=0.01)


@pytest.mark.parametrize("depth", [1, 2])
def test_every_frame_is_processed_in_order(make_detector: MakeDetector, depth: int) -> None:
    kept = Kept()
    report = run_loop(make_detector(0.002, depth), Ticking(60, live=False), [kept], buffer=EVERY)
    assert kept.indices == list(range(60))
    assert (report.captured, report.processed, report.dropped) == (60, 60, 0)
    assert all(len(detections) == 1 for detections in kept.detections)
    assert report.detections == 60


@pytest.mark.slow
def test_two_inferences_overlap(make_detector: MakeDetector) -> None:
    detector = make_detector(0.03, depth=2)
    report = run_loop(detector, Ticking(40, live=False), buffer=EVERY)
    assert detector.heads.most_under_way == 2  # type: ignore[attr-defined]
    assert report.processed == 40


@pytest.mark.slow
def test_two_inferences_overlap_with_a_camera_faster_than_one_of_them(make_detector: MakeDetector) -> None:
    """A frame that comes while one is inferred begins at once, as far as two may run."""
    detector = make_detector(0.05, depth=2)
    run_loop(detector, Ticking(60, 0.03))
    assert detector.heads.most_under_way == 2  # type: ignore[attr-defined]


@pytest.mark.slow
def test_a_result_does_not_wait_for_a_slow_camera(make_detector: MakeDetector) -> None:
    kept = Kept()
    run_loop(make_detector(0.01, depth=2), Ticking(8, 0.12), [kept])
    assert kept.indices == list(range(8))
    assert np.median(kept.ages) < 0.05


@pytest.mark.parametrize("buffer", [NEWEST, drop_oldest(3), EVERY])
def test_limits(make_detector: MakeDetector, buffer: BufferPolicy) -> None:
    source = Ticking(10_000, 0.001)
    report = run_loop(make_detector(0.002, 2), source, buffer=buffer, max_frames=7)
    assert report.processed == 7
    assert source.closed
    began = monotonic()
    run_loop(make_detector(), Ticking(10_000, 0.01), buffer=buffer, duration=0.2)
    assert 0.15 < monotonic() - began < 1


def test_no_frames_at_all(make_detector: MakeDetector) -> None:
    report = run_loop(make_detector(), Ticking(0))
    assert report.processed == 0
    assert report.fps == 0
    assert report.latency.p99 == 0


def test_ctrl_c_while_waiting_for_a_frame(make_detector: MakeDetector) -> None:
    kept, source = Kept(), Ticking(100, 60)
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    report = run_loop(make_detector(0.01, 2), source, [kept])
    timer.join()
    assert report.interrupted
    assert report.processed == 1
    assert kept.closed
    assert source.closed


class Failing(Sink):
    def __init__(self, error: BaseException, after: int, heavy: bool = False) -> None:
        self.error, self.after, self.heavy = error, after, heavy

    def write(self, frame: Frame, detections: Detections) -> None:
        if frame.index >= self.after:
            raise self.error


def test_ctrl_c_while_writing_leaves_an_engine_that_can_be_used_again(make_detector: MakeDetector) -> None:
    detector = make_detector(0.01, 2)
    report = run_loop(detector, Ticking(100, live=False), [Failing(KeyboardInterrupt(), 5)], buffer=EVERY)
    assert report.interrupted
    assert report.processed == 6
    assert detector.heads.submitted == detector.heads.finished  # type: ignore[attr-defined]
    assert run_loop(detector, Ticking(9, live=False), buffer=EVERY).processed == 9


@pytest.mark.parametrize("heavy", [False, True])
def test_a_failing_sink_closes_all(make_detector: MakeDetector, heavy: bool) -> None:
    kept, source = Kept(), Ticking(500, live=False)
    with pytest.raises(SinkError, match="the disk is full"):
        run_loop(make_detector(0, 2), source, [kept, Failing(SinkError("the disk is full"), 5, heavy)], buffer=EVERY)
    assert source.closed
    assert kept.closed
    assert len(kept.indices) < 20


def test_a_sink_that_fails_at_the_very_last_frame_is_heard(make_detector: MakeDetector) -> None:
    with pytest.raises(SinkError, match="late"):
        run_loop(make_detector(), Ticking(5, live=False), [Failing(SinkError("late"), 4, heavy=True)], buffer=EVERY)


def test_the_user_closes_the_window(make_detector: MakeDetector) -> None:
    report = run_loop(make_detector(), Ticking(50, live=False), [Failing(StopLoop(), 3)], buffer=EVERY)
    assert report.processed == 4
    assert not report.interrupted


def test_a_failing_source_is_raised_after_its_last_frame(make_detector: MakeDetector) -> None:
    class Unplugged(Ticking):
        def read(self) -> Frame | None:
            frame = super().read()
            if frame is None:
                raise SourceError("camera 0 gives no frames")
            return frame

    kept = Kept()
    with pytest.raises(SourceError, match="camera 0"):
        run_loop(make_detector(0.005, 2), Unplugged(6, live=False), [kept], buffer=EVERY)
    assert kept.indices == list(range(6))


def test_a_failing_engine(make_detector: MakeDetector) -> None:
    detector, source = make_detector(), Ticking(6, live=False)

    def refuse(_: object) -> object:
        raise BackendError("out of memory")

    detector.heads.submit = refuse  # type: ignore[assignment, method-assign]
    with pytest.raises(BackendError, match="out of memory"):
        run_loop(detector, source, buffer=EVERY)
    assert source.closed


def test_results_are_not_written_over_the_source(make_detector: MakeDetector, tmp_path: object) -> None:
    source = Ticking(3)
    source.path = tmp_path  # type: ignore[assignment]
    with pytest.raises(SinkError, match="write the results elsewhere"):
        run_loop(make_detector(), source, [Images(str(tmp_path), ("bolt", "nut"))])
    assert source.closed


def test_progress_and_report(make_detector: MakeDetector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ssd_edge.loop.run._PROGRESS_EVERY", 0.05)
    told: list[LoopReport] = []
    report = run_loop(make_detector(0.01), Ticking(30, 0.012), on_report=told.append)
    assert 3 <= len(told) <= 12
    assert [t.processed for t in told] == sorted(t.processed for t in told)
    plain = json.loads(json.dumps(report.to_json()))
    assert set(plain["stages"]) == set(STAGES)
    assert plain["stages"]["inference"]["p50"] == pytest.approx(0.01, rel=5)
    assert plain["latency"]["p50"] >= plain["stages"]["inference"]["p50"] * 0.98
    assert plain["age"]["p99"] >= plain["latency"]["p99"] * 0.98


def test_what_is_shown_and_frames_with_cuts(make_detector: MakeDetector) -> None:
    detector = make_detector()
    cut = Detections(np.zeros((2, 4), np.float32), np.array([0.9, 0.3], np.float32), np.zeros(2, np.int64), num_cut=5)
    detector._decode = lambda *_: cut  # type: ignore[assignment]
    report = run_loop(detector, Ticking(4, live=False), buffer=EVERY, shown=above(0.5))
    assert (report.frames_cut, report.detections) == (4, 4)


def test_a_recording_plays_at_its_own_rate_by_default() -> None:
    source = Ticking(10, 0.02, live=False)
    began = monotonic()
    with source, Capture(source) as capture:
        while not capture.ended:
            capture.take(1)
    assert 0.16 < monotonic() - began < 0.6


def test_capture_waits_for_a_slow_reader() -> None:
    source = Ticking(20, live=False)
    with source, Capture(source, EVERY) as capture:
        threading.Event().wait(0.05)
        assert capture.captured <= 3
        taken = []
        while not capture.ended:
            if frame := capture.take(1):
                taken.append(frame.index)
    assert taken == list(range(20))


def test_frames_beyond_the_largest_age_are_dropped_and_counted(make_detector: MakeDetector) -> None:
    """Every fourth frame comes late from the camera; the limit lies between, and is not that of recordings."""

    class Late(Ticking):
        def read(self) -> Frame | None:
            frame = super().read()
            late = frame is not None and frame.index % 4 == 3
            return replace(frame, captured=frame.captured - 3.0) if frame and late else frame

    kept = Kept()
    report = run_loop(make_detector(), Late(40, 0.005), [kept], buffer=EVERY, max_age=1.0)
    assert kept.indices == [index for index in range(40) if index % 4 != 3]
    assert (report.too_old, report.processed, report.captured) == (10, 30, 40)
    assert report.age.p99 < 1
    report = run_loop(make_detector(), Late(8, live=False), buffer=EVERY, max_age=1.0)
    assert (report.too_old, report.processed) == (0, 8)


def test_an_outage_is_said_by_the_loop_while_it_lasts(make_detector: MakeDetector) -> None:
    class Stalling(Ticking):
        def __init__(self) -> None:
            super().__init__(10, 0.02)
            self.supervision = Supervision("door")

        def read(self) -> Frame | None:
            assert self.supervision is not None
            if self._index == 5:
                self._stopping.wait(1.5)
            frame = super().read()
            self.supervision.frame()
            return frame

    lines: list[str] = []
    source = Stalling()
    source.listen(lines.append)
    report = run_loop(make_detector(), source)
    assert lines[0] == "door: stalled, no frame for 1.0 s"
    assert re.fullmatch(r"door: frames come again after [1-9]\.\d s, about \d+ frames lost", lines[1])
    assert report.health is not None
    plain = json.loads(json.dumps(report.to_json()))["health"]
    assert plain["outage_count"] == 1
    assert plain["outages"][0]["seconds"] == pytest.approx(1.5, abs=5)
    assert plain["outages"][0]["reason"] == "no frame came"


def test_capture_closes_at_any_moment() -> None:
    for policy in (EVERY, drop_oldest(2), NEWEST):
        for wait in (0, 0.02):
            with Ticking(100_000, 0.001) as source, Capture(source, policy):
                threading.Event().wait(wait)


def test_histogram_against_numpy() -> None:
    values = np.random.default_rng(0).lognormal(-4, 1.5, 20_000)
    histogram = Durations()
    for value in values:
        histogram.add(value)
    reference = np.percentile(values, [50, 90, 99])
    np.testing.assert_allclose(histogram.percentiles(), reference, rtol=0.015)
    histogram.add(0)
    histogram.add(1e9)
    assert histogram.percentile(100) == pytest.approx(1000, rel=0.1)
