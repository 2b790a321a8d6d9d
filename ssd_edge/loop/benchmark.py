"""Measure how fast engines are: each stage, end to end, and the engine alone, for several engines in one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from time import monotonic, perf_counter
from typing import Any, NamedTuple

from ssd_edge.detector import Detector, Engine, Heads
from ssd_edge.errors import NoHeadsError, SourceError
from ssd_edge.loop.run import run_loop
from ssd_edge.loop.stats import STAGES
from ssd_edge.outputs.draw import annotate
from ssd_edge.preprocess import preprocess
from ssd_edge.progress import Progress, no_progress
from ssd_edge.speed import throughput
from ssd_edge.stream.buffers import EVERY
from ssd_edge.stream.durations import Durations, Percentiles
from ssd_edge.stream.frames import Frame, Source

_KEPT_FRAMES = 64
END_TO_END = "end to end"


class Replay(Source):
    """Source that repeats frames from memory as fast as they are read.

    So every engine gets the same frames, without the time for reading and decoding a file.
    """

    def __init__(self, frames: Sequence[Frame], number: int) -> None:
        super().__init__()
        self.name = f"{number} frames from memory"
        self._frames = frames
        self._number = number
        self._next = 0

    def read(self) -> Frame | None:
        """See ``Source``."""
        if self._next >= self._number or self._stopping.is_set():
            return None
        kept = self._frames[self._next % len(self._frames)]
        frame = Frame(kept.pixels, self._next, monotonic(), took=kept.took)
        self._next += 1
        return frame


@dataclass(frozen=True)
class EngineTimes:
    """One engine's numbers, each the median over the rounds. Durations are seconds.

    Attributes:
        name: the model's name, as given.
        backend: the backend that runs it.
        precision: ``FP32``, ``FP16`` or ``INT8``.
        frames: number of frames measured in all rounds together.
        engine_fps: FPS of the engine alone, on prepared input, with ``depth`` inferences at once; None if it decodes by
            itself and therefore does not give its heads.
        loop_fps: FPS of the whole loop, without a sink.
        efficiency: the loop's FPS as a share of ``engine_fps`` in the same round; None if that is None.
        end_to_end: duration of capture, preprocess, inference and decode of one frame, without overlap.
        stages: duration of each stage of one frame, without overlap; the stage ``sink`` draws the boxes.
        graph: see ``Engine.graph``.
    """

    name: str
    backend: str
    precision: str
    frames: int
    engine_fps: float | None
    loop_fps: float
    efficiency: float | None
    end_to_end: Percentiles
    stages: Mapping[str, Percentiles]
    graph: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values for ``json.dumps``."""
        return {
            **asdict(self),
            "end_to_end": self.end_to_end._asdict(),
            "stages": {name: times._asdict() for name, times in self.stages.items()},
        }


def benchmark(
    engines: Mapping[str, Engine],
    source: Source,
    *,
    frames: int = 200,
    warmup: int = 20,
    rounds: int = 3,
    min_score: float = 0.5,
    progress: Progress = no_progress,
) -> list[EngineTimes]:
    """Measure engines in turns, so that changes in the machine's speed affect all of them.

    Args:
        engines: engines by name.
        source: gives the frames, the first of which are kept and replayed. It is closed here.
        frames: number of frames for each engine, round and kind of measurement.
        warmup: number of frames before the first measured one, each time.
        rounds: number of turns of each engine.
        min_score: lowest score that is read, as in ``run``; detections below it are not decoded.
        progress: called with (turns done, all turns).

    Raises:
        SourceError: the source gives no frame.
    """
    with source:
        kept = _keep(source)
    turns: dict[str, list[_Turn]] = {name: [] for name in engines}
    for number in range(rounds):
        for place, (name, engine) in enumerate(engines.items()):
            with engine.detector(min_score) as detector:
                turns[name].append(
                    _Turn(
                        _engine_fps(engine, kept[0], frames, warmup),
                        _loop_fps(detector, kept, frames, warmup),
                        _one_at_a_time(detector, kept, frames, warmup),
                    )
                )
            progress(number * len(engines) + place + 1, rounds * len(engines))
    return [_median(name, engine, frames * rounds, turns[name]) for name, engine in engines.items()]


def _keep(source: Source) -> list[Frame]:
    kept: list[Frame] = []
    while len(kept) < _KEPT_FRAMES and (frame := source.read()) is not None:
        kept.append(frame)
    if not kept:
        raise SourceError(f"{source.name} gives no frame to measure with: give another source")
    return kept


class _Turn(NamedTuple):
    """One engine's turn in one round."""

    engine_fps: float | None
    loop_fps: float
    stages: dict[str, Percentiles]


def _engine_fps(heads: Heads, frame: Frame, frames: int, warmup: int) -> float | None:
    images = [preprocess(frame.image, heads.spec) for _ in range(heads.depth)]
    try:
        for _ in range(max(1, warmup)):
            heads.submit(images[0])()
    except NoHeadsError:
        return None
    return throughput(heads, images, lambda number, _: number < frames)


def _loop_fps(detector: Detector, kept: Sequence[Frame], frames: int, warmup: int) -> float:
    if warmup:
        run_loop(detector, Replay(kept, warmup), buffer=EVERY)
    return run_loop(detector, Replay(kept, frames), buffer=EVERY).fps


def _one_at_a_time(detector: Detector, kept: Sequence[Frame], frames: int, warmup: int) -> dict[str, Percentiles]:
    """Time the stages and their sum without overlap, so that no stage waits for another; the sink draws the boxes."""
    durations = {name: Durations() for name in (*STAGES, END_TO_END)}
    for number in range(-warmup, frames):
        frame = kept[number % len(kept)]
        result = detector.submit(frame.pixels)()
        began = perf_counter()
        annotate(frame.image, result.detections.above(0.5), detector.spec.labels)
        times = {"capture": frame.took, **result.times._asdict(), "sink": perf_counter() - began}
        if number >= 0:
            for name, seconds in times.items():
                durations[name].add(seconds)
            durations[END_TO_END].add(sum(times.values()) - times["sink"])
    return {name: histogram.percentiles() for name, histogram in durations.items()}


def _median(name: str, engine: Engine, frames: int, turns: Sequence[_Turn]) -> EngineTimes:
    def middle(stage: str) -> Percentiles:
        columns = zip(*(turn.stages[stage] for turn in turns), strict=True)
        return Percentiles(*(median(column) for column in columns))

    return EngineTimes(
        name,
        engine.backend,
        engine.precision,
        frames,
        _median_of_all([turn.engine_fps for turn in turns]),
        median(turn.loop_fps for turn in turns),
        _median_of_all([turn.engine_fps and turn.loop_fps / turn.engine_fps for turn in turns]),
        middle(END_TO_END),
        {stage: middle(stage) for stage in STAGES},
        engine.graph,
    )


def _median_of_all(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None
