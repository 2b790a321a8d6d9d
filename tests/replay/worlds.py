"""Small recordings of a tiny model, and faults in each stage of a replay."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import monotonic

import numpy as np

from ssd_edge.detector import Engine
from ssd_edge.engines.identity import identity_of
from ssd_edge.engines.opening import open_model
from ssd_edge.loop.chosen import chosen_at
from ssd_edge.loop.run import run_loop
from ssd_edge.outputs.limits import NO_LIMIT, Limit
from ssd_edge.outputs.space import Space
from ssd_edge.pixels import Pixels
from ssd_edge.replay.notes import Notes
from ssd_edge.replay.recorder import opener, pieces_of
from ssd_edge.replay.schema import VERSION, Head
from ssd_edge.replay.stages import traced
from ssd_edge.stream.buffers import EVERY
from ssd_edge.stream.frames import Frame, Source
from ssd_edge.tracking.watch_file import WatchReader

WATCH = {"zones": [{"name": "all", "points": [[0, 0], [1, 0], [1, 1], [0, 1]]}], "tracking": {"low": 0.05}}
SCORE = 0.3


def picture(index: int, size: tuple[int, int] = (24, 32)) -> Pixels:
    """Draw a square that moves over noise, so that something is found in each frame."""
    image = np.random.default_rng(index).integers(0, 60, (*size, 3), np.uint8)
    image[6:16, 2 + index % 12 : 12 + index % 12] += 150
    return image


class Pictures(Source):
    """Frames 0 … count − 1 at 25 FPS, as fast as they are read."""

    def __init__(self, count: int, drawn: Callable[[int], Pixels] = picture) -> None:
        super().__init__()
        self.name, self.fps, self._count, self._next, self._drawn = "pictures", 25.0, count, 0, drawn

    def read(self) -> Frame | None:
        index, self._next = self._next, self._next + 1
        if index >= self._count:
            return None
        return Frame(self._drawn(index), index, monotonic(), index / 25)


class Limited(Source):
    """The first frames of another source."""

    def __init__(self, source: Source, count: int) -> None:
        super().__init__()
        self.name, self.fps, self._source, self._left = source.name, source.fps, source, count

    def read(self) -> Frame | None:
        self._left -= 1
        return self._source.read() if self._left >= 0 else None


def record(
    folder: Path,
    model: Path,
    source: Source,
    *,
    watch: dict | None = None,
    limit: Limit = NO_LIMIT,
    camera: str = "camera",
    run: str = "first",
    score: float = SCORE,
    lost: Callable[[int], bool] = lambda number: False,
) -> None:
    """Record a source; frames of the numbers that ``lost`` tells do not reach the recorder."""
    with open_model(model) as engine:
        labels = list(engine.spec.labels)
        reader = None if watch is None else WatchReader(Path("watch"), watch)
        choice = chosen_at([score] * len(labels), labels, reader)
        head = Head(
            version=VERSION,
            run=run,
            part=0,
            camera=camera,
            source=source.name,
            fps=source.fps,
            began=run,
            engine=identity_of(model, engine),
            labels=labels,
            thresholds=[score] * len(labels),
            lowest_score=choice.lowest_score,
            watch=watch,
        )
        notes = Notes()
        recorder = opener(pieces_of(folder, head.camera, limit, Space()), head, notes)()
        kept = recorder.write
        recorder.write = lambda frame, shown: None if lost(frame.index) else kept(frame, shown)  # type: ignore[method-assign]
        shown = notes.made_by(choice.shown)
        run_loop(traced(engine, choice.lowest_score), source, [recorder], buffer=EVERY, shown=shown)


def sections(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def changed(array: np.ndarray, step: float) -> np.ndarray:
    """Copy an array with its middle value moved by ``step``."""
    other = array.copy()
    other.reshape(-1)[other.size // 2] += np.asarray(step).astype(array.dtype)
    return other


def with_fault(stage: str, patch, engine: Engine, frame: int) -> None:
    """Change a stage's result by one grey level, or its boxes by their last bit, in the frame of this place only."""
    calls = -1

    def due() -> bool:
        nonlocal calls
        calls += 1
        return calls == frame

    if stage == "picture":
        from ssd_edge.replay import source

        right = source.decoded
        patch.setattr(source, "decoded", lambda kept: changed(right(kept), 1) if due() else right(kept))
    elif stage == "preprocess":
        from ssd_edge import detector

        prepared = detector.preprocess
        patch.setattr(
            detector,
            "preprocess",
            lambda image, spec: changed(prepared(image, spec), 1 / spec.std[0]) if due() else prepared(image, spec),
        )
    elif stage == "network":
        submit = engine.submit
        patch.setattr(
            engine, "submit", lambda images: submit(changed(images, 1 / engine.spec.std[0]) if due() else images)
        )
    elif stage == "decode":
        from ssd_edge.decode import Decoder

        call = Decoder.__call__
        patch.setattr(Decoder, "__call__", lambda self, *args: _nudged(call(self, *args), due()))
    else:
        from ssd_edge.tracking.watch import Watch

        watched = Watch._watched
        patch.setattr(Watch, "_watched", lambda self, found, *args: watched(self, _nudged(found, due()), *args))


def _nudged(found, due: bool):
    if not due:
        return found
    from dataclasses import replace

    assert len(found), "there is no box to change"
    return replace(found, boxes=np.nextafter(found.boxes, np.float32(1e9)))
