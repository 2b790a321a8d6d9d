"""Replay a recording, and name the first stage whose result differs from the recorded one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssd_edge.detections import Detections
from ssd_edge.detector import Detector, Engine
from ssd_edge.errors import ModelError
from ssd_edge.loop.chosen import chosen_at
from ssd_edge.loop.run import run_loop
from ssd_edge.loop.stats import LoopReport
from ssd_edge.outputs.sink import Sink
from ssd_edge.progress import Progress, no_progress
from ssd_edge.replay.notes import Notes
from ssd_edge.replay.reading import Recording, Run
from ssd_edge.replay.schema import Head, Shot
from ssd_edge.replay.source import RecordedSource
from ssd_edge.replay.stages import STAGES, digests, first_difference, traced
from ssd_edge.stream.buffers import EVERY
from ssd_edge.stream.frames import Frame
from ssd_edge.tracking.watch_file import WatchReader

OnFrame = Callable[[Shot, Frame, Detections, Detections], None]
"""Called with a recorded frame, the one that is replayed, all its detections, and what is shown of them."""


@dataclass(frozen=True)
class Difference:
    """The first result that differs.

    Attributes:
        stage: a key of ``STAGES``.
        run: when the run began in which it is.
        number, index: number of the frame in its run, and as its source counted it.
        position: seconds since the source began; None for pictures.
        file: name of the picture's file, if it is one.
    """

    stage: str
    run: str
    number: int
    index: int
    position: float | None
    file: str | None

    def __str__(self) -> str:
        """Say which stage and frame it is."""
        where = self.file or ("" if self.position is None else f"{self.position:.3f} s")
        return f"{STAGES[self.stage]}, in frame {self.index}" + (f" ({where})" if where else "")


@dataclass(frozen=True)
class Verdict:
    """How a replay compares with its recording.

    Attributes:
        frames: number of frames compared.
        compared: the stages that both could see.
        different: number of frames with a difference, by the first stage that differs.
        other_detections: number of frames whose detections differ in any bit.
        first: the first difference; None if there is none.
        missing: number of frames that were shown while it was recorded, and that the recording lacks.
        untracked: number of frames whose tracks could not be compared, since frames before them are missing or differ.
        reports: the loop's numbers, of each run.
    """

    frames: int
    compared: tuple[str, ...]
    different: dict[str, int]
    other_detections: int
    first: Difference | None
    missing: int
    untracked: int
    reports: Sequence[LoopReport]

    @property
    def equal(self) -> bool:
        """Whether nothing differs in any bit, in at least one frame."""
        return self.frames > 0 and self.first is None


def replayed(
    recording: Recording,
    engine: Engine,
    *,
    realtime: bool = False,
    on_frame: OnFrame = lambda shot, frame, every, shown: None,
    progress: Progress = no_progress,
) -> Verdict:
    """Feed a recording to an engine, and compare the result of each stage with the recorded one.

    Args:
        recording: the recording.
        engine: a model of the same classes.
        realtime: whether frames come at their own times; otherwise as fast as the engine takes them. None is dropped.
        on_frame: called for each frame.
        progress: called with (frames done, 0).

    Raises:
        ModelError: the engine has other classes.
        RecordingError: a frame cannot be read or decoded.
        BackendError: the engine failed.
    """
    check_labels(recording, engine)
    counts, detector = _Counts(), None
    reports = []
    for run in recording.runs:
        counts.begin(run.head)
        detector = detector if detector and detector[0] == run.head.lowest_score else _detector(engine, run.head)
        reports.append(_replay(run, detector[1], realtime, counts, on_frame, progress))
    return counts.verdict(reports)


def check_labels(recording: Recording, engine: Engine) -> None:
    """Refuse an engine of other classes.

    Raises:
        ModelError: it has other classes.
    """
    if list(engine.spec.labels) != recording.labels:
        raise ModelError(
            f"the recording has the classes {', '.join(recording.labels)}, but the engine has "
            f"{', '.join(engine.spec.labels)}: replay it with an engine of the same classes in the same order"
        )


def _detector(engine: Engine, head: Head) -> tuple[float, Detector]:
    return head.lowest_score, traced(engine, head.lowest_score)


def _replay(
    run: Run, detector: Detector, realtime: bool, counts: _Counts, on_frame: OnFrame, progress: Progress
) -> LoopReport:
    head, notes, source = run.head, Notes(), RecordedSource(run, realtime)
    reader = None if head.watch is None else WatchReader(Path("watch file in the recording"), head.watch)
    choice = chosen_at(head.thresholds, head.labels, reader)

    def take(frame: Frame, shown: Detections) -> None:
        shot, every = source.given.popleft()[1].shot, notes.take(frame).every
        counts.add(shot, digests(frame.pixels, every, shown))
        on_frame(shot, frame, every, shown)
        progress(counts.frames, 0)

    return run_loop(detector, source, [_Each(take)], buffer=EVERY, shown=notes.made_by(choice.shown))


class _Each(Sink):
    """Sink that calls a function with each frame and what is shown."""

    def __init__(self, take: Callable[[Frame, Detections], None]) -> None:
        self._take = take

    def write(self, frame: Frame, detections: Detections) -> None:
        self._take(frame, detections)


class _Counts:
    def __init__(self) -> None:
        self.frames = self._others = self._missing = self._untracked = 0
        self._different: Counter[str] = Counter()
        self._compared: set[str] = set()
        self._first: Difference | None = None
        self._run, self._next, self._tracks = "", 0, True

    def begin(self, head: Head) -> None:
        self._run, self._next, self._tracks = head.began, 0, True

    def add(self, shot: Shot, found: dict[str, bytes]) -> None:
        missing = max(0, shot.number - self._next)
        self._missing, self._next = self._missing + missing, shot.number + 1
        self._tracks = self._tracks and not missing
        if not self._tracks and "tracking" in found:
            self._untracked += 1
            found = {stage: digest for stage, digest in found.items() if stage != "tracking"}
        self.frames += 1
        self._compared |= found.keys() & shot.digests.keys()
        if found.get("decode") != shot.digests.get("decode"):
            self._others += 1
            self._tracks = False  # what follows from other detections is no fault of the tracker
        stage = first_difference(shot.digests, found)
        if stage is None:
            return
        self._different[stage] += 1
        self._first = self._first or Difference(stage, self._run, shot.number, shot.index, shot.position, shot.file)

    def verdict(self, reports: Sequence[LoopReport]) -> Verdict:
        return Verdict(
            self.frames,
            tuple(stage for stage in STAGES if stage in self._compared),
            {stage: self._different[stage] for stage in STAGES if self._different[stage]},
            self._others,
            self._first,
            self._missing,
            self._untracked,
            reports,
        )


def as_json(verdict: Verdict) -> dict[str, Any]:
    """Convert to plain values for ``json.dumps``."""
    first = None if verdict.first is None else {**vars(verdict.first)}
    speed = [{"fps": one.fps, "latency": one.latency._asdict()} for one in verdict.reports]
    return {**vars(verdict), "equal": verdict.equal, "first": first, "reports": speed}
