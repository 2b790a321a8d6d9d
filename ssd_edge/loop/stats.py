"""Counters and timers of a camera loop, whose memory does not grow even over weeks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from time import monotonic
from typing import Any

from ssd_edge.detections import Detections
from ssd_edge.detector import StageTimes
from ssd_edge.outputs.sink import OutputReport, Sink
from ssd_edge.stream.capture import Capture
from ssd_edge.stream.durations import Durations, Percentiles, Rate
from ssd_edge.stream.ledger import ledger, missed_by
from ssd_edge.stream.supervision import Health

STAGES = ("capture", "preprocess", "inference", "decode", "sink")


@dataclass(frozen=True)
class LoopReport:
    """Statistics of a loop that has ended, or is still running. All durations are seconds.

    Attributes:
        camera: the camera's name.
        source: name of the source.
        buffer: name of the buffer policy.
        seconds: time since the loop began.
        fps: results per second, from the first result to the last.
        fps_now: results per second over the last 60 results.
        sent: number of frames that the camera sent, as far as is known: those captured, and those that were damaged,
            held through a stall, or lost in an outage (about).
        captured: number of frames that the source gave.
        processed: number of frames with a result, which were shown.
        dropped: number of frames left out because newer ones had arrived.
        ledger: number of frames that were not shown, by reason, see ``stream.ledger.REASONS``; with ``processed`` they
            add up to ``sent``.
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
        age: time from a frame's capture until the slowest output had written it, the wait in its queue included.
        stages: time of each stage named in ``STAGES``; ``inference`` lasts from submission to result.
        turns_waited: largest number of other cameras' frames that were taken while one of this camera was waiting.
        error: the sentence on what ended the camera; empty if nothing did.
        ended: whether the camera has ended and is closed.
        interrupted: whether Ctrl-C ended the loop.
        outputs: what each output with a thread of its own has written.
        durations: all ``latency`` and ``age``, counted; they grow while the loop runs, and are not in the JSON.
    """

    camera: str
    source: str
    buffer: str
    seconds: float
    fps: float
    fps_now: float
    sent: int
    captured: int
    processed: int
    dropped: int
    ledger: dict[str, int]
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
    turns_waited: int = 0
    error: str = ""
    ended: bool = False
    interrupted: bool = False
    outputs: tuple[OutputReport, ...] = ()
    durations: Mapping[str, Durations] = field(default_factory=dict, repr=False)

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values for ``json.dumps``."""
        plain = asdict(replace(self, durations={}))
        del plain["durations"]
        plain["latency"], plain["age"] = self.latency._asdict(), self.age._asdict()
        plain["stages"] = {name: times._asdict() for name, times in self.stages.items()}
        plain["outputs"] = [output.to_json() for output in self.outputs]
        return plain


@dataclass(frozen=True)
class RunReport:
    """Statistics of a loop of several cameras that has ended, or is still running.

    Attributes:
        cameras: each camera's report, by name.
        seconds: time since the run began.
        submissions: number of batches that went to the engine.
        exchanges: number of times that another engine took over.
        interrupted: whether Ctrl-C ended the loop.
    """

    cameras: dict[str, LoopReport]
    seconds: float
    submissions: int
    exchanges: int
    interrupted: bool

    @property
    def fps(self) -> float:
        """Results per second of all cameras together."""
        return sum(report.fps for report in self.cameras.values())

    @property
    def shares(self) -> dict[str, float]:
        """Each camera's share of the results per second, 0 … 1; equal where none has too few frames of its own."""
        total = self.fps
        return {name: report.fps / total if total else 0.0 for name, report in self.cameras.items()}

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values for ``json.dumps``."""
        return {
            **asdict(self),
            "cameras": {name: report.to_json() for name, report in self.cameras.items()},
            "fps": self.fps,
            "shares": self.shares,
        }


class LoopStats:
    """The counters of a running camera."""

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
        """Count the same frame once all sinks have it, written or in their queues."""
        now = monotonic()
        self.stages["sink"].add(now - self._last_result)
        self.age.add(now - captured)

    def report(self, camera: str, capture: Capture, ended: bool, sinks: Sequence[Sink] = ()) -> LoopReport:
        """Report what has been counted so far, here and by the sinks; any thread may ask.

        Args:
            camera: the camera's name.
            capture: what reads the source.
            ended: whether no further frame will be shown.
            sinks: the camera's outputs.
        """
        outputs = tuple(report for sink in sinks if (report := sink.report()) is not None)
        source, span = capture.source, self._last_result - self._first_result
        with capture.changed:
            captured, processed, left_out = capture.captured, self.processed, capture.left_out.copy()
        missed = missed_by(source)
        rest = {"left" if ended else "waiting": captured - processed - left_out.total()}
        self.stages["capture"] = capture.took
        return LoopReport(
            camera=camera,
            source=source.name,
            buffer=capture.policy.name,
            seconds=monotonic() - self.began,
            fps=(processed - 1) / span if span > 0 else 0.0,
            fps_now=self.rate.value,
            sent=captured + sum(missed.values()),
            captured=captured,
            processed=processed,
            dropped=left_out["replaced"] + left_out["queue_full"],
            ledger=ledger(left_out, missed, rest),
            skipped=source.skipped,
            lost=source.lost,
            reconnects=source.reconnects,
            too_old=missed["held"] + left_out["too_old"],
            frozen=capture.liveness.frozen,
            black=capture.liveness.black,
            health=source.supervision.health() if source.supervision else None,
            frames_cut=self.frames_cut,
            detections=self.detections,
            latency=self.latency.percentiles(),
            age=slowest([self.age.percentiles(), *(output.age for output in outputs)]),
            stages={name: histogram.percentiles() for name, histogram in self.stages.items()},
            ended=ended,
            outputs=outputs,
            durations={"latency": self.latency, "age": self.age},
        )


def slowest(ages: Sequence[Percentiles]) -> Percentiles:
    """Return the largest of each percentile."""
    return Percentiles(*(max(column) for column in zip(*ages, strict=True)))
