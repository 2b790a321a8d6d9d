"""Fake heads that take real time, sources without a camera, and a check that no thread is left."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from time import monotonic, sleep

import numpy as np
import numpy.typing as npt
import pytest

from ssd_edge.detections import Detections
from ssd_edge.detector import Detector, HostDetector, RawHeads
from ssd_edge.outputs.sink import Sink
from ssd_edge.stream.frames import Frame, Source
from tests.helpers import small_spec


class FakeHeads:
    """Heads that give one box of class ``bolt`` after ``seconds``; with ``depth`` 2, two frames run side by side."""

    def __init__(self, seconds: float = 0.0, depth: int = 1, max_batch: int = 1) -> None:
        self.spec = small_spec()
        self.seconds, self.depth, self.max_batch = seconds, depth, max_batch
        self.submitted = self.finished = self.most_under_way = 0
        self.batches: list[int] = []
        self._workers = ThreadPoolExecutor(depth)

    def submit(self, images: npt.NDArray[np.float32]) -> Callable[[], RawHeads]:
        assert images.shape[1:] == (3, 32, 32)
        assert 1 <= len(images) <= self.max_batch
        self.batches.append(len(images))
        self.submitted += 1
        self.most_under_way = max(self.most_under_way, self.submitted - self.finished)
        assert self.most_under_way <= self.depth
        future = self._workers.submit(self._infer, len(images))
        if self.depth == 1:
            future.result()

        def finish() -> RawHeads:
            heads = future.result()
            self.finished += 1
            return heads

        return finish

    def _infer(self, batch: int) -> RawHeads:
        sleep(self.seconds)
        logits = np.zeros((batch, 56, 3), np.float32)
        logits[..., 0] = 10
        logits[:, 7] = 0, 8, 0
        return RawHeads(np.zeros((batch, 56, 4), np.float32), logits)

    def detector(self, min_score: float = 0.0) -> HostDetector:
        return HostDetector(self, min_score)

    def close(self) -> None:
        self._workers.shutdown()


class Ticking(Source):
    """Source of ``count`` frames, ``every`` seconds apart; the picture of frame i has grey level i % 256."""

    def __init__(self, count: int, every: float = 0.0, *, live: bool = True) -> None:
        super().__init__()
        self.name, self.live, self.fps = "ticking", live, 1 / every if every else 1000.0
        self._count, self._every, self._index, self._began = count, every, 0, monotonic()
        self.closed = False

    def read(self) -> Frame | None:
        index, self._index = self._index, self._index + 1
        self._stopping.wait(max(0.0, self._began + index * self._every - monotonic()) if self.live else 0.0)
        if index >= self._count or self._stopping.is_set():
            return None
        return Frame(np.full((48, 64, 3), index % 256, np.uint8), index, monotonic(), index * (self._every or 0.04))

    def close(self) -> None:
        super().close()
        self.closed = True


class Kept(Sink):
    """Sink that keeps what it gets, and how old each frame was by then."""

    def __init__(self) -> None:
        self.indices: list[int] = []
        self.ages: list[float] = []
        self.detections: list[Detections] = []
        self.closed = 0

    def write(self, frame: Frame, detections: Detections) -> None:
        self.indices.append(frame.index)
        self.ages.append(monotonic() - frame.captured)
        self.detections.append(detections)

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def make_detector() -> Iterator[Callable[..., Detector]]:
    made: list[FakeHeads] = []

    def make(seconds: float = 0.0, depth: int = 1, max_batch: int = 1) -> Detector:
        made.append(FakeHeads(seconds, depth, max_batch))
        return made[-1].detector()

    yield make
    for heads in made:
        heads.close()


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    ours = [t.name for t in set(threading.enumerate()) - before if t.name.startswith(("capture", "sink", "closing"))]
    assert ours == []
