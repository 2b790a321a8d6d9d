"""How fast engines are: each stage, end to end, and the engine alone, several engines side by side in one run."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import monotonic, perf_counter
from typing import Any

from ssd_edge.detector import Detector, Heads, RawHeads
from ssd_edge.errors import SourceError
from ssd_edge.preprocess import preprocess
from ssd_edge.stream.loop import run_loop
from ssd_edge.stream.frames import Frame, Source
from ssd_edge.stream.stats import LoopReport, Percentiles

_KEPT_FRAMES = 64
_PACKAGES = ("ssd-edge", "numpy", "opencv-python", "openvino", "onnxruntime")


class Replay(Source):
    """Frames kept in memory, given again and again as fast as they are read.

    Reading and decoding a file costs what the file costs; replayed, every engine gets the same frames at no cost.
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
        frame = Frame(kept.image, self._next, monotonic(), took=kept.took)
        self._next += 1
        return frame


@dataclass(frozen=True)
class EngineTimes:
    """One engine's numbers: the median over the rounds of each. Durations are seconds.

    Attributes:
        name: of the model, as given.
        backend: that runs it.
        precision: ``FP32``, ``FP16`` or ``INT8``.
        frames: measured in all rounds together.
        engine_fps: of the engine alone: prepared input, as many under way as the loop has, nothing else done.
        engine_latency: one inference at a time, from submission to result.
        loop_fps: of the whole loop.
        end_to_end: from a frame's capture to its detections, one frame at a time.
        stages: capture, preprocess, inference, decode, sink, one frame at a time.
    """

    name: str
    backend: str
    precision: str
    frames: int
    engine_fps: float
    engine_latency: Percentiles
    loop_fps: float
    end_to_end: Percentiles
    stages: Mapping[str, Percentiles]

    @property
    def efficiency(self) -> float:
        """The loop's FPS as a share of the engine's own."""
        return self.loop_fps / self.engine_fps if self.engine_fps else 0.0

    def to_json(self) -> dict[str, Any]:
        """As plain values for ``json.dumps``."""
        return {
            **asdict(self),
            "efficiency": self.efficiency,
            "engine_latency": self.engine_latency._asdict(),
            "end_to_end": self.end_to_end._asdict(),
            "stages": {name: times._asdict() for name, times in self.stages.items()},
        }


class _OneAtATime:
    """The same heads with nothing overlapped, so that a stage's time is its own."""

    depth = 1

    def __init__(self, heads: Heads) -> None:
        self.spec = heads.spec
        self._heads = heads

    def submit(self, images: Any) -> Callable[[], RawHeads]:
        result = self._heads.submit(images)()
        return lambda: result


def benchmark(
    models: Mapping[str, tuple[Heads, str, str]],
    source: Source,
    *,
    frames: int = 200,
    warmup: int = 20,
    rounds: int = 3,
    progress: Callable[[int, int], None] | None = None,
) -> list[EngineTimes]:
    """Measure engines in turns, so that a machine that grows slower or faster does so for all of them.

    Args:
        models: by name: heads, backend, precision.
        source: gives the frames; a few of them are kept and replayed. Closed here.
        frames: of each engine, round and kind of measurement.
        warmup: frames before the first measured one, each time.
        rounds: how often each engine has its turn.
        progress: called with (turns done, turns in all).

    Raises:
        SourceError: the source gives no frame.
    """
    with source:
        kept = _keep(source)
    turns: dict[str, list[tuple[float, Percentiles, LoopReport, LoopReport]]] = {name: [] for name in models}
    for number in range(rounds):
        for place, (name, (heads, _, _)) in enumerate(models.items()):
            engine_fps, latency = _engine_alone(heads, kept[0], frames, warmup)
            single = _loop(Detector(_OneAtATime(heads)), kept, frames, warmup)
            turns[name].append((engine_fps, latency, single, _loop(Detector(heads), kept, frames, warmup)))
            if progress:
                progress(number * len(models) + place + 1, rounds * len(models))
    return [
        _median(name, backend, precision, frames * rounds, turns[name])
        for name, (_, backend, precision) in models.items()
    ]


def _keep(source: Source) -> list[Frame]:
    kept: list[Frame] = []
    while len(kept) < _KEPT_FRAMES and (frame := source.read()) is not None:
        kept.append(frame)
    if not kept:
        raise SourceError(f"{source.name} gives no frame to measure with")
    return kept


def _engine_alone(heads: Heads, frame: Frame, frames: int, warmup: int) -> tuple[float, Percentiles]:
    images = [preprocess(frame.image, heads.spec) for _ in range(heads.depth)]
    for _ in range(warmup):
        heads.submit(images[0])()
    waits = []
    for _ in range(frames):
        began = perf_counter()
        heads.submit(images[0])()
        waits.append(perf_counter() - began)
    pending: deque[Callable[[], RawHeads]] = deque()
    began = perf_counter()
    for number in range(frames):
        pending.append(heads.submit(images[number % heads.depth]))
        if len(pending) == heads.depth:
            pending.popleft()()
    while pending:
        pending.popleft()()
    fps = frames / (perf_counter() - began)
    waits.sort()
    return fps, Percentiles(*(waits[min(frames - 1, int(frames * share))] for share in (0.5, 0.9, 0.99)))


def _loop(detector: Detector, kept: Sequence[Frame], frames: int, warmup: int) -> LoopReport:
    if warmup:
        run_loop(detector, Replay(kept, warmup), every_frame=True)
    return run_loop(detector, Replay(kept, frames), every_frame=True)


def _median(
    name: str,
    backend: str,
    precision: str,
    frames: int,
    turns: Sequence[tuple[float, Percentiles, LoopReport, LoopReport]],
) -> EngineTimes:
    def middle(times: Sequence[Percentiles]) -> Percentiles:
        return Percentiles(*(median(column) for column in zip(*times, strict=True)))

    singles = [single for _, _, single, _ in turns]
    return EngineTimes(
        name,
        backend,
        precision,
        frames,
        median(fps for fps, _, _, _ in turns),
        middle([latency for _, latency, _, _ in turns]),
        median(loop.fps for _, _, _, loop in turns),
        middle([single.latency for single in singles]),
        {stage: middle([single.stages[stage] for single in singles]) for stage in singles[0].stages},
    )


def machine() -> dict[str, Any]:
    """What a figure depends on beside the engine: processor, threads, load, versions."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "processor": _processor(),
        "threads": cores,
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": versions,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.split(":", 1)[1].strip() for line in lines if line.lower().startswith(("model name", "model\t")))
    return next(names, platform.machine())
