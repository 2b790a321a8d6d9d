"""Run what is to be compared over a recording: one or two engines, and what was recorded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ssd_edge.detections import Detections
from ssd_edge.detector import Engine
from ssd_edge.progress import Progress, no_progress
from ssd_edge.replay.bits import detections_of
from ssd_edge.replay.check import Verdict, replayed
from ssd_edge.replay.differences import Seen
from ssd_edge.replay.reading import Recording
from ssd_edge.stream.durations import Percentiles

RECORDED = "recorded"


class Speed(NamedTuple):
    """How fast a side was: FPS of the whole loop, and seconds from a frame's capture to its result."""

    fps: float
    latency: Percentiles


@dataclass(frozen=True)
class Side:
    """What one side finds.

    Attributes:
        name: the engine's name, or ``RECORDED``.
        frames: detections that are shown, frame by frame.
        verdict: how it compares with the recording; None for the recording.
    """

    name: str
    frames: Sequence[Detections]
    verdict: Verdict | None = None

    @property
    def speed(self) -> Speed | None:
        """How fast it was, in the longest run; None for the recording."""
        if self.verdict is None or not self.verdict.reports:
            return None
        longest = max(self.verdict.reports, key=lambda report: report.processed)
        return Speed(longest.fps, longest.latency)


def recorded(recording: Recording) -> Side:
    """Take what was shown when the recording was made.

    Raises:
        RecordingError: a frame cannot be read.
    """
    frames, thresholds = [], np.asarray(recording.head.thresholds, np.float32)
    for run in recording.runs:
        for _, placed in run.shots():
            frames.append(detections_of(placed.shot.found, len(recording.labels)).above(thresholds))
    return Side(RECORDED, frames)


def found_by(
    recording: Recording, name: str, engine: Engine, realtime: bool = False, progress: Progress = no_progress
) -> Side:
    """Run an engine; arguments and errors as in ``replayed``."""
    frames: list[Detections] = []
    thresholds = np.asarray(recording.head.thresholds, np.float32)
    verdict = replayed(
        recording,
        engine,
        realtime=realtime,
        on_frame=lambda shot, frame, every, shown: frames.append(every.above(thresholds)),
        progress=progress,
    )
    return Side(name, frames, verdict)


def beside(recording: Recording, first: Side, second: Side) -> Iterator[Seen]:
    """Go through the frames with what both sides find.

    Raises:
        RecordingError: a frame cannot be read any more.
    """
    found = zip(first.frames, second.frames, strict=True)
    for number, run in enumerate(recording.runs):
        for section, placed in run.shots():
            shot, pair = placed.shot, next(found)
            time = shot.captured if shot.position is None else shot.position
            yield Seen(section, placed.offset, number, shot.index, time, *pair)
