"""Counters and timers of a camera loop, whose memory does not grow even over weeks."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from time import monotonic
from typing import Any

from ssd_edge.detections import Detections
from ssd_edge.detector import StageTimes
from ssd_edge.stream.capture import Capture
from ssd_edge.stream.durations import Durations, Percentiles, Rate
from ssd_edge.stream.supervision import Health

STAGES = ("capture", "preprocess", "inference", "decode", "sink")


@dataclass(frozen=True)
class LoopReport:
    """Statistics of a loop that has ended, or is still running. All durations are seconds.

    Attributes:
        source: name of the source.
        seconds: time since the loop began.
        fps: results per second, from the first result to the last.
        fps_now: results per second over the last 60 results.
        captured: number of frames that the source gave.
        processed: number of frames with a result.
        dropped: number of frames left out because a newer one had arrived.
        skipped: number of pictures that could not be decoded.
        lost: number of frames of a recording that could not be decoded, or that its end lacks.
        reconnects: number of times that the source was lost and came back.
        too_old: number of a camera's frames left out since they were older than ``max_age``, or held through a stall.
        frozen: number of frames equal to the last bit in a row that lasted; they were processed.
        black: number of black frames in a row that lasted; they were processed.
        health: state and outages of a camera or stream; None for other sources.
        frames_cut: number of frames in which top-k left out candidates above the score threshold.
        detections: number of detections that were shown, in all frames together.
        latency: time from a frame's capture to its detections.
        age: time from a frame's capture until the sinks had it.
        stages: time of each stage named in ``STAGES``; ``inference`` lasts from submission to result.
        interrupted: whether Ctrl-C ended the loop.
    """

    source: str
    seconds: float
    fps: float
    fps_now: float
    captured: int
    processed: int
    dropped: int
    skipped: int
    lost: int
    reconnects: int
    too_old: int
    frozen: int
    black: int
    health: Health | None
    frames_cut: int
    detections: int
    latency: Percentiles
    age: Percentiles
    stages: dict[str, Percentiles]
    interrupted: bool = False

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values for ``json.dumps``."""
        plain = asdict(self)
        plain["latency"], plain["age"] = self.latency._asdict(), self.age._asdict()
        plain["stages"] = {name: times._asdict() for name, times in self.stages.items()}
        return plain


class LoopStats:
    """The counters of a running loop."""

    def __init__(self) -> None:
        self.began = monotonic()
        self.processed = self.detections = self.frames_cut = 0
        self.rate = Rate()
        self.latency, self.age = Durations(), Durations()
        self.stages = {name: Durations() for name in STAGES}
        self._first_result = self._last_result = 0.0

    def add_result(self, captured: float, detections: Detections, times: StageTimes) -> None:
        """Count a new result of a frame that was captured at ``captured`` (``time.monotonic``)."""
        self._last_result = monotonic()
        self._first_result = self._first_result or self._last_result
        self.rate.tick()
        self.processed += 1
        self.detections += len(detections)
        self.frames_cut += detections.num_cut > 0
        self.latency.add(self._last_result - captured)
        for name, seconds in times._asdict().items():
            self.stages[name].add(seconds)

    def add_shown(self, captured: float) -> None:
        """Count the same frame once all sinks have it."""
        now = monotonic()
        self.stages["sink"].add(now - self._last_result)
        self.age.add(now - captured)

    def report(self, capture: Capture, interrupted: bool = False) -> LoopReport:
        """Report what has been counted so far."""
        source, span = capture.source, self._last_result - self._first_result
        self.stages["capture"] = capture.took
        return LoopReport(
            source=source.name,
            seconds=monotonic() - self.began,
            fps=(self.processed - 1) / span if span > 0 else 0.0,
            fps_now=self.rate.value,
            captured=capture.captured,
            processed=self.processed,
            dropped=capture.dropped,
            skipped=source.skipped,
            lost=source.lost,
            reconnects=source.reconnects,
            too_old=source.too_old + capture.too_old,
            frozen=capture.liveness.frozen,
            black=capture.liveness.black,
            health=source.supervision.health() if source.supervision else None,
            frames_cut=self.frames_cut,
            detections=self.detections,
            latency=self.latency.percentiles(),
            age=self.age.percentiles(),
            stages={name: histogram.percentiles() for name, histogram in self.stages.items()},
            interrupted=interrupted,
        )
